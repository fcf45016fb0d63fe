import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from lit_xai.attacks import mass_center
from lit_xai.attacks.base import run_attack
from lit_xai.attacks.criteria import CenterDistance
from lit_xai.attacks.iterative import relative_map
from lit_xai.attacks.map_attack import Subject
from lit_xai.attacks.mass_center import MassCenter
from lit_xai.attacks.random_sign import RandomSign
from lit_xai.attributions.base import Explain
from lit_xai.attributions.integrated_gradients import IntegratedGradients
from lit_xai.attributions.saliency import Saliency
from lit_xai.attributions.smooth_grad import SmoothGrad
from lit_xai.metrics.maps import pixel_map
from lit_xai.noise import Noise
from lit_xai.types import AttackResult, Batch
from tests.attacks.test_base import undecided
from tests.attacks.test_iterative import (
    attacked_by_hand,
    integrated_by_hand,
    normalised,
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


def shift(result: AttackResult) -> Tensor:
    return CenterDistance().score(pixel_map(result.attribution), pixel_map(result.attribution_adv))


def center_by_hand(maps: Tensor) -> Tensor:
    """Return the centre of a map whose values sum to H W, as section 2.2 of the specification does."""
    height, width = maps.shape
    row = sum(maps[i, j] * i for i in range(height) for j in range(width)) / (height * width)
    column = sum(maps[i, j] * j for i in range(height) for j in range(width)) / (height * width)
    return torch.stack([row, column])


@pytest.mark.parametrize("attribution", EXPLANATIONS)
@pytest.mark.parametrize("reference", ["offset", "truncated"])
def test_contract(model, batch, attribution, reference):
    attack = MassCenter(eps=0.1, step_size=0.04, steps=4, restarts=2, reference=reference)
    result = assert_attack_contract(attack, attribution, undecided(model, batch), batch, eps=0.1)
    assert result.kept.all()
    assert (shift(result) < -0.01).sum() >= 4


@pytest.mark.parametrize("reference", ["offset", "truncated"])
@pytest.mark.parametrize(
    ("attribution", "map_of"),
    [
        (Saliency(), saliency_by_hand),
        (IntegratedGradients(path_steps=3, rule="right"), integrated_by_hand),
    ],
)
def test_equals_the_loop_of_the_specification(model, batch, attribution, map_of, reference):
    undecided(model, batch)
    attack = MassCenter(eps=0.12, step_size=0.03, steps=6, beta=2.0, reference=reference)
    found = run_attack(model, attribution, attack, batch, seed=0).image_adv
    twin = softplus_copy(model, 2.0)
    noise = Noise(0, batch.sample_id).child("attack").child("direction").child(0)
    draws = noise.normal(torch.zeros(6, 2, dtype=torch.float64))
    flipped = worse = 0
    for row, image in enumerate(batch.image):
        target = int(model(image[None]).argmax())
        origin = center_by_hand(normalised(map_of(model, image, target).detach()))
        start = center_by_hand(normalised(map_of(twin, image, target).detach()))
        away = 0.5 * draws[row] / math.hypot(*draws[row].tolist())
        fixed = start + away if reference == "offset" else torch.tensor([float(int(x)) for x in start])

        def ascended(maps: Tensor, fixed: Tensor = fixed) -> Tensor:
            return (center_by_hand(maps) - fixed).square().sum()

        def criterion(maps: Tensor, origin: Tensor = origin) -> float:
            return -math.dist(center_by_hand(maps).tolist(), origin.tolist())

        expected, refused, no_better = attacked_by_hand(
            model, twin, map_of, image, ascended, criterion, 0.0, eps=0.12, step_size=0.03, steps=6
        )
        torch.testing.assert_close(found[row], expected, rtol=0, atol=1e-12)
        flipped, worse = flipped + refused, worse + no_better
    # Otherwise the loop would not tell these rules from their absence.
    assert flipped >= 1
    assert worse >= 1


# With softplus at its default sharpness the saliency of the twin is too unlike the network's.
@pytest.mark.parametrize(
    ("attribution", "beta"), [(IntegratedGradients(path_steps=3), 1.0), (Saliency(), 10.0)]
)
def test_beats_random_signs(trained, fashion_batch, attribution, beta):
    attack = MassCenter(eps=0.1, step_size=0.025, steps=8, judge_every=2, beta=beta)
    found = shift(run_attack(trained, attribution, attack, fashion_batch, seed=0))
    for control in (RandomSign(eps=0.1), RandomSign(eps=0.1, criterion=CenterDistance())):
        random = shift(run_attack(trained, attribution, control, fashion_batch, seed=0))
        assert (found < random).double().mean() >= 0.9


def test_without_curvature_nothing_moves(model, batch, monkeypatch):
    attack = MassCenter(eps=0.1, step_size=0.05, steps=3)
    assert run_attack(model, Saliency(), attack, batch, seed=0).applied.sum() >= 4
    monkeypatch.setattr("lit_xai.attacks.map_attack.SoftplusTwin", lambda network, beta: network)
    assert torch.equal(run_attack(model, Saliency(), attack, batch, seed=0).image_adv, batch.image)


def test_from_the_exact_centre_nothing_moves(model, batch, monkeypatch):
    monkeypatch.setattr(mass_center, "_OFFSET", 0.0)
    result = run_attack(model, Saliency(), MassCenter(eps=0.1, step_size=0.05, steps=3), batch, seed=0)
    assert torch.equal(result.image_adv, batch.image)


def test_only_the_offset_depends_on_the_seed(model, batch):
    for reference, same in {"offset": False, "truncated": True}.items():
        attack = MassCenter(eps=0.1, step_size=0.05, steps=3, reference=reference)
        first, second = (run_attack(model, Saliency(), attack, batch, seed=seed) for seed in (0, 1))
        assert torch.equal(first.image_adv, second.image_adv) == same


def test_nan_is_never_accepted(model, batch):
    attack = MassCenter(eps=0.1, step_size=0.05, steps=3, restarts=2, criterion=Undefined())
    assert torch.equal(run_attack(model, Saliency(), attack, batch, seed=0).image_adv, batch.image)


def test_restarts_never_make_it_worse(model, batch):
    attack = MassCenter(eps=0.1, step_size=0.05, steps=3)
    scores = [
        shift(run_attack(model, Saliency(), replace(attack, restarts=runs), batch, seed=0))
        for runs in (1, 2, 5)
    ]
    assert (scores[1] <= scores[0]).all()
    assert (scores[2] <= scores[1]).all()
    assert (scores[2] < scores[0]).any()


def test_the_default_criterion_is_the_distance_of_the_centres(model, batch):
    attack = MassCenter(eps=0.1, step_size=0.03, steps=8)
    default, named = (
        run_attack(model, Saliency(), one, batch, seed=0)
        for one in (attack, replace(attack, criterion=CenterDistance()))
    )
    assert torch.equal(default.image_adv, named.image_adv)


def test_samples_that_go_on_keep_their_own_reference(model, batch):
    noise, target = Noise(0, batch.sample_id), model(batch.image).argmax(dim=1)
    explain, rows = Explain(Saliency(), model, noise), torch.tensor([1, 2, 5])
    maps = relative_map(explain, batch.image, target).detach()
    objective = MassCenter().objective(Subject(explain, explain, batch.image, target, maps, maps), noise)
    moved = maps.flip(1, 2)
    everyone = objective(moved, torch.arange(6), 0.0)
    torch.testing.assert_close(objective(moved[rows], rows, 0.0), everyone[rows], rtol=0, atol=1e-12)
    assert (objective(moved[rows], torch.arange(3), 0.0) - everyone[rows]).abs().min() > 0.01


def test_every_field_matters(model, batch):
    assert_every_field_matters(
        MassCenter(**SHARED_OPTIONS),
        SHARED_CHANGES | {"reference": "truncated"},
        lambda method: attacked_along_a_path(method, model, batch),
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        *SHARED_ERRORS,
        ({"reference": "exact"}, r"Expected `reference` as offset or truncated, but got exact\."),
    ],
)
def test_refuses_options_out_of_range(options, message):
    with pytest.raises(ValueError, match=message):
        MassCenter(**options)


@pytest.mark.parametrize("reference", ["offset", "truncated"])
def test_no_samples_are_attacked_without_complaint(model, batch, reference):
    none = Batch(*(part[:0] for part in batch))
    result = run_attack(model, Saliency(), MassCenter(steps=2, reference=reference), none, seed=0)
    assert result.image_adv.shape == (0, 2, 8, 8)
