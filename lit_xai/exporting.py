"""Writing of a network for use without this package."""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import yaml
from lightning.pytorch.utilities import rank_zero_info
from safetensors.torch import save

from lit_xai.evaluation.card import versions
from lit_xai.evaluation.checkpoints import Stored, finished_epochs, load_data, load_stored, read_checkpoint
from lit_xai.evaluation.subjects import from_model
from lit_xai.files import write_whole
from lit_xai.models.preprocessing import Preprocessing
from lit_xai.module import SEED_KEY, TRAINER_KEY
from lit_xai.portable import DESCRIPTION, SOURCES, WEIGHTS, Portable, portable
from lit_xai.redaction import redacted

_FORMAT = 1
# Of images that are tried where nothing says what a network takes, in pixels.
_SIZES = (28, 32, 64, 96, 224, 384)


def export(checkpoint: Path, output: Path) -> Portable:
    """Write the network of a checkpoint, its normalisation and what is known of it into a new directory.

    `model.safetensors` has the weights by the names of timm or torchvision, or by its own for any other
    network, `config.json` what the library builds it from, `network.yaml` the same for this package,
    `card.json` and `README.md` where it comes from.

    Args:
        checkpoint: Of the training command.
        output: The directory, which is made.

    Returns:
        What was written.

    Raises:
        FileNotFoundError: If there is no such checkpoint.
        FileExistsError: If the directory is there and holds something.
        ValueError: If the file is no checkpoint of the training command, or the network was compiled.
    """
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise FileExistsError(f"Expected a new directory for `--output`, but got {output}, which exists.")
    # The current directory has a name only when it is resolved.
    output = output.resolve()
    _check_not_compiled(checkpoint)
    stored = load_stored(checkpoint)
    settings = stored.content["hyper_parameters"]["model"]
    result = portable(stored.classifier.model, settings, _preprocessing(checkpoint))
    weights = save({name: value.detach().clone() for name, value in result.weights.items()}, {"format": "pt"})
    description = {"model": dict(result.description), "weights": WEIGHTS}
    card = _card(checkpoint, stored, result, hashlib.sha256(weights).hexdigest())
    with _new(output) as folder:
        write_whole(folder / WEIGHTS, weights)
        write_whole(folder / "config.json", _json(result.config))
        write_whole(folder / DESCRIPTION, yaml.safe_dump(description, sort_keys=False))
        write_whole(folder / "card.json", _json(card))
        write_whole(folder / "README.md", _page(output.name, card, result))
        _check_same(folder, stored.classifier.model, checkpoint, result)
    return result


def _check_not_compiled(checkpoint: Path) -> None:
    if any("_orig_mod." in name for name in read_checkpoint(checkpoint)["state_dict"]):
        raise ValueError(
            f"Expected a checkpoint of a network that is not compiled, but got {checkpoint}. "
            "Read its weights into one: `--model.warm_start`."
        )


def _preprocessing(checkpoint: Path) -> Preprocessing | None:
    try:
        found = getattr(load_data(checkpoint), "preprocessing", None)
    except (OSError, ValueError):
        # Data that are not on this machine, or not of this package.
        return None
    return found if isinstance(found, Preprocessing) else None


@contextmanager
def _new(output: Path) -> Iterator[Path]:
    """Make a directory that is there whole or not at all; fill an empty one, which a shell may be in."""
    output.parent.mkdir(parents=True, exist_ok=True)
    kept = output.exists()
    part = f".{output.name}.{os.getpid()}.part"
    folder = output / part if kept else output.with_name(part)
    folder.mkdir()
    try:
        yield folder
        if kept:
            for file in list(folder.iterdir()):
                file.replace(output / file.name)
            folder.rmdir()
        else:
            folder.replace(output)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _check_same(folder: Path, model: torch.nn.Module, checkpoint: Path, result: Portable) -> None:
    """Read what was written, and compare all parameters and buffers, and the logits of an image."""
    network = from_model("exported", folder / DESCRIPTION).load()
    found, expected = network.state_dict(), model.state_dict()
    other = [name for name in expected if name not in found or not torch.equal(found[name], expected[name])]
    other += [name for name in found if name not in expected]
    if not other and not _give_same_logits(model.eval(), network.eval(), result):
        other = ["its logits"]
    if other:
        raise ValueError(
            f"Expected a network that its library builds as it is, but got {checkpoint}, which differs in "
            f"{', '.join(other[:3])}."
        )


def _give_same_logits(model: torch.nn.Module, other: torch.nn.Module, result: Portable) -> bool:
    """Compare the logits of one random image; if the network takes none of those tried, a line says so."""
    for channels in (1, 3) if result.channels is None else (result.channels,):
        for size in _sizes(result):
            image = torch.rand(1, channels, size, size, generator=torch.Generator().manual_seed(0))
            try:
                expected = _logits(model, image)
            except (RuntimeError, ValueError, TypeError, AssertionError):
                continue
            return torch.allclose(_logits(other, image), expected, rtol=0, atol=0, equal_nan=True)
    rank_zero_info("The logits were not compared: the network takes none of the images that were tried.")
    return True


def _sizes(result: Portable) -> Sequence[int]:
    if "size" in result.preprocessing:
        return (result.preprocessing["size"], *_SIZES)
    released = (result.config.get("pretrained_cfg") or {}).get("input_size") or ()
    return (*_SIZES, *released[1:2])


@torch.no_grad()
def _logits(network: torch.nn.Module, image: torch.Tensor) -> torch.Tensor:
    # What a network draws is the same for both.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        logits: torch.Tensor = network(image)
    return logits


def _card(checkpoint: Path, stored: Stored, result: Portable, sha256: str) -> dict[str, Any]:
    content, classifier = stored.content, stored.classifier
    settings: Mapping[str, Any] = content["hyper_parameters"]
    data: Mapping[str, Any] = content.get("datamodule_hyper_parameters") or {}
    arguments = settings["model"].get("init_args") or {}
    card = {
        "format": _FORMAT,
        "library": result.library,
        "network": dict(result.description),
        "num_classes": classifier.num_classes,
        "parameters": sum(parameter.numel() for parameter in classifier.model.parameters()),
        "normalisation": dict(result.normalisation),
        "preprocessing": dict(result.preprocessing) or None,
        "files": {WEIGHTS: {"sha256": sha256}},
        "checkpoint": {
            "file": checkpoint.name,
            "sha256": stored.sha256,
            "epoch": finished_epochs(content),
            "steps": int(content["global_step"]),
            "seed": content.get(SEED_KEY),
            "precision": (content.get(TRAINER_KEY) or {}).get("precision"),
        },
        "started_from": {
            **{name: arguments[name] for name in SOURCES if arguments.get(name)},
            **({"warm_start": settings["warm_start"]} if settings.get("warm_start") else {}),
        },
        "regime": settings["regime"],
        "data": {name: value for name, value in data.items() if name != "_instantiator"},
        "versions": versions(),
    }
    plain: dict[str, Any] = redacted(json.loads(json.dumps(card, default=str)))
    return plain


def _page(name: str, card: Mapping[str, Any], result: Portable) -> str:
    trained, data = card["checkpoint"], card["data"]
    shown = f"`{json.dumps(card['normalisation'])}`" if card["normalisation"] else "the network's own"
    pictures = result.preprocessing
    square = f"`{json.dumps(dict(pictures))}`" if pictures else "none, or not known here"
    start = f"`{json.dumps(card['started_from'])}`" if card["started_from"] else "weights drawn at random"
    return f"""\
# {name}

An image classifier trained with lit_xai.

- Network: `{json.dumps(result.description)}`, {card["parameters"]} parameters, {card["num_classes"]} classes
- Normalisation of pixels in [0, 1]: {shown}
- Preprocessing of pictures: {square}
- Regime: `{json.dumps(card["regime"])}`
- Data: `{data.get("_class_path", "not known")}`
- Training: {trained["steps"]} steps, finished epochs: {trained["epoch"]}, started from {start}
- SHA-256 of `{WEIGHTS}`: `{card["files"][WEIGHTS]["sha256"]}`

`pixels` are in [0, 1], (N, C, H, W); `{name}` is the path of this folder.

```python
{result.lines(name)}
```

With lit_xai: `lit-xai-evaluate --models {name}={name}/{DESCRIPTION} ...`. `card.json` says all that is known.
"""


def _json(content: Mapping[str, Any]) -> str:
    return json.dumps(content, indent=2) + "\n"
