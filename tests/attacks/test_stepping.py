from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from lit_xai.attacks.adam_steps import AdamSteps
from lit_xai.attacks.adaptive_steps import AdaptiveSteps
from lit_xai.attacks.stepping import Ball, Path, SignSteps, lengths

STEPPINGS = [SignSteps(), AdamSteps(), AdaptiveSteps()]


def images(*values: float, dtype: torch.dtype = torch.float64) -> Tensor:
    """Return images of one pixel each, (N, 1, 1, 1)."""
    return torch.tensor(values, dtype=dtype).view(-1, 1, 1, 1)


def climbed(stepping, center, value_of, steps, eps=0.1, step_size=0.05):
    """Return all points of a climb, (steps + 1, N, ...)."""
    path, ball = stepping.begin(center, step_size), Ball(center, eps)
    points = [path.point]
    for step in range(steps):
        leaf = path.point.clone().requires_grad_()
        value = value_of(leaf)
        (gradient,) = torch.autograd.grad(value.sum(), leaf)
        path = stepping.move(path, value.detach(), gradient, ball, step=step, steps=steps)
        points.append(path.point)
    return torch.stack(points)


def waves(image: Tensor) -> Tensor:
    """Return a score with many maxima for each image, (N,)."""
    frequency = torch.linspace(5, 60, image.shape[1:].numel(), dtype=image.dtype).view(image.shape[1:])
    return (image * frequency).sin().flatten(1).sum(dim=1) + image.flatten(1).sum(dim=1).square()


def random_images(samples: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.rand(samples, 2, 3, 3, generator=torch.Generator().manual_seed(0), dtype=dtype)


@dataclass(frozen=True, eq=False)
class Pair(Path):
    age: Tensor


def test_a_ball_ends_at_its_radius_and_at_black_and_white():
    ball = Ball(images(0.5, 0.05, 0.95), 0.25)
    found = ball.project(images(0.9, -0.4, 1.4)).flatten()
    torch.testing.assert_close(found, torch.tensor([0.75, 0.0, 1.0], dtype=torch.float64), rtol=0, atol=1e-15)
    inside = images(0.6, 0.2, 0.8)
    assert torch.equal(ball.project(inside), inside)


@pytest.mark.parametrize("rows", [torch.tensor([True, False, True]), torch.tensor([0, 2])])
def test_every_field_of_a_path_is_selected(rows):
    found = Pair(images(0.1, 0.2, 0.3), torch.tensor([4, 5, 6])).select(rows)
    assert type(found) is Pair
    assert torch.equal(found.point, images(0.1, 0.3))
    assert found.age.tolist() == [4, 6]


def test_lengths_have_a_row_for_each_image():
    found = lengths(0.25, random_images(3, torch.float32))
    assert found.dtype == torch.float32
    assert found.tolist() == [[[[0.25]]]] * 3


def test_sign_steps_by_hand():
    center = images(0.5, 0.5, 0.98, 0.5)
    slope = images(3.0, -0.2, 1.0, 0.0)
    found = climbed(
        SignSteps(), center, lambda image: (slope * image).flatten(1).sum(dim=1), 3, step_size=0.04
    )
    expected = [[0.5, 0.5, 0.98, 0.5], [0.54, 0.46, 1, 0.5], [0.58, 0.42, 1, 0.5], [0.6, 0.4, 1, 0.5]]
    torch.testing.assert_close(found.flatten(1), torch.tensor(expected).double(), rtol=0, atol=1e-7)


@pytest.mark.parametrize(("stepping", "first"), [(SignSteps(), 0.5 / 255), (AdamSteps(), 0.5 / 255)])
def test_the_first_step_is_a_sixteenth_of_the_radius(stepping, first):
    assert stepping.first_step(8 / 255) == pytest.approx(first, rel=1e-12)


@pytest.mark.parametrize("stepping", STEPPINGS[:2])
def test_nothing_settles_by_default(stepping):
    path, ball = stepping.begin(random_images(3), 1e-9), Ball(random_images(3), 0.1)
    assert stepping.settled(path, ball).tolist() == [False] * 3


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("stepping", STEPPINGS)
def test_steps_stay_in_the_ball_and_keep_the_type(stepping, dtype):
    center = random_images(5, dtype)
    points = climbed(stepping, center, waves, 12)
    assert points.dtype == dtype
    assert points.min() >= 0
    assert points.max() <= 1
    assert (points - center).abs().max() <= 0.1 + 1e-6
    assert (points[-1] - center).abs().max() > 0.05


@pytest.mark.parametrize("stepping", STEPPINGS)
def test_a_sample_moves_as_it_would_alone(stepping):
    center = random_images(5)
    whole = climbed(stepping, center, waves, 12)
    for row in range(5):
        alone = climbed(stepping, center[[row]], waves, 12)
        torch.testing.assert_close(alone, whole[:, [row]], rtol=0, atol=1e-14)


@pytest.mark.parametrize("stepping", STEPPINGS)
def test_a_selected_climb_goes_on_as_the_whole_one(stepping):
    center, keep = random_images(5), torch.tensor([4, 1])
    whole = climbed(stepping, center, waves, 12)
    path, ball = stepping.begin(center, 0.05), Ball(center, 0.1)
    for step in range(12):
        if step == 6:
            path, ball = path.select(keep), Ball(center[keep], 0.1)
        leaf = path.point.clone().requires_grad_()
        value = waves(leaf)
        (gradient,) = torch.autograd.grad(value.sum(), leaf)
        path = stepping.move(path, value.detach(), gradient, ball, step=step, steps=12)
    torch.testing.assert_close(path.point, whole[-1][keep], rtol=0, atol=1e-14)


@pytest.mark.parametrize("stepping", STEPPINGS)
def test_no_images_make_no_steps(stepping):
    assert climbed(stepping, random_images(3)[:0], waves, 3).shape == (4, 0, 2, 3, 3)
