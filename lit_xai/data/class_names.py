"""The names of classes, from a file."""

from collections import Counter
from pathlib import Path


def read_class_names(path: Path) -> list[str]:
    """Return the names in a file, one in a line, in the order of their labels; empty lines are passed over.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not in UTF-8, or names a class twice.
    """
    if not path.is_file():
        raise FileNotFoundError(
            f"Expected a file of class names for `classes`, but got {path}, which is none."
        )
    try:
        # Some editors put a mark of the encoding before the first name.
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"Expected {path} in UTF-8, but got {error.reason}. Save it so.") from error
    names = [line.strip() for line in lines if line.strip()]
    if repeated := sorted(name for name, count in Counter(names).items() if count > 1):
        raise ValueError(f"Expected each class once in {path}, but got {repeated[0]} more than once.")
    return names
