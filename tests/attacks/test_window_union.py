from dataclasses import replace

import pytest
import torch
from torch import Tensor

from lit_xai.attacks.base import run_attack
from lit_xai.attacks.criteria import Intersection, LENSOverlap
from lit_xai.attacks.random_sign import RandomSign
from lit_xai.attacks.top_k import TopK
from lit_xai.attacks.window_union import WindowUnion
from lit_xai.attributions.integrated_gradients import IntegratedGradients
from lit_xai.attributions.saliency import Saliency
from lit_xai.attributions.smooth_grad import SmoothGrad
from lit_xai.metrics.maps import pixel_map
from lit_xai.types import AttackResult, Batch
from tests.attacks.test_base import undecided
from tests.attacks.test_iterative import (
    attacked_by_hand,
    integrated_by_hand,
    largest,
    saliency_by_hand,
    softplus_copy,
)
from tests.attacks.test_top_k import (
    SHARED_CHANGES,
    SHARED_ERRORS,
    SHARED_OPTIONS,
    SIZE_ERRORS,
    Undefined,
    attacked_along_a_path,
)
from tests.contracts import assert_attack_contract, assert_every_field_matters

EXPLANATIONS = [Saliency(), IntegratedGradients(path_steps=3), SmoothGrad(samples=3)]


def left_near(result: AttackResult, k: int, w: int = 1) -> Tensor:
    criterion = LENSOverlap(k, w, side="recall")
    return criterion.score(pixel_map(result.attribution), pixel_map(result.attribution_adv))


def union_by_hand(places: list[int], w: int) -> list[int]:
    """Return the flat places of 8 x 8 pixels no further than w from one of some places, borders cut."""
    return [
        place
        for place in range(64)
        if any(abs(place // 8 - one // 8) <= w and abs(place % 8 - one % 8) <= w for one in places)
    ]


@pytest.mark.parametrize("attribution", EXPLANATIONS)
def test_contract(model, batch, attribution):
    attack = WindowUnion(eps=0.1, step_size=0.04, steps=4, k=4, restarts=2)
    result = assert_attack_contract(attack, attribution, undecided(model, batch), batch, eps=0.1)
    assert result.kept.all()
    assert (left_near(result, 4) < 1).sum() >= 4


@pytest.mark.parametrize("w", [1, 2])
@pytest.mark.parametrize(
    ("attribution", "map_of"),
    [
        (Saliency(), saliency_by_hand),
        (IntegratedGradients(path_steps=3, rule="right"), integrated_by_hand),
    ],
)
def test_equals_the_loop_of_the_specification(model, batch, attribution, map_of, w):
    undecided(model, batch)
    attack = WindowUnion(eps=0.12, step_size=0.03, steps=6, k=5, w=w, beta=2.0)
    found = run_attack(model, attribution, attack, batch, seed=0).image_adv
    twin = softplus_copy(model, 2.0)
    flipped = worse = bordering = 0
    for image, image_adv in zip(batch.image, found, strict=True):
        target = int(model(image[None]).argmax())
        places = largest(map_of(model, image, target), 5)
        union = union_by_hand(places, w)
        bordering += any(place // 8 in (0, 7) or place % 8 in (0, 7) for place in places)

        def ascended(maps: Tensor, union: list[int] = union) -> Tensor:
            return -maps.flatten()[union].sum()

        def criterion(maps: Tensor, union: list[int] = union) -> float:
            return len(set(union) & set(largest(maps, 5))) / 5

        expected, refused, no_better = attacked_by_hand(
            model, twin, map_of, image, ascended, criterion, 1.0, eps=0.12, step_size=0.03, steps=6
        )
        torch.testing.assert_close(image_adv, expected, rtol=0, atol=1e-12)
        flipped, worse = flipped + refused, worse + no_better
    # Otherwise the loop would not tell these rules from their absence.
    assert flipped >= 1
    assert worse >= 1
    assert bordering >= 1


@pytest.mark.parametrize("attribution", [IntegratedGradients(path_steps=3), Saliency()])
def test_beats_random_signs(trained, fashion_batch, attribution):
    attack = WindowUnion(eps=0.1, step_size=0.025, steps=8, k=20, judge_every=2)
    found = left_near(run_attack(trained, attribution, attack, fashion_batch, seed=0), 20)
    for control in (RandomSign(eps=0.1), RandomSign(eps=0.1, criterion=LENSOverlap(20, side="recall"))):
        random = left_near(run_attack(trained, attribution, control, fashion_batch, seed=0), 20)
        assert (found < random).double().mean() >= 0.9


def test_without_windows_it_is_the_attack_on_the_largest_pixels(model, batch):
    options = {"eps": 0.1, "step_size": 0.03, "steps": 6, "k": 9, "restarts": 2}
    explanation = IntegratedGradients(path_steps=3)
    found, expected, wider = (
        run_attack(undecided(model, batch), explanation, attack, batch, seed=0).image_adv
        for attack in (WindowUnion(**options, w=0), TopK(**options), WindowUnion(**options))
    )
    assert torch.equal(found, expected)
    assert not torch.equal(found, wider)


def test_without_curvature_nothing_moves(model, batch, monkeypatch):
    attack = WindowUnion(eps=0.1, step_size=0.05, steps=3, k=4)
    assert run_attack(model, Saliency(), attack, batch, seed=0).applied.sum() >= 3
    monkeypatch.setattr("lit_xai.attacks.map_attack.SoftplusTwin", lambda network, beta: network)
    assert torch.equal(run_attack(model, Saliency(), attack, batch, seed=0).image_adv, batch.image)


def test_windows_that_are_the_whole_map_leave_nothing_to_push_out(model, batch):
    attack = WindowUnion(eps=0.1, step_size=0.05, steps=3, k=4, w=7, criterion=Intersection(4))
    result = run_attack(model, Saliency(), attack, batch, seed=0)
    assert torch.equal(result.image_adv, batch.image)
    assert result.failed.all()


def test_what_is_left_in_the_windows_selects_by_default(model, batch):
    attack = WindowUnion(eps=0.1, step_size=0.03, steps=8, k=4)
    default, recall, precision = (
        run_attack(model, Saliency(), one, batch, seed=0).image_adv
        for one in (
            attack,
            replace(attack, criterion=LENSOverlap(4, 1, side="recall")),
            replace(attack, criterion=LENSOverlap(4, 1)),
        )
    )
    assert torch.equal(default, recall)
    assert not torch.equal(default, precision)


def test_nan_is_never_accepted(model, batch):
    attack = WindowUnion(eps=0.1, step_size=0.05, steps=3, k=4, restarts=2, criterion=Undefined())
    assert torch.equal(run_attack(model, Saliency(), attack, batch, seed=0).image_adv, batch.image)


def test_a_share_of_the_pixels_is_their_number(model, batch):
    attack = WindowUnion(eps=0.1, step_size=0.05, steps=3, k=6)
    number, share = (
        run_attack(model, Saliency(), replace(attack, k=k), batch, seed=0).image_adv for k in (6, 0.1)
    )
    assert torch.equal(share, number)
    assert not torch.equal(share, batch.image)


def test_no_samples_are_attacked_without_complaint(model, batch):
    none = Batch(*(part[:0] for part in batch))
    result = run_attack(model, Saliency(), WindowUnion(steps=2, k=4), none, seed=0)
    assert result.image_adv.shape == (0, 2, 8, 8)


def test_every_field_matters(model, batch):
    assert_every_field_matters(
        WindowUnion(**SHARED_OPTIONS, k=4),
        SHARED_CHANGES | {"k": 9, "w": 2},
        lambda method: attacked_along_a_path(method, model, batch),
    )


def test_refuses_more_pixels_than_there_are(model, batch):
    with pytest.raises(ValueError, match=r"Expected `k` in \[1, 64\], but got 65\."):
        run_attack(model, Saliency(), WindowUnion(k=65, steps=1), batch, seed=0)


@pytest.mark.parametrize(
    ("options", "message"),
    [*SHARED_ERRORS, *SIZE_ERRORS, ({"w": -1}, r"Expected `w` of at least 0, but got -1\.")],
)
def test_refuses_options_out_of_range(options, message):
    with pytest.raises(ValueError, match=message):
        WindowUnion(**options)
