from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from lit_xai.attacks.base import Criterion, run_attack
from lit_xai.attacks.criteria import KendallTau
from lit_xai.attacks.goals import Frame, Goal
from lit_xai.attacks.map_attack import Subject
from lit_xai.attacks.random_sign import RandomSign
from lit_xai.attacks.stepping import SignSteps
from lit_xai.attacks.target_map import TargetMap, map_distance
from lit_xai.attributions.base import Attribution, Explain
from lit_xai.attributions.grad_cam import GradCAM
from lit_xai.attributions.guided_backprop import GuidedBackprop
from lit_xai.attributions.input_x_gradient import InputXGradient
from lit_xai.attributions.integrated_gradients import IntegratedGradients
from lit_xai.attributions.layerwise_relevance import LayerwiseRelevance
from lit_xai.attributions.mean_of import MeanOf
from lit_xai.attributions.saliency import Saliency
from lit_xai.attributions.smooth_grad import SmoothGrad
from lit_xai.metrics.maps import pixel_map
from lit_xai.metrics.similarity import pearson
from lit_xai.noise import Noise
from lit_xai.types import AttackResult, Batch
from tests.attacks.test_base import undecided
from tests.attacks.test_iterative import MapOf, integrated_by_hand, saliency_by_hand, softplus_copy
from tests.conftest import tiny_batch
from tests.contracts import assert_attack_contract, assert_every_field_matters

EXPLANATIONS = [
    Saliency(),
    IntegratedGradients(path_steps=3),
    InputXGradient(),
    SmoothGrad(samples=2),
    GuidedBackprop(),
    GradCAM(layer="features.3"),
    LayerwiseRelevance(),
    MeanOf(members=(Saliency(), LayerwiseRelevance())),
]
SHORT = TargetMap(eps=0.1, step_size=0.005, steps=3, beta=30.0)


@pytest.fixture
def donors():
    return [tiny_batch(samples=12, seed=9)]


def goal_maps(goal: Goal, model: nn.Module, attribution: Attribution, batch: Batch, seed: int = 0) -> Tensor:
    """Return the maps that `run_attack` has an attack move towards."""
    noise = Noise(seed, batch.sample_id).child("attribution")
    with torch.no_grad():
        return goal.maps(Explain(attribution, model.eval(), noise), batch.image)


def distances(result: AttackResult, goal: Tensor) -> tuple[Tensor, Tensor]:
    """Return how far the maps are from the goal before and after an attack."""
    before, after = pixel_map(result.attribution), pixel_map(result.attribution_adv)
    return map_distance(goal, before), map_distance(goal, after)


@pytest.mark.parametrize("attribution", EXPLANATIONS, ids=lambda method: type(method).__name__)
def test_contract(model, batch, donors, attribution):
    attack = SHORT.prepare(undecided(model, batch), lambda: donors)
    result = assert_attack_contract(attack, attribution, model, batch, eps=0.1)
    assert result.kept.all()
    before, after = distances(result, goal_maps(attack.towards, model, attribution, batch))
    assert torch.equal(after < before, result.applied)
    assert result.applied.sum() >= 4


def test_contract_with_restarts_and_a_radius_of_none(model, batch, donors):
    attack = replace(SHORT, eps=1.0, restarts=2).prepare(undecided(model, batch), lambda: donors)
    assert assert_attack_contract(attack, Saliency(), model, batch).applied.sum() >= 4


def moved_by_hand(
    model: nn.Module,
    image: Tensor,
    other: Tensor,
    map_of: MapOf,
    *,
    weight: float,
    beta: tuple[float, float],
    steps: int = 7,
) -> tuple[Tensor, list[str]]:
    """Attack one image (C, H, W) as section 1 of the specification says, and tell each iterate's fate."""

    def share(network: nn.Module, point: Tensor, target: int) -> Tensor:
        maps = map_of(network, point, target)
        return maps / maps.sum()

    target, pixels = int(model(image[None]).argmax()), image[0].numel()
    goal = share(model, other, int(model(other[None]).argmax())).detach()
    output = model(image[None]).softmax(dim=1).detach()
    leaf = image.clone().requires_grad_()
    optimizer = torch.optim.Adam([leaf], lr=0.03)
    best, chosen = functional.mse_loss(share(model, image, target).detach(), goal), image
    fates = []
    for step in range(steps):
        sharpness = beta[0] * (beta[1] / beta[0]) ** (step / steps)
        maps = share(softplus_copy(model, sharpness), leaf, target)
        change = functional.mse_loss(model(leaf[None]).softmax(dim=1), output)
        published = 1e11 / 224**4 * pixels**2 * functional.mse_loss(maps, goal)
        optimizer.zero_grad()
        (published + weight * 1000 * output.numel() * change).backward()
        optimizer.step()
        with torch.no_grad():
            near = torch.min(torch.max(leaf, image - 0.12), image + 0.12)
            leaf.copy_(torch.where(near < 0, 0.0, torch.where(near > 1, 1.0, near)))
        score = functional.mse_loss(share(model, leaf.detach(), target).detach(), goal)
        if int(model(leaf[None]).argmax()) != target:
            fates.append("flipped")
        elif score < best:
            best, chosen = score, leaf.detach().clone()
            fates.append("better")
        else:
            fates.append("worse")
    return chosen, fates


@pytest.mark.parametrize(("weight", "beta"), [(1.0, (10.0, 100.0)), (0.01, (2.0, 8.0))])
@pytest.mark.parametrize(
    ("attribution", "map_of"),
    [
        (Saliency(), saliency_by_hand),
        (IntegratedGradients(path_steps=3, rule="right"), integrated_by_hand),
    ],
)
def test_equals_the_loop_of_the_specification(model, batch, attribution, map_of, weight, beta):
    undecided(model, batch)
    only = tiny_batch(samples=1, seed=9)
    attack = TargetMap(
        eps=0.12, step_size=0.03, steps=7, output_weight=weight, beta=beta[0], beta_end=beta[1]
    ).prepare(model, lambda: [only])
    found = run_attack(model, attribution, attack, batch, seed=0).image_adv
    fates = []
    for image, image_adv in zip(batch.image, found, strict=True):
        expected, own = moved_by_hand(model, image, only.image[0], map_of, weight=weight, beta=beta)
        torch.testing.assert_close(image_adv, expected, rtol=0, atol=1e-10)
        fates += own
    assert fates.count("better") >= 6
    assert fates.count("worse") >= 1
    assert fates.count("flipped") >= 1


def test_weights_are_the_published_ones_at_the_published_size():
    torch.manual_seed(0)
    maps, logits = torch.rand(2, 2, 224, 224).double(), torch.randn(2, 2, 1000).double()
    maps = maps / maps.sum(dim=(2, 3), keepdim=True)

    class Fixed(nn.Module):
        def forward(self, image: Tensor) -> Tensor:
            return logits[0] if image.max() == 0 else logits[1]

    @dataclass(frozen=True)
    class Given(Goal):
        def maps(self, explain: Explain, image: Tensor) -> Tensor:
            return 7 * maps[1]

    noise, image = Noise(0, torch.arange(2)), torch.zeros(2, 1, 224, 224).double()
    explain = Explain(Saliency(), Fixed(), noise)
    attack, rows = TargetMap(towards=Given()), torch.tensor([1, 0])
    subject = Subject(explain, explain, image, torch.zeros(2).long(), maps[0], goal=maps[0])
    subject = replace(subject, goal=attack.goal(subject))
    value = attack.objective(subject, noise)(maps[0, rows], rows, 0.0)
    expected = -1e11 * (maps[0] - maps[1]).square().mean(dim=(1, 2))[rows]
    torch.testing.assert_close(value, expected, rtol=1e-9, atol=0)
    probability = logits.softmax(dim=2)
    change = 1e6 * (probability[1] - probability[0, rows]).square().mean(dim=1)
    torch.testing.assert_close(attack.penalty(subject, image + 1, rows), change, rtol=1e-9, atol=0)
    half = replace(attack, output_weight=0.5).penalty(subject, image + 1, rows)
    torch.testing.assert_close(half, change / 2, rtol=1e-9, atol=0)
    assert replace(attack, output_weight=0.0).penalty(subject, image + 1, rows) is None


class Enlarged(nn.Module):
    """A network of images of twice the size, with six more classes that are never predicted."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, image: Tensor) -> Tensor:
        return functional.pad(self.model(functional.avg_pool2d(image, 2)), (0, 6), value=-1e3)


def enlarged(batch: Batch) -> Batch:
    return batch._replace(image=batch.image.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3))


def test_a_larger_image_and_more_classes_are_attacked_alike(model, batch, donors):
    attack = TargetMap(eps=0.1, step_size=0.01, steps=8, stepping=SignSteps())
    large = Enlarged(undecided(model, batch))

    def attacked(attack: TargetMap) -> Tensor:
        prepared = attack.prepare(model, lambda: donors)
        return run_attack(model, Saliency(), prepared, batch, seed=0).image_adv

    found = attacked(attack)
    prepared = attack.prepare(large, lambda: [enlarged(one) for one in donors])
    result = run_attack(large, Saliency(), prepared, enlarged(batch), seed=0)
    expected = enlarged(batch._replace(image=found)).image
    torch.testing.assert_close(result.image_adv, expected, rtol=0, atol=1e-12)
    # Otherwise a wrong ratio of the weights would not show.
    assert not torch.equal(attacked(replace(attack, output_weight=1.5)), found)


@pytest.mark.parametrize("attribution", [Saliency(), LayerwiseRelevance()])
def test_beats_random_signs(trained, fashion, fashion_batch, attribution):
    attack = TargetMap(eps=0.1, step_size=0.02, steps=8).prepare(trained, fashion.donors)
    goal = goal_maps(attack.towards, trained, attribution, fashion_batch)
    found, random = (
        run_attack(trained, attribution, one, fashion_batch, seed=0) for one in (attack, RandomSign(eps=0.1))
    )
    nearer = distances(found, goal)[1] < distances(random, goal)[1]
    assert nearer.double().mean() >= 0.9
    alike = [pearson(pixel_map(result.attribution_adv), goal) for result in (found, random)]
    assert (alike[0] > alike[1]).double().mean() >= 0.9
    assert found.kept.all()


def test_without_curvature_a_gradient_does_not_move(model, batch, donors, monkeypatch):
    attack = SHORT.prepare(undecided(model, batch), lambda: donors)
    attributions = [Saliency(), LayerwiseRelevance()]
    for attribution in attributions:
        assert run_attack(model, attribution, attack, batch, seed=0).applied.sum() >= 4
    monkeypatch.setattr("lit_xai.attacks.map_attack.SoftplusTwin", lambda network, beta: network)
    moved = [run_attack(model, one, attack, batch, seed=0).applied.sum() for one in attributions]
    assert moved[0] == 0
    # Relevance depends on activations, and they have a slope.
    assert moved[1] >= 4


def test_the_output_stays_for_its_weight(model, batch, donors):
    undecided(model, batch)
    changes = []
    for weight in (0.0, 1.0, 100.0):
        attack = TargetMap(eps=0.1, step_size=0.01, steps=15, output_weight=weight)
        attack = attack.prepare(model, lambda: donors)
        result = run_attack(model, Saliency(), attack, batch, seed=0)
        assert result.applied.all()
        changes.append((result.logits_adv.softmax(dim=1) - result.logits.softmax(dim=1)).norm().item())
    assert changes[0] > 2 * changes[1]
    assert changes[1] > 1.2 * changes[2]


def test_the_twin_sharpens_from_step_to_step():
    attack = TargetMap()
    found = [attack.sharpness(step / 4) for step in range(4)]
    assert found == pytest.approx([10.0, 17.7828, 31.6228, 56.2341], rel=1e-5)
    assert TargetMap(beta=30.0, beta_end=30.0).sharpness(0.7) == 30.0


def test_the_draw_of_the_goal_needs_no_batch_and_no_attribution(model, batch, donors):
    attack = SHORT.prepare(undecided(model, batch), lambda: donors)
    turned = Batch(*(tensor.flip(0) for tensor in batch))
    found = run_attack(model, Saliency(), attack, turned, seed=0).image_adv.flip(0)
    expected = run_attack(model, Saliency(), attack, batch, seed=0).image_adv
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-10)
    other = run_attack(model, Saliency(), attack, batch, seed=1).image_adv
    assert (other != expected).flatten(1).any(dim=1).sum() >= 3


def test_a_sample_without_another_image_stays_as_it_is(model, batch):
    undecided(model, batch)
    only = Batch(batch.image[[2]], batch.label[[2]], torch.tensor([99]))
    attack = SHORT.prepare(model, lambda: [only])
    assert attack.eligible(batch.image, model(batch.image)).tolist() == [row != 2 for row in range(6)]
    result = run_attack(model, Saliency(), attack, batch, seed=0)
    assert not result.applied[2]
    assert result.applied.sum() >= 4


def test_a_criterion_that_is_named_compares_with_the_clean_map(model, batch, donors):
    attack = replace(SHORT, steps=8).prepare(undecided(model, batch), lambda: donors)
    goal = goal_maps(attack.towards, model, Saliency(), batch)
    own = run_attack(model, Saliency(), attack, batch, seed=0)
    named = run_attack(model, Saliency(), replace(attack, criterion=KendallTau()), batch, seed=0)
    scores = [
        KendallTau().score(pixel_map(result.attribution), pixel_map(result.attribution_adv))
        for result in (named, own)
    ]
    assert (scores[0] <= scores[1]).all()
    assert (scores[0] < scores[1]).any()
    assert (distances(own, goal)[1] <= distances(named, goal)[1]).all()


def test_no_samples(model, batch, donors):
    attack = SHORT.prepare(model, lambda: donors)
    none = Batch(*(tensor[:0] for tensor in batch))
    assert run_attack(model, Saliency(), attack, none, seed=0).image_adv.shape == (0, 2, 8, 8)


@dataclass(frozen=True)
class Steadiness(Criterion):
    """Prefer the iterates whose map changes least."""

    def score(self, clean_map: Tensor, attacked_map: Tensor) -> Tensor:
        changed = (clean_map - attacked_map).flatten(1).norm(dim=1)
        return torch.where(changed > 0, changed, torch.inf)


def test_every_field_matters(model, batch, donors):
    undecided(model, batch)
    assert_every_field_matters(
        replace(SHORT, step_size=0.03, steps=4, path_steps=2),
        {
            "eps": 0.05,
            "step_size": 0.05,
            "steps": 7,
            "beta": 8.0,
            "restarts": 2,
            "path_steps": 3,
            "judge_every": 4,
            "recover": True,
            "stepping": SignSteps(),
            "criterion": Steadiness(),
            "towards": Frame(),
            "output_weight": 0.1,
            "beta_end": 31.0,
        },
        attacked_with(model, batch, donors),
    )


def attacked_with(model: nn.Module, batch: Batch, donors: list[Batch]) -> Callable[[object], Tensor]:
    def attacked(method: object) -> Tensor:
        assert isinstance(method, TargetMap)
        prepared = method.prepare(model, lambda: donors)
        return run_attack(model, IntegratedGradients(path_steps=4), prepared, batch, seed=0).image_adv

    return attacked


def test_map_distance_knows_neither_sum_nor_size():
    torch.manual_seed(0)
    first, second = torch.rand(2, 5, 6, 4).double()
    shares = [maps / maps.sum(dim=(1, 2), keepdim=True) for maps in (first, second)]
    expected = 24 * (shares[0] - shares[1]).square().sum(dim=(1, 2))
    torch.testing.assert_close(map_distance(first, second), expected, rtol=1e-12, atol=0)
    torch.testing.assert_close(map_distance(3 * first, 0.1 * second), expected, rtol=1e-12, atol=0)
    large = [maps.repeat_interleave(3, dim=1).repeat_interleave(2, dim=2) for maps in (first, second)]
    torch.testing.assert_close(map_distance(*large), expected, rtol=1e-12, atol=0)
    assert torch.equal(map_distance(torch.zeros(1, 2, 2), torch.ones(1, 2, 2)), torch.ones(1))


def test_refuses_maps_of_two_shapes():
    with pytest.raises(ValueError, match=r"one shape \(N, H, W\), but got \(1, 2, 2\) and \(1, 2, 3\)\."):
        map_distance(torch.ones(1, 2, 2), torch.ones(1, 2, 3))
    with pytest.raises(ValueError, match=r"one shape \(N, H, W\), but got \(1, 1, 2, 2\)"):
        map_distance(torch.ones(1, 1, 2, 2), torch.ones(1, 1, 2, 2))


def test_refuses_to_start_before_prepare(model, batch):
    with pytest.raises(ValueError, match=r"not prepared\. Call `prepare` first\."):
        run_attack(model, Saliency(), SHORT, batch, seed=0)
    with pytest.raises(ValueError, match=r"not prepared\. Call `prepare` first\."):
        SHORT.eligible(batch.image, model(batch.image))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"eps": 8}, r"Expected `eps` in \(0, 1\], but got 8\."),
        ({"steps": 0}, "Expected `steps` of at least 1, but got 0."),
        ({"beta": 0.0}, "Expected `beta` above 0, but got 0."),
        ({"beta_end": 9.0}, "Expected `beta_end` of at least `beta` 10, but got 9."),
        ({"output_weight": -1.0}, "Expected `output_weight` of at least 0, but got -1."),
    ],
)
def test_refuses_options_out_of_range(options, message):
    with pytest.raises(ValueError, match=message):
        TargetMap(**options)
