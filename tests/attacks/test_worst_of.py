from dataclasses import dataclass, field, replace
from itertools import permutations
from pathlib import Path
from typing import ClassVar

import pytest
import torch
from jsonargparse import ArgumentError, ArgumentParser
from torch import Tensor, nn

from lit_xai.attacks.adaptive_steps import AdaptiveSteps
from lit_xai.attacks.base import Attack, Criterion, run_attack
from lit_xai.attacks.criteria import Intersection, KendallTau
from lit_xai.attacks.exiaa import EXIAA
from lit_xai.attacks.gaussian import GaussianInjection
from lit_xai.attacks.goals import Frame
from lit_xai.attacks.mass_center import MassCenter
from lit_xai.attacks.random_sign import RandomSign
from lit_xai.attacks.target_map import TargetMap
from lit_xai.attacks.top_k import TopK
from lit_xai.attacks.unattacked import Unattacked
from lit_xai.attacks.worst_of import WorstOf
from lit_xai.attributions.base import Explain
from lit_xai.attributions.guided_ig import GuidedIG
from lit_xai.attributions.integrated_gradients import IntegratedGradients
from lit_xai.attributions.saliency import Saliency
from lit_xai.attributions.smooth_grad import SmoothGrad
from lit_xai.evaluation.composition import check_parts
from lit_xai.gate import evaluating
from lit_xai.metrics.maps import pixel_map
from lit_xai.metrics.prediction import PredictionKept
from lit_xai.noise import Noise
from lit_xai.types import AttackResult, Batch
from tests.attacks.test_base import Shift, undecided
from tests.attacks.test_exiaa import runners_up
from tests.attacks.test_iterative import BrightCorner, Mean, Pixels, canvas, largest, saliency_by_hand
from tests.conftest import tiny_batch
from tests.contracts import Untouched, assert_attack_contract, assert_every_field_matters, select

STANDARD = Path(__file__).parents[2] / "configs" / "attacks" / "standard.yaml"
EXPLANATIONS = [Saliency(), IntegratedGradients(path_steps=3), SmoothGrad(samples=3)]
BY = Intersection(9)
MEMBERS = {
    "top_k": TopK(eps=0.1, step_size=0.04, steps=3, k=9, restarts=2),
    "center": MassCenter(eps=0.1, step_size=0.06, steps=4),
    "signs": RandomSign(eps=0.1, step_size=0.05, steps=4, restarts=3, criterion=BY),
}


@dataclass(frozen=True)
class Fade(Attack):
    """Multiply images by a number, and write down which values it was asked for."""

    by: float
    seen: list[float] = field(default_factory=list, compare=False)
    needs_gradient: ClassVar[bool] = False

    def perturb(
        self, model: nn.Module, explain: Explain, image: Tensor, target: Tensor, noise: Noise
    ) -> Tensor:
        self.seen.extend(image[:, 0, 1, 1].tolist())
        return self.by * image


@dataclass(frozen=True)
class DarkOnly(Fade):
    """Fade dark images, and fail if there is another."""

    def eligible(self, image: Tensor, logits: Tensor) -> Tensor:
        assert len(image) == len(logits)
        return image[:, 0, 1, 1] < 0.35

    def perturb(
        self, model: nn.Module, explain: Explain, image: Tensor, target: Tensor, noise: Noise
    ) -> Tensor:
        assert (image[:, 0, 1, 1] < 0.35).all()
        return super().perturb(model, explain, image, target, noise)


@dataclass(frozen=True)
class MeanFrom(Mean):
    """The mean of the attacked map, which falls to zero at most."""

    lowest: ClassVar[float] = 0.0


@dataclass(frozen=True)
class Undefined(Criterion):
    """Zero for the clean map, NaN for any other."""

    def score(self, clean_map: Tensor, attacked_map: Tensor) -> Tensor:
        changed = (clean_map != attacked_map).flatten(1).any(dim=1)
        return torch.zeros(len(changed)).masked_fill(changed, float("nan"))


def scores(result: AttackResult, criterion: Criterion = BY) -> Tensor:
    return criterion.score(pixel_map(result.attribution), pixel_map(result.attribution_adv))


def attacked(model: nn.Module, attack: Attack, batch: Batch) -> Tensor:
    return run_attack(model, Saliency(), attack, batch, seed=0).image_adv


def alone(model: nn.Module, attack: Attack, batch: Batch, *streams: str) -> Tensor:
    """Run one attack on the saliency with the draws that it has as a member of that name."""
    noise = Noise(0, batch.sample_id)
    explain = Saliency().bind(model, noise.child("attribution"))
    draws = noise.child("attack")
    for stream in streams:
        draws = draws.child(stream)
    with evaluating(model):
        return attack.perturb(model, explain, batch.image, model(batch.image).argmax(dim=1), draws)


def faded(attack: Attack, *values: float, corner: float = 0.0) -> Tensor:
    """Attack grey images of 2 x 2 pixels that explain themselves, and return their last pixel."""
    image = canvas(*values, corner=corner)
    batch = Batch(image, torch.zeros(len(image)).long(), torch.arange(len(image)))
    return run_attack(BrightCorner(), Pixels(), attack, batch, seed=0).image_adv[:, 0, 1, 1]


def build(*arguments: str) -> WorstOf:
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(Attack, "attack")
    return parser.instantiate(parser.parse_args([*arguments])).attack


@pytest.mark.parametrize("attribution", EXPLANATIONS)
def test_contract(model, batch, attribution):
    short = {name: replace(member, steps=3, restarts=1) for name, member in MEMBERS.items()}
    attack = WorstOf(short, BY)
    result = assert_attack_contract(attack, attribution, undecided(model, batch), batch, eps=0.1)
    assert result.kept.all()
    assert (scores(result) < 1).sum() >= 4


def overlap_by_hand(model: nn.Module, image: Tensor, moved: Tensor, target: int) -> float:
    before, after = (largest(saliency_by_hand(model, one, target), 9) for one in (image, moved))
    return len(set(before) & set(after)) / 9


def test_equals_a_loop_over_members_and_samples(model):
    batch = tiny_batch(samples=24)
    undecided(model, batch)
    members = {**MEMBERS, "noise": GaussianInjection(alpha=0.4, k=0.4)}
    found = attacked(model, WorstOf(members, BY), batch)
    members["center"] = replace(MEMBERS["center"], criterion=BY)
    outcomes = {name: alone(model, member, batch, name) for name, member in members.items()}
    winners: dict[str, int] = {}
    lost = 0
    for row, image in enumerate(batch.image):
        target = int(model(image[None]).argmax())
        best, expected, winner = 1.0, image, "none"
        for name, images in outcomes.items():
            moved = images[row]
            kept = int(model(moved[None]).argmax()) == target
            score = overlap_by_hand(model, image, moved, target)
            lost += not kept
            if kept and score < best:
                best, expected, winner = score, moved, name
        assert torch.equal(found[row], expected)
        winners[winner] = winners.get(winner, 0) + 1
    assert winners.keys() >= members.keys()
    assert lost >= 1


def test_is_at_least_as_strong_as_each_member_on_each_sample(model):
    batch = tiny_batch(samples=32, seed=5)
    whole = scores(run_attack(model, Saliency(), WorstOf(MEMBERS, BY), batch, seed=0))
    target = model(batch.image).argmax(dim=1)
    explain = Saliency().bind(model, Noise(0, batch.sample_id))
    clean = pixel_map(explain(batch.image, target))
    each = []
    for name, member in MEMBERS.items():
        moved = alone(model, replace(member, criterion=BY), batch, name)
        assert torch.equal(model(moved).argmax(dim=1), target)
        each.append(BY.score(clean, pixel_map(explain(moved, target))))
    assert torch.equal(whole, torch.stack(each).amin(dim=0))
    assert all((whole < one).sum() >= 3 for one in each)


def test_a_member_that_draws_nothing_is_the_same_alone(model, batch):
    member = TopK(eps=0.1, step_size=0.04, steps=3, k=9)
    assert torch.equal(attacked(model, WorstOf({"any": member}, BY), batch), attacked(model, member, batch))


def test_the_order_of_members_does_not_change_the_score(model):
    batch = tiny_batch(samples=16)
    found = [
        scores(run_attack(model, Saliency(), WorstOf({name: MEMBERS[name] for name in order}, BY), batch, 0))
        for order in permutations(MEMBERS)
    ]
    assert all(torch.equal(one, found[0]) for one in found[1:])
    assert found[0].unique().numel() >= 3


def test_another_member_does_not_change_what_one_finds(model, batch):
    signs = RandomSign(eps=0.1, steps=4, step_size=0.05)
    expected = alone(model, replace(signs, criterion=BY), batch, "signs")
    for others in ({}, {"a": Unattacked()}, {"a": Unattacked(), "b": Unattacked()}):
        assert torch.equal(attacked(model, WorstOf({**others, "signs": signs}, BY), batch), expected)
    assert not torch.equal(attacked(model, WorstOf({"other": signs}, BY), batch), expected)
    twins = WorstOf({"signs": signs, "other": signs}, BY)
    both, one = (
        scores(run_attack(model, Saliency(), attack, batch, seed=0))
        for attack in (twins, WorstOf({"signs": signs}, BY))
    )
    assert (both <= one).all()
    assert (both < one).any()


def test_members_leave_out_samples_that_are_finished():
    first, second, third = DarkOnly(0.0), Fade(0.5), Fade(0.4)
    attack = WorstOf({"first": first, "second": second, "third": third}, MeanFrom())
    assert faded(attack, 0.3, 0.4, 0.2, 0.6).tolist() == pytest.approx([0.0, 0.16, 0.0, 0.24])
    assert first.seen == pytest.approx([0.3, 0.2])
    assert second.seen == third.seen == pytest.approx([0.4, 0.6])


def test_leaving_out_finished_samples_changes_nothing():
    members = {"first": DarkOnly(0.0), "second": Fade(0.5), "third": Fade(0.0)}
    early, late = (faded(WorstOf(members, by), 0.3, 0.4, 0.2, 0.6) for by in (MeanFrom(), Mean()))
    assert torch.equal(early, late)
    assert members["second"].seen == pytest.approx([0.4, 0.6, 0.3, 0.4, 0.2, 0.6])


def test_the_first_of_two_equal_members_is_kept():
    @dataclass(frozen=True)
    class Turned(Fade):
        """Fade, and turn the image upside down, which keeps the mean."""

        def perturb(self, model, explain, image, target, noise):
            return super().perturb(model, explain, image, target, noise).flip(2)

    image = canvas(0.4)
    image[0, 0, 0, 1] = 0.2
    batch = Batch(image, torch.zeros(1).long(), torch.zeros(1).long())
    members = {"plain": Fade(0.5), "turned": Turned(0.5)}
    for order, expected in {
        ("plain", "turned"): 0.5 * image,
        ("turned", "plain"): 0.5 * image.flip(2),
    }.items():
        attack = WorstOf({name: members[name] for name in order}, Mean())
        assert torch.equal(run_attack(BrightCorner(), Pixels(), attack, batch, seed=0).image_adv, expected)


def test_an_outcome_of_another_class_is_refused_however_low_its_score():
    # The first pixel decides, and falls below one half.
    assert faded(WorstOf({"a": Fade(0.1), "b": Fade(0.9)}, Mean()), 0.5, corner=0.6).item() == 0.9 * 0.5
    assert faded(WorstOf({"a": Fade(0.1)}, Mean()), 0.5, corner=0.6).item() == 0.5


def test_an_outcome_that_is_no_worse_than_the_clean_map_is_refused():
    assert faded(WorstOf({"a": Fade(1.2), "b": Fade(1.5)}, Mean()), 0.5).item() == 0.5


def test_nan_is_never_accepted(model, batch):
    attack = WorstOf({"signs": RandomSign(eps=0.1), "top_k": MEMBERS["top_k"]}, Undefined())
    assert torch.equal(attacked(model, attack, batch), batch.image)


def test_no_samples(model, batch):
    assert attacked(model, WorstOf(MEMBERS, BY), select(batch, slice(0, 0))).shape == (0, 2, 8, 8)


def test_a_member_is_tried_on_the_samples_that_are_eligible_for_it(model):
    members = {"dark": DarkOnly(0.2), "other": DarkOnly(0.1)}
    assert faded(WorstOf(members, Mean()), 0.3, 0.4).tolist() == pytest.approx([0.03, 0.4])
    image = canvas(0.3, 0.4)
    logits = torch.zeros(2, 2)
    assert WorstOf(members, Mean()).eligible(image, logits).tolist() == [True, False]
    assert WorstOf({**members, "any": Fade(0.5)}, Mean()).eligible(image, logits).tolist() == [True, True]


def test_the_radius_of_the_whole_is_given_to_the_members_that_have_one(model, batch):
    members = {**MEMBERS, "fade": Fade(0.99)}
    smaller = {name: replace(member, eps=0.03) for name, member in MEMBERS.items()}
    found = attacked(model, WorstOf(members, BY, eps=0.03), batch)
    assert torch.equal(found, attacked(model, WorstOf({**smaller, "fade": Fade(0.99)}, BY), batch))
    assert not torch.equal(found, attacked(model, WorstOf(members, BY), batch))
    assert WorstOf(members, BY, eps=0.03).attacks == members


def test_the_radius_is_the_largest_of_the_members():
    near, far = RandomSign(eps=0.1), RandomSign(eps=0.3)
    assert WorstOf({"near": near, "far": far}, BY).radius == 0.3
    assert WorstOf({"near": near, "far": far}, BY, eps=0.2).radius == 0.2
    assert WorstOf({"near": near, "exiaa": EXIAA()}, BY).radius == 1.0
    assert WorstOf({"near": near, "exiaa": EXIAA()}, BY, eps=0.2).radius == 1.0
    inner = WorstOf({"far": far}, BY)
    assert WorstOf({"near": near, "inner": inner}, BY).radius == 0.3
    assert WorstOf({"near": near, "inner": inner}, BY, eps=0.2).radius == 0.2


def test_a_member_that_leaves_its_own_radius_is_refused_within_the_largest(model, batch):
    grey = batch._replace(image=0.3 + 0.2 * batch.image)
    members = {"shift": Shift(by=0.2, eps=0.1), "signs": RandomSign(eps=0.3)}
    with pytest.raises(ValueError, match=r"Expected Shift within `eps` 0\.1, but got a distance of 0\.2\."):
        run_attack(model, Saliency(), WorstOf(members, BY), grey, seed=0)


def test_the_whole_is_held_to_its_radius(model, batch):
    @dataclass(frozen=True)
    class Careless(WorstOf):
        """Return more than it promises."""

        def perturb(self, model, explain, image, target, noise):
            return image + 0.2

    grey = batch._replace(image=0.3 + 0.2 * batch.image)
    with pytest.raises(
        ValueError, match=r"Expected Careless within `eps` 0\.1, but got a distance of 0\.2\."
    ):
        run_attack(model, Saliency(), Careless({"signs": RandomSign(eps=0.1)}, BY), grey, seed=0)


@pytest.mark.parametrize("name", ["top_k", "center"])
def test_a_member_without_a_criterion_takes_that_of_the_whole(model, batch, name):
    member, by = replace(MEMBERS[name], steps=8), KendallTau()
    found = attacked(model, WorstOf({name: member}, by), batch)
    assert torch.equal(found, alone(model, replace(member, criterion=by), batch, name))
    assert not torch.equal(found, alone(model, member, batch, name))
    own = replace(member, criterion=Intersection(20))
    kept = alone(model, own, batch, name)
    assert not torch.equal(kept, found)
    assert (by.score(*maps_of(model, batch, kept)) < 1).all()
    assert torch.equal(attacked(model, WorstOf({name: own}, by), batch), kept)


def maps_of(model: nn.Module, batch: Batch, moved: Tensor) -> tuple[Tensor, Tensor]:
    target = model(batch.image).argmax(dim=1)
    explain = Saliency().bind(model, Noise(0, batch.sample_id))
    return pixel_map(explain(batch.image, target)), pixel_map(explain(moved, target))


def test_a_walk_without_a_criterion_is_chosen_from_by_that_of_the_whole(model, batch):
    walk = RandomSign(eps=0.1, steps=6, step_size=0.05)
    found = attacked(model, WorstOf({"walk": walk}, BY), batch)
    assert torch.equal(found, alone(model, replace(walk, criterion=BY), batch, "walk"))


def test_a_targeted_member_is_chosen_from_by_what_it_does_to_the_clean_map(model, batch):
    member = TargetMap(eps=0.2, step_size=0.04, steps=8, towards=Frame(0.2), output_weight=0.0)
    targeted = BY.score(*maps_of(model, batch, alone(model, member, batch, "any")))
    result = run_attack(model, Saliency(), WorstOf({"any": member}, BY), batch, seed=0)
    assert torch.equal(result.image_adv, alone(model, replace(member, criterion=BY), batch, "any"))
    assert (scores(result) <= targeted).all()
    assert (scores(result) < targeted).sum() >= 2


def test_members_are_prepared_and_what_they_learn_is_kept(model, batch):
    undecided(model, batch)
    pool = tiny_batch(samples=40, seed=9)
    exiaa = EXIAA(alpha=0.5)
    for attack in (
        WorstOf({"signs": RandomSign(eps=0.01), "exiaa": exiaa}, BY, eps=0.05),
        WorstOf({"inner": WorstOf({"exiaa": exiaa, "signs": RandomSign()}, BY)}, BY, eps=0.05),
    ):
        with Untouched(model, *pool):
            prepared = attack.prepare(model, lambda: [pool])
        assert prepared == attack
        result = run_attack(model, Saliency(), prepared, batch, seed=0)
        assert (result.image_adv - batch.image).abs().max() > 0.1
        single = alone(model, exiaa.prepare(model, lambda: [pool]), batch, "exiaa")
        same = (result.image_adv == single).flatten(1).all(dim=1)
        assert same.sum() >= 2
        with pytest.raises(ValueError, match="Expected an EXIAA with donors"):
            run_attack(model, Saliency(), attack, batch, seed=0)


def test_preparing_keeps_the_radius_and_the_criterion_of_the_whole(model, batch):
    attack = WorstOf({"center": MEMBERS["center"]}, KendallTau(), eps=0.03)
    prepared = attack.prepare(model, list)
    assert prepared.radius == 0.03
    assert torch.equal(attacked(model, prepared, batch), attacked(model, attack, batch))


@pytest.mark.filterwarnings("ignore:Expected donors of each class:UserWarning")
def test_a_sample_without_donors_is_left_to_the_other_members(model, batch):
    undecided(model, batch)
    labels = runners_up(model, batch)
    pool = tiny_batch(samples=40, seed=9)
    kept = Batch(*(part[pool.label != labels[0]] for part in pool))
    members = {"exiaa": EXIAA(alpha=0.5), "signs": RandomSign(eps=0.1, criterion=BY, restarts=8)}
    attack = WorstOf(members, BY).prepare(model, lambda: [kept])
    logits = model(batch.image)
    only = WorstOf({"exiaa": EXIAA()}, BY).prepare(model, lambda: [kept])
    expected = [label != labels[0] for label in labels]
    assert only.eligible(batch.image, logits).tolist() == expected
    assert attack.eligible(batch.image, logits).tolist() == [True] * 6
    found = attacked(model, attack, batch)
    assert torch.equal(found[0], alone(model, members["signs"], batch, "signs")[0])
    assert not torch.equal(found[0], batch.image[0])


def test_a_whole_may_be_a_member(model, batch):
    group = WorstOf({"signs": MEMBERS["signs"], "top_k": MEMBERS["top_k"]}, BY)
    attack = WorstOf({"group": group, "center": MEMBERS["center"]}, BY)
    assert attack.needs_gradient
    assert torch.equal(
        attacked(model, WorstOf({"group": group}, BY), batch), alone(model, group, batch, "group")
    )
    flat = [
        alone(model, replace(MEMBERS[name], criterion=BY), batch, *streams)
        for name, streams in {
            "signs": ("group", "signs"),
            "top_k": ("group", "top_k"),
            "center": ("center",),
        }.items()
    ]
    expected = torch.stack([BY.score(*maps_of(model, batch, moved)) for moved in flat]).amin(dim=0)
    assert torch.equal(scores(run_attack(model, Saliency(), attack, batch, seed=0)), expected)


def test_needs_a_gradient_if_a_member_does(model, batch):
    without = WorstOf({"signs": RandomSign(), "exiaa": EXIAA()}, BY)
    some = WorstOf({"signs": RandomSign(eps=0.1), "top_k": MEMBERS["top_k"]}, BY)
    assert (without.needs_gradient, some.needs_gradient) == (False, True)
    assert WorstOf({"inner": some}, BY).needs_gradient
    with pytest.raises(
        TypeError, match="Expected a differentiable attribution for WorstOf, but got GuidedIG"
    ):
        run_attack(model, GuidedIG(), some, batch, seed=0)
    with pytest.raises(TypeError, match="Expected differentiable attributions for WorstOf, but got GuidedIG"):
        check_parts({"map": GuidedIG()}, {"worst": some}, {"kept": PredictionKept()})
    check_parts({"map": GuidedIG()}, {"worst": without}, {"kept": PredictionKept()})
    signs = WorstOf({"signs": RandomSign(eps=0.1)}, BY)
    assert run_attack(model, GuidedIG(2), signs, batch, seed=0).applied.any()


@pytest.mark.parametrize("criterion", [Intersection(100), KendallTau()])
def test_beats_random_signs(trained, fashion_batch, criterion):
    members = {"top_k": TopK(steps=5, k=100, stepping=AdaptiveSteps()), "signs": RandomSign(steps=2)}
    whole = run_attack(trained, Saliency(), WorstOf(members, criterion, eps=0.1), fashion_batch, seed=0)
    control = RandomSign(eps=0.1, criterion=criterion)
    random = run_attack(trained, Saliency(), control, fashion_batch, seed=0)
    assert (scores(whole, criterion) < scores(random, criterion)).double().mean() >= 0.9


def test_without_curvature_nothing_moves(model, batch, monkeypatch):
    attack = WorstOf({name: replace(MEMBERS[name], restarts=1) for name in ("top_k", "center")}, BY)
    assert run_attack(model, Saliency(), attack, batch, seed=0).applied.sum() >= 4
    monkeypatch.setattr("lit_xai.attacks.map_attack.SoftplusTwin", lambda network, beta: network)
    assert torch.equal(attacked(model, attack, batch), batch.image)


def test_every_field_matters(model, batch):
    assert_every_field_matters(
        WorstOf({"center": MEMBERS["center"]}, BY),
        {"attacks": {"top_k": MEMBERS["top_k"]}, "criterion": KendallTau(), "eps": 0.02},
        lambda method: attacked(model, method, batch),
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"attacks": {}}, "Expected at least one of `attacks`, but got none."),
        ({"eps": 8}, r"Expected `eps` in \(0, 1\], but got 8\. Write 8/255 as 0\.0314\."),
        (
            {"attacks": {"exiaa": EXIAA()}, "eps": 0.1},
            "Expected an attack that has a radius for `eps` 0.1, but",
        ),
        (
            {"attacks": {"in": WorstOf({"exiaa": EXIAA()}, BY)}, "eps": 0.1},
            "Expected an attack that has a radius",
        ),
    ],
)
def test_refuses_options_out_of_range(options, message):
    with pytest.raises(ValueError, match=message):
        WorstOf(**({"attacks": MEMBERS, "criterion": BY} | options))


def test_refuses_to_do_without_a_criterion():
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'criterion'"):
        WorstOf(MEMBERS)


def test_the_standard_is_built_and_runs(model, batch):
    attack = build(f"--attack={STANDARD}")
    assert attack.needs_gradient
    assert attack.radius == attack.eps == 0.1
    undecided(model, batch)
    result = run_attack(model, Saliency(), attack, batch, seed=0)
    assert 0.09 < (result.image_adv - batch.image).abs().max() <= 0.1 + 1e-12
    assert result.kept.all()
    assert (scores(result, Intersection(0.1)) <= 0.5).all()


def test_the_standard_is_stronger_than_one_member_with_all_its_steps(trained, fashion_batch):
    few = Batch(*(part[:16] for part in fashion_batch))
    standard = build(f"--attack={STANDARD}")
    one = replace(standard.attacks["top_k"], beta=50.0, steps=100)
    found, single = (
        scores(run_attack(trained, Saliency(), attack, few, seed=0), Intersection(0.1)).mean()
        for attack in (standard, one)
    )
    assert found < single - 0.01


def test_the_radius_is_the_one_thing_to_set(model, batch):
    """No member has a length of its own, so that a step is the same share of any radius."""
    attack = build(f"--attack={STANDARD}", "--attack.eps=0.03")
    result = run_attack(model, Saliency(), attack, batch, seed=0)
    assert 0.029 < (result.image_adv - batch.image).abs().max() <= 0.03 + 1e-12
    assert all(member.step_size is None for member in attack.attacks.values())


def test_a_member_of_the_standard_is_changed_or_added_by_name():
    attack = build(
        f"--attack={STANDARD}",
        "--attack.attacks.top_k.steps=7",
        "--attack.attacks.mine=lit_xai.attacks.exiaa.EXIAA",
        "--attack.criterion=lit_xai.attacks.criteria.KendallTau",
    )
    plain = build(f"--attack={STANDARD}")
    assert attack.attacks == {
        **plain.attacks,
        "top_k": replace(plain.attacks["top_k"], steps=7),
        "mine": EXIAA(),
    }
    assert attack.criterion == KendallTau()


def test_a_config_without_a_criterion_is_refused():
    with pytest.raises(ArgumentError, match="criterion"):
        build(
            "--attack=lit_xai.attacks.worst_of.WorstOf",
            "--attack.attacks.signs=lit_xai.attacks.random_sign.RandomSign",
        )
