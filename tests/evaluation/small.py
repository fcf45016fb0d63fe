"""A small evaluation in memory: two networks, 12 images, two explanations, two attacks."""

from dataclasses import replace

import numpy as np
import pandas as pd

from lit_xai.attacks.random_sign import RandomSign
from lit_xai.attacks.top_k import TopK
from lit_xai.attributions.input_x_gradient import InputXGradient
from lit_xai.attributions.saliency import Saliency
from lit_xai.data.base import ImageDataModule
from lit_xai.data.images import Images
from lit_xai.evaluation.grid import Grid
from lit_xai.evaluation.pieces import Subset
from lit_xai.evaluation.plan import Plan, Settings, planned
from lit_xai.evaluation.subjects import Subject
from lit_xai.metrics.change import ExplanationChange
from lit_xai.metrics.top_k import TopKIntersection
from lit_xai.regimes.pgd import PGD
from tests.conftest import tiny_network

SETTINGS = Settings(
    environment={
        "versions": {"torch": "1"},
        "code": "ef",
        "device": {"type": "cpu", "processes": 1},
        "precision": "float32",
    },
    data={"sha256": "ab", "max_samples": 12, "seed": 0, "batch_size": 5},
    attributions={"saliency": {"class_path": "A"}, "input_x_gradient": {"class_path": "B"}},
    attacks={"random_sign": {"class_path": "RandomSign"}, "top_k": {"class_path": "TopK", "eps": 0.1}},
    metrics={"top_k": {"k": 10}, "change": {}},
    examples=2,
)


class Noisy(ImageDataModule):
    """30 random images, labelled by the network that is asked about them, but for every fifth."""

    num_classes = 4

    def __init__(self) -> None:
        limits = dict.fromkeys(("train", "val", "test"))
        super().__init__(
            batch_size=8, eval_batch_size=7, limits=limits, num_workers=0, donor_split="train", seed=0
        )

    def read(self, split: str) -> Images:
        pixels = np.random.default_rng(len(split)).integers(0, 256, (30, 2, 8, 8)).astype(np.uint8)
        images = Images.from_bytes(pixels, np.zeros(30))
        labels = tiny_network()(images.pixels.double() / 255).argmax(dim=1)
        labels[::5] = (labels[::5] + 1) % 4
        return Images(images.pixels, labels)


def small_grid() -> Grid:
    return Grid(
        {"saliency": Saliency(), "input_x_gradient": InputXGradient()},
        {"random_sign": RandomSign(0.1), "top_k": TopK(eps=0.1, step_size=0.03, steps=3, k=10)},
        {"top_k": TopKIntersection(10), "change": ExplanationChange()},
    )


def small_subject(name: str = "natural", seed: int = 0) -> Subject:
    empty = pd.DataFrame({"epoch": [], "key": [], "value": []})
    adversary = PGD(eps=0.1, step_size=0.05, steps=3)
    network = tiny_network(seed)
    return Subject(name, lambda: network, adversary, 0, {"sha256": f"{seed}"}, {"file": name}, empty)


def small_plan(subject: Subject | None = None, **changes) -> Plan:
    subset = Subset(Noisy(), max_samples=12, seed=0, batch_size=5)
    settings = replace(SETTINGS, **changes)
    return planned(subject or small_subject(), small_grid(), subset, settings)
