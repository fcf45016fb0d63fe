from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from jsonargparse import ArgumentParser

from lit_xai.attacks.base import Attack
from lit_xai.attacks.exiaa import EXIAA
from lit_xai.attacks.gaussian import MatchedGaussian
from lit_xai.attacks.random_sign import RandomSign
from lit_xai.attributions.base import Attribution
from lit_xai.attributions.saliency import Saliency
from lit_xai.attributions.softened import Softened
from lit_xai.evaluation.donors import needs_donors
from lit_xai.evaluation.grid import Grid
from tests.evaluation.small import small_grid

CONFIGS = Path(__file__).parents[2] / "configs"
FRAGMENTS = [path for kind in ("attacks", "attributions") for path in sorted((CONFIGS / kind).glob("*.yaml"))]


class AskedError(Exception):
    """Says that the donors were asked for."""


def asked():
    raise AskedError


@pytest.mark.parametrize("path", FRAGMENTS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_a_part_needs_donors_if_it_asks_for_them(path, monkeypatch):
    monkeypatch.chdir(path.parent)
    kind = {"attacks": Attack, "attributions": Attribution}[path.parent.name]
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(kind, "part")
    part = parser.instantiate(parser.parse_args([f"--part={path}"])).part
    try:
        part.prepare(torch.nn.Identity(), asked)
        needed = False
    except AskedError:
        needed = True
    assert needs_donors(of(part)) is needed


def of(part) -> Grid:
    grid = small_grid()
    if isinstance(part, Attack):
        grid.attacks = {"part": part}
    else:
        grid.attributions = {"part": part}
    return grid


def test_parts_that_hold_others_need_what_these_need():
    assert not needs_donors(of(MatchedGaussian(RandomSign())))
    assert needs_donors(of(MatchedGaussian(EXIAA())))
    assert not needs_donors(of(Softened(Saliency())))


@dataclass(frozen=True)
class Own(Softened):
    def prepare(self, model, donors):
        return self


class OwnGrid(Grid):
    def prepare(self, model, donors):
        """Look at donors that no part needs."""


def test_what_the_users_own_code_does_is_not_known():
    assert needs_donors(of(Own(Saliency())))
    plain = small_grid()
    assert not needs_donors(plain)
    assert needs_donors(OwnGrid(plain.attributions, plain.attacks, dict(plain.metrics.items())))
