from dataclasses import replace

import pytest
import torch
from torch import Tensor

from lit_xai.attacks.base import run_attack
from lit_xai.attacks.coverage_surrogates import LogRatio, NoisyOr, SigmoidMembership
from lit_xai.attacks.criteria import KendallTau, LENSOverlap
from lit_xai.attacks.map_attack import Subject
from lit_xai.attacks.random_sign import RandomSign
from lit_xai.attacks.soft_coverage import SoftCoverage
from lit_xai.attacks.top_k import TopK
from lit_xai.attributions.integrated_gradients import IntegratedGradients
from lit_xai.attributions.saliency import Saliency
from lit_xai.attributions.smooth_grad import SmoothGrad
from lit_xai.metrics.lens import diverse_top_k_mask, lens_precision, lens_recall
from lit_xai.metrics.maps import pixel_map
from lit_xai.noise import Noise
from lit_xai.types import AttackResult
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
    attacked_along_a_path,
)
from tests.contracts import assert_attack_contract, assert_every_field_matters, select


def overlap(result: AttackResult, criterion: LENSOverlap) -> Tensor:
    return criterion.score(pixel_map(result.attribution), pixel_map(result.attribution_adv))


def some_maps(seed: int) -> Tensor:
    """Return maps that sum to one, (4, 8, 8)."""
    maps = torch.rand(4, 8, 8, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).pow(3)
    return maps / maps.sum(dim=(1, 2), keepdim=True)


def climbed(attack: SoftCoverage, clean: Tensor, maps: Tensor, progress: float = 0.0) -> Tensor:
    """Return the objective of all maps."""
    explain = Saliency().bind(torch.nn.Identity(), Noise(0, torch.arange(len(maps))))
    subject = Subject(explain, explain, maps[:, None], torch.zeros(len(maps)).long(), clean, clean)
    objective = attack.objective(subject, Noise(0, torch.arange(len(maps))))
    return objective(maps, torch.arange(len(maps)), progress)


@pytest.mark.parametrize(
    "attribution", [Saliency(), IntegratedGradients(path_steps=3), SmoothGrad(samples=3)]
)
def test_contract(model, batch, attribution):
    attack = SoftCoverage(eps=0.1, step_size=0.04, steps=4, k=5, restarts=2, temperature_end=0.2)
    result = assert_attack_contract(attack, attribution, undecided(model, batch), batch, eps=0.1)
    assert result.kept.all()
    assert (overlap(result, LENSOverlap(5)) < 1).sum() >= 4


@pytest.mark.parametrize(
    ("attribution", "map_of"),
    [
        (Saliency(), saliency_by_hand),
        (IntegratedGradients(path_steps=3, rule="right"), integrated_by_hand),
    ],
)
def test_equals_a_loop_over_images_and_pixels(model, batch, attribution, map_of):
    undecided(model, batch)
    attack = SoftCoverage(
        eps=0.12,
        step_size=0.03,
        steps=6,
        beta=8.0,
        k=6,
        surrogate=SigmoidMembership(),
        temperature=0.4,
        temperature_end=0.4,
    )
    found = run_attack(model, attribution, attack, batch, seed=0).image_adv
    twin = softplus_copy(model, 8.0)
    flipped = worse = 0
    for image, image_adv in zip(batch.image, found, strict=True):
        places = largest(map_of(model, image, int(model(image[None]).argmax())), 6)

        def ascended(maps: Tensor, places: list[int] = places) -> Tensor:
            order = maps.detach().flatten().sort(descending=True).values
            least, total = (order[5] + order[6]) / 2, torch.zeros((), dtype=torch.float64)
            for place in places:
                row, column = divmod(place, 8)
                near = maps[max(0, row - 1) : row + 2, max(0, column - 1) : column + 2]
                total = total - torch.sigmoid((near.max() / least - 1) / 0.4)
            return total

        def criterion(maps: Tensor, places: list[int] = places) -> float:
            others = [divmod(place, 8) for place in largest(maps, 6)]
            near = [
                any(abs(place // 8 - row) <= 1 and abs(place % 8 - column) <= 1 for row, column in others)
                for place in places
            ]
            return sum(near) / 6

        expected, refused, no_better = attacked_by_hand(
            model, twin, map_of, image, ascended, criterion, 1.0, eps=0.12, step_size=0.03, steps=6
        )
        torch.testing.assert_close(image_adv, expected, rtol=0, atol=1e-12)
        flipped, worse = flipped + refused, worse + no_better
    assert flipped >= 1
    assert worse >= 1


@pytest.mark.parametrize(("k", "w"), [(7, 1), (7, 2), (0.2, 1)])
def test_without_temperature_it_climbs_down_the_lens_overlap(k, w):
    clean, maps = some_maps(0), some_maps(1)
    for side, reference in {"precision": lens_precision, "recall": lens_recall}.items():
        attack = SoftCoverage(k=k, w=w, side=side, temperature=1e-6, temperature_end=1e-6)
        expected = -reference(clean, maps, k=13 if k == 0.2 else k, w=w)
        torch.testing.assert_close(climbed(attack, clean, maps), expected, rtol=0, atol=1e-9)


def test_a_diverse_set_is_what_loses_its_cover():
    clean, maps = some_maps(0), some_maps(1)
    found = climbed(SoftCoverage(k=6, w=1, diverse=True, surrogate=NoisyOr()), clean, maps)
    chosen = diverse_top_k_mask(clean, k=6, w=1)
    covered = NoisyOr().covered(maps, k=6, w=1, temperature=SoftCoverage.temperature)
    expected = [-one[mask].mean() for one, mask in zip(covered, chosen, strict=True)]
    torch.testing.assert_close(found, torch.stack(expected), rtol=0, atol=1e-12)


def test_the_temperature_falls_by_a_constant_factor():
    clean, maps = some_maps(0), some_maps(1)
    attack = SoftCoverage(k=7, temperature=0.8, temperature_end=0.05)
    for progress, temperature in {0.0: 0.8, 0.25: 0.4, 0.5: 0.2, 0.75: 0.1}.items():
        constant = replace(attack, temperature=temperature, temperature_end=temperature)
        torch.testing.assert_close(
            climbed(attack, clean, maps, progress), climbed(constant, clean, maps), rtol=0, atol=1e-12
        )


@pytest.mark.parametrize("attribution", [IntegratedGradients(path_steps=3), Saliency()])
def test_beats_random_signs(trained, fashion_batch, attribution):
    attack = SoftCoverage(eps=0.1, step_size=0.02, steps=6, k=100, judge_every=3)
    found = overlap(run_attack(trained, attribution, attack, fashion_batch, seed=0), LENSOverlap(100))
    control = RandomSign(eps=0.1, criterion=LENSOverlap(100))
    random = overlap(run_attack(trained, attribution, control, fashion_batch, seed=0), LENSOverlap(100))
    assert (found < random).double().mean() >= 0.9


def test_takes_more_from_the_overlap_than_top_k_does_at_equal_passes(trained, fashion_batch):
    means, passes = [], []
    options = {"k": 100, "eps": 0.1, "step_size": 0.02, "steps": 8, "judge_every": 4}
    for attack in (SoftCoverage(), TopK(beta=SoftCoverage.beta), TopK()):
        attack = replace(attack, criterion=LENSOverlap(100), **options)  # noqa: PLW2901
        seen: list[int] = []
        handle = trained.register_forward_pre_hook(lambda _, given, seen=seen: seen.append(len(given[0])))
        result = run_attack(trained, Saliency(), attack, fashion_batch, seed=0)
        handle.remove()
        means.append(overlap(result, LENSOverlap(100)).mean())
        passes.append(sum(seen))
    # Those whose overlap is gone take no more, so the counts may differ by a few.
    assert max(passes) <= 1.01 * min(passes)
    assert means[0] < min(means[1:]) - 0.02


@pytest.mark.parametrize(
    ("side", "diverse", "w"), [("recall", False, 1), ("precision", True, 1), ("precision", False, 2)]
)
def test_its_own_score_selects_and_falls(trained, fashion_batch, side, diverse, w):
    batch = select(fashion_batch, slice(0, 16))
    attack = SoftCoverage(
        eps=0.1, step_size=0.02, steps=8, k=40, w=w, side=side, diverse=diverse, judge_every=2
    )
    criterion = LENSOverlap(40, w, side, diverse)
    result = run_attack(trained, Saliency(), attack, batch, seed=0)
    named = run_attack(trained, Saliency(), replace(attack, criterion=criterion), batch, seed=0)
    assert torch.equal(named.image_adv, result.image_adv)
    assert (overlap(result, criterion) < 1).all()


def test_without_curvature_nothing_moves(model, batch, monkeypatch):
    attack = SoftCoverage(eps=0.1, step_size=0.05, steps=3, k=5)
    assert run_attack(model, Saliency(), attack, batch, seed=0).applied.sum() >= 4
    monkeypatch.setattr("lit_xai.attacks.map_attack.SoftplusTwin", lambda network, beta: network)
    assert torch.equal(run_attack(model, Saliency(), attack, batch, seed=0).image_adv, batch.image)


def test_where_windows_fill_the_map_or_nothing_is_given_nothing_moves(model, batch):
    attack = SoftCoverage(eps=0.1, step_size=0.05, steps=3, k=5, w=8)
    result = run_attack(model, Saliency(), attack, batch, seed=0)
    assert torch.equal(result.image_adv, batch.image)
    empty = run_attack(model, Saliency(), attack, select(batch, slice(0, 0)), seed=0)
    assert empty.image_adv.shape == (0, 2, 8, 8)


def test_every_field_matters(model, batch):
    attack = SoftCoverage(
        **SHARED_OPTIONS, beta=5.0, k=5, temperature=0.5, temperature_end=0.4, surrogate=NoisyOr()
    )
    changes = {
        "k": 9,
        "w": 2,
        "side": "recall",
        "diverse": True,
        "surrogate": LogRatio(),
        "temperature": 0.1,
        "temperature_end": 0.05,
    }
    assert_every_field_matters(
        attack,
        {**SHARED_CHANGES, **changes},
        lambda method: attacked_along_a_path(method, model, batch),
    )


def test_refuses_more_pixels_than_there_are(model, batch):
    with pytest.raises(ValueError, match=r"Expected `k` in \[1, 64\], but got 65\."):
        run_attack(model, Saliency(), SoftCoverage(k=65, steps=1), batch, seed=0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        *SHARED_ERRORS,
        *SIZE_ERRORS,
        ({"w": -1}, r"Expected `w` of at least 0, but got -1\."),
        ({"side": "both"}, r"Expected `side` as precision or recall, but got both\."),
        ({"temperature": 0.0}, r"Expected `temperature` above 0, but got 0\."),
        ({"temperature_end": -1.0}, r"Expected `temperature_end` above 0, but got -1\."),
        ({"temperature": float("nan")}, r"Expected `temperature` above 0, but got nan\."),
    ],
)
def test_refuses_options_out_of_range(options, message):
    with pytest.raises(ValueError, match=message):
        SoftCoverage(**options)


def test_the_selection_can_follow_another_score(model, batch):
    attack = SoftCoverage(eps=0.1, step_size=0.03, steps=8, k=5)
    runs = [
        run_attack(model, Saliency(), replace(attack, criterion=criterion), batch, seed=0)
        for criterion in (LENSOverlap(5), KendallTau())
    ]
    assert (overlap(runs[0], LENSOverlap(5)) <= overlap(runs[1], LENSOverlap(5))).all()
    assert not torch.equal(runs[0].image_adv, runs[1].image_adv)
