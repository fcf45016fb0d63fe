"""Downloads that are what was published, or refused."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.error import URLError


@contextmanager
def fetching(name: str, root: Path) -> Iterator[None]:
    """Say in one line why a download of torchvision's failed.

    torchvision compares each archive with its published MD5 before it unpacks it, one that lies there
    already too.

    Args:
        name: Of the data set.
        root: Where it is fetched to.

    Raises:
        OSError: If it cannot be reached or written.
        ValueError: If what came is not what was published.
    """
    try:
        yield
    except (URLError, OSError) as error:
        raise OSError(
            f"Expected to fetch {name} into {root}, but got {_reason(error)}. Fetch it by hand, or try again."
        ) from error
    except RuntimeError as error:
        raise ValueError(
            f"Expected {name} as published in {root}, but got {_reason(error)}. What was fetched has another "
            "checksum than the published one, or did not come; it was not unpacked."
        ) from error


def _reason(error: Exception) -> str:
    return (" ".join(str(error).split()) or type(error).__name__)[:200].rstrip(".")
