from dataclasses import dataclass, fields, replace

import pytest
import torch
from torch import Tensor, nn

from lit_xai.attacks.adaptive_steps import AdaptiveSteps
from lit_xai.attacks.base import Criterion, run_attack
from lit_xai.attacks.criteria import Intersection, KendallTau
from lit_xai.attacks.map_attack import MapAttack
from lit_xai.attacks.random_sign import RandomSign
from lit_xai.attacks.stepping import SignSteps
from lit_xai.attacks.top_k import TopK, pushing_out
from lit_xai.attributions.integrated_gradients import IntegratedGradients
from lit_xai.attributions.saliency import Saliency
from lit_xai.attributions.smooth_grad import SmoothGrad
from lit_xai.metrics.maps import pixel_map
from lit_xai.types import AttackResult, Batch
from tests.attacks.test_base import grey, undecided
from tests.attacks.test_iterative import (
    attacked_by_hand,
    integrated_by_hand,
    largest,
    saliency_by_hand,
    softplus_copy,
)
from tests.contracts import assert_attack_contract, assert_every_field_matters

EXPLANATIONS = [Saliency(), IntegratedGradients(path_steps=3), SmoothGrad(samples=3)]


@dataclass(frozen=True)
class Undefined(Criterion):
    """Zero for the clean map, NaN for any other."""

    def score(self, clean_map: Tensor, attacked_map: Tensor) -> Tensor:
        changed = (clean_map != attacked_map).flatten(1).any(dim=1)
        return torch.zeros(len(changed)).masked_fill(changed, float("nan"))


@dataclass(frozen=True)
class Changed(Criterion):
    """Minus one for any map but the clean one."""

    def score(self, clean_map: Tensor, attacked_map: Tensor) -> Tensor:
        return -(clean_map != attacked_map).flatten(1).any(dim=1).double()


# Another working value for each field that map attacks share; see `attacked_along_a_path`.
SHARED_CHANGES = {
    "eps": 0.05,
    "step_size": 0.05,
    "steps": 7,
    "beta": 10.0,
    "restarts": 5,
    "path_steps": 3,
    "judge_every": 4,
    "recover": True,
    "stepping": AdaptiveSteps(),
    "criterion": KendallTau(),
}
SHARED_OPTIONS = {"eps": 0.1, "step_size": 0.06, "steps": 5, "path_steps": 2}
SHARED_ERRORS = [
    ({"eps": 8}, r"Expected `eps` in \(0, 1\], but got 8\. Write 8/255 as 0\.0314\."),
    ({"step_size": 1.5}, r"Expected `step_size` in \(0, 1\], but got 1\.5\."),
    ({"steps": 0}, r"Expected `steps` of at least 1, but got 0\."),
    ({"restarts": 0}, r"Expected `restarts` of at least 1, but got 0\."),
    ({"beta": 0.0}, r"Expected `beta` above 0, but got 0\."),
    ({"path_steps": 0}, r"Expected `path_steps` of at least 1, but got 0\."),
    ({"judge_every": 0}, r"Expected `judge_every` of at least 1, but got 0\."),
]
SIZE_ERRORS = [
    ({"k": size}, rf"Expected `k` as a number of pixels or a share in \(0, 1\), but got {size}\.")
    for size in (0, -3, 2.5)
]


def attacked_along_a_path(attack: MapAttack, model: nn.Module, batch: Batch) -> Tensor:
    """Attack the integral of four points of a network that is easily made to change its mind."""
    explanation = IntegratedGradients(path_steps=4)
    return run_attack(undecided(model, batch), explanation, attack, batch, seed=0).image_adv


def intersection(result: AttackResult, k: int) -> Tensor:
    return Intersection(k).score(pixel_map(result.attribution), pixel_map(result.attribution_adv))


@pytest.mark.parametrize("attribution", EXPLANATIONS)
def test_contract(model, batch, attribution):
    attack = TopK(eps=0.1, step_size=0.04, steps=4, k=9, restarts=2)
    result = assert_attack_contract(attack, attribution, undecided(model, batch), batch, eps=0.1)
    assert result.kept.all()
    assert (intersection(result, 9) < 1).sum() >= 4


@pytest.mark.parametrize("beta", [1.0, 8.0])
@pytest.mark.parametrize(
    ("attribution", "map_of"),
    [
        (Saliency(), saliency_by_hand),
        (IntegratedGradients(path_steps=3, rule="right"), integrated_by_hand),
    ],
)
def test_equals_the_loop_of_the_specification(model, batch, attribution, map_of, beta):
    undecided(model, batch)
    attack = TopK(eps=0.12, step_size=0.03, steps=6, k=12, beta=beta)
    found = run_attack(model, attribution, attack, batch, seed=0).image_adv
    twin = softplus_copy(model, beta)
    flipped = worse = other = 0
    for image, image_adv in zip(batch.image, found, strict=True):
        target = int(model(image[None]).argmax())
        places = largest(map_of(model, image, target), 12)
        other += set(places) != set(largest(map_of(twin, image, target), 12))

        def ascended(maps: Tensor, places: list[int] = places) -> Tensor:
            return -maps.flatten()[places].sum()

        def criterion(maps: Tensor, places: list[int] = places) -> float:
            return len(set(places) & set(largest(maps, 12))) / 12

        expected, refused, no_better = attacked_by_hand(
            model, twin, map_of, image, ascended, criterion, 1.0, eps=0.12, step_size=0.03, steps=6
        )
        torch.testing.assert_close(image_adv, expected, rtol=0, atol=1e-12)
        flipped, worse = flipped + refused, worse + no_better
    # Otherwise the loop would not tell these rules from their absence.
    assert flipped >= 1
    assert worse >= 1
    assert other >= 1


@pytest.mark.parametrize("attribution", [IntegratedGradients(path_steps=3), Saliency()])
def test_beats_random_signs(trained, fashion_batch, attribution):
    attack = TopK(eps=0.1, step_size=0.0125, steps=12, k=100, judge_every=2)
    found = intersection(run_attack(trained, attribution, attack, fashion_batch, seed=0), 100)
    for control in (RandomSign(eps=0.1), RandomSign(eps=0.1, criterion=Intersection(100))):
        random = intersection(run_attack(trained, attribution, control, fashion_batch, seed=0), 100)
        assert (found < random).double().mean() >= 0.9


def test_without_curvature_nothing_moves(model, batch, monkeypatch):
    attack = TopK(eps=0.1, step_size=0.05, steps=3, k=9)
    assert run_attack(model, Saliency(), attack, batch, seed=0).applied.sum() >= 4
    monkeypatch.setattr("lit_xai.attacks.map_attack.SoftplusTwin", lambda network, beta: network)
    assert torch.equal(run_attack(model, Saliency(), attack, batch, seed=0).image_adv, batch.image)
    # Integrated gradients have a slope in the image that their gradient is multiplied by.
    integrated = run_attack(model, IntegratedGradients(path_steps=3), attack, batch, seed=0)
    assert integrated.applied.sum() >= 4


def test_attacks_the_predicted_class(model, batch):
    attack = TopK(eps=0.1, step_size=0.05, steps=3, k=9)
    wrong = batch._replace(label=(model(batch.image).argmax(dim=1) + 1) % 4)
    right = batch._replace(label=model(batch.image).argmax(dim=1))
    first, second = (run_attack(model, Saliency(), attack, one, seed=0) for one in (wrong, right))
    assert torch.equal(first.image_adv, second.image_adv)


def test_a_sample_without_an_acceptable_step_keeps_its_image(model, batch):
    attack = TopK(eps=0.1, step_size=0.05, steps=3, k=64)
    result = run_attack(model, Saliency(), attack, batch, seed=0)
    assert torch.equal(result.image_adv, batch.image)
    assert result.failed.all()


def test_nan_is_never_accepted(model, batch):
    attack = TopK(eps=0.1, step_size=0.05, steps=3, k=9, restarts=2, criterion=Undefined())
    assert torch.equal(run_attack(model, Saliency(), attack, batch, seed=0).image_adv, batch.image)


def test_restarts_never_make_it_worse(model, batch):
    attack = TopK(eps=0.1, step_size=0.05, steps=3, k=9)
    scores = [
        intersection(run_attack(model, Saliency(), replace(attack, restarts=runs), batch, seed=0), 9)
        for runs in (1, 2, 5)
    ]
    assert (scores[1] <= scores[0]).all()
    assert (scores[2] <= scores[1]).all()
    assert (scores[2] < scores[0]).any()


def test_the_first_run_is_the_same_for_every_seed_and_the_others_are_not(model, batch):
    for runs, same in {1: True, 3: False}.items():
        attack = TopK(eps=0.1, step_size=0.05, steps=3, k=9, restarts=runs)
        first, second = (run_attack(model, Saliency(), attack, batch, seed=seed) for seed in (0, 1))
        assert torch.equal(first.image_adv, second.image_adv) == same


def test_the_criterion_decides_which_step_is_returned(model, batch):
    attack = TopK(eps=0.1, step_size=0.03, steps=8, k=9)
    runs = {
        criterion: run_attack(model, Saliency(), replace(attack, criterion=criterion), batch, seed=0)
        for criterion in (Intersection(9), KendallTau())
    }
    for criterion, own in runs.items():
        for other in runs.values():
            own_score, other_score = (
                criterion.score(pixel_map(one.attribution), pixel_map(one.attribution_adv))
                for one in (own, other)
            )
            assert (own_score <= other_score).all()
    default = run_attack(model, Saliency(), attack, batch, seed=0)
    assert torch.equal(default.image_adv, runs[Intersection(9)].image_adv)
    assert not torch.equal(default.image_adv, runs[KendallTau()].image_adv)


def test_works_without_grad_mode(model, batch):
    attack = TopK(eps=0.1, step_size=0.05, steps=3, k=9)
    expected = run_attack(model, Saliency(), attack, batch, seed=0)
    with torch.no_grad():
        found = run_attack(model, Saliency(), attack, batch, seed=0)
    assert torch.equal(found.image_adv, expected.image_adv)


def test_every_field_matters(model, batch):
    assert_every_field_matters(
        TopK(**SHARED_OPTIONS, k=9),
        SHARED_CHANGES | {"k": 20},
        lambda method: attacked_along_a_path(method, model, batch),
    )


def test_a_share_of_the_pixels_is_their_number(model, batch):
    attack = TopK(eps=0.1, step_size=0.05, steps=3, k=13)
    number, share = (
        run_attack(model, Saliency(), replace(attack, k=k), batch, seed=0).image_adv for k in (13, 0.2)
    )
    assert torch.equal(share, number)
    assert not torch.equal(share, batch.image)


def test_defaults_are_the_published_loop(model, batch):
    attack = TopK()
    assert {field.name: getattr(attack, field.name) for field in fields(attack)} == {
        "eps": 8 / 255,
        "step_size": None,
        "steps": 300,
        "beta": 1.0,
        "restarts": 1,
        "path_steps": None,
        "judge_every": 1,
        "recover": False,
        "stepping": SignSteps(),
        "criterion": None,
        "k": 1000,
    }
    once = replace(attack, steps=1, k=9, criterion=Changed())
    result = run_attack(model, IntegratedGradients(path_steps=2), once, grey(batch), seed=0)
    moved = (result.image_adv - result.image).abs()
    assert result.applied.all()
    torch.testing.assert_close(moved, torch.full_like(moved, 0.5 / 255), rtol=0, atol=1e-12)


def test_what_is_pushed_out_is_what_the_chosen_pixels_hold():
    maps, chosen = torch.arange(24.0).view(3, 2, 4), torch.zeros(3, 2, 4, dtype=torch.bool)
    chosen[0, 1, 3], chosen[2, 0, :2], chosen[1] = True, True, True
    objective = pushing_out(chosen)
    assert objective(maps, torch.arange(3), 0.0).tolist() == [-7.0, 0.0, -33.0]
    assert objective(maps[:2], torch.tensor([2, 0]), 0.5).tolist() == [-1.0, -15.0]


def test_no_samples_are_attacked_without_complaint(model, batch):
    none = Batch(*(part[:0] for part in batch))
    result = run_attack(model, IntegratedGradients(path_steps=2), TopK(steps=2, k=9), none, seed=0)
    assert result.image_adv.shape == (0, 2, 8, 8)


def test_refuses_more_pixels_than_there_are(model, batch):
    with pytest.raises(ValueError, match=r"Expected `k` in \[1, 64\], but got 65\."):
        run_attack(model, Saliency(), TopK(k=65, steps=1), batch, seed=0)


@pytest.mark.parametrize(("options", "message"), SHARED_ERRORS + SIZE_ERRORS)
def test_refuses_options_out_of_range(options, message):
    with pytest.raises(ValueError, match=message):
        TopK(**options)


def test_a_network_without_curvature_is_left_alone(batch):
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(128, 4)).double()
    result = run_attack(network, Saliency(), TopK(eps=0.1, step_size=0.05, steps=2, k=5), batch, seed=0)
    assert torch.equal(result.image_adv, batch.image)
