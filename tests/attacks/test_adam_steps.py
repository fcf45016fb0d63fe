import torch
from torch import Tensor

from lit_xai.attacks.adam_steps import AdamSteps
from lit_xai.attacks.stepping import Ball

STEPS = 10


def draw(seed: int, samples: int = 4) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(samples, 2, 5, 5, generator=generator, dtype=torch.float64)


def height(image: Tensor) -> Tensor:
    """Return a bent surface over images, (N,), the first of them on a plateau."""
    value = (3 * image).sin() * (draw(2, 1) - 0.4) + 0.2 * image.pow(3)
    return value.sum(dim=(1, 2, 3)) * torch.arange(len(image))


def gradient_at(image: Tensor) -> Tensor:
    leaf = image.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(height(leaf).sum(), leaf)
    return gradient


def climbed(start: Tensor, ball: Ball, step_size: float) -> list[Tensor]:
    path = AdamSteps().begin(start, step_size)
    points = []
    for step in range(STEPS):
        gradient = gradient_at(path.point)
        path = AdamSteps().move(path, height(path.point), gradient, ball, step=step, steps=STEPS)
        points.append(path.point)
    return points


def climbed_by_torch(start: Tensor, center: Tensor, eps: float, step_size: float) -> list[Tensor]:
    leaf = start.clone().requires_grad_()
    optimizer = torch.optim.Adam([leaf], lr=step_size, maximize=True)
    points = []
    for _ in range(STEPS):
        optimizer.zero_grad()
        height(leaf).sum().backward()
        optimizer.step()
        with torch.no_grad():
            near = torch.min(torch.max(leaf, center - eps), center + eps)
            leaf.copy_(torch.where(near < 0, 0.0, torch.where(near > 1, 1.0, near)))
        points.append(leaf.detach().clone())
    return points


def test_equals_the_optimiser_of_torch_with_a_projection():
    center = draw(0)
    start = center + 0.05 * (draw(1) - 0.5)
    for eps, step_size in ((0.1, 0.02), (1.0, 0.003)):
        found = climbed(start, Ball(center, eps), step_size)
        expected = climbed_by_torch(start, center, eps, step_size)
        for one, other in zip(found, expected, strict=True):
            torch.testing.assert_close(one, other, rtol=0, atol=1e-12)
        assert (found[-1] != start).flatten(1).any(dim=1).tolist() == [False, True, True, True]
        touching = ((found[-1] - center).abs() > eps - 1e-12).sum()
        assert (touching > 20) == (eps < 1)


def test_a_sample_goes_on_alone_as_it_went_among_others():
    center = draw(0)
    ball, rows = Ball(center, 0.1), torch.tensor([False, True, False, True])
    expected = climbed(center, ball, 0.02)
    path = AdamSteps().begin(center, 0.02)
    for step in range(STEPS):
        if step == 4:
            path, ball = path.select(rows), Ball(center[rows], 0.1)
        whole = center.clone()
        whole[rows if len(path.point) == 2 else slice(None)] = path.point
        gradient = gradient_at(whole)[rows if len(path.point) == 2 else slice(None)]
        path = AdamSteps().move(path, height(path.point), gradient, ball, step=step, steps=STEPS)
    torch.testing.assert_close(path.point, expected[-1][rows], rtol=0, atol=1e-14)


def test_the_first_step_has_its_length_whatever_the_slope():
    center = torch.full((2, 1, 1, 2), 0.5, dtype=torch.float64)
    gradient = torch.tensor([[1e-3, -1e5], [0.0, 2.0]], dtype=torch.float64).view(2, 1, 1, 2)
    path = AdamSteps().begin(center, 0.02)
    moved = AdamSteps().move(path, torch.zeros(2), gradient, Ball(center, 0.1), step=0, steps=1).point
    expected = torch.tensor([[0.02, -0.02], [0.0, 0.02]], dtype=torch.float64).view(2, 1, 1, 2)
    torch.testing.assert_close(moved - center, expected, rtol=1e-4, atol=0)
    assert AdamSteps().first_step(0.16) == 0.01


def test_no_sample_settles():
    center = draw(0)
    path = AdamSteps().begin(center, 0.02)
    assert not AdamSteps().settled(path, Ball(center, 0.1)).any()
