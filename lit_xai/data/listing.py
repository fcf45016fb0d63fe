"""The list of files that a run or an evaluation used."""

import csv
import io
from collections.abc import Collection, Iterable
from pathlib import Path

from lightning.pytorch.utilities import rank_zero_only, rank_zero_warn

from lit_xai.data.base import ImageDataModule, Split
from lit_xai.files import write_whole
from lit_xai.refusal import SharedError

SPLITS = "splits.csv"


def write_split_list(data: ImageDataModule, splits: Iterable[Split], directory: Path) -> None:
    """Write the files of splits as `splits.csv`; nothing for data that are not read file by file.

    A list that is there already is replaced, with a warning if it differs: the images are others then. Of
    several processes that call it the first one writes.

    Args:
        data: Set up, or without anything to fetch first.
        splits: Those to list.
        directory: Of the run, or of the evaluation's output.

    Raises:
        OSError: If it cannot be written.
    """
    if rank_zero_only.rank:  # type: ignore[attr-defined]
        return
    content, path = _content(data, splits), directory / SPLITS
    if content is None:
        return
    if path.is_file() and path.read_bytes() != content:
        rank_zero_warn(f"{path}: the images are others than before; the list is written anew.")
    write_whole(path, content)


def keep_split_list(data: ImageDataModule, run_dir: Path, *, goes_on: bool) -> None:
    """Write the list of a training, and refuse to go on with one whose files are others now.

    Positions would mean other pictures, and the numbers would not be those of a run that never stopped. Files
    are told apart by their names; those that neither train, validate nor are donors may change. Every process
    calls it, so that none waits for one that has found a difference.

    Args:
        data: Set up, or without anything to fetch first.
        run_dir: The run; one without a list is not checked.
        goes_on: Whether it has trained before.

    Raises:
        SharedError: If a file was added, taken out, or is of another split or class.
        OSError: If the list cannot be written.
    """
    used: tuple[Split, ...] = ("train", "val", data.donor_split)
    path = run_dir / SPLITS
    if goes_on and path.is_file() and (content := _content(data, used)) is not None:
        before, after = _files(path.read_bytes(), used), _files(content, used)
        if before != after:
            raise SharedError(
                f"Expected the files that {run_dir} was trained on, but got {len(before - after)} missing "
                f"and {len(after - before)} new, such as {min(before ^ after)[1]}. Restore them, or begin a "
                "new run, from a checkpoint by `--ckpt_path`."
            )
    write_split_list(data, ("train", "val", "test"), run_dir)


def _content(data: ImageDataModule, splits: Iterable[Split]) -> bytes | None:
    table = data.split_list(dict.fromkeys(splits))
    # Names of files may hold bytes that are no UTF-8.
    return None if table is None else table.encode("utf-8", "surrogateescape")


def _files(content: bytes, splits: Collection[Split]) -> set[tuple[str, ...]]:
    rows = csv.reader(io.StringIO(content.decode("utf-8", "surrogateescape"), newline=""))
    # The split, the file, its class and label; places follow from these.
    return {(split, *rest) for split, _, *rest in rows if split in splits}
