"""Run directories: one for each run, never overwritten."""

import netrc
import os
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import wandb
from jsonargparse import Namespace

PLACEHOLDER = "{run_dir}"
_CLOUD = {"api.wandb.ai", "api.forge.coreweave.com"}


def new_run_directory(root: Path, experiment: str) -> Path:
    """Make and return `root/experiment/n` with the lowest n that is above every earlier run.

    Raises:
        OSError: If the directory cannot be made.
    """
    parent = root / experiment
    parent.mkdir(parents=True, exist_ok=True)
    number = max((int(path.name) for path in parent.iterdir() if path.name.isdigit()), default=0)
    while True:
        number += 1
        try:
            (parent / str(number)).mkdir()
        except FileExistsError:
            continue
        return parent / str(number)


def fill_in(value: Any, run_dir: Path) -> Any:
    """Return a configuration in which every `{run_dir}` is the run directory."""
    return _replace(value, PLACEHOLDER, str(run_dir))


def take_out(value: Any, run_dir: Path) -> Any:
    """Return a configuration in which the run directory is `{run_dir}` again: a copy makes its own."""
    return _replace(value, str(run_dir), PLACEHOLDER)


def _replace(value: Any, old: str, new: str) -> Any:
    if isinstance(value, str):
        return value.replace(old, new)
    if isinstance(value, list):
        return [_replace(item, old, new) for item in value]
    if isinstance(value, dict):
        return {key: _replace(item, old, new) for key, item in value.items()}
    if isinstance(value, Namespace):
        return Namespace(**{key: _replace(item, old, new) for key, item in vars(value).items()})
    return value


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
