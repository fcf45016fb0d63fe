from dataclasses import dataclass, replace
from typing import ClassVar

import pytest
import torch
from torch import Tensor, nn

from lit_xai.attacks.base import run_attack
from lit_xai.attacks.exiaa import EXIAA, important_features, rank_donors
from lit_xai.attributions.base import Attribution
from lit_xai.attributions.input_x_gradient import InputXGradient
from lit_xai.attributions.integrated_gradients import IntegratedGradients
from lit_xai.attributions.saliency import Saliency
from lit_xai.attributions.smooth_grad import SmoothGrad
from lit_xai.noise import Noise
from lit_xai.types import Batch
from tests.attacks.test_base import undecided
from tests.conftest import tiny_batch
from tests.contracts import Untouched, assert_attack_contract, assert_every_field_matters, select

EXPLANATIONS = [Saliency(), IntegratedGradients(path_steps=3), SmoothGrad(samples=3), InputXGradient()]


@dataclass(frozen=True)
class OneChannel(Attribution):
    """The saliency, summed over channels."""

    differentiable: ClassVar[bool] = True

    def attribute(self, model: nn.Module, image: Tensor, target: Tensor, noise: Noise) -> Tensor:
        return Saliency().attribute(model, image, target, noise).sum(dim=1, keepdim=True)


@pytest.fixture
def network(model, batch):
    return undecided(model, batch)


@pytest.fixture
def donors():
    """40 labelled images in batches of 7."""
    pool = tiny_batch(samples=40, seed=9)
    return [select(pool, slice(first, first + 7)) for first in range(0, 40, 7)]


def runner_up(model: nn.Module, image: Tensor) -> int:
    logits = model(image[None])[0].tolist()
    best = logits.index(max(logits))
    return max((k for k in range(len(logits)) if k != best), key=lambda k: logits[k])


def runners_up(model: nn.Module, batch: Batch) -> list[int]:
    return [runner_up(model, image) for image in batch.image]


def confidence(model: nn.Module, image: Tensor, label: int) -> float:
    odds = model(image[None])[0].exp()
    return (odds[label] / odds.sum()).item()


def ranked_by_hand(model: nn.Module, donors: list[Batch], label: int) -> list[Tensor]:
    """Return the images of a label, the one with the highest softmax of that label first."""
    own = [image for batch in donors for image, given, _ in zip(*batch, strict=True) if given == label]
    return sorted(own, key=lambda image: confidence(model, image, label), reverse=True)


def injected_by_hand(
    model: nn.Module,
    image: Tensor,
    ranked: list[Tensor],
    values_of: str = "magnitude",
    *,
    alpha: float = 0.4,
    k: float = 0.2,
    rank: int = 0,
) -> Tensor:
    """Attack one image (C, H, W) as section 2.5 of the specification says."""
    others = [other for other in ranked if not torch.equal(other, image)]
    donor, label = others[rank], runner_up(model, image)
    leaf = donor.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(model(leaf[None])[0, label], leaf)
    values = {
        "magnitude": gradient.abs(),
        "product": gradient * donor,
        "one channel": gradient.abs().sum(dim=0, keepdim=True).expand_as(image),
    }[values_of]
    flat = values.flatten().tolist()
    positive = [place for place, value in enumerate(flat) if value > 0]
    size = max(1, round(k * len(positive)))
    result = image.flatten().clone()
    for place in sorted(positive, key=lambda place: (-flat[place], place))[:size]:
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
        ranked = ranked_by_hand(network, donors, runner_up(network, image))
        expected = injected_by_hand(network, image, ranked, values_of, alpha=0.4, k=k, rank=rank)
        torch.testing.assert_close(image_adv, expected, rtol=0, atol=1e-12)


def test_the_whole_donor_is_injected_at_full_strength(network, batch, donors):
    attack = EXIAA(alpha=1.0, k=1.0).prepare(network, lambda: donors)
    found = run_attack(network, Saliency(), attack, batch, seed=0).image_adv
    for image, image_adv in zip(batch.image, found, strict=True):
        label = runner_up(network, image)
        donor = ranked_by_hand(network, donors, label)[0]
        leaf = donor.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(network(leaf[None])[0, label], leaf)
        # Where all rectifiers are off the saliency is zero, and nothing is injected.
        torch.testing.assert_close(image_adv, torch.where(gradient != 0, donor, image), rtol=0, atol=1e-12)


def test_donors_are_ranked_by_the_probability_of_their_own_label(network, donors):
    found = rank_donors(network, lambda: donors, size=4)
    assert sorted(found) == [0, 1, 2, 3]
    misled = 0
    for label, images in found.items():
        expected = ranked_by_hand(network, donors, label)[:4]
        assert torch.equal(images, torch.stack(expected))
        misled += (network(images).argmax(dim=1) != label).sum().item()
    # A ranking by the largest probability of any class, or of correct images only, would look the same.
    assert misled >= 1


def test_the_order_and_the_batches_of_donors_do_not_matter(network, donors):
    whole = Batch(*(torch.cat(parts) for parts in zip(*donors, strict=True)))
    turned = Batch(*(tensor.flip(0) for tensor in whole))
    first = rank_donors(network, lambda: donors, size=3)
    for other in ([whole], [turned]):
        second = rank_donors(network, lambda other=other: other, size=3)
        assert {label: images.tolist() for label, images in first.items()} == {
            label: images.tolist() for label, images in second.items()
        }


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
    label = runner_up(network, one.image[0])
    donor = ranked_by_hand(network, donors, label)[-1]
    assert confidence(network, donor, label) < confidence(network, one.image[0], label)
    image = torch.cat([one.image, one.image, one.image, donor[None]])
    pool = Batch(image, torch.full((4,), label), torch.arange(4))
    attack = EXIAA(alpha=0.4).prepare(network, lambda: [pool])
    assert attack.eligible(one.image, network(one.image)).tolist() == [True]
    found = run_attack(network, Saliency(), attack, one, seed=0).image_adv[0]
    expected = injected_by_hand(network, one.image[0], [donor])
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


class Certain(nn.Module):
    """Give class 0 a probability that rounds to one for any image."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(1000.0))

    def forward(self, image: Tensor) -> Tensor:
        score = self.scale * (1 + image.mean(dim=(1, 2, 3)))
        return torch.stack([score, -score], dim=1)


def test_copies_among_donors_of_equal_confidence_are_found():
    shades = torch.tensor([0.5, 0.6, 0.5, 0.7, 0.6]).view(-1, 1, 1, 1).expand(5, 1, 2, 2)
    pool = Batch(shades, torch.zeros(5).long(), torch.arange(5))
    found = rank_donors(Certain(), lambda: [pool], size=4)[0]
    assert torch.equal(found, shades[[0, 1, 3]])


def test_a_sample_without_donors_is_excluded_and_unchanged(network, batch, donors):
    missing = runners_up(network, batch)[0]
    kept = [Batch(*(tensor[part.label != missing] for tensor in part)) for part in donors]
    attack = EXIAA(alpha=0.4).prepare(network, lambda: kept)
    eligible = attack.eligible(batch.image, network(batch.image))
    assert eligible.tolist() == [label != missing for label in runners_up(network, batch)]
    assert 1 <= eligible.sum() <= 5
    result = run_attack(network, Saliency(), attack, batch, seed=0)
    assert torch.equal(result.applied, eligible)


def test_a_sample_whose_only_donor_is_itself_is_excluded(network, batch):
    labels = torch.tensor(runners_up(network, batch))
    one = select(batch._replace(label=labels), slice(2, 3))
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
        label = runner_up(network, image)
        donor = ranked_by_hand(network, donors, label)[0][None]
        values = InputXGradient().attribute(network, donor, torch.tensor([label]), Noise(0, torch.arange(1)))
        positive = int((values > 0).sum())
        assert positive < 100
        assert int((image_adv != image).sum()) == max(1, round(0.3 * positive))


def test_every_field_matters(network, batch, donors):
    def effect(method: EXIAA) -> Tensor:
        attack = method.prepare(network, lambda: donors)
        return run_attack(network, Saliency(), attack, batch, seed=0).image_adv

    assert_every_field_matters(EXIAA(), {"alpha": 0.12, "k": 0.5, "rank": 1}, effect)


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
        ({"rank": -1}, "Expected `rank` of at least 0, but got -1."),
    ],
)
def test_refuses_options_out_of_range(options, message):
    with pytest.raises(ValueError, match=message):
        EXIAA(**options)
