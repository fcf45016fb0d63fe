"""Two gloo processes give the numbers of one, on 13 uneven samples."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from PIL import Image

from tests.conftest import tiny_network

ROOT = Path(__file__).parents[1]

pytestmark = pytest.mark.ddp


def run(
    processes: int, output: Path, *options: str, program: str = "ddp_program.py"
) -> subprocess.CompletedProcess:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    for name in ("LOCAL_RANK", "NODE_RANK", "WORLD_SIZE", "MASTER_PORT"):
        environment.pop(name, None)
    command = [sys.executable, str(ROOT / "tests" / program), str(processes), str(output), *options]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)


def test_two_processes_give_the_numbers_of_one(tmp_path):
    results = []
    for processes in (1, 2):
        output = tmp_path / f"{processes}.pt"
        ended = run(processes, output)
        assert ended.returncode == 0, ended.stderr[-2000:]
        results.append((torch.load(output, weights_only=True), pd.read_csv(output.with_suffix(".csv"))))
    (one, one_records), (two, two_records) = results
    torch.testing.assert_close(two["weights"], one["weights"], rtol=0, atol=1e-10)
    for stage in ("fitted", "tested"):
        assert one[stage].keys() == two[stage].keys()
        for key, value in one[stage].items():
            if not key.startswith("train/"):
                # Lightning logs in single precision.
                assert two[stage][key] == pytest.approx(value, abs=1e-6, nan_ok=True), key
        for attack in ("top_k", "exiaa"):
            # Every sample is counted, whichever process had it.
            cell = f"robustness/smooth_grad/{attack}"
            assert one[stage][f"{cell}/kendall_count"] + one[stage][f"{cell}/excluded"] == 13
    pd.testing.assert_frame_equal(one_records, two_records, rtol=0, atol=1e-9)
    evaluated = one_records[one_records.metric == "excluded"]
    assert evaluated.groupby(["attribution", "attack"]).size().tolist() == [13] * 4
    assert (evaluated.value == 0).sum() >= 16


def test_random_parts_of_pictures_train_the_same_on_two_processes(tmp_path):
    generator = np.random.default_rng(0)
    for number in range(46):
        path = tmp_path / "pictures" / ("dark" if number % 2 else "light") / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = generator.integers(0, 140, (*generator.integers(10, 20, 2), 3), dtype=np.uint8)
        Image.fromarray(pixels + np.uint8(0 if number % 2 else 110)).save(path)
    results = []
    for processes in (1, 2):
        output = tmp_path / f"{processes}.pt"
        ended = run(processes, output, "folder")
        assert ended.returncode == 0, ended.stderr[-2000:]
        results.append((torch.load(output, weights_only=True), (tmp_path / str(processes) / "splits.csv")))
    (one, one_list), (two, two_list) = results
    torch.testing.assert_close(two["weights"], one["weights"], rtol=0, atol=1e-10)
    assert two["tested"]["val/accuracy"] == pytest.approx(one["tested"]["val/accuracy"], abs=1e-6)
    assert one_list.read_text() == two_list.read_text()
    assert len(pd.read_csv(two_list)) == 46


def test_a_sampler_that_pads_is_refused(tmp_path):
    ended = run(2, tmp_path / "padded.pt", "padded")
    assert ended.returncode != 0
    assert "Expected each sample once, but got sample" in ended.stderr
    assert not (tmp_path / "padded.pt").exists()


def test_every_regime_learns_the_same_on_two_processes(tmp_path):
    results = []
    for processes in (1, 2):
        output = tmp_path / f"{processes}.pt"
        ended = run(processes, output, program="ddp_regimes.py")
        assert ended.returncode == 0, ended.stderr[-2000:]
        results.append(torch.load(output, weights_only=True))
    one, two = results
    for found in results:
        assert torch.equal(found.pop("behind the gate"), found["natural"])
    fragments = {path.stem for path in (ROOT / "configs" / "regimes").glob("*.yaml")}
    assert one.keys() == two.keys() == fragments | {"accumulated"}
    start = torch.cat([parameter.detach().flatten() for parameter in tiny_network().parameters()])
    for name, weights in one.items():
        torch.testing.assert_close(two[name], weights, rtol=0, atol=1e-10, msg=name)
        assert (weights - start).norm() > 1e-2, name
        others = [other for other, values in one.items() if torch.allclose(values, weights, atol=1e-8)]
        assert others == [name]


def normed_states(folder: Path, statistics: str) -> list[dict[str, list[dict[str, torch.Tensor]]]]:
    """Return, for one and two processes and by regime, the state of the network in every process."""
    states = []
    for processes in (1, 2):
        output = folder / f"{processes}.pt"
        ended = run(processes, output, statistics, program="ddp_regimes.py")
        assert ended.returncode == 0, ended.stderr[-2000:]
        states.append(torch.load(output, weights_only=True))
    return states


def test_batch_norm_is_evaluated_with_the_same_statistics_in_every_process(tmp_path):
    one, two = normed_states(tmp_path, "normed")
    assert one.keys() == two.keys() == {"natural", "pgd", "ig_sum_norm"}
    for name, (first, second) in two.items():
        assert all(torch.equal(value, second[key]) for key, value in first.items()), name
        assert first["1.num_batches_tracked"] == one[name][0]["1.num_batches_tracked"] == 6
        # Each process normalises by its own half of the batch: another network is trained.
        assert (first["0.weight"] - one[name][0]["0.weight"]).abs().max() > 1e-4, name


@pytest.mark.gpu
@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="synchronised batch norm needs two GPUs")
def test_synchronised_batch_norm_learns_the_same_on_two_processes(tmp_path):
    one, two = normed_states(tmp_path, "synchronised")
    for name, ((alone,), shares) in ((name, (one[name], two[name])) for name in one):
        for share in shares:
            for key, value in alone.items():
                torch.testing.assert_close(share[key], value, rtol=0, atol=1e-6, msg=f"{name}: {key}")


def test_an_evaluation_on_two_processes_writes_the_results_of_one(tmp_path):
    (tmp_path / "tiny.yaml").write_text(
        "model: {class_path: lit_xai.models.small.SmallCNN, init_args: {width: 2}}"
    )
    config = {
        "grid": {
            "class_path": "lit_xai.evaluation.grid.Grid",
            "init_args": {
                part: {name: f"{ROOT}/configs/{part}/{name}.yaml" for name in names}
                for part, names in {
                    "attributions": ("saliency", "input_x_gradient"),
                    "attacks": ("unattacked", "random_sign", "exiaa", "top_k"),
                    "metrics": ("lens_precision", "kendall", "change"),
                }.items()
            },
        },
        "data": {
            "class_path": "lit_xai.data.embedded_fashion.EmbeddedFashion",
            "init_args": {"max_test": 101, "max_train": 200},
        },
        "adversary": {"steps": 2},
        "max_samples": 21,
        "accelerator": "cpu",
    }
    (tmp_path / "evaluate.yaml").write_text(yaml.safe_dump(config))
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    for processes, batch_size in ((1, 64), (2, 4)):
        command = [sys.executable, str(ROOT / "evaluate.py"), "-c", str(tmp_path / "evaluate.yaml")]
        command += ["--models", str(tmp_path / "tiny.yaml"), f"--batch_size={batch_size}"]
        command += [f"--devices={processes}", f"--output={tmp_path / str(processes)}"]
        ended = subprocess.run(
            command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False
        )
        assert ended.returncode == 0, ended.stderr[-2000:]
    for name in ("samples", "agreement"):
        one, two = (pd.read_parquet(tmp_path / str(number) / f"{name}.parquet") for number in (1, 2))
        pd.testing.assert_frame_equal(one, two, rtol=0, atol=1e-6)
    one, two = (pd.read_parquet(tmp_path / str(number) / "examples.parquet") for number in (1, 2))
    chosen = ["attribution", "attack", "extreme", "place", "sample_id", "image", "image_adv"]
    pd.testing.assert_frame_equal(one[chosen], two[chosen])
    samples = pd.read_parquet(tmp_path / "2" / "samples.parquet")
    counts = samples[samples.metric == "excluded"].groupby(["attribution", "attack"]).size()
    assert counts.tolist() == [21] * 8
    assert len(samples[samples.metric == "accuracy"]) == 2 * 101
