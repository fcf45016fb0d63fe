"""Names for the files that are compared."""

from collections.abc import Callable, Sequence
from pathlib import Path


def named_checkpoints(checkpoints: Sequence[str]) -> dict[str, Path]:
    """Name checkpoint files.

    Args:
        checkpoints: Paths, or `name=path`. A file of a run directory is named after its experiment and
            number, any other after its stem.

    Returns:
        Paths by name, in the same order.

    Raises:
        FileNotFoundError: If a file does not exist.
        ValueError: If two have the same name, or a name is empty.
    """
    return _named(checkpoints, "checkpoint", "a checkpoint file", _place)


def named_models(models: Sequence[str]) -> dict[str, Path]:
    """Name files that describe networks.

    Args:
        models: Paths, or `name=path`. A file without a name is named after its stem.

    Returns:
        Paths by name, in the same order.

    Raises:
        FileNotFoundError: If a file does not exist.
        ValueError: If two have the same name, or a name is empty.
    """
    return _named(models, "model", "a description of a network", lambda path: path.stem)


def _named(texts: Sequence[str], kind: str, what: str, own_name: Callable[[Path], str]) -> dict[str, Path]:
    result: dict[str, Path] = {}
    for text in texts:
        # Lightning's own file names have an equals sign: epoch=2-step=120.ckpt.
        given, separator, rest = ("", "", text) if Path(text).is_file() else text.partition("=")
        path = Path(rest if separator else text)
        if separator and not given.strip():
            raise ValueError(f"Expected a name before the equals sign, but got {text}.")
        if not path.is_file():
            raise FileNotFoundError(f"Expected {what}, but got {path}, which does not exist.")
        name = given if separator else own_name(path.resolve())
        if name in result:
            raise ValueError(f"Expected one {kind} for each name, but got two for {name}. Write name=path.")
        result[name] = path
    return result


def _place(path: Path) -> str:
    if path.parent.name != "checkpoints":
        return path.stem
    run = f"{path.parents[2].name}/{path.parents[1].name}"
    return run if path.stem == "last" else f"{run}/{path.stem}"
