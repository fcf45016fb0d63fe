"""Trained classifiers, read back from their files."""

import hashlib
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

from jsonargparse import ArgumentError, ArgumentParser

from lit_xai.data.base import ImageDataModule
from lit_xai.evaluation.components import check_components
from lit_xai.models.weights import read_plain
from lit_xai.module import LitClassifier


class Stored(NamedTuple):
    """A classifier, what else its checkpoint holds, and the SHA-256 of that file."""

    classifier: LitClassifier
    content: Mapping[str, Any]
    sha256: str


def load_classifier(path: Path) -> LitClassifier:
    """Rebuild a classifier from its checkpoint, without running pickled code.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is no checkpoint of this package's training command.
    """
    return load_stored(path).classifier


def load_stored(path: Path) -> Stored:
    """Do as `load_classifier`, from one reading of the file, and keep the rest of it.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is no checkpoint of this package's training command.
    """
    data = path.read_bytes() if path.is_file() else b""
    content = read_checkpoint(path, data)
    try:
        # Its state has all of its weights, and a stranger's file does not decide what is read or fetched.
        classifier = LitClassifier.load_from_checkpoint(BytesIO(data), map_location="cpu", weights_only=True)
    except (RuntimeError, TypeError, KeyError, AttributeError, ArgumentError, SystemExit) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(
            f"Expected a checkpoint of the training command, but got {path}: {reason[:300]}"
        ) from error
    return Stored(classifier, content, hashlib.sha256(data).hexdigest())


def load_data(path: Path) -> ImageDataModule:
    """Rebuild the data module that a checkpoint was trained with.

    Raises:
        ValueError: If the file is no checkpoint of this package's training command.
    """
    options = read_checkpoint(path).get("datamodule_hyper_parameters", {})
    if not isinstance(options, dict) or "_class_path" not in options:
        raise ValueError(f"Expected a checkpoint that names its data, but got {path}. Give `--data`.")
    check_components(options, path)
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


def finished_epochs(checkpoint: Mapping[str, Any]) -> int:
    """Return how many epochs of training a checkpoint has behind it.

    Args:
        checkpoint: What `read_checkpoint` returns. One without the state of the loops is taken for that of an
            epoch's end.
    """
    try:
        loop = checkpoint["loops"]["fit_loop"]
        epochs, batches = loop["epoch_progress"]["current"], loop["epoch_loop.batch_progress"]
        done: int = epochs["processed"]
        # Validation comes when all batches are done, but before the epoch counts as processed.
        return done + int(epochs["started"] > done and batches["is_last_batch"])
    except (KeyError, TypeError):
        return int(checkpoint["epoch"]) + 1


def read_checkpoint(path: Path, data: bytes | None = None) -> Mapping[str, Any]:
    """Read a checkpoint of the training command, tensors and plain values only.

    Args:
        path: The file.
        data: Its bytes, if they are read already.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no checkpoint of this package's training command, or its classifier would be
            built of anything but parts of one.
    """
    content = read_plain(path, "a checkpoint of plain tensors", data)
    if not isinstance(content, dict) or not {"state_dict", "hyper_parameters"} <= content.keys():
        raise ValueError(
            f"Expected a checkpoint of the training command, but got {path}, which holds something else."
        )
    check_components(content["hyper_parameters"], path)
    return content
