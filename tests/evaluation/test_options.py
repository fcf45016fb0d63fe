from pathlib import Path

import pytest
import yaml

from lit_xai.evaluation.options import evaluation_parser
from lit_xai.evaluation.sweep import Sweep
from lit_xai.regimes.pgd import PGD

ROOT = Path(__file__).parents[2]
GRID = f"--grid={ROOT}/configs/grids/fashion_epoch.yaml"


def parsed(*options: str):
    parser = evaluation_parser()
    return parser, parser.parse_args([GRID, *options])


def test_the_defaults():
    _, config = parsed("--checkpoints", "a.ckpt", "b=c.ckpt")
    assert config.checkpoints == ["a.ckpt", "b=c.ckpt"]
    assert (config.models, config.sweeps, config.claims, config.adversary) == ([], {}, {}, None)
    assert (config.max_samples, config.batch_size, config.seed, config.examples) == (256, 64, 0, 3)
    assert (config.output, config.wandb_project, config.accelerator, config.devices) == (
        None,
        None,
        "auto",
        "auto",
    )


def test_sweeps_and_claims_may_be_files(tmp_path):
    sweeps = {"top_k": {"values": {"eps": [0.05, 0.1]}, "scaled": ["step_size"]}}
    claims = {"natural": {"none/unattacked/accuracy": 0.9}}
    for name, content in {"sweeps": sweeps, "claims": claims}.items():
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(content))
    files = [f"--{name}={tmp_path / name}.yaml" for name in ("sweeps", "claims")]
    parser, config = parsed("--models", "a.yaml", *files)
    built = parser.instantiate(config)
    assert built.sweeps == {"top_k": Sweep({"eps": [0.05, 0.1]}, ["step_size"])}
    assert built.claims == claims
    assert yaml.safe_load(parser.dump(config))["claims"] == claims


def test_the_adversary_is_built():
    parser, config = parsed("--models", "a.yaml", "--adversary.eps=0.2", "--adversary.steps=7")
    assert parser.instantiate(config).adversary == PGD(eps=0.2, steps=7)


@pytest.mark.parametrize("option", ["--max_samples=many", "--sweeps.top_k.radius=3", "--claims.natural=high"])
def test_a_wrong_value_is_refused_in_a_few_lines(option, capsys):
    with pytest.raises(SystemExit) as ended:
        parsed("--models", "a.yaml", option)
    assert ended.value.code == 2
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("error: ")
    assert len(lines) <= 3
