"""Classes of a package outside of the repository, named by `class_path`: trained, evaluated, read back."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch
import yaml

from lit_xai.cli import evaluate_cli, train_cli
from lit_xai.evaluation.checkpoints import load_classifier

ROOT = Path(__file__).parents[2]
CHECKPOINT = "runs/own/1/checkpoints/last.ckpt"
# Rows 0 to 5, four pixels each, times the factor 3: no other class of the package gives it.
TOTAL = 3 * 4 * (0 + 1 + 2 + 3 + 4 + 5)
SHIFT = 7.0
AMOUNT = 0.125


def own(name: str, **options) -> dict:
    return {"class_path": f"own_methods.{name}", "init_args": options}


def grid() -> dict:
    """What a user writes: own classes beside fragments of the package, by name and by file."""
    return {
        "class_path": "lit_xai.evaluation.grid.Grid",
        "init_args": {
            "attributions": {"rows": own("Rows")},
            "attacks": {
                "darkened": "darkened.yaml",
                "unattacked": {"class_path": "lit_xai.attacks.unattacked.Unattacked"},
            },
            "metrics": {
                "total": own("Total", factor=3.0),
                "linf": {"class_path": "lit_xai.metrics.budget.LinfNorm"},
            },
        },
    }


def write_package(directory: Path) -> None:
    """Write a package of methods and the configuration that names them."""
    (directory / "own_methods").mkdir()
    shutil.copy(ROOT / "tests" / "end_to_end" / "own_package.py", directory / "own_methods" / "__init__.py")
    training = {
        "seed_everything": 0,
        "model": {
            "model": own("Means", factor=2.0),
            "regime": own("Shifted", shift=SHIFT),
            "optimizer": {"class_path": "torch.optim.SGD", "init_args": {"lr": 0.1}},
            "adversary": None,
        },
        "data": own("Halves", size=8),
        "trainer": {
            "accelerator": "cpu",
            "devices": 1,
            "max_epochs": 1,
            "log_every_n_steps": 1,
            "num_sanity_val_steps": 0,
            "logger": [
                {
                    "class_path": "lightning.pytorch.loggers.CSVLogger",
                    "init_args": {"save_dir": "{run_dir}", "name": "", "version": "csv"},
                }
            ],
            "enable_model_summary": False,
            "callbacks": [
                {
                    "class_path": "lit_xai.callbacks.explanation_robustness.ExplanationRobustness",
                    "init_args": {"grid": "grid.yaml", "max_samples": 4},
                },
                {
                    "class_path": "lightning.pytorch.callbacks.ModelCheckpoint",
                    "init_args": {"dirpath": "{run_dir}/checkpoints", "save_last": True},
                },
            ],
        },
    }
    evaluation = {
        "grid": "grid.yaml",
        "max_samples": 6,
        "adversary": {"eps": 0.01, "steps": 1},
        "accelerator": "cpu",
    }
    files = {
        "own": training,
        "evaluate": evaluation,
        "grid": grid(),
        "darkened": own("Darkened", amount=AMOUNT),
    }
    for name, content in files.items():
        (directory / f"{name}.yaml").write_text(yaml.safe_dump(content))


@pytest.fixture
def beside(tmp_path, monkeypatch):
    """A working directory with a user's package, which is not on the path."""
    write_package(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert not any(Path(place).resolve() == tmp_path for place in sys.path if place)
    yield tmp_path
    sys.modules.pop("own_methods", None)
    assert str(tmp_path) not in sys.path


def results(directory: Path) -> dict[tuple[str, str], pd.Series]:
    table = pd.read_csv(directory / "results.csv")
    return {
        (row["attack"], row["metric"]): row for _, row in table.iterrows() if row["attribution"] == "rows"
    }


def check_results(directory: Path) -> None:
    cells = results(directory)
    assert set(cells) == {
        (attack, name) for attack in ("darkened", "unattacked") for name in ("total", "linf")
    }
    for attack, radius in {"darkened": AMOUNT, "unattacked": 0.0}.items():
        total, linf = cells[attack, "total"], cells[attack, "linf"]
        assert (total["value"], total["stderr"]) == (TOTAL, 0)
        # Of images of 0.2 and 0.8 in single precision.
        assert linf["value"] == pytest.approx(radius, abs=1e-7)
        assert (linf["count"], linf["failed"], linf["excluded"]) == (6, 0 if radius else 6, 0)


def test_own_classes_of_all_families_train_and_are_evaluated(beside):
    train_cli(["fit", "-c", "own.yaml"])
    curves = pd.read_csv(beside / "runs" / "own" / "1" / "csv" / "metrics.csv")
    # The cross-entropy of two classes whose logits differ by 2 x 0.6 = 1.2 or a little more.
    losses = curves["train/loss"].dropna()
    assert losses.between(SHIFT + 0.2, SHIFT + 0.27).all()
    (total,) = curves["robustness/rows/darkened/total"].dropna()
    (radius,) = curves["robustness/rows/darkened/linf"].dropna()
    (count,) = curves["robustness/rows/darkened/linf_count"].dropna()
    assert (total, count) == (TOTAL, 4)
    assert radius == pytest.approx(AMOUNT, abs=1e-7)
    evaluate_cli(["-c", "evaluate.yaml", "--checkpoints", CHECKPOINT, "-o", "results"])
    check_results(beside / "results")
    # What a checkpoint holds is built again from the user's classes.
    weights = torch.load(CHECKPOINT, weights_only=True)["state_dict"]["model.factor"]
    assert weights > 2
    sys.path.append(str(beside))
    try:
        module = load_classifier(Path(CHECKPOINT))
    finally:
        sys.path.remove(str(beside))
    assert type(module.model).__module__ == type(module.regime).__module__ == "own_methods"
    assert module.regime.shift == SHIFT
    assert torch.equal(module.model.factor.detach(), weights)


@pytest.mark.slow
def test_the_installed_commands_find_a_package_beside_the_user(tmp_path):
    write_package(tmp_path)
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    folder = Path(sys.executable).parent
    for command in (
        ["lit-xai-train", "fit", "-c", "own.yaml"],
        ["lit-xai-evaluate", "-c", "evaluate.yaml", "--checkpoints", CHECKPOINT, "-o", "results"],
    ):
        done = subprocess.run(
            [str(folder / command[0]), *command[1:]],
            cwd=tmp_path,
            env={**variables, "OMP_NUM_THREADS": "1", "PYTHONSAFEPATH": ""},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, ""), done.stderr[-2000:]
    check_results(tmp_path / "results")


@pytest.mark.parametrize(
    ("file", "old", "new", "said"),
    [
        (
            "darkened.yaml",
            "own_methods.Darkened",
            "own_methods.Darkend",
            "Expected a class, but got own_methods.Darkend for `class_path` in darkened.yaml. "
            "Did you mean own_methods.Darkened?",
        ),
        (
            "grid.yaml",
            "own_methods.Total",
            "own_method.Total",
            "Expected a class, but got own_method.Total for `metrics.total` in grid.yaml. "
            "Python finds no own_method, neither installed nor beside you.",
        ),
        (
            "darkened.yaml",
            "amount",
            "amonut",
            "Expected an option of own_methods.Darkened, but got `amonut` for `class_path` in darkened.yaml. "
            "Did you mean amount?",
        ),
    ],
)
def test_a_typo_in_a_file_of_a_file_is_named_with_its_place(file, old, new, said, beside, capsys):
    path = beside / file
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(SystemExit) as ended:
        evaluate_cli(["-c", "evaluate.yaml", "--checkpoints", "none.ckpt"])
    assert ended.value.code == 2
    assert capsys.readouterr().err == f"error: {said}\n"
