from dataclasses import dataclass, replace
from typing import ClassVar

import pytest
import torch
from torch import Tensor, nn

from lit_xai.attacks.base import run_attack
from lit_xai.attacks.blending import Blend
from lit_xai.attacks.donors import DonorPool
from lit_xai.attacks.exiaa import EXIAA, important_features, injected_class
from lit_xai.attributions.base import Attribution
from lit_xai.attributions.input_x_gradient import InputXGradient
from lit_xai.attributions.integrated_gradients import IntegratedGradients
from lit_xai.attributions.saliency import Saliency
from lit_xai.attributions.smooth_grad import SmoothGrad
from lit_xai.noise import Noise
from lit_xai.types import AttackResult, Batch
from tests.contracts import Untouched, assert_attack_contract, assert_every_field_matters, select

EXPLANATIONS = [Saliency(), IntegratedGradients(path_steps=3), SmoothGrad(samples=3), InputXGradient()]


@dataclass(frozen=True)
class OneChannel(Attribution):
    """The saliency, summed over channels."""

    differentiable: ClassVar[bool] = True

    def attribute(self, model: nn.Module, image: Tensor, target: Tensor, noise: Noise) -> Tensor:
        return Saliency().attribute(model, image, target, noise).sum(dim=1, keepdim=True)


def injected(model: nn.Module, image: Tensor, class_rank: int = 1) -> int:
    """Return the class of the equations: without y*, the one of this place in the order of probability."""
    logits = model(image[None])[0].tolist()
    predicted = logits.index(max(logits))
    others = sorted((k for k in range(len(logits)) if k != predicted), key=lambda k: -logits[k])
    return others[class_rank - 1]


def runners_up(model: nn.Module, batch: Batch) -> list[int]:
    return [injected(model, image) for image in batch.image]


def confidence(model: nn.Module, image: Tensor, label: int) -> float:
    odds = model(image[None])[0].exp()
    return (odds[label] / odds.sum()).item()


def ranked_by_hand(model: nn.Module, donors: list[Batch], label: int, pool: str = "label") -> list[Tensor]:
    """Return the images of a class, the one with the highest softmax of that class first."""
    own = [
        image
        for batch in donors
        for image, given, _ in zip(*batch, strict=True)
        if (given == label if pool == "label" else model(image[None]).argmax() == label)
    ]
    return sorted(own, key=lambda image: confidence(model, image, label), reverse=True)


def chosen_by_hand(model: nn.Module, donor: Tensor, label: int, k: float, values_of: str) -> list[int]:
    """Return the flat places of I_k: the largest positive values of the donor's explanation."""
    leaf = donor.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(model(leaf[None])[0, label], leaf)
    values = {
        "magnitude": gradient.abs(),
        "product": gradient * donor,
        "one channel": gradient.abs().sum(dim=0, keepdim=True).expand_as(donor),
    }[values_of]
    flat = values.flatten().tolist()
    positive = [place for place, value in enumerate(flat) if value > 0]
    size = max(1, round(k * len(positive)))
    return sorted(positive, key=lambda place: (-flat[place], place))[:size]


def injected_by_hand(
    model: nn.Module,
    image: Tensor,
    ranked: list[Tensor],
    values_of: str = "magnitude",
    *,
    alpha: float = 0.4,
    k: float = 0.2,
    rank: int = 0,
    label: int | None = None,
) -> Tensor:
    """Attack one image (C, H, W) as the paper's equations say."""
    donor = [other for other in ranked if not torch.equal(other, image)][rank]
    label = injected(model, image) if label is None else label
    result = image.flatten().clone()
    for place in chosen_by_hand(model, donor, label, k, values_of):
        result[place] = (1 - alpha) * image.flatten()[place] + alpha * donor.flatten()[place]
    return result.clamp(0, 1).view_as(image)


@pytest.mark.parametrize("attribution", EXPLANATIONS)
def test_contract(network, batch, donors, attribution):
    attack = EXIAA(alpha=0.3).prepare(network, lambda: donors)
    result = assert_attack_contract(attack, attribution, network, batch)
    assert result.applied.all()


@pytest.mark.parametrize("rank", [0, 2])
@pytest.mark.parametrize("k", [0.2, 0.75])
@pytest.mark.parametrize(
    ("attribution", "values_of"),
    [(Saliency(), "magnitude"), (InputXGradient(), "product"), (OneChannel(), "one channel")],
)
def test_equals_the_equations(network, batch, donors, attribution, values_of, k, rank):
    assert len(set(runners_up(network, batch))) >= 3
    attack = EXIAA(alpha=0.4, k=k, rank=rank).prepare(network, lambda: donors)
    found = run_attack(network, attribution, attack, batch, seed=0).image_adv
    for image, image_adv in zip(batch.image, found, strict=True):
        ranked = ranked_by_hand(network, donors, injected(network, image))
        expected = injected_by_hand(network, image, ranked, values_of, alpha=0.4, k=k, rank=rank)
        torch.testing.assert_close(image_adv, expected, rtol=0, atol=1e-12)


def test_the_whole_donor_is_injected_at_full_strength(network, batch, donors):
    attack = EXIAA(alpha=1.0, k=1.0).prepare(network, lambda: donors)
    found = run_attack(network, Saliency(), attack, batch, seed=0).image_adv
    for image, image_adv in zip(batch.image, found, strict=True):
        label = injected(network, image)
        donor = ranked_by_hand(network, donors, label)[0]
        leaf = donor.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(network(leaf[None])[0, label], leaf)
        # Where all rectifiers are off the saliency is zero, and nothing is injected.
        torch.testing.assert_close(image_adv, torch.where(gradient != 0, donor, image), rtol=0, atol=1e-12)


def test_preparing_leaves_the_network_and_the_donors_alone(network, donors):
    with Untouched(network, *donors[0]):
        prepared = EXIAA().prepare(network, lambda: donors)
    assert prepared == EXIAA()


def test_an_image_is_never_its_own_donor(network, batch, donors):
    labels = runners_up(network, batch)
    weakest = [
        Batch(
            torch.stack(ranked_by_hand(network, donors, label)[-2:]),
            torch.tensor([label] * 2),
            torch.arange(2),
        )
        for label in range(4)
    ]
    pool = [batch._replace(label=torch.tensor(labels)), *weakest]
    ranked = {label: ranked_by_hand(network, pool, label) for label in labels}
    pairs = list(zip(batch.image, labels, strict=True))
    assert sum(torch.equal(ranked[label][0], image) for image, label in pairs) >= 2
    attack = EXIAA(alpha=0.4).prepare(network, lambda: pool)
    found = run_attack(network, Saliency(), attack, batch, seed=0)
    assert found.applied.all()
    for (image, label), image_adv in zip(pairs, found.image_adv, strict=True):
        expected = injected_by_hand(network, image, ranked[label])
        torch.testing.assert_close(image_adv, expected, rtol=0, atol=1e-12)


def test_copies_of_an_image_do_not_use_up_its_donors(network, batch, donors):
    one = select(batch, slice(0, 1))
    label = injected(network, one.image[0])
    donor = ranked_by_hand(network, donors, label)[-1]
    assert confidence(network, donor, label) < confidence(network, one.image[0], label)
    image = torch.cat([one.image, one.image, one.image, donor[None]])
    pool = Batch(image, torch.full((4,), label), torch.arange(4))
    with pytest.warns(UserWarning, match="got none for 3 of 4 classes"):
        attack = EXIAA(alpha=0.4).prepare(network, lambda: [pool])
    assert attack.eligible(one.image, network(one.image)).tolist() == [True]
    found = run_attack(network, Saliency(), attack, one, seed=0).image_adv[0]
    expected = injected_by_hand(network, one.image[0], [donor])
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


def test_a_sample_without_donors_is_excluded_and_unchanged(network, batch, donors):
    missing = runners_up(network, batch)[0]
    kept = [Batch(*(tensor[part.label != missing] for tensor in part)) for part in donors]
    with pytest.warns(UserWarning, match="got none for 1 of 4 classes"):
        attack = EXIAA(alpha=0.4).prepare(network, lambda: kept)
    eligible = attack.eligible(batch.image, network(batch.image))
    assert eligible.tolist() == [label != missing for label in runners_up(network, batch)]
    assert 1 <= eligible.sum() <= 5
    result = run_attack(network, Saliency(), attack, batch, seed=0)
    assert torch.equal(result.applied, eligible)


def test_a_sample_whose_only_donor_is_itself_is_excluded(network, batch):
    labels = torch.tensor(runners_up(network, batch))
    one = select(batch._replace(label=labels), slice(2, 3))
    with pytest.warns(UserWarning, match="got none for 3 of 4 classes"):
        attack = EXIAA().prepare(network, lambda: [one])
    eligible = attack.eligible(batch.image, network(batch.image))
    assert eligible.tolist() == [row != 2 and labels[row] == labels[2] for row in range(6)]


def test_a_rank_beyond_the_donors_is_excluded(network, batch, donors):
    counts = [len(ranked_by_hand(network, donors, label)) for label in runners_up(network, batch)]
    rank = sorted(set(counts))[-1] - 1
    for extra, expected in {0: [count > rank for count in counts], 1: [False] * 6}.items():
        attack = EXIAA(rank=rank + extra).prepare(network, lambda: donors)
        assert attack.eligible(batch.image, network(batch.image)).tolist() == expected


@pytest.mark.parametrize(("k", "expected"), [(0.01, 1), (0.2, 1), (0.4, 2), (0.5, 2), (0.9, 4), (1.0, 4)])
def test_a_share_of_the_positive_features_is_chosen(k, expected):
    signed = torch.tensor([[-9.0, 0.0, 3.0, 1.0], [2.0, -5.0, 4.0, 0.0]]).view(1, 2, 2, 2)
    chosen = important_features(signed, k)
    order = [6, 2, 4, 3]
    assert sorted(chosen.flatten().nonzero().flatten().tolist()) == sorted(order[:expected])


def test_nothing_is_chosen_where_nothing_is_positive():
    signed = -torch.arange(8.0).view(1, 2, 2, 2)
    assert not important_features(signed, 1.0).any()


def test_the_maps_of_signed_explanations_have_fewer_positive_features(network, batch, donors):
    attack = EXIAA(alpha=0.4, k=0.3).prepare(network, lambda: donors)
    found = run_attack(network, InputXGradient(), attack, batch, seed=0)
    for image, image_adv in zip(batch.image, found.image_adv, strict=True):
        label = injected(network, image)
        donor = ranked_by_hand(network, donors, label)[0][None]
        values = InputXGradient().attribute(network, donor, torch.tensor([label]), Noise(0, torch.arange(1)))
        positive = int((values > 0).sum())
        assert positive < 100
        assert int((image_adv != image).sum()) == max(1, round(0.3 * positive))


@pytest.mark.parametrize("class_rank", [1, 2, 3])
@pytest.mark.parametrize("pool", ["label", "predicted"])
def test_another_class_and_another_pool_equal_the_equations(network, batch, donors, class_rank, pool):
    attack = EXIAA(alpha=0.4, rank=1, class_rank=class_rank, pool=pool).prepare(network, lambda: donors)
    found = run_attack(network, InputXGradient(), attack, batch, seed=0)
    assert found.applied.all()
    for image, image_adv in zip(batch.image, found.image_adv, strict=True):
        label = injected(network, image, class_rank)
        ranked = ranked_by_hand(network, donors, label, pool)
        expected = injected_by_hand(network, image, ranked, "product", rank=1, label=label)
        torch.testing.assert_close(image_adv, expected, rtol=0, atol=1e-12)


def test_a_donor_may_be_explained_by_what_is_predicted_for_it(network, batch, donors):
    attack = EXIAA(alpha=0.4, rank=2, donor_class="predicted").prepare(network, lambda: donors)
    found = run_attack(network, InputXGradient(), attack, batch, seed=0).image_adv
    misled = 0
    for image, image_adv in zip(batch.image, found, strict=True):
        ranked = ranked_by_hand(network, donors, injected(network, image))
        label = int(network(ranked[2][None]).argmax())
        misled += label != injected(network, image)
        expected = injected_by_hand(network, image, ranked, "product", rank=2, label=label)
        torch.testing.assert_close(image_adv, expected, rtol=0, atol=1e-12)
    assert misled >= 1


def test_random_places_are_as_many_and_take_the_same_donor(network, batch, donors):
    attack = EXIAA(alpha=1.0, k=0.3, features="random").prepare(network, lambda: donors)
    result = assert_attack_contract(attack, InputXGradient(), network, batch)
    shared, total = 0, 0
    for image, image_adv in zip(batch.image, result.image_adv, strict=True):
        label = injected(network, image)
        donor = ranked_by_hand(network, donors, label)[0]
        important = chosen_by_hand(network, donor, label, 0.3, "product")
        changed = (image_adv != image).flatten().nonzero().flatten().tolist()
        assert len(changed) == len(important)
        assert torch.equal(image_adv.flatten()[changed], donor.flatten()[changed])
        shared, total = shared + len({*changed} & {*important}), total + len(changed)
    # Places drawn at random meet the important ones as often as there are such among the 128 features.
    assert 0 < shared < 0.5 * total
    other = run_attack(network, InputXGradient(), attack, batch, seed=1)
    assert not torch.equal(other.image_adv, result.image_adv)
    assert ((other.image_adv != batch.image) != (result.image_adv != batch.image)).any()


def test_the_places_of_the_control_differ_between_samples(network, batch, donors):
    attack = EXIAA(alpha=0.4, features="random").prepare(network, lambda: donors)
    result = run_attack(network, Saliency(), attack, batch, seed=0)
    places = {tuple((adv != image).flatten().tolist()) for adv, image in zip(*pair(result), strict=True)}
    assert len(places) == 6


def pair(result: AttackResult) -> tuple[Tensor, Tensor]:
    return result.image_adv, result.image


@dataclass(frozen=True)
class Sum(Blend):
    """Add the donor to the image."""

    def mix(self, image: Tensor, donor: Tensor, chosen: Tensor, alpha: float) -> Tensor:
        return torch.where(chosen, image + alpha * donor, image)


def test_what_a_blend_returns_is_clipped(network, batch, donors):
    attack = EXIAA(alpha=1.0, k=0.5, blend=Sum()).prepare(network, lambda: donors)
    found = run_attack(network, Saliency(), attack, batch, seed=0).image_adv
    clipped = 0
    for image, image_adv in zip(batch.image, found, strict=True):
        label = injected(network, image)
        donor = ranked_by_hand(network, donors, label)[0]
        places = chosen_by_hand(network, donor, label, 0.5, "magnitude")
        expected = image.flatten().clone()
        expected[places] += donor.flatten()[places]
        clipped += int((expected > 1).sum())
        assert torch.equal(image_adv, expected.clamp(0, 1).view_as(image))
    assert clipped >= 20


def test_the_order_of_classes_equals_the_loop():
    logits = torch.tensor([[0.0, 3.0, 3.0, -1.0], [5.0, 1.0, 2.0, 1.0], [1.0, 1.0, 1.0, 1.0]])
    # A tie for the first place may be decided either way; the other class is then the runner-up.
    target = torch.tensor([2, 0, 1])
    found = [injected_class(logits, target, class_rank).tolist() for class_rank in (1, 2, 3)]
    assert found == [[1, 2, 0], [0, 1, 2], [3, 3, 3]]
    assert injected_class(logits[:0], target[:0]).shape == (0,)
    for class_rank in (0, 4):
        with pytest.raises(ValueError, match=rf"Expected `class_rank` in \[1, 3\], but got {class_rank}\."):
            injected_class(logits, target, class_rank)


def test_an_empty_batch_is_attacked(network, batch, donors):
    for features in ("important", "random"):
        attack = EXIAA(features=features).prepare(network, lambda: donors)
        result = run_attack(network, Saliency(), attack, select(batch, slice(0, 0)), seed=0)
        assert result.image_adv.shape == (0, 2, 8, 8)


def test_attacks_of_one_pool_share_its_ranking(network, donors):
    passes = []

    def read() -> list[Batch]:
        passes.append(1)
        return donors

    pool = DonorPool(read)
    attacks = [
        EXIAA(alpha=alpha, k=k, rank=rank).prepare(network, pool)
        for alpha in (0.03, 0.06, 0.09, 0.12, 0.15)
        for k in (0.01, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8)
        for rank in (0, 1, 2)
    ]
    assert len(attacks) == 150
    assert len(passes) == 1
    EXIAA(pool="predicted").prepare(network, pool)
    assert len(passes) == 2


def test_every_field_matters(network, batch, donors):
    def effect(method: EXIAA) -> Tensor:
        attack = method.prepare(network, lambda: donors)
        return run_attack(network, Saliency(), attack, batch, seed=0).image_adv

    changes = {
        "alpha": 0.12,
        "k": 0.5,
        "rank": 1,
        "class_rank": 2,
        "pool": "predicted",
        "donor_class": "predicted",
        "features": "random",
        "blend": Sum(),
    }
    assert_every_field_matters(EXIAA(rank=2), changes, effect)


def test_refuses_to_run_unprepared(network, batch, donors):
    message = "Expected an EXIAA with donors, but got one that was not prepared. Call `prepare` first."
    with pytest.raises(ValueError, match=message):
        run_attack(network, Saliency(), EXIAA(), batch, seed=0)
    with pytest.raises(ValueError, match=message):
        EXIAA().eligible(batch.image, network(batch.image))
    original = EXIAA()
    prepared = original.prepare(network, lambda: donors)
    with pytest.raises(ValueError, match=message):
        run_attack(network, Saliency(), original, batch, seed=0)
    with pytest.raises(ValueError, match=message):
        run_attack(network, Saliency(), replace(prepared, alpha=0.1), batch, seed=0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"alpha": 0.0}, r"Expected `alpha` in \(0, 1\], but got 0\."),
        ({"k": 1.5}, r"Expected `k` in \(0, 1\], but got 1\.5\."),
        ({"rank": -1}, r"Expected `rank` of at least 0, but got -1\."),
        ({"class_rank": 0}, r"Expected `class_rank` of at least 1, but got 0\."),
        ({"pool": "true"}, r"Expected `pool` as label or predicted, but got true\."),
        ({"donor_class": "label"}, r"Expected `donor_class` as injected or predicted, but got label\."),
        ({"features": "all"}, r"Expected `features` as important or random, but got all\."),
        (
            {"pool": "predicted", "donor_class": "predicted"},
            r"Expected `donor_class` as injected where `pool` is predicted, but got predicted\.",
        ),
    ],
)
def test_refuses_options_out_of_range(options, message):
    with pytest.raises(ValueError, match=message):
        EXIAA(**options)


@dataclass(frozen=True)
class Undefined(OneChannel):
    """The saliency, NaN for all images but some."""

    known: tuple[Tensor, ...] = ()

    def attribute(self, model: nn.Module, image: Tensor, target: Tensor, noise: Noise) -> Tensor:
        maps = super().attribute(model, image, target, noise)
        strange = [not any(torch.equal(one, own) for own in self.known) for one in image]
        return maps.masked_fill(torch.tensor(strange).view(-1, 1, 1, 1), float("nan"))


def test_a_donor_without_a_map_is_refused(network, batch, donors):
    attack = EXIAA().prepare(network, lambda: donors)
    with pytest.raises(ValueError, match="Expected finite maps of donors, but got NaN or infinity"):
        run_attack(network, Undefined(tuple(batch.image)), attack, batch, seed=0)
