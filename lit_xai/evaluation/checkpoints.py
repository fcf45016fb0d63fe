"""Trained classifiers, read back from their files."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from jsonargparse import ArgumentError, ArgumentParser

from lit_xai.data.base import ImageDataModule
from lit_xai.models.weights import read_plain
from lit_xai.module import LitClassifier


def named(checkpoints: Sequence[str]) -> dict[str, Path]:
    """Name checkpoint files.

    Args:
        checkpoints: Paths, or `name=path`. A file of a run directory is named after its experiment and
            number, any other after its stem.

    Returns:
        Paths by name, in the same order.

    Raises:
        FileNotFoundError: If a file does not exist.
        ValueError: If two have the same name.
    """
    result: dict[str, Path] = {}
    for text in checkpoints:
        # Lightning's own file names have an equals sign: epoch=2-step=120.ckpt.
        name, separator, rest = ("", "", "") if Path(text).is_file() else text.partition("=")
        path = Path(rest if separator else text)
        if not path.is_file():
            raise FileNotFoundError(f"Expected a checkpoint file, but got {path}, which does not exist.")
        name = name if separator else _default_name(path.resolve())
        if name in result:
            raise ValueError(
                f"Expected one checkpoint for each name, but got two for {name}. Write name=path."
            )
        result[name] = path
    return result


def _default_name(path: Path) -> str:
    if path.parent.name != "checkpoints":
        return path.stem
    run = f"{path.parents[2].name}/{path.parents[1].name}"
    return run if path.stem == "last" else f"{run}/{path.stem}"


def load_classifier(path: Path) -> LitClassifier:
    """Rebuild a classifier from its checkpoint, without running pickled code.

    Raises:
        ValueError: If the file is no checkpoint of this package's training command.
    """
    read_checkpoint(path)
    try:
        return LitClassifier.load_from_checkpoint(path, map_location="cpu", weights_only=True)
    except (RuntimeError, TypeError, KeyError, AttributeError, ArgumentError, SystemExit) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(
            f"Expected a checkpoint of the training command, but got {path}: {reason[:300]}"
        ) from error


def load_data(path: Path) -> ImageDataModule:
    """Rebuild the data module that a checkpoint was trained with.

    Raises:
        ValueError: If the file is no checkpoint of this package's training command.
    """
    options = read_checkpoint(path).get("datamodule_hyper_parameters", {})
    if not isinstance(options, dict) or "_class_path" not in options:
        raise ValueError(f"Expected a checkpoint that names its data, but got {path}. Give `--data`.")
    settings = {name: value for name, value in options.items() if not name.startswith("_")}
    if "download" in settings:
        # Somebody else's checkpoint does not decide what is fetched.
        settings["download"] = False
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(ImageDataModule, "data")
    try:
        config = parser.parse_object({"data": {"class_path": options["_class_path"], "init_args": settings}})
        data: ImageDataModule = parser.instantiate(config).data
    except ArgumentError as error:
        raise ValueError(
            f"Expected known data in {path}, but got {options['_class_path']}: {error}"
        ) from error
    return data


def checksum(path: Path) -> str:
    """Return a file's SHA-256."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def read_checkpoint(path: Path) -> Mapping[str, object]:
    """Read a checkpoint of the training command, tensors and plain values only.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no checkpoint of this package's training command.
    """
    content = read_plain(path, "a checkpoint of plain tensors")
    if not isinstance(content, dict) or not {"state_dict", "hyper_parameters"} <= content.keys():
        raise ValueError(
            f"Expected a checkpoint of the training command, but got {path}, which holds something else."
        )
    return content
