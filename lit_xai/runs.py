"""Run directories: one for each run, never overwritten."""

import hashlib
import json
import netrc
import os
import re
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import wandb
from filelock import FileLock, Timeout
from jsonargparse import Namespace

from lit_xai.data.listing import SPLITS
from lit_xai.files import write_whole

PLACEHOLDER = "{run_dir}"
CONFIG = "config.yaml"
_RECORD = "run.json"
_LOCK = ".lock"
_CLOUD = {"api.wandb.ai", "api.forge.coreweave.com"}


def runs_of(root: Path, experiment: str) -> Path:
    """Return the directory of an experiment's runs.

    Raises:
        ValueError: If the experiment's name is more than a name: runs stay below the root.
    """
    if not re.fullmatch(r"[^/\\\0]+", experiment) or experiment in (".", ".."):
        raise ValueError(f"Expected `experiment` as a name without separators, but got {experiment!r}.")
    return root / experiment


def new_run_directory(root: Path, experiment: str) -> Path:
    """Make and return `root/experiment/n` with the lowest n that is above every earlier run.

    Raises:
        ValueError: If the experiment's name is more than a name: runs stay in their directory.
        OSError: If the directory cannot be made.
    """
    parent = runs_of(root, experiment)
    try:
        parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OSError(
            f"Expected a directory for runs that can be made, but got {parent}: {error.strerror}."
        ) from error
    number = max((int(path.name) for path in parent.iterdir() if path.name.isdigit()), default=0)
    while True:
        number += 1
        try:
            (parent / str(number)).mkdir()
        except FileExistsError:
            continue
        except OSError as error:
            raise OSError(
                f"Expected a directory for runs that can be written, but got {parent}: {error.strerror}."
            ) from error
        return parent / str(number)


def check_run(run_dir: Path) -> None:
    """Refuse a directory that is no run of the training command which can go on.

    Raises:
        ValueError: If it is not there, or holds no configuration of a run.
    """
    if not run_dir.is_dir():
        raise ValueError(f"Expected the directory of a run, but got {run_dir}, which does not exist.")
    if not (run_dir / CONFIG).is_file() or not recorded(run_dir):
        raise ValueError(
            f"Expected a run that can go on, but got {run_dir}, which holds no {CONFIG} and {_RECORD}. "
            "Begin a new run, from a checkpoint by `--ckpt_path`."
        )


def hold(run_dir: Path) -> FileLock:
    """Return the lock of a run, held until it is released or the process ends.

    Raises:
        ValueError: If another process writes the run.
        OSError: If the run cannot be written to.
    """
    try:
        # The lock cannot tell a file that it may not make from one that another process holds.
        (run_dir / _LOCK).touch()
        lock = FileLock(run_dir / _LOCK)
        lock.acquire(blocking=False)
    except Timeout as error:
        raise ValueError(f"Expected a run that nobody writes, but got {run_dir}. Wait for it.") from error
    except OSError as error:
        raise OSError(f"Expected a run that can be written, but got {run_dir}: {error.strerror}.") from error
    return lock


def let_go(run_dir: Path, lock: FileLock) -> None:
    """Release the lock of a run, and remove the run if nothing was written."""
    lock.release()
    own = {_LOCK, _RECORD, SPLITS}
    if not run_dir.is_dir() or {path.name for path in run_dir.iterdir()} - own:
        return
    for name in own:
        (run_dir / name).unlink(missing_ok=True)
    run_dir.rmdir()


def job() -> str | None:
    """Return the number of the SLURM job, with that of its task in an array; None outside of SLURM."""
    array, task = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    return f"{array}_{task}" if array and task else os.environ.get("SLURM_JOB_ID")


def record(run_dir: Path, arguments: Sequence[str], wandb_id: str | None) -> None:
    """Note in a run which job began it by which command, and its name in W&B.

    Args:
        run_dir: The run.
        arguments: Of the command; only their hash is kept.
        wandb_id: None if the run is not resumed in W&B.
    """
    content = {"job": job(), "command": _hash(arguments), "wandb_id": wandb_id}
    write_whole(run_dir / _RECORD, json.dumps(content) + "\n")


def recorded(run_dir: Path) -> Mapping[str, Any]:
    """Return what `record` noted; nothing if it did not."""
    try:
        content = json.loads((run_dir / _RECORD).read_text())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def requeued(parent: Path, arguments: Sequence[str]) -> Path | None:
    """Find the run that this SLURM job began by the same command before it was requeued.

    Args:
        parent: Directory of an experiment's runs.
        arguments: Of the command.
    """
    if not os.environ.get("SLURM_RESTART_COUNT", "0").isdecimal() or job() is None:
        return None
    if int(os.environ.get("SLURM_RESTART_COUNT", "0")) == 0:
        return None
    own = {"job": job(), "command": _hash(arguments)}
    numbered = [path for path in parent.glob("*") if path.name.isdigit() and (path / CONFIG).is_file()]
    for path in sorted(numbered, key=lambda path: int(path.name), reverse=True):
        if own.items() <= recorded(path).items():
            return path
    return None


def _hash(arguments: Sequence[str]) -> str:
    return hashlib.sha256(json.dumps(list(arguments)).encode()).hexdigest()


def fill_in(value: Any, run_dir: Path) -> Any:
    """Return a configuration in which every `{run_dir}` is the run directory."""
    return replaced(value, PLACEHOLDER, str(run_dir))


def take_out(value: Any, run_dir: Path) -> Any:
    """Return a configuration in which the run directory is `{run_dir}` again: a copy makes its own."""
    return replaced(value, str(run_dir), PLACEHOLDER)


def replaced(value: Any, old: str, new: str) -> Any:
    """Return nested settings with one text in place of another, in their values and in the names of these."""
    if isinstance(value, str):
        return value.replace(old, new)
    if isinstance(value, list):
        return [replaced(item, old, new) for item in value]
    if isinstance(value, dict):
        return {replaced(key, old, new): replaced(item, old, new) for key, item in value.items()}
    if isinstance(value, Namespace):
        return Namespace(**{key: replaced(item, old, new) for key, item in vars(value).items()})
    return value


def wandb_name(run_dir: Path) -> str:
    """Return the name of a run in W&B: the recorded one, that of the environment, or a new one."""
    name = recorded(run_dir).get("wandb_id") or os.environ.get("WANDB_RUN_ID")
    return str(name) if name else secrets.token_hex(4)


def keep_wandb_inside(run_dir: Path) -> None:
    """Point every file of W&B into the run directory, and log offline unless a key is configured."""
    for name in ("WANDB_DIR", "WANDB_DATA_DIR", "WANDB_CACHE_DIR", "WANDB_ARTIFACT_DIR"):
        os.environ[name] = str(run_dir.resolve())
    os.environ.setdefault("WANDB_SILENT", "true")
    if not _wandb_key():
        os.environ.setdefault("WANDB_MODE", "offline")


def _wandb_key() -> bool:
    if os.environ.get("WANDB_API_KEY"):
        return True
    server = urlparse(os.environ.get("WANDB_BASE_URL") or wandb.Settings().base_url).netloc
    # W&B's own server answers under two names; a key is kept under either.
    servers = _CLOUD if server in _CLOUD else {server}
    try:
        keys = netrc.netrc(Path(os.environ.get("NETRC") or "~/.netrc").expanduser())
    except (OSError, netrc.NetrcParseError):
        return False
    return any(keys.authenticators(name) for name in servers)
