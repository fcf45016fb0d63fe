"""Run eXIAA and the top-k attack on a pretrained network and a folder of ImageNet's images.

    python scripts/imagenet.py --data DIRECTORY --weights FILE

measures a part of configs/evaluate/exiaa_imagenet.yaml and all of configs/evaluate/top_k_imagenet.yaml, and
once all parts are there writes results/imagenet and the tables of docs/reproduce.md. It takes an hour or more
on one CPU core. What is measured stays in `--output`: the same command continues a run that was stopped.
"""

import argparse
import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from lit_xai.refusal import one_line_errors  # noqa: E402

RESULTS = ROOT / "results" / "imagenet"
EVALUATE = ROOT / "configs" / "evaluate"
# Donors beside the first are looked for at one setting: that tells how many images have them.
MORE_DONORS = {
    f"exiaa_donor_{rank + 1}": {"class_path": "lit_xai.attacks.exiaa.EXIAA", "init_args": {"rank": rank}}
    for rank in (1, 2)
}


@dataclass(frozen=True)
class Part:
    """A part of a study, run by one evaluation.

    Args:
        study: Name of the file in configs/evaluate.
        attribution: The one that is kept.
        samples: Images, misclassified ones among them.
        options: Of the attribution, in place of the study's.
        alphas: Kept values of the sweeps; all if empty.
        shares: Kept values of k; all if empty.
        attacks: More attacks.
        whole_accuracy: Whether the accuracy is that of all images of the folder.
        batch_size: Images attacked at once: the graph of a path integral holds all of their points.
    """

    study: str
    attribution: str
    samples: int
    options: Mapping[str, Any] = field(default_factory=dict)
    alphas: tuple[float, ...] = ()
    shares: tuple[float, ...] = ()
    attacks: Mapping[str, Any] = field(default_factory=dict)
    whole_accuracy: bool = False
    batch_size: int = 8


PARTS = {
    "exiaa_saliency": Part(
        "exiaa_imagenet",
        "saliency",
        60,
        alphas=(0.03, 0.15),
        shares=(0.05, 0.2, 0.6),
        attacks=MORE_DONORS,
        whole_accuracy=True,
    ),
    "top_k_saliency": Part("top_k_imagenet", "saliency", 60),
    "exiaa_integrated_gradients": Part(
        "exiaa_imagenet",
        "integrated_gradients",
        24,
        {"path_steps": 10},
        alphas=(0.03, 0.15),
        shares=(0.05, 0.6),
    ),
    "top_k_integrated_gradients": Part("top_k_imagenet", "integrated_gradients", 10, batch_size=2),
    "exiaa_deep_lift_shap": Part(
        "exiaa_imagenet",
        "deep_lift_shap",
        10,
        {"references": 5, "max_batch": 20},
        alphas=(0.15,),
        shares=(0.05, 0.6),
    ),
}


def configured(part: Part, data: Path, network: str) -> dict[str, Any]:
    """Return the options of the evaluation that measures a part, with paths that hold anywhere."""
    options = _absolute(yaml.safe_load((EVALUATE / f"{part.study}.yaml").read_text()), EVALUATE)
    grid_file = Path(options["grid"])
    grid = _absolute(yaml.safe_load(grid_file.read_text()), grid_file.parent)
    parts = grid["init_args"]
    parts["attributions"] = {part.attribution: _method(parts["attributions"][part.attribution], part.options)}
    parts["attacks"] = {**parts["attacks"], **part.attacks}
    kept = {"alpha": part.alphas, "k": part.shares, "rank": (0,)}
    sweeps = {
        name: {"values": {key: _kept(key, values, kept) for key, values in sweep["values"].items()}}
        for name, sweep in options.get("sweeps", {}).items()
    }
    source = {
        "data_dir": str(data.resolve()),
        "network": f"timm/{network}",
        "donor_split": "val",
        "num_workers": 0,
        **({} if part.whole_accuracy else {"max_test": part.samples}),
    }
    module = {"class_path": "lit_xai.data.image_folder.ImageFolderData", "init_args": source}
    own = {
        "grid": grid,
        "data": module,
        "max_samples": part.samples,
        "batch_size": part.batch_size,
        **({"sweeps": sweeps} if sweeps else {}),
    }
    return {**options, **own}


def _kept(key: str, values: list[float], kept: Mapping[str, Sequence[float]]) -> list[float]:
    chosen = kept[key.rpartition(".")[2]]
    return [value for value in values if not chosen or value in chosen]


def _method(given: Any, options: Mapping[str, Any]) -> dict[str, Any]:
    content = yaml.safe_load(Path(given).read_text()) if isinstance(given, str) else given
    return {**content, "init_args": {**content.get("init_args", {}), **options}}


def _absolute(content: Any, folder: Path) -> Any:
    if isinstance(content, dict):
        return {name: _absolute(value, folder) for name, value in content.items()}
    if isinstance(content, str) and content.startswith("../"):
        return str((folder / content).resolve())
    return content


def described_network(weights: Path, network: str) -> dict[str, Any]:
    """Return what `--models` reads: a network of timm and the file of its weights."""
    init_args = {"name": network}
    return {
        "model": {"class_path": "lit_xai.models.zoo.TimmClassifier", "init_args": init_args},
        "weights": str(weights.resolve()),
    }


def measured(options: argparse.Namespace) -> Iterator[Path]:
    """Measure each part, and yield its directory when it is done."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    from lit_xai.evaluation.cli import evaluated

    options.output.mkdir(parents=True, exist_ok=True)
    network = options.output / "network.yaml"
    network.write_text(yaml.safe_dump(described_network(options.weights, options.network)))
    for name in options.parts:
        config = options.output / f"{name}.yaml"
        content = configured(PARTS[name], options.data, options.network)
        config.write_text(yaml.safe_dump(content, sort_keys=False))
        models = f"{options.network}={network}"
        directory = str(options.output / name)
        yield evaluated(["-c", str(config), "--models", models, "--output", directory])


def collect(output: Path) -> None:
    """Write what the page needs from finished evaluations into results/imagenet, without paths.

    Raises:
        ValueError: If the parts are of different networks.
    """
    from scripts.exiaa_imagenet import read_samples

    cards = {name: json.loads((output / name / "card.json").read_text()) for name in PARTS}
    whose = {name: _subject(card) for name, card in cards.items()}
    first, *others = whose
    if strange := [name for name in others if whose[name] != whose[first]]:
        raise ValueError(
            f"Expected parts of one network, but got {whose[strange[0]][0]} in {output / strange[0]}, which "
            f"is not what {output / first} measured. Take another `--output`."
        )
    for study, file in {"exiaa_imagenet": "exiaa", "top_k_imagenet": "top_k"}.items():
        directories = [output / name for name, part in PARTS.items() if part.study == study]
        table = read_samples(directories).round(5)
        table.to_parquet(RESULTS / f"{file}.parquet", index=False)
    network, weights = whose[first]
    content = {
        "weights_sha256": weights,
        "network": network,
        "versions": cards[first]["versions"],
        "parts": {name: _described(card, output / name) for name, card in cards.items()},
    }
    (RESULTS / "card.json").write_text(json.dumps(content, indent=1) + "\n")


def _subject(card: Mapping[str, Any]) -> tuple[str, str]:
    """Return the network and the checksum of its weights."""
    ((network, entry),) = card["checkpoints"].items()
    return network, entry["weights_sha256"]


def _described(card: Mapping[str, Any], directory: Path) -> dict[str, Any]:
    import pandas as pd

    results = pd.read_csv(directory / "results.csv")
    accuracy = results[results["attribution"] == "none"].iloc[0]
    clean = results[results["attack"] == "unattacked"].iloc[-1]
    return {
        "accuracy": round(float(accuracy["value"]), 5),
        "classified": int(accuracy["count"]),
        "misclassified": int(clean["excluded"]),
        "attributions": card["attributions"],
        "passes": card["passes"],
        "seconds": round(sum(card["seconds"].values())),
    }


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command."""
    found = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    found.add_argument("--data", type=Path, required=True, help="Folder with `val`, a folder for each class.")
    found.add_argument("--weights", type=Path, required=True, help="File of timm's released weights.")
    found.add_argument("--network", default="tf_efficientnet_lite0", help="The name in timm.")
    found.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS), help="What is measured.")
    found.add_argument(
        "--measured", action="store_true", help="Take the parts as they were measured, and measure nothing."
    )
    found.add_argument("--output", type=Path, default=ROOT / "runs" / "imagenet", help="Of the evaluations.")
    return found


def main(options: argparse.Namespace) -> None:
    """Measure, collect, and render the page once all parts are there."""
    from scripts.reproduce import render

    for finished in () if options.measured else measured(options):
        sys.stdout.write(f"Finished: {finished}\n")
    missing = [name for name in PARTS if not (options.output / name / "card.json").is_file()]
    if missing:
        sys.stdout.write(f"The page is as it was: {', '.join(missing)} not measured yet.\n")
        return
    collect(options.output)
    render()


if __name__ == "__main__":
    given = parser().parse_args()
    with one_line_errors():
        main(given)
