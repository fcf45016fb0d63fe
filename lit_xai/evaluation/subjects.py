"""The networks that are compared, and what is known of each."""

import hashlib
import json
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd
import torch
import yaml
from jsonargparse import ArgumentError, ArgumentParser
from torch import nn

from lit_xai.data.base import ImageDataModule
from lit_xai.evaluation.checkpoints import (
    checksum,
    finished_epochs,
    load_classifier,
    load_stored,
)
from lit_xai.evaluation.code import source_digests
from lit_xai.evaluation.training_logs import run_directory, training_log
from lit_xai.models.fitting import check_fits, check_weights
from lit_xai.models.weights import load_weights
from lit_xai.module import SEED_KEY, TRAINER_KEY
from lit_xai.regimes.pgd import PGD

_SEEDS = ("seed", "noise_seed")


@dataclass(frozen=True, eq=False)
class Subject:
    """A network to compare with others.

    Args:
        name: What it is called in every result.
        load: Returns the network, which maps pixels in [0, 1], (N, C, H, W), to logits, (N, K).
        adversary: Attack behind its adversarial accuracy; None to leave it out.
        noise_seed: Of that attack's draws.
        identity: Checksums that decide its numbers.
        card: Where it comes from: `file` as it was given, that file's `sha256`, `model`, `parameters`,
            `regime`, `group`, `seed`, `epoch` (finished ones), `steps` and the trainer's `precision`; None
            where it is not known. Checkpoints of one `group` with several seeds are repetitions of a regime.
            That of a described network has the checksum of all its weights as `weights_sha256` beside.
        training: What was logged while it trained: columns `epoch`, counted from 1, `key` and `value`.
    """

    name: str
    load: Callable[[], nn.Module]
    adversary: PGD | None
    noise_seed: int
    identity: dict[str, str]
    card: dict[str, Any]
    training: pd.DataFrame


def from_checkpoint(name: str, path: Path) -> Subject:
    """Return the network of a checkpoint of the training command.

    Its group is the name of its regime with a hash of all settings of classifier and data but the seeds, of
    the trainer's precision, clipping and accumulation, of its epoch and of its steps: two checkpoints are
    repetitions only if all of that is the same, paths and the warm start included. Its seed is the one that
    the checkpoint holds, or, if it is older than that, the one in the `config.yaml` of its run directory.

    Args:
        name: Of the subject.
        path: The file.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no checkpoint of the training command.
    """
    classifier, content, sha256 = load_stored(path)
    epoch, steps = finished_epochs(content), int(content["global_step"])
    regime = _snake_case(type(classifier.regime).__name__)
    card = {
        **_described(path, sha256, classifier.model),
        "regime": regime,
        "group": f"{regime}-{_settings_hash(content, epoch, steps)}",
        "seed": _seed(content, path),
        "epoch": epoch,
        "steps": steps,
        "precision": (content.get(TRAINER_KEY) or {}).get("precision"),
    }
    return Subject(
        name,
        lambda: load_classifier(path).model,
        classifier.adversary,
        classifier.noise_seed,
        {"sha256": sha256, **_code(classifier.model)},
        card,
        training_log(path, epoch),
    )


def from_model(name: str, path: Path) -> Subject:
    """Return a network that a YAML file describes.

    The file has `model`, a class path with its arguments or the name of a file of these, and, if the model
    does not read its own, `weights`, the name of a file; both names are relative to the YAML file. Weights
    that no file gives are drawn from seed 0, so that they are the same in every process.

    Args:
        name: Of the subject.
        path: The YAML file.

    Raises:
        FileNotFoundError: If it or the file of weights does not exist.
        ValueError: If it does not describe a network, or the weights are those of another.
    """
    network, model = _described_network(path)
    identity = {"description": _hash(model), "weights": _weights_hash(network), **_code(network)}
    card = {
        **_described(path, checksum(path), network),
        **dict.fromkeys(("regime", "group", "seed", "epoch", "steps", "precision")),
        "weights_sha256": identity["weights"],
    }
    empty = pd.DataFrame({"epoch": pd.Series(dtype="int64"), "key": pd.Series(dtype="str"), "value": []})
    return Subject(name, lambda: _described_network(path)[0], None, 0, identity, card, empty)


def check_network(subject: Subject, data: ImageDataModule) -> None:
    """Refuse a network that has diverged, does not take the images or has no logit for one of their classes.

    Raises:
        ValueError: If it is one.
    """
    network = subject.load()
    check_weights(network, f"in {subject.card['file']}")
    check_fits(network, data.images("test")[0].image, data.num_classes, subject.name)


def independent(subjects: Sequence[Subject]) -> list[Subject]:
    """Return the subjects, without the group of those that share it with another of the same seed.

    Two checkpoints of one group and one seed, such as copies of a file, are one repetition, not two. Neither
    counts as one, since nothing says which should.
    """
    runs = Counter((subject.card["group"], subject.card["seed"]) for subject in subjects)
    return [
        replace(subject, card={**subject.card, "group": None})
        if runs[subject.card["group"], subject.card["seed"]] > 1
        else subject
        for subject in subjects
    ]


def _described_network(path: Path) -> tuple[nn.Module, dict[str, Any]]:
    """Build the network of a YAML file, and return the description beside."""
    if not path.is_file():
        raise FileNotFoundError(f"Expected a description of a network, but got {path}, which does not exist.")
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--model", type=nn.Module, required=True, sub_configs=True)
    parser.add_argument("--weights", type=Path | None, default=None)
    try:
        config = parser.parse_path(path)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            network = parser.instantiate(config).model
    except (ArgumentError, OSError, RuntimeError, TypeError, ValueError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(f"Expected a description of a network, but got {path}: {reason[:300]}") from error
    if config.weights is not None:
        load_weights(network, path.parent / config.weights)
    return network, json.loads(parser.dump(config, format="json", skip_unset=False))["model"]


def _code(network: nn.Module) -> dict[str, str]:
    """Return checksums of a user's own code, by module."""
    return source_digests(type(module).__module__ for module in network.modules())


def _described(path: Path, sha256: str, network: nn.Module) -> dict[str, Any]:
    return {
        "file": str(path),
        "sha256": sha256,
        "model": f"{type(network).__module__}.{type(network).__qualname__}",
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
    }


def _snake_case(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()


def _settings_hash(content: Mapping[str, Any], epoch: int, steps: int) -> str:
    settings = [
        content["hyper_parameters"],
        content.get("datamodule_hyper_parameters"),
        content.get(TRAINER_KEY),
    ]
    return _hash([*map(_without_seeds, settings), epoch, steps])[:8]


def _without_seeds(settings: Any) -> Any:
    if isinstance(settings, Mapping):
        return {name: _without_seeds(value) for name, value in settings.items() if name not in _SEEDS}
    return [_without_seeds(value) for value in settings] if isinstance(settings, list | tuple) else settings


def _hash(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()


def _weights_hash(network: nn.Module) -> str:
    digest = hashlib.sha256()
    for name, value in sorted(network.state_dict().items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def _seed(content: Mapping[str, Any], path: Path) -> int | None:
    run = run_directory(path)
    if SEED_KEY in content:
        seed = content[SEED_KEY]
    elif run is None:
        seed = None
    else:
        seed = _plain_yaml(run / "config.yaml").get("seed_everything")
    # `seed_everything: true` draws one.
    return seed if isinstance(seed, int) and not isinstance(seed, bool) else None


def _plain_yaml(path: Path) -> Mapping[str, Any]:
    try:
        content = yaml.safe_load(path.read_text())
    except (OSError, ValueError, yaml.YAMLError):
        content = {}
    return content if isinstance(content, Mapping) else {}
