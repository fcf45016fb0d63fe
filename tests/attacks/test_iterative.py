import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch
from torch import Tensor, nn

from lit_xai.attacks.base import Criterion
from lit_xai.attacks.iterative import best_iterate, check_ascent, relative_map, starts
from lit_xai.attributions.base import Attribution, Explain
from lit_xai.attributions.saliency import Saliency
from lit_xai.noise import Noise

MapOf = Callable[[nn.Module, Tensor, int], Tensor]


def softplus_copy(model: nn.Module, beta: float) -> nn.Module:
    """Return a copy whose rectifiers are softplus modules."""
    twin = copy.deepcopy(model)
    for parent in twin.modules():
        for name, child in parent.named_children():
            if isinstance(child, nn.ReLU):
                setattr(parent, name, nn.Softplus(beta))
    return twin


def saliency_by_hand(network: nn.Module, image: Tensor, target: int) -> Tensor:
    """Return |d logit / d x| of one image (C, H, W), summed over channels, with its graph."""
    point = image if image.requires_grad else image.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(network(point[None])[0, target], point, create_graph=True)
    return gradient.abs().sum(dim=0)


def integrated_by_hand(network: nn.Module, image: Tensor, target: int) -> Tensor:
    """Return |IG| of one image (C, H, W) from black, by the right ends of three intervals."""
    point = image if image.requires_grad else image.clone().requires_grad_()
    total = torch.zeros_like(image)
    for k in (1, 2, 3):
        node = k / 3 * point
        (gradient,) = torch.autograd.grad(network(node[None])[0, target], node, create_graph=True)
        total = total + gradient / 3
    return (point * total).abs().sum(dim=0)


def normalised(maps: Tensor) -> Tensor:
    return maps.numel() * maps / maps.sum()


def largest(values: Tensor, k: int) -> list[int]:
    """Return the flat places of the k largest values, ties by the lowest place."""
    flat = values.flatten().tolist()
    return sorted(range(len(flat)), key=lambda place: (-flat[place], place))[:k]


def attacked_by_hand(
    model: nn.Module,
    twin: nn.Module,
    map_of: MapOf,
    image: Tensor,
    ascended: Callable[[Tensor], Tensor],
    criterion: Callable[[Tensor], float],
    best: float,
    *,
    eps: float,
    step_size: float,
    steps: int,
) -> tuple[Tensor, int, int]:
    """Attack one image (C, H, W) as section 2.2 of the specification says.

    Args:
        model: The network with rectifiers.
        twin: The one without.
        map_of: The explanation.
        image: One image.
        ascended: D, of the twin's map with values that sum to H W.
        criterion: Of the network's map.
        best: The criterion's value for the clean image.
        eps: Radius.
        step_size: Of a step.
        steps: Their number.

    Returns:
        The best image, how many iterates were refused because the prediction changed, and how many were
        refused for their score alone.
    """
    target = int(model(image[None]).argmax())
    current, chosen, flipped, worse = image.clone(), image, 0, 0
    for _ in range(steps):
        leaf = current.clone().requires_grad_()
        ascended(normalised(map_of(twin, leaf, target))).backward()
        moved = current + step_size * leaf.grad.sign()
        current = torch.min(torch.max(moved, image - eps), image + eps)
        current = torch.where(current < 0, torch.zeros_like(current), current)
        current = torch.where(current > 1, torch.ones_like(current), current)
        score = criterion(normalised(map_of(model, current, target).detach()))
        if int(model(current[None]).argmax()) != target:
            flipped += 1
        elif score < best:
            best, chosen = score, current
        else:
            worse += 1
    return chosen, flipped, worse


@dataclass(frozen=True)
class Pixels(Attribution):
    """Explain by the image itself."""

    differentiable: ClassVar[bool] = True

    def attribute(self, model: nn.Module, image: Tensor, target: Tensor, noise: Noise) -> Tensor:
        return image


@dataclass(frozen=True)
class Mean(Criterion):
    """The mean of the attacked map."""

    def score(self, clean_map: Tensor, attacked_map: Tensor) -> Tensor:
        return attacked_map.mean(dim=(1, 2))


class BrightCorner(nn.Module):
    """Predict class 1 if the first pixel is above one half."""

    def forward(self, image: Tensor) -> Tensor:
        corner = image[:, 0, 0, 0]
        return torch.stack([1 - corner, corner], dim=1)


def canvas(*values: float, corner: float = 0.0) -> Tensor:
    """Return images of one value each, (N, 1, 2, 2), with a given first pixel."""
    image = torch.tensor(values, dtype=torch.float64).view(-1, 1, 1, 1).repeat(1, 1, 2, 2)
    image[:, 0, 0, 0] = corner
    return image


def chosen_of(iterates: list[Tensor], image: Tensor, criterion: Criterion = Mean()) -> Tensor:
    model = BrightCorner()
    explain = Explain(Pixels(), model, Noise(0, torch.arange(len(image))))
    return best_iterate(iterates, explain, image, model(image).argmax(dim=1), criterion)


def test_the_lowest_score_wins_for_each_sample():
    iterates = [canvas(0.3, 0.2), canvas(0.1, 0.4), canvas(0.2, 0.1)]
    found = chosen_of(iterates, canvas(0.5, 0.5))
    assert torch.equal(found, canvas(0.1, 0.1))


def test_a_score_that_only_equals_the_clean_one_is_not_accepted():
    clean, permuted = canvas(0.5), canvas(0.5)
    clean[0, 0, 1], permuted[0, 0, 1] = torch.tensor([0.2, 0.4]), torch.tensor([0.4, 0.2])
    assert torch.equal(chosen_of([permuted], clean), clean)
    assert torch.equal(chosen_of([canvas(0.6), canvas(0.9)], canvas(0.5)), canvas(0.5))


def test_the_first_of_two_equal_iterates_is_kept():
    first, second = canvas(0.1), canvas(0.1)
    first[0, 0, 1], second[0, 0, 1] = torch.tensor([0.0, 0.2]), torch.tensor([0.2, 0.0])
    assert torch.equal(chosen_of([first, second], canvas(0.5)), first)


def test_an_iterate_of_another_class_is_refused_however_low_its_score():
    flipped = canvas(0.0, 0.0, corner=0.6)
    assert torch.equal(chosen_of([canvas(0.4, 0.4), flipped], canvas(0.5, 0.5)), canvas(0.4, 0.4))
    assert torch.equal(chosen_of([flipped], canvas(0.5, 0.5)), canvas(0.5, 0.5))


@dataclass(frozen=True)
class NanBelow(Criterion):
    """The mean of the attacked map, NaN if it is below a threshold."""

    threshold: float

    def score(self, clean_map: Tensor, attacked_map: Tensor) -> Tensor:
        mean = attacked_map.mean(dim=(1, 2))
        return mean.masked_fill(mean < self.threshold, float("nan"))


def test_nan_is_never_accepted_and_never_kept_as_the_best():
    iterates = [canvas(0.1, 0.3), canvas(0.3, 0.2), canvas(0.2, 0.1)]
    found = chosen_of(iterates, canvas(0.5, 0.5), NanBelow(0.1))
    assert torch.equal(found, canvas(0.2, 0.2))


def test_nothing_is_accepted_where_the_clean_score_is_nan():
    assert torch.equal(chosen_of([canvas(0.9)], canvas(0.1), NanBelow(0.3)), canvas(0.1))


def test_starts_are_the_image_and_then_uniform_in_the_ball():
    image = torch.full((4, 3, 32, 32), 0.5, dtype=torch.float64)
    noise = Noise(0, torch.tensor([5, 2, 9, 4]))
    first, second, third = starts(image, 0.2, 3, noise)
    assert torch.equal(first, image)
    for start in (second, third):
        shift = (start - image) / 0.2
        assert shift.abs().max() <= 1
        # A uniform variable on [-1, 1] has mean 0, variance 1/3 and fourth moment 1/5.
        for power, moment in {1: 0.0, 2: 1 / 3, 4: 1 / 5}.items():
            assert abs(shift.pow(power).mean().item() - moment) < 0.02
    correlation = torch.corrcoef(torch.stack([(second - image).flatten(), (third - image).flatten()]))[0, 1]
    assert abs(correlation.item()) < 0.03
    alone = list(starts(image[:1], 0.2, 3, Noise(0, torch.tensor([9]))))
    assert torch.equal(alone[2], third[[2]])


def test_a_start_leaves_the_pixel_domain_until_the_first_step():
    image = torch.zeros(2, 1, 8, 8, dtype=torch.float64)
    _, start = starts(image, 0.3, 2, Noise(0, torch.arange(2)))
    assert start.min() < -0.2


def test_relative_map_is_each_pixel_share_of_the_magnitude(model, batch):
    explain = Explain(Saliency(absolute=False), model, Noise(0, batch.sample_id))
    found = relative_map(explain, batch.image, batch.label)
    for row in range(6):
        maps = saliency_by_hand(model, batch.image[row], int(batch.label[row])).detach()
        torch.testing.assert_close(found[row].detach(), maps / maps.sum(), rtol=0, atol=1e-14)


def test_relative_map_of_nothing_is_zero():
    image = torch.zeros(2, 2, 4, 4)
    explain = Explain(Pixels(), BrightCorner(), Noise(0, torch.arange(2)))
    assert torch.equal(relative_map(explain, image, torch.zeros(2).long()), torch.zeros(2, 4, 4))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"eps": 8}, r"Expected `eps` in \(0, 1\], but got 8\. Write 8/255 as 0\.0314\."),
        ({"eps": 0.0}, r"Expected `eps` in \(0, 1\], but got 0\."),
        ({"step_size": 2}, r"Expected `step_size` in \(0, 1\], but got 2\."),
        ({"step_size": -0.1}, r"Expected `step_size` in \(0, 1\], but got -0\.1\."),
        ({"steps": 0}, "Expected `steps` of at least 1, but got 0."),
        ({"restarts": 0}, "Expected `restarts` of at least 1, but got 0."),
    ],
)
def test_refuses_options_that_leave_nothing_to_climb(change, message):
    with pytest.raises(ValueError, match=message):
        check_ascent(**({"eps": 0.1, "step_size": 0.01, "steps": 1, "restarts": 1} | change))
