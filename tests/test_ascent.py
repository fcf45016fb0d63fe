import pytest
import torch

from lit_xai.ascent import ascend, gradient_sign, slope
from tests.conftest import tiny_batch, tiny_network


def linear(weight: torch.Tensor):
    return gradient_sign(lambda image: (weight * image).flatten(1).sum(dim=1))


def iterates(image, start, direction, eps, step_size, steps):
    return torch.stack(list(ascend(image, start, direction, eps, step_size, steps))).flatten(1).tolist()


def test_a_linear_objective_by_hand():
    image = torch.tensor([0.5, 0.5, 0.9, 0.05], dtype=torch.float64).view(1, 1, 2, 2)
    weight = torch.tensor([3.0, -0.1, 1.0, -1.0], dtype=torch.float64).view(1, 1, 2, 2)
    found = iterates(image, image, linear(weight), eps=0.25, step_size=0.1, steps=3)
    expected = [[0.6, 0.4, 1.0, 0.0], [0.7, 0.3, 1.0, 0.0], [0.75, 0.25, 1.0, 0.0]]
    torch.testing.assert_close(torch.tensor(found), torch.tensor(expected), rtol=0, atol=1e-7)


def test_a_pixel_without_gradient_stays():
    image = torch.full((1, 1, 1, 2), 0.5)
    found = iterates(image, image, linear(torch.tensor([0.0, 1.0])), eps=0.25, step_size=0.125, steps=1)
    assert found == [[0.5, 0.625]]


def test_the_start_is_projected_with_the_first_step():
    image, start = torch.full((1, 1, 1, 1), 0.5), torch.full((1, 1, 1, 1), 1.0)
    found = iterates(image, start, linear(torch.tensor([-1.0])), eps=0.25, step_size=0.125, steps=3)
    assert found == [[0.75], [0.625], [0.5]]


def test_the_iterates_stay_in_ball_and_box():
    batch, model = tiny_batch(), tiny_network()
    direction = gradient_sign(lambda image: model(image).logsumexp(dim=1))
    points = list(ascend(batch.image, batch.image + 0.3, direction, 0.2, 0.07, 6))
    assert len(points) == 6
    for point in points:
        assert (point - batch.image).abs().max() <= 0.2 + 1e-15
        assert point.min() >= 0
        assert point.max() <= 1
    assert (points[-1] - batch.image).abs().max() > 0.19


def test_each_step_climbs_a_convex_objective():
    image = torch.full((2, 1, 2, 2), 0.5, dtype=torch.float64)
    image[1] += 0.01
    objective = lambda point: ((point - 0.45) ** 2).flatten(1).sum(dim=1)  # noqa: E731
    points = [image, *ascend(image, image, gradient_sign(objective), 0.2, 0.05, 4)]
    values = torch.stack([objective(point) for point in points])
    expected = torch.stack(
        [4 * (0.05 + offset + 0.05 * torch.arange(5)) ** 2 for offset in (0.0, 0.01)], dim=1
    )
    torch.testing.assert_close(values, expected.double(), rtol=1e-6, atol=0)


def test_the_direction_learns_the_number_of_the_step():
    seen = []

    def direction(current, step):
        seen.append((step, current.item()))
        return torch.ones_like(current)

    image = torch.zeros(1, 1, 1, 1)
    assert iterates(image, image, direction, eps=0.5, step_size=0.25, steps=3) == [[0.25], [0.5], [0.5]]
    assert seen == [(0, 0.0), (1, 0.25), (2, 0.5)]


def test_no_steps_give_no_iterates():
    image = torch.zeros(1, 1, 1, 1)
    assert list(ascend(image, image, linear(torch.ones(1)), eps=0.5, step_size=0.25, steps=0)) == []


@pytest.mark.parametrize("mode", [torch.no_grad, torch.enable_grad])
def test_gradients_of_parameters_and_images_stay_untouched(mode):
    batch, model = tiny_batch(), tiny_network()
    image = batch.image.clone().requires_grad_()
    with mode():
        direction = gradient_sign(lambda point: model(point).logsumexp(dim=1))
        points = list(ascend(image.detach(), image, direction, 0.2, 0.1, 2))
    assert all(parameter.grad is None for parameter in model.parameters())
    assert image.grad is None
    assert not any(point.requires_grad for point in points)
    reference = batch.image.clone().requires_grad_()
    model(reference).logsumexp(dim=1).sum().backward()
    expected = (batch.image + 0.1 * reference.grad.sign()).clamp(0, 1)
    torch.testing.assert_close(points[0], expected, rtol=0, atol=1e-15)


def test_the_iterates_are_detached_from_the_center():
    image = torch.full((1, 1, 1, 1), 0.5, requires_grad=True)
    points = list(ascend(image, image, linear(torch.ones(1)), 0.25, 0.5, 2))
    assert not any(point.requires_grad for point in points)


def test_the_slope_is_the_value_and_its_gradient():
    image = tiny_batch().image.requires_grad_()
    with torch.no_grad():
        value, gradient = slope(lambda point: (point**3).flatten(1).sum(dim=1), image)
    torch.testing.assert_close(value, (image**3).flatten(1).sum(dim=1).detach(), rtol=0, atol=1e-12)
    torch.testing.assert_close(gradient, 3 * image.detach() ** 2, rtol=0, atol=1e-12)
    assert not value.requires_grad
    assert not gradient.requires_grad
    assert image.grad is None


def test_the_slope_of_a_network_leaves_its_parameters_alone():
    batch, model = tiny_batch(), tiny_network()
    value, gradient = slope(lambda point: model(point).logsumexp(dim=1), batch.image)
    assert value.shape == (6,)
    assert gradient.flatten(1).abs().amax(dim=1).min() > 0
    assert all(parameter.grad is None and parameter.requires_grad for parameter in model.parameters())


@pytest.mark.parametrize(
    "objective", [lambda point: point.detach().sum(dim=(1, 2, 3)), lambda point: 0 * point.sum(dim=(1, 2, 3))]
)
def test_where_nothing_slopes_the_gradient_is_zero(objective):
    image = tiny_batch().image
    value, gradient = slope(objective, image)
    assert value.shape == (6,)
    assert gradient.shape == image.shape
    assert gradient.abs().max() == 0


def test_no_images_have_no_slope():
    image = tiny_batch().image[:0]
    value, gradient = slope(lambda point: 1 / 0, image)
    assert value.shape == (0,)
    assert gradient.shape == image.shape
