"""Shipped evaluations of colour pictures of many pixels, on a folder of seven and a tiny network."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from PIL import Image
from torch import nn

from lit_xai.cli import evaluate_cli
from lit_xai.data.image_folder import ImageFolderData
from lit_xai.models.small import SmallCNN
from lit_xai.types import Batch

ROOT = Path(__file__).parents[2]
SIDE = 64
IMAGES = 3
# Pictures of each class: the last one has one donor, the second has two.
COUNTS = (4, 2, 1)
NETWORK = {"num_classes": 3, "channels": 3, "size": SIDE, "width": 1}
EPS = 0.0313725
PATH = "--grid.init_args.attributions.integrated_gradients.init_args.path_steps=2"
FEW_STEPS = "--grid.init_args.attacks.{}.init_args.steps=2"
ONE_RADIUS = f"--sweeps.{{}}.values={{{{eps: [0.00392157, {EPS}]}}}}"
STRENGTH = "alpha: [0.15], k: [0.05, 0.6]"
RANKS = "rank: [0, 1, 2]"
# What makes each evaluation small, by its name in configs/evaluate.
SHRUNK = {
    "lens": [
        PATH,
        *(FEW_STEPS.format(name) for name in ("top_k", "mass_center")),
        *(ONE_RADIUS.format(name) for name in ("top_k", "mass_center", "random_sign")),
    ],
    "lens_table": [PATH],
    "exiaa_imagenet": [
        PATH,
        "--grid.init_args.attributions.deep_lift_shap.init_args.references=2",
        f"--sweeps.exiaa.values={{{STRENGTH}, {RANKS}}}",
        f"--sweeps.gaussian.values={{{STRENGTH}}}",
        "--sweeps.gaussian_equal_l2.values="
        "{reference.alpha: [0.15], reference.k: [0.05, 0.6], reference.rank: [0, 1, 2]}",
        f"--sweeps.exiaa_random_places.values={{{STRENGTH}, {RANKS}}}",
    ],
    "top_k_imagenet": [PATH, *(FEW_STEPS.format(name) for name in ("random_walk", "top_k"))],
    "color": [
        PATH,
        FEW_STEPS.format("top_k"),
        "--sweeps.exiaa.values={alpha: [0.06, 0.15], k: [0.2]}",
    ],
    "attexplore_photographs": [
        PATH,
        "--grid.init_args.attributions.boundary_ig.init_args.steps=2",
        "--grid.init_args.attributions.boundary_ig.init_args.path_steps=2",
        "--grid.init_args.attributions.smooth_grad.init_args.samples=2",
        "--grid.init_args.attributions.adversarial_ig.init_args.steps=2",
        "--grid.init_args.attributions.attexplore.init_args.steps=2",
        "--grid.init_args.attributions.attexplore.init_args.samples=2",
    ],
}
# Attacks, each version of a sweep by itself.
ATTACKS = {
    "lens": 2 + 2 + 2,
    "lens_table": 1,
    "exiaa_imagenet": 1 + 1 + 6 + 2 + 6 + 6,
    "top_k_imagenet": 4,
    "color": 1 + 3 + 3 + 2,
    "attexplore_photographs": 1,
}
# What a map has to score against itself, and an image against itself.
UNATTACKED = {
    **dict.fromkeys(("top_k", "lens_recall", "lens_precision", "kendall", "spearman", "ssim"), 1.0),
    **dict.fromkeys(("change", "confidence_change", "center_shift", "linf_norm", "l2_norm"), 0.0),
    "prediction_kept": 1.0,
}


def generated(folder: Path) -> ImageFolderData:
    """Write pictures of noise in three colours, far from black and white: no attack here is clipped."""
    generator = np.random.default_rng(0)
    for label, count in enumerate(COUNTS):
        place = folder / "val" / f"class_{label}"
        place.mkdir(parents=True)
        for number in range(count):
            pixels = generator.integers(60, 140, (SIDE, SIDE, 3), dtype=np.uint8)
            pixels[..., label] += 60
            Image.fromarray(pixels).save(place / f"{number}.png")
    return ImageFolderData(folder, size=SIDE, resize=SIDE, num_workers=0)


def pictures(data: ImageFolderData, chosen) -> Batch:
    return Batch(*torch.utils.data.default_collate([data.images("test")[index] for index in chosen]))


def taught(data: ImageFolderData) -> SmallCNN:
    """Return a network of 17,000 parameters that tells the colours apart."""
    torch.manual_seed(0)
    model = SmallCNN(**NETWORK)
    batch = pictures(data, range(sum(COUNTS)))
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    for _ in range(40):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(batch.image), batch.label).backward()
        optimizer.step()
    assert (model(batch.image).argmax(dim=1) == batch.label).all()
    return model.eval()


def evaluated(name: str, data: ImageFolderData, network: SmallCNN, folder: Path):
    """Run a shipped evaluation, and return its results and the scores of the images attacked."""
    torch.save(network.state_dict(), folder / "net.pt")
    described = {"class_path": "lit_xai.models.small.SmallCNN", "init_args": NETWORK}
    (folder / "net.yaml").write_text(yaml.safe_dump({"model": described, "weights": "net.pt"}))
    source = {"data_dir": data.data_dir, "size": SIDE, "resize": SIDE, "num_workers": 0, "donor_split": "val"}
    output = folder / "out"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lit_xai.evaluation.cli.publish", lambda *_: "nowhere")
        evaluate_cli(
            [
                *("-c", str(ROOT / "configs" / "evaluate" / f"{name}.yaml"), *SHRUNK[name]),
                "--data=lit_xai.data.image_folder.ImageFolderData",
                *(f"--data.init_args.{option}={value}" for option, value in source.items()),
                *("--models", str(folder / "net.yaml"), "--output", str(output)),
                *("--accelerator=cpu", f"--max_samples={IMAGES}"),
            ]
        )
    check_cells(name, output)
    samples = pd.read_parquet(output / "samples.parquet").astype({"metric": str, "attribution": str})
    return pd.read_csv(output / "results.csv"), samples[samples["attribution"] != "none"]


def check_cells(name: str, output: Path) -> None:
    """Every cell of the study's grid is in the results, with all of the images."""
    study = yaml.safe_load((ROOT / "configs" / "evaluate" / f"{name}.yaml").read_text())
    grid = yaml.safe_load((ROOT / "configs" / "evaluate" / study["grid"]).read_text())["init_args"]
    attacks = json.loads((output / "card.json").read_text())["attacks"]
    results = pd.read_csv(output / "results.csv")
    cells = results[results["attribution"] != "none"]
    found = set(zip(cells["attribution"], cells["attack"], cells["metric"], strict=True))
    assert found == {(a, b, c) for a in grid["attributions"] for b in attacks for c in grid["metrics"]}
    assert len(cells) == len(found)
    assert (cells["count"] + cells["excluded"] == IMAGES).all()
    families = {entry["sweep"] or key for key, entry in attacks.items()}
    assert families == set(grid["attacks"])
    assert len(attacks) == ATTACKS[name]


def scores(samples: pd.DataFrame, attribution: str, attack: str, metric: str) -> pd.Series:
    """Return scores by sample."""
    keys = ("attribution", "attack", "metric")
    for key, value in zip(keys, (attribution, attack, metric), strict=True):
        samples = samples[samples[key] == value]
    return samples.set_index("sample_id")["value"].sort_index()


def assert_unattacked(table: pd.DataFrame, attribution: str) -> None:
    own = table.loc[attribution, "unattacked"]
    assert own["excluded"].tolist() == [0] * len(own)
    expected = {metric: UNATTACKED[metric] for metric in own.index}
    assert own["value"].to_dict() == pytest.approx(expected, abs=1e-6)
