from collections.abc import Callable
from dataclasses import replace
from math import ceil

import pytest
import torch
from torch import Tensor

from lit_xai.attacks.adaptive_steps import AdaptiveSteps, checkpoints_of
from lit_xai.attacks.stepping import Ball, SignSteps
from tests.attacks.test_stepping import climbed, random_images, waves
from tests.contracts import assert_every_field_matters

EPS = 0.1


def published_checkpoints(steps: int) -> list[int]:
    """Return w_j = ceil(p_j N) of section 3, p_0 = 0, p_1 = .22, with p_j in hundredths."""
    percents = [0, 22]
    while percents[-1] <= 100:
        percents.append(percents[-1] + max(percents[-1] - percents[-2] - 3, 6))
    return sorted({ceil(percent * steps / 100) for percent in percents if percent <= 100})


def apgd(
    objective: Callable[[Tensor], Tensor],
    image: Tensor,
    *,
    steps: int,
    step_size: float = 2 * EPS,
    rise: float = 0.75,
    momentum: float = 0.75,
) -> tuple[list[Tensor], list[float], float, list[tuple[bool, bool]]]:
    """Climb from one image as Algorithm 1 says, checkpoints before their step and no momentum after them.

    Args:
        objective: Of one image.
        image: (C, H, W).
        steps: N.
        step_size: eta at first.
        rise: rho.
        momentum: alpha.

    Returns:
        The points, their values but the last one's, the last step size, and which of the two conditions held
        at each checkpoint.
    """

    def project(point: Tensor) -> Tensor:
        return torch.min(torch.max(point, image - EPS), image + EPS).clamp(0, 1)

    def slope(point: Tensor) -> tuple[float, Tensor]:
        leaf = point.clone().requires_grad_()
        value = objective(leaf)
        value.backward()
        return value.item(), leaf.grad

    x, f, gradient, eta, f_max, visited, values = [image], [], [], [], [], [], []
    w, current, held = published_checkpoints(steps), step_size, []
    for k in range(steps):
        value, here = slope(x[k])
        visited.append(x[k])
        values.append(value)
        f.append(value)
        gradient.append(here)
        eta.append(current)
        f_max.append(max(f))
        before = x[k - 1] if k else x[k]
        if k in w[1:]:
            last = w[w.index(k) - 1]
            rises = sum(f[i + 1] > f[i] for i in range(last, k))
            held.append((rises < rise * (k - last), eta[last] == eta[k] and f_max[last] == f_max[k]))
            if any(held[-1]):
                highest = f.index(max(f))
                current /= 2
                x[k] = before = x[highest]
                f[k], gradient[k] = f[highest], gradient[highest]
        z = project(x[k] + current * gradient[k].sign())
        x.append(z if k == 0 else project(x[k] + momentum * (z - x[k]) + (1 - momentum) * (x[k] - before)))
    return [*visited, x[steps]], values, current, held


def path_of(
    stepping: AdaptiveSteps, center: Tensor, steps: int, value_of: Callable[[Tensor], Tensor] = waves
):
    """Return the whole state after a climb."""
    path, ball = stepping.begin(center, stepping.first_step(EPS)), Ball(center, EPS)
    for step in range(steps):
        leaf = path.point.clone().requires_grad_()
        value = value_of(leaf)
        (gradient,) = torch.autograd.grad(value.sum(), leaf)
        path = stepping.move(path, value.detach(), gradient, ball, step=step, steps=steps)
    return path


@pytest.mark.parametrize(("rise", "momentum"), [(0.75, 0.75), (0.4, 1.0)])
@pytest.mark.parametrize("steps", [1, 9, 40])
def test_equals_the_published_algorithm(steps, rise, momentum):
    center, stepping = random_images(8), AdaptiveSteps(rise=rise, momentum=momentum)
    points = climbed(stepping, center, waves, steps, EPS, 2 * EPS)
    lengths = path_of(stepping, center, steps).step_size.flatten()
    seen, ends = set(), set()
    for row in range(8):
        expected, _, length, held = apgd(
            lambda image: waves(image[None])[0], center[row], steps=steps, rise=rise, momentum=momentum
        )
        torch.testing.assert_close(points[:, row], torch.stack(expected), rtol=0, atol=1e-12)
        assert lengths[row].item() == length
        seen |= set(held)
        ends.add(length)
    if steps == 40:
        # Otherwise the loop would not tell the rules from their absence.
        assert seen >= {(True, False), (False, False)}
        assert len(ends) >= 2


def test_a_best_value_that_never_rises_halves_the_step():
    # Values: the start is the highest, and three of the four steps after it rise among themselves.
    center = torch.full((1, 1, 1, 1), 0.5, dtype=torch.float64)
    path, ball = AdaptiveSteps(rise=0.5).begin(center, 0.1), Ball(center, EPS)
    gradient, sizes = torch.ones_like(center), []
    for step, value in enumerate([9.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 8.5, 8.6, 8.7, 8.8]):
        sizes.append(path.step_size.item())
        path = AdaptiveSteps(rise=0.5).move(path, torch.tensor([value]), gradient, ball, step=step, steps=20)
    # Checkpoints at 5, 9 and 12: nothing beats the start, and a halving is followed by one of patience.
    assert sizes[:6] == [0.1] * 6
    assert sizes[6:10] == [0.05] * 4
    assert sizes[10:13] == [0.05] * 3
    assert path.step_size.item() == 0.025


@pytest.mark.parametrize("steps", [*range(1, 60), 100, 300, 1000])
def test_checkpoints_are_the_published_shares(steps):
    assert checkpoints_of(steps) == published_checkpoints(steps)


def test_checkpoints_of_a_hundred_steps():
    assert checkpoints_of(100) == [0, 22, 41, 57, 70, 80, 87, 93, 99]


def test_climbs_higher_than_steps_of_one_length():
    center = random_images(64)
    ends = {}
    for name, stepping, size in (("adaptive", AdaptiveSteps(), 2 * EPS), ("sign", SignSteps(), EPS / 4)):
        points = climbed(stepping, center, waves, 20, EPS, size)
        ends[name] = torch.stack([waves(point) for point in points]).amax(dim=0)
    assert (ends["adaptive"] > ends["sign"]).double().mean() >= 0.75
    assert (ends["adaptive"] - ends["sign"]).mean() > 3


def test_a_step_begins_with_the_diameter_of_the_ball_and_no_more_than_the_pixel_domain():
    assert AdaptiveSteps().first_step(0.1) == 0.2
    assert AdaptiveSteps().first_step(0.8) == 1.0


def test_a_sample_settles_when_its_step_is_short():
    center = random_images(3)
    path, ball = AdaptiveSteps().begin(center, 0.2), Ball(center, EPS)
    path = replace(path, step_size=torch.tensor([0.2, 0.00101, 0.00099]).double().view(3, 1, 1, 1))
    assert AdaptiveSteps().settled(path, ball).tolist() == [False, False, True]
    assert AdaptiveSteps(stop=0.5).settled(path, ball).tolist() == [False, True, True]


def test_undefined_values_are_never_the_best():
    center = random_images(2)

    def value_of(image: Tensor) -> Tensor:
        return waves(image) * torch.tensor([1.0, float("nan")]).double()

    path = path_of(AdaptiveSteps(), center, 30, lambda image: value_of(image).nan_to_num(nan=-torch.inf))
    assert path.best_value[1] == -torch.inf
    assert torch.equal(path.best[1], center[1])
    alone = path_of(AdaptiveSteps(), center[:1], 30)
    torch.testing.assert_close(path.point[:1], alone.point, rtol=0, atol=1e-14)


def test_every_field_matters():
    center = random_images(4)

    def effect(stepping: AdaptiveSteps) -> Tensor:
        path = path_of(stepping, center, 30)
        settled = stepping.settled(path, Ball(center, EPS))
        return torch.cat([path.point.flatten(), settled.double()])

    assert_every_field_matters(AdaptiveSteps(), {"rise": 0.3, "momentum": 0.5, "stop": 1.0}, effect)


@pytest.mark.parametrize("name", ["rise", "momentum", "stop"])
@pytest.mark.parametrize("value", [0.0, 1.5])
def test_refuses_what_is_no_share(name, value):
    with pytest.raises(ValueError, match=rf"Expected `{name}` in \(0, 1\], but got {value:g}\."):
        AdaptiveSteps(**{name: value})


def test_a_climb_without_a_best_point_goes_on_where_it_is():
    start = torch.full((1, 1, 1, 2), 0.5, dtype=torch.float64)
    ball, rule = Ball(start, 0.4), AdaptiveSteps()
    path = rule.begin(start, 0.1)
    lost, uphill = torch.full((1,), -torch.inf, dtype=torch.float64), torch.ones_like(start)
    for step in range(6):
        before = path.point
        path = rule.move(path, lost, uphill, ball, step=step, steps=20)
        assert (path.point > before).all() or (before == 0.9).all()
