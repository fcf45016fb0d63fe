"""What a user may get wrong, each with one line, an exit status, and nothing lost."""

import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from tests.data.test_fashion_mnist import TRAIN_IMAGES
from tests.data.test_fashion_mnist import write as write_fashion
from tests.data.test_gtsrb import write as write_signs

ROOT = Path(__file__).parents[2]
SMALL = "lit_xai.models.small.SmallCNN"
LAST = "runs/fit/1/checkpoints/last.ckpt"


def fragment(path: str) -> str:
    return str(ROOT / "configs" / f"{path}.yaml")


def fit_config(directory: Path, data: dict, model: dict | None = None, **trainer) -> list[str]:
    """Write a configuration and return the command that trains by it."""
    config = {
        "seed_everything": 0,
        "model": {
            "model": {"class_path": SMALL, "init_args": {"width": 2, **(model or {})}},
            "regime": {"class_path": "lit_xai.regimes.natural.Natural"},
            "optimizer": {"class_path": "torch.optim.SGD", "init_args": {"lr": 0.01}},
            "adversary": None,
        },
        "data": data,
        "trainer": {
            "accelerator": "cpu",
            "devices": 1,
            "max_epochs": 1,
            "num_sanity_val_steps": 0,
            "logger": False,
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "callbacks": [fragment("callbacks/checkpoint")],
            **trainer,
        },
    }
    (directory / "fit.yaml").write_text(yaml.safe_dump(config))
    return [sys.executable, str(ROOT / "train.py"), "fit", "--config", "fit.yaml"]


def embedded(**options) -> dict:
    settings = {"max_train": 40, "max_val": 20, "max_test": 40, "batch_size": 20, **options}
    return {"class_path": "lit_xai.data.embedded_fashion.EmbeddedFashion", "init_args": settings}


def own(fault: str = "none") -> dict:
    return {"class_path": "mine.Own", "init_args": {"fault": fault}}


def evaluate_config(directory: Path, attack: str | None = None, **options) -> list[str]:
    grid = {
        "attributions": {"saliency": fragment("attributions/saliency")},
        "attacks": {"random_sign": fragment("attacks/random_sign")},
        "metrics": {"top_k": fragment("metrics/top_k")},
    }
    if attack is not None:
        grid["attacks"]["own"] = {"class_path": attack, "init_args": {"calls": 1}}
    config = {
        "grid": {"class_path": "lit_xai.evaluation.grid.Grid", "init_args": grid},
        "data": embedded(),
        "max_samples": 20,
        "adversary": {"steps": 1},
        "accelerator": "cpu",
        **options,
    }
    (directory / "evaluate.yaml").write_text(yaml.safe_dump(config))
    return [sys.executable, str(ROOT / "evaluate.py"), "-c", "evaluate.yaml"]


@dataclass(frozen=True)
class End:
    """How a command ended."""

    status: int
    out: str
    err: str


def run(
    command: list[str],
    directory: Path,
    until: str | None = None,
    limit: int | None = None,
    number: signal.Signals = signal.SIGINT,
    **variables: str,
) -> End:
    """Run a command in a directory with a user's own module on its path.

    Args:
        command: The command.
        directory: Where it runs.
        until: The signal comes when there is a file of that name.
        limit: Largest size of a file that it can write, as on a full disk, in bytes.
        number: The signal; Ctrl-C is SIGINT.
        variables: Of the environment.
    """
    shutil.copy(ROOT / "tests" / "end_to_end" / "bad_input.py", directory / "mine.py")
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": f"{ROOT}{os.pathsep}{directory}",
        "WANDB_MODE": "offline",
        **variables,
    }
    process = subprocess.Popen(
        command,
        cwd=directory,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=_begun(limit),  # noqa: PLW1509
    )
    if until is not None:
        deadline = time.monotonic() + 120
        while not (directory / until).exists() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
        process.send_signal(number)
    try:
        out, err = process.communicate(timeout=120)
    finally:
        process.kill()
    return End(process.returncode, out, err)


def _begun(limit: int | None) -> Callable[[], None]:
    def begin() -> None:
        # A shell lets what it runs in the background ignore Ctrl-C.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        if limit is not None:
            # Python ignores the signal that comes with it: writing raises an error, as on a full disk.
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    return begin


def check(end: End, status: int, first: str) -> None:
    """Check how a command ended; first: the first words on standard error."""
    said = f"{end.out[-1500:]}\n---\n{end.err[-3000:]}"
    lines = [line for line in end.err.splitlines() if not line.startswith("warning: ")]
    assert "Traceback" not in end.out + end.err, said
    assert end.status == status, said
    assert 1 <= len(lines) <= len(end.err.splitlines()) <= 3, said
    assert lines[0].startswith(first), said


def files(directory: Path) -> dict[str, bytes]:
    """Return what is below a directory."""
    return {
        str(path.relative_to(directory)): path.read_bytes()
        for path in sorted(directory.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """A directory with a run of one epoch."""
    directory = tmp_path_factory.mktemp("trained")
    end = run(fit_config(directory, embedded()), directory)
    assert end.status == 0, end.err
    assert end.err == ""
    return directory


def broken_checkpoint(trained: Path, path: Path) -> str:
    """Write a checkpoint with NaN and return the name of the weight."""
    content = torch.load(trained / LAST, weights_only=True)
    name = next(name for name in content["state_dict"] if name.startswith("model."))
    content["state_dict"][name].flatten()[0] = torch.nan
    torch.save(content, path)
    return name


def signs(directory: Path, change: Callable[[Path], None]) -> list[str]:
    write_signs(directory / "gtsrb")
    change(directory / "gtsrb" / "GTSRB" / "Training" / "00007" / "00001_00000.ppm")
    data = {"class_path": "lit_xai.data.gtsrb.GTSRB", "init_args": {"data_dir": str(directory)}}
    return fit_config(directory, data, {"num_classes": 43, "channels": 3, "size": 32})


def corrupt(path: Path) -> None:
    path.write_bytes(b"P6 no picture at all")


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def four_channels(path: Path) -> None:
    content = BytesIO()
    Image.fromarray(np.zeros((20, 20, 4), np.uint8), "RGBA").save(content, "PNG")
    path.write_bytes(content.getvalue())


def truncated_idx(directory: Path, trained: Path) -> list[str]:
    write_fashion(directory / "files")
    truncated(directory / "files" / TRAIN_IMAGES)
    return fit_config(
        directory,
        {
            "class_path": "lit_xai.data.fashion_mnist.FashionMNIST",
            "init_args": {"data_dir": str(directory / "files")},
        },
    )


def no_data(directory: Path, trained: Path) -> list[str]:
    options = {"data_dir": str(directory / "nowhere")}
    return fit_config(
        directory, {"class_path": "lit_xai.data.fashion_mnist.FashionMNIST", "init_args": options}
    )


def other_weights(directory: Path, trained: Path) -> list[str]:
    torch.save(torch.nn.Linear(2, 2).state_dict(), directory / "other.pt")
    return [*fit_config(directory, embedded()), "--model.warm_start", "other.pt"]


def nan_warm_start(directory: Path, trained: Path) -> list[str]:
    broken_checkpoint(trained, directory / "nan.ckpt")
    return [*fit_config(directory, embedded()), "--model.warm_start", "nan.ckpt"]


def nan_checkpoint(directory: Path, trained: Path) -> list[str]:
    broken_checkpoint(trained, directory / "nan.ckpt")
    return [*fit_config(directory, embedded(), max_epochs=2), "--ckpt_path", "nan.ckpt"]


def other_checkpoint(directory: Path, trained: Path) -> list[str]:
    content = torch.load(trained / LAST, weights_only=True)
    content["state_dict"] = {f"other.{name}": value for name, value in content["state_dict"].items()}
    torch.save(content, directory / "other.ckpt")
    return [*fit_config(directory, embedded(), max_epochs=2), "--ckpt_path", "other.ckpt"]


def for_other_pictures(directory: Path, trained: Path) -> list[str]:
    write_signs(directory / "gtsrb")
    data = {"class_path": "lit_xai.data.gtsrb.GTSRB", "init_args": {"data_dir": str(directory)}}
    return fit_config(directory, data, {"num_classes": 43})


def faulty(fault: str) -> Callable[[Path, Path], list[str]]:
    return lambda directory, trained: fit_config(directory, own(fault))


def parent_is_a_file(directory: Path, trained: Path) -> list[str]:
    (directory / "occupied").write_text("mine")
    return [*fit_config(directory, embedded()), "--runs", "occupied"]


# Name, what makes the input and returns the command, the first words.
FITS = {
    "corrupt_image": (
        lambda directory, trained: signs(directory, corrupt),
        "error: Expected a picture, but got {here}/gtsrb/GTSRB/Training/00007/00001_00000.ppm: ",
    ),
    "truncated_image": (
        lambda directory, trained: signs(directory, truncated),
        "error: Expected a picture, but got {here}/gtsrb/GTSRB/Training/00007/00001_00000.ppm: ",
    ),
    "truncated_idx_file": (
        truncated_idx,
        "error: Expected an IDX file of bytes, but got {here}/files/train-images-idx3-ubyte: ",
    ),
    "wrong_channels": (
        lambda directory, trained: signs(directory, four_channels),
        "error: Expected a picture in RGB or gray, but got RGBA in {here}/gtsrb/GTSRB/Training/00007/",
    ),
    "missing_data": (no_data, "error: Expected train-images-idx3-ubyte in {here}/nowhere/FashionMNIST/raw"),
    "pixels_out_of_range": (
        faulty("pixels"),
        "error: Expected pixels in [0, 1], but got ",
    ),
    "one_pixel_out_of_range": (
        faulty("pixel"),
        "error: Expected pixels in [0, 1], but got inf in sample 13 of the train split. ",
    ),
    "label_out_of_range": (
        faulty("label"),
        "error: Expected labels in [0, 9], but got 10 in sample 13 of the val split. Count classes from 0.",
    ),
    "empty_class": (
        faulty("class"),
        "error: Expected training images of all 10 classes, but got none of class 3. ",
    ),
    "empty_split": (faulty("split"), "error: Expected images in the val split, but got none."),
    "nan_in_a_warm_start": (nan_warm_start, "error: Expected finite weights in nan.ckpt, but got nan in `"),
    "nan_in_a_checkpoint": (nan_checkpoint, "error: Expected finite weights in nan.ckpt, but got nan in `"),
    "warm_start_of_another_network": (
        other_weights,
        "error: Expected weights of SmallCNN, but got other.pt: ",
    ),
    "checkpoint_of_another_network": (
        other_checkpoint,
        "error: Expected the weights of this network, but got other.ckpt: ",
    ),
    "network_for_other_images": (
        for_other_pictures,
        "error: Expected networks that take images (3, 32, 32), but got SmallCNN: ",
    ),
    "run_directory_under_a_file": (
        parent_is_a_file,
        "error: Expected a directory for runs that can be made, but got occupied/fit: Not a directory.",
    ),
}
LATER = {
    "pixels_out_of_range",
    "one_pixel_out_of_range",
    "nan_in_a_warm_start",
    "nan_in_a_checkpoint",
    "warm_start_of_another_network",
    "checkpoint_of_another_network",
    "network_for_other_images",
}
CONFIGURED = {"config.yaml", "run.json", ".lock"}
# Each is a process of its own; this one needs no trained run either.
QUICK = {"corrupt_image"}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in FITS]
)
def test_a_fit_that_cannot_begin_leaves_nothing(name, tmp_path, request):
    arrange, first = FITS[name]
    command = arrange(tmp_path, None if name in QUICK else request.getfixturevalue("trained"))
    check(run(command, tmp_path), 2, first.format(here=tmp_path))
    # What is found when the data is read leaves no run; later there is its configuration, and nothing else.
    left = {path.name for path in (tmp_path / "runs").rglob("*") if path.is_file()}
    assert left <= (CONFIGURED if name in LATER else set())


def diverging(directory: Path) -> list[str]:
    command = fit_config(directory, embedded(batch_size=10), max_epochs=3)
    config = yaml.safe_load((directory / "fit.yaml").read_text())
    config["model"]["scheduler"] = {"class_path": "mine.Exploding"}
    (directory / "fit.yaml").write_text(yaml.safe_dump(config))
    return command


@pytest.mark.slow
def test_a_loss_that_is_nan_stops_training_and_keeps_the_last_good_checkpoint(tmp_path):
    end = run(diverging(tmp_path), tmp_path)
    check(end, 2, "error: Expected a finite loss, but got ")
    assert " in epoch 2, step " in end.err
    assert f"Lower the learning rate. The last good checkpoint is {LAST}." in end.err
    content = torch.load(tmp_path / LAST, weights_only=True)
    assert (content["epoch"], content["global_step"]) == (0, 4)
    assert all(value.isfinite().all() for value in content["state_dict"].values())
    evaluated = run([*evaluate_config(tmp_path), "--checkpoints", LAST], tmp_path)
    assert evaluated.status == 0, evaluated.err


@pytest.mark.slow
def test_a_full_disk_keeps_the_checkpoint_of_the_epoch_before(tmp_path, trained):
    shutil.copytree(trained / "runs", tmp_path / "runs")
    before = (tmp_path / LAST).read_bytes()
    command = [sys.executable, str(ROOT / "train.py"), "fit", "--resume", "runs/fit/1"]
    end = run([*command, "--trainer.max_epochs", "2"], tmp_path, limit=len(before) // 2)
    check(end, 2, "error: Expected room for ")
    assert f" MB of checkpoint {tmp_path.resolve() / 'runs/fit/1'}/" in end.err
    assert "but got: File too large." in end.err
    assert (tmp_path / LAST).read_bytes() == before
    assert not list(tmp_path.rglob("*.part"))
    # With room again, it goes on.
    end = run([*command, "--trainer.max_epochs", "2"], tmp_path)
    assert end.status == 0, end.err
    assert torch.load(tmp_path / LAST, weights_only=True)["epoch"] == 1


@pytest.fixture
def small_disk(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)],
        check=False,
        capture_output=True,
        text=True,
    )
    if mounted.returncode:
        pytest.skip(f"No file system can be mounted here: {mounted.stderr.strip()}")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


@pytest.mark.slow
def test_a_disk_that_is_full_from_the_start(tmp_path, small_disk):
    end = run([*fit_config(tmp_path, embedded()), "--runs", str(small_disk)], tmp_path)
    check(end, 2, "error: Expected room for ")
    assert f" MB of checkpoint {small_disk.resolve()}/" in end.err
    assert "but got: No space left on device." in end.err
    assert not list(small_disk.rglob("*.part"))
    assert not list(small_disk.rglob("*.ckpt"))


def watched(directory: Path, calls: int) -> list[str]:
    """Return a command that trains and attacks explanations, and waits in one of the calls of the attack."""
    grid = {
        "attributions": {"saliency": fragment("attributions/saliency")},
        "attacks": {"own": {"class_path": "mine.Waiting", "init_args": {"calls": calls}}},
        "metrics": {"top_k": fragment("metrics/top_k")},
    }
    callback = {
        "class_path": "lit_xai.callbacks.explanation_robustness.ExplanationRobustness",
        "init_args": {
            "grid": {"class_path": "lit_xai.evaluation.grid.Grid", "init_args": grid},
            "max_samples": 10,
        },
    }
    callbacks = [callback, fragment("callbacks/checkpoint")]
    return fit_config(directory, embedded(), max_epochs=2, callbacks=callbacks)


@pytest.mark.slow
def test_ctrl_c_during_an_attack_of_the_second_epoch_keeps_the_first(tmp_path):
    # Once for the cost, once for each epoch.
    end = run(watched(tmp_path, 3), tmp_path, until="waiting")
    check(end, 130, "Interrupted. ")
    assert "fit --resume runs/fit/1" in end.err
    content = torch.load(tmp_path / LAST, weights_only=True)
    assert (content["epoch"], content["global_step"]) == (0, 2)


@pytest.mark.slow
def test_ctrl_c_before_the_first_epoch_says_how_to_go_on(tmp_path):
    end = run(watched(tmp_path, 1), tmp_path, until="waiting")
    check(end, 130, "Interrupted. Go on with it: ")
    assert "lit-xai-train fit --resume runs/fit/1" in end.err
    assert not list(tmp_path.rglob("*.ckpt"))
    # From here on it does not wait.
    (tmp_path / "attacking").write_text("-100")
    end = run([sys.executable, str(ROOT / "train.py"), "fit", "--resume", "runs/fit/1"], tmp_path)
    assert end.status == 0, end.err
    assert "Going on with runs/fit/1 after 0 steps." in end.out
    content = torch.load(tmp_path / LAST, weights_only=True)
    assert (content["epoch"], content["global_step"]) == (1, 4)


@pytest.mark.slow
def test_sigterm_during_an_attack_ends_at_once(tmp_path):
    end = run(watched(tmp_path, 3), tmp_path, until="waiting", number=signal.SIGTERM)
    check(end, 143, "Terminated. Go on with it: ")
    assert "lit-xai-train fit --resume runs/fit/1" in end.err
    assert torch.load(tmp_path / LAST, weights_only=True)["epoch"] == 0


def described(directory: Path, weights: str) -> list[str]:
    content = {"model": {"class_path": SMALL, "init_args": {"width": 2}}, "weights": weights}
    (directory / "net.yaml").write_text(yaml.safe_dump(content))
    return [*evaluate_config(directory), "--models", "net.yaml"]


def nan_network(directory: Path, trained: Path) -> list[str]:
    broken_checkpoint(trained, directory / "nan.ckpt")
    return [*evaluate_config(directory), "--checkpoints", "nan.ckpt"]


def nan_description(directory: Path, trained: Path) -> list[str]:
    broken_checkpoint(trained, directory / "nan.ckpt")
    return described(directory, "nan.ckpt")


def other_description(directory: Path, trained: Path) -> list[str]:
    torch.save(torch.nn.Linear(2, 2).state_dict(), directory / "other.pt")
    return described(directory, "other.pt")


def for_other_images(directory: Path, trained: Path) -> list[str]:
    write_signs(directory / "gtsrb")
    data = {"class_path": "lit_xai.data.gtsrb.GTSRB", "init_args": {"data_dir": str(directory)}}
    return [*evaluate_config(directory, data=data), "--checkpoints", str(trained / LAST)]


def faulty_evaluation(fault: str) -> Callable[[Path, Path], list[str]]:
    return lambda directory, trained: [
        *evaluate_config(directory, data=own(fault)),
        "--checkpoints",
        str(trained / LAST),
    ]


def output_under_a_file(directory: Path, trained: Path) -> list[str]:
    (directory / "occupied").write_text("mine")
    command = [*evaluate_config(directory), "--checkpoints", str(trained / LAST)]
    return [*command, "--output", "occupied/results"]


EVALUATIONS = {
    "nan_in_a_checkpoint": (nan_network, "error: Expected finite weights in nan.ckpt, but got nan in `"),
    "nan_in_weights": (nan_description, "error: Expected finite weights in net.yaml, but got nan in `"),
    "weights_of_another_network": (
        other_description,
        "error: Expected weights of SmallCNN, but got other.pt: ",
    ),
    "network_for_other_images": (
        for_other_images,
        "error: Expected networks that take images (3, 32, 32), but got fit/1: ",
    ),
    "pixels_out_of_range": (faulty_evaluation("pixels"), "error: Expected pixels in [0, 1], but got "),
    "output_under_a_file": (
        output_under_a_file,
        "error: Expected a directory for `output` to write to, but got occupied/results: Not a directory.",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", EVALUATIONS)
def test_an_evaluation_that_cannot_begin_touches_no_results(name, tmp_path, trained):
    arrange, first = EVALUATIONS[name]
    command = arrange(tmp_path, trained)
    earlier = tmp_path / "runs" / "evaluate" / "1"
    earlier.mkdir(parents=True)
    (earlier / "card.json").write_text("{}")
    check(run(command, tmp_path), 2, first)
    assert list(files(tmp_path / "runs")) == ["evaluate/1/card.json"]


@pytest.mark.slow
def test_a_full_disk_keeps_the_results_of_an_earlier_evaluation(tmp_path, trained):
    command = [*evaluate_config(tmp_path), "--checkpoints", str(trained / LAST), "--output", "results"]
    assert run(command, tmp_path).status == 0
    before = files(tmp_path / "results")
    again = [*evaluate_config(tmp_path, max_samples=10), *command[4:]]
    again[-1] = "others"
    end = run(again, tmp_path, limit=2000)
    check(end, 2, "error: Expected to write to others")
    assert "but got: File too large. What is finished is kept" in end.err
    assert files(tmp_path / "results") == before
    assert not (tmp_path / "others" / "card.json").exists()
    assert not list(tmp_path.rglob("*.part"))
    assert run(again, tmp_path).status == 0
    assert (tmp_path / "others" / "card.json").is_file()


@pytest.mark.slow
def test_ctrl_c_during_an_attack_of_an_evaluation_keeps_what_is_measured(tmp_path, trained):
    command = [*evaluate_config(tmp_path, "mine.Waiting"), "--checkpoints", str(trained / LAST)]
    end = run(command, tmp_path, until="waiting")
    check(end, 130, "Interrupted. ")
    (output,) = (tmp_path / "runs" / "evaluate").iterdir()
    assert not (output / "card.json").exists()
    assert not list(output.rglob("*.part"))
