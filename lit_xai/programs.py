"""What a user types to call a program that is installed beside this Python."""

import shlex
import shutil
import sys
from pathlib import Path


def program(name: str) -> str:
    """Return the name of a program if the shell finds it, its path if it is only beside this Python.

    `.venv/bin/python train.py` works where `lit-xai-evaluate` alone does not, or is another environment's.

    Args:
        name: Such as `lit-xai-evaluate` or `wandb`.
    """
    beside = Path(sys.executable).parent / name
    found = shutil.which(name)
    if not beside.is_file() or (found is not None and beside.samefile(found)):
        return name
    here = Path.cwd()
    return shlex.quote(str(beside.relative_to(here) if here in beside.parent.parents else beside))
