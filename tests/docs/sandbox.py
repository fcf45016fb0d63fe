"""A directory in which the commands of the pages run as written, with smaller configurations."""

import os
import runpy
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import timm
import yaml
from PIL import Image
from safetensors.torch import save_file

from lit_xai.cli import train_cli
from lit_xai.data.embedded_fashion import EmbeddedFashion
from lit_xai.evaluation.cli import evaluated
from lit_xai.models.zoo import TimmClassifier
from lit_xai.reporting.cli import report_cli
from lit_xai.reporting.leaderboard import leaderboard_cli
from tests.docs.pages import ROOT, words

# What costs time; the largest value that a configuration has in the sandbox.
MOST = {
    "steps": 2,
    "path_steps": 2,
    "inner_path_steps": 2,
    "samples": 2,
    "references": 4,
    "rounds": 1,
    "max_samples": 8,
    "max_epochs": 1,
    "max_train": 60,
    "max_val": 20,
    "max_test": 20,
    "num_workers": 0,
    "examples": 1,
}
OF_DATA = ("max_train", "max_val", "max_test")
# Height and width of pictures, and what stands for networks of 224 x 224 pixels with released weights.
SIZE = 48
CONVOLUTIONS = {
    "class_path": "lit_xai.models.small.SmallCNN",
    "init_args": {"num_classes": 2, "channels": 3, "size": SIZE, "width": 2},
}
ATTENTION = {
    "class_path": "lit_xai.models.small_vit.SmallViT",
    "init_args": {"num_classes": 2, "channels": 3, "size": SIZE, "width": 16, "depth": 2, "heads": 2},
}
STAND_INS = {
    **dict.fromkeys(("resnet18", "inception_v3", "resnet50", "vgg16"), CONVOLUTIONS),
    **dict.fromkeys(("vit", "vit_b_16"), ATTENTION),
}


def _fewer_images(kind: str, given: dict[str, Any]) -> dict[str, Any]:
    options = {name: MOST[name] for name in OF_DATA} | given
    if "ImageFolder" not in kind:
        return options
    if "network" in options or options.get("size", 0) > SIZE:
        options = {name: value for name, value in options.items() if name not in ("network", "resize")}
        options["size"] = SIZE
    # Processes that read pictures take longer to start than to read these.
    return {**options, "num_workers": 0}


def smaller(value: Any) -> Any:
    """Return a configuration of the same parts, that takes less time."""
    if isinstance(value, list):
        return [smaller(item) for item in value]
    if not isinstance(value, dict):
        return value
    found = {key: smaller(item) for key, item in value.items()}
    for key, most in MOST.items():
        if isinstance(found.get(key), int) and found[key] > most:
            found[key] = most
    for sweep in (found.get("sweeps") or {}).values():
        sweep["values"] = {key: [values[0], values[-1]] for key, values in sweep["values"].items()}
    if str(found.get("class_path")).startswith("lit_xai.data."):
        found["init_args"] = _fewer_images(found["class_path"], found.get("init_args") or {})
    return found


def write_photos(directory: Path, per_class: int = 15) -> None:
    """Write colour pictures of two classes, larger than needed and not square, as a user has them."""
    batch = next(iter(EmbeddedFashion().evaluation_loader("test", batch_size=200)))
    for label, name in {0: "cat", 1: "dog"}.items():
        folder = directory / name
        folder.mkdir(parents=True)
        for number, image in enumerate(batch[0][batch[1] == label][:per_class]):
            grey = Image.fromarray((image[0] * 255).byte().numpy()).resize((96, 80))
            Image.merge("RGB", (grey, grey.transpose(Image.Transpose.ROTATE_180), grey)).save(
                folder / f"{number}.jpg"
            )


def make(directory: Path) -> None:
    """Fill a directory with what a checkout has."""
    for path in (ROOT / "configs").rglob("*.yaml"):
        place = directory / path.relative_to(ROOT)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(yaml.safe_dump(smaller(yaml.safe_load(path.read_text())), sort_keys=False))
    for name in ("docs", "scripts", "benchmarks", "results", "Makefile", "train.py", "evaluate.py"):
        (directory / name).symlink_to(ROOT / name)
    network = TimmClassifier("resnet18", num_classes=10, channels=1)
    state = {name: value.contiguous() for name, value in network.state_dict().items()}
    save_file(state, directory / "network.safetensors")
    # As timm itself saves one.
    save_file(timm.create_model("resnet18", num_classes=2).state_dict(), directory / "mine.safetensors")


def stand_in() -> None:
    """Put small networks where a page describes large ones, and a small folder where it has ImageNet."""
    write_photos(Path("imagenet/val"), per_class=6)
    for name, model in STAND_INS.items():
        Path(f"{name}.yaml").write_text(yaml.safe_dump({"model": model}))
    Path("small.yaml").write_text(yaml.safe_dump(CONVOLUTIONS))
    train_cli(
        [
            *("fit", "--config", "configs/experiments/image_folder_natural.yaml", "--experiment", "large"),
            *("--data.init_args.data_dir", "photos", "--data.init_args.size", str(SIZE)),
            *("--model.model", "small.yaml", "--trainer.callbacks", "[configs/callbacks/checkpoint.yaml]"),
            "--trainer.logger=false",
        ]
    )
    for name in ("natural", "pgd"):
        shutil.copy("runs/large/1/checkpoints/last.ckpt", f"{name}.ckpt")


@contextmanager
def inside(directory: Path) -> Iterator[None]:
    """Work in a directory: it is searched for modules, and nothing of the environment stays changed.

    Figures that were open before are closed, and so are those that were opened.
    """
    plt.close("all")
    before, environment, path, modules = Path.cwd(), dict(os.environ), list(sys.path), set(sys.modules)
    os.chdir(directory)
    sys.path.insert(0, str(directory))
    try:
        yield
    finally:
        plt.close("all")
        os.chdir(before)
        sys.path[:] = path
        for name in set(sys.modules) - modules:
            if str(getattr(sys.modules[name], "__file__", None) or "").startswith(str(directory)):
                del sys.modules[name]
        os.environ.clear()
        os.environ.update(environment)


def _script(path: str, arguments: list[str]) -> None:
    before = sys.argv
    sys.argv = [path, *arguments]
    try:
        runpy.run_path(path, run_name="__main__")
    finally:
        sys.argv = before


def _export(arguments: list[str]) -> None:
    from lit_xai.export import export_cli

    export_cli(arguments)


PROGRAMS = {
    "train.py": train_cli,
    "lit-xai-train": train_cli,
    "evaluate.py": evaluated,
    "lit-xai-evaluate": evaluated,
    "lit-xai-report": report_cli,
    "lit-xai-leaderboard": leaderboard_cli,
    "lit-xai-export": _export,
}


# Those that write beside what they read; the others of the folder write into the checkout.
SCRIPTS = (
    "scripts/lens.py",
    "scripts/exiaa_imagenet.py",
    "scripts/attexplore.py",
    "benchmarks/frames_per_second.py",
)


def run(command: str, more: list[str]) -> None:
    """Run a command of a page in this process, with further options.

    Raises:
        AssertionError: If nothing is known about such a command.
    """
    command, _, file = command.partition(" > ")
    program, *arguments = words(command)
    if file:
        with Path(file).open("w") as stream, redirect_stdout(stream):
            PROGRAMS[program]([*arguments, *more])
    elif program == "source":
        subprocess.run(["bash", "-ec", command], check=True)
    elif program in PROGRAMS:
        PROGRAMS[program]([*arguments, *more])
    elif program in SCRIPTS or program.startswith("docs/"):
        _script(program, [*arguments, *more])
    else:
        raise AssertionError(f"Nothing is known of: {command}. Add it to tests/docs/test_commands.py.")
