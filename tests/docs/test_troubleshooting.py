"""Every line that docs/troubleshooting.md quotes is said, word for word."""

import re
from pathlib import Path

import pytest
import torch

from lit_xai.attacks.base import run_attack
from lit_xai.attacks.random_sign import RandomSign
from lit_xai.attacks.top_k import TopK
from lit_xai.attributions.deep_lift import DeepLift
from lit_xai.attributions.guided_backprop import GuidedBackprop
from lit_xai.attributions.guided_ig import GuidedIG
from lit_xai.attributions.saliency import Saliency
from lit_xai.cli import train_cli
from lit_xai.data.image_folder import ImageFolderData
from lit_xai.domain import check_pixels
from lit_xai.evaluation.cli import evaluated
from lit_xai.evaluation.devices import started
from lit_xai.evaluation.grid import Grid
from lit_xai.gate import evaluating
from lit_xai.metrics.top_k import TopKIntersection
from lit_xai.models.small import SmallCNN
from lit_xai.models.zoo import TimmClassifier
from lit_xai.noise import Noise
from lit_xai.refusal import one_line_errors
from lit_xai.reporting.cli import report_cli
from lit_xai.runs import hold
from lit_xai.types import Batch
from tests.docs.pages import PAGES

PAGE = PAGES["docs/troubleshooting.md"]
ROWS = re.findall(r"^\| (?:`` (.+?) ``|`([^`]+)`) \|", PAGE, re.MULTILINE)
QUOTED = [(double or single).strip() for double, single in ROWS]


class Smooth(torch.nn.Module):
    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.gelu(image).flatten(1)[:, :4]


def explain(attribution, model):
    image = torch.rand(1, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    with evaluating(model), torch.no_grad():
        attribution.attribute(model, image, torch.tensor([0]), Noise(0, torch.tensor([0])))


def tiny():
    return SmallCNN(num_classes=4, size=8, width=2)


def batch_of(size: int = 2) -> Batch:
    return Batch(torch.full((size, 1, 8, 8), 0.5), torch.zeros(size, dtype=torch.int64), torch.arange(size))


def repeated(directory: Path) -> None:
    model, batch = tiny(), batch_of()
    label = model(batch.image).argmax(dim=1)
    grid = Grid({"saliency": Saliency()}, {"signs": RandomSign()}, {"top_k": TopKIntersection(k=3)})
    for _ in range(2):
        grid.update(model, Batch(batch.image, label, torch.tensor([3, 4])))
    list(grid.rows())


def held(directory: Path) -> None:
    lock = hold(directory)
    try:
        hold(directory)
    finally:
        lock.release()


def of_a_map(directory: Path) -> None:
    result = run_attack(tiny(), Saliency(), RandomSign(), batch_of(), seed=0)
    TopKIntersection(k=100).scores(tiny(), result, Noise(0, torch.arange(2)))


def interrupted(directory: Path) -> None:
    raise KeyboardInterrupt


# What is done to hear each line, in the page's order.
TRIGGERS = [
    lambda directory: TopK(eps=8),
    lambda directory: check_pixels(torch.zeros(1, 1, 8, 8, dtype=torch.uint8)),
    lambda directory: report_cli(["runs"]),
    lambda directory: ImageFolderData(data_dir=directory).setup("fit"),
    lambda directory: TimmClassifier("resnet81"),
    lambda directory: evaluated(["--grid", GRID]),
    lambda directory: evaluated(["--grid", GRID, "--checkpoints", "nowhere.ckpt"]),
    lambda directory: run_attack(tiny(), GuidedIG(), TopK(), batch_of(), seed=0),
    lambda directory: explain(GuidedBackprop(), Smooth()),
    lambda directory: explain(DeepLift(), Smooth()),
    of_a_map,
    repeated,
    lambda directory: train_cli(["fit", "--resume", "runs/nothing/1"]),
    held,
    lambda directory: started("cpu", 1, "fsdp", 1),
    interrupted,
]
GRID = str(Path(__file__).parents[2] / "configs" / "grids" / "fashion_quick.yaml")


def test_every_line_has_its_trigger():
    assert len(QUOTED) == len(TRIGGERS)


@pytest.mark.parametrize("number", range(len(TRIGGERS)), ids=str)
def test_a_line_is_said(number, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    with pytest.raises(SystemExit) as ended, one_line_errors(lambda: "Nothing is lost: begin again."):
        TRIGGERS[number](tmp_path)
    assert ended.value.code == (130 if TRIGGERS[number] is interrupted else 2)
    said = capsys.readouterr().err
    assert QUOTED[number] in said
