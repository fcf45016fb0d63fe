from dataclasses import replace

import pytest
import torch
from torch import Tensor

from lit_xai.attacks.base import run_attack
from lit_xai.attacks.criteria import Box, RegionShare
from lit_xai.attacks.random_sign import RandomSign
from lit_xai.attacks.target_region import TargetRegion
from lit_xai.attributions.integrated_gradients import IntegratedGradients
from lit_xai.attributions.saliency import Saliency
from lit_xai.attributions.smooth_grad import SmoothGrad
from lit_xai.metrics.maps import pixel_map
from lit_xai.types import AttackResult, Batch
from tests.attacks.test_base import undecided
from tests.attacks.test_iterative import (
    attacked_by_hand,
    integrated_by_hand,
    saliency_by_hand,
    softplus_copy,
)
from tests.attacks.test_top_k import (
    SHARED_CHANGES,
    SHARED_ERRORS,
    SHARED_OPTIONS,
    Undefined,
    attacked_along_a_path,
)
from tests.contracts import assert_attack_contract, assert_every_field_matters

EXPLANATIONS = [Saliency(), IntegratedGradients(path_steps=3), SmoothGrad(samples=3)]
CORNER = Box()
EDGE = Box(top=0.25, left=0.75, bottom=1.0, right=1.0)


def inside(result: AttackResult, region: Box = CORNER) -> Tensor:
    """Return the share of each attacked map inside a region."""
    return -RegionShare(region).score(pixel_map(result.attribution), pixel_map(result.attribution_adv))


@pytest.mark.parametrize("attribution", EXPLANATIONS)
def test_contract(model, batch, attribution):
    attack = TargetRegion(eps=0.1, step_size=0.04, steps=4, restarts=2)
    result = assert_attack_contract(attack, attribution, undecided(model, batch), batch, eps=0.1)
    assert result.kept.all()
    clean = replace(result, attribution_adv=result.attribution)
    assert (inside(result) > inside(clean) + 0.01).sum() >= 4


@pytest.mark.parametrize(
    ("region", "places"),
    [
        (CORNER, [(i, j) for i in range(4) for j in range(4)]),
        (EDGE, [(i, j) for i in range(2, 8) for j in (6, 7)]),
    ],
)
@pytest.mark.parametrize(
    ("attribution", "map_of"),
    [
        (Saliency(), saliency_by_hand),
        (IntegratedGradients(path_steps=3, rule="right"), integrated_by_hand),
    ],
)
def test_equals_the_loop_of_the_specification(model, batch, attribution, map_of, region, places):
    undecided(model, batch)
    attack = TargetRegion(eps=0.12, step_size=0.03, steps=6, beta=2.0, region=region)
    found = run_attack(model, attribution, attack, batch, seed=0).image_adv
    twin = softplus_copy(model, 2.0)
    mask = torch.zeros(8, 8, dtype=torch.float64)
    for i, j in places:
        mask[i, j] = 1.0

    def ascended(maps: Tensor) -> Tensor:
        return (maps * mask).sum()

    def criterion(maps: Tensor) -> float:
        return -sum(maps[i, j].item() for i, j in places) / 64

    flipped = worse = 0
    for image, image_adv in zip(batch.image, found, strict=True):
        clean = map_of(model, image, int(model(image[None]).argmax())).detach()
        expected, refused, no_better = attacked_by_hand(
            model,
            twin,
            map_of,
            image,
            ascended,
            criterion,
            criterion(64 * clean / clean.sum()),
            eps=0.12,
            step_size=0.03,
            steps=6,
        )
        torch.testing.assert_close(image_adv, expected, rtol=0, atol=1e-12)
        flipped, worse = flipped + refused, worse + no_better
    # Otherwise the loop would not tell these rules from their absence.
    assert flipped + worse >= 1


@pytest.mark.parametrize("attribution", [IntegratedGradients(path_steps=3), Saliency()])
def test_beats_random_signs(trained, fashion_batch, attribution):
    attack = TargetRegion(eps=0.1, step_size=0.025, steps=8, judge_every=2)
    found = inside(run_attack(trained, attribution, attack, fashion_batch, seed=0))
    for control in (RandomSign(eps=0.1), RandomSign(eps=0.1, criterion=RegionShare())):
        random = inside(run_attack(trained, attribution, control, fashion_batch, seed=0))
        assert (found > random).double().mean() >= 0.9


def test_the_map_goes_where_the_region_is(model, batch):
    attack = TargetRegion(eps=0.1, step_size=0.03, steps=6)
    regions = [CORNER, EDGE]
    results = [
        run_attack(model, IntegratedGradients(path_steps=3), replace(attack, region=region), batch, seed=0)
        for region in regions
    ]
    for own, other in ((0, 1), (1, 0)):
        ahead = inside(results[own], regions[own]) - inside(results[other], regions[own])
        assert (ahead > 0.05).all()


def test_without_curvature_nothing_moves(model, batch, monkeypatch):
    attack = TargetRegion(eps=0.1, step_size=0.05, steps=3)
    assert run_attack(model, Saliency(), attack, batch, seed=0).applied.sum() >= 4
    monkeypatch.setattr("lit_xai.attacks.map_attack.SoftplusTwin", lambda network, beta: network)
    assert torch.equal(run_attack(model, Saliency(), attack, batch, seed=0).image_adv, batch.image)


def test_the_share_inside_its_own_region_selects_by_default(model, batch):
    attack = TargetRegion(eps=0.1, step_size=0.03, steps=8, region=EDGE)
    default, named, other = (
        run_attack(model, Saliency(), one, batch, seed=0).image_adv
        for one in (
            attack,
            replace(attack, criterion=RegionShare(EDGE)),
            replace(attack, criterion=RegionShare(CORNER)),
        )
    )
    assert torch.equal(default, named)
    assert not torch.equal(default, other)


def test_nan_is_never_accepted(model, batch):
    attack = TargetRegion(eps=0.1, step_size=0.05, steps=3, restarts=2, criterion=Undefined())
    assert torch.equal(run_attack(model, Saliency(), attack, batch, seed=0).image_adv, batch.image)


def test_no_samples_are_attacked_without_complaint(model, batch):
    none = Batch(*(part[:0] for part in batch))
    result = run_attack(model, Saliency(), TargetRegion(steps=2), none, seed=0)
    assert result.image_adv.shape == (0, 2, 8, 8)


def test_every_field_matters(model, batch):
    assert_every_field_matters(
        TargetRegion(**SHARED_OPTIONS),
        SHARED_CHANGES | {"region": EDGE},
        lambda method: attacked_along_a_path(method, model, batch),
    )


@pytest.mark.parametrize(
    ("region", "size"), [(Box(bottom=0.05), 0), (Box(bottom=1.0, right=0.97), 64), (Box(0.51, 0, 0.55, 1), 0)]
)
def test_refuses_a_region_of_no_pixel_or_of_all(model, batch, region, size):
    with pytest.raises(ValueError, match=rf"Expected a region of some of the 64 pixels, but got {size}\."):
        run_attack(model, Saliency(), TargetRegion(steps=1, region=region), batch, seed=0)


@pytest.mark.parametrize(("options", "message"), SHARED_ERRORS)
def test_refuses_options_out_of_range(options, message):
    with pytest.raises(ValueError, match=message):
        TargetRegion(**options)
