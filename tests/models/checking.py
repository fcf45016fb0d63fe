"""What every network that trains for its explanations must have."""

import torch
from torch import nn

from lit_xai.attributions.saliency import Saliency
from lit_xai.gate import explaining
from lit_xai.models.softplus import SoftplusTwin
from lit_xai.noise import Noise


def assert_second_derivative(model: nn.Module, image: torch.Tensor, step: float = 1e-5) -> None:
    """Compare derivatives of the network's saliency, in image and weights, with differences; float64."""
    twin, noise = SoftplusTwin(model, 10.0), Noise(0, torch.arange(len(image)))
    generator = torch.Generator().manual_seed(7)
    weights = list(model.parameters())
    places = [image.detach().clone().requires_grad_(), *weights]
    directions = [torch.randn(place.shape, generator=generator, dtype=place.dtype) for place in places]
    directions = [
        direction * (place.detach().std() + 0.1) for direction, place in zip(directions, places, strict=True)
    ]

    def height() -> torch.Tensor:
        target = torch.zeros(len(image), dtype=torch.long)
        maps = Saliency().attribute(twin, places[0], target, noise)
        return maps.square().sum(dim=(1, 2, 3)).log().sum()

    with explaining(model):
        gradients = torch.autograd.grad(height(), places, materialize_grads=True)
        for chosen in ([0], range(1, len(places))):
            slope = sum((gradients[at] * directions[at]).sum() for at in chosen)
            heights = []
            for sign in (1, -2):
                with torch.no_grad():
                    for at in chosen:
                        places[at] += sign * step * directions[at]
                heights.append(height().detach())
            with torch.no_grad():
                for at in chosen:
                    places[at] += step * directions[at]
            assert abs(slope) > 1e-3
            torch.testing.assert_close(slope, (heights[0] - heights[1]) / (2 * step), rtol=1e-5, atol=1e-8)


def spread_statistics(model: nn.Module) -> nn.Module:
    """Give batch norm other statistics and weights than those that it starts with; evaluation mode."""
    generator = torch.Generator().manual_seed(3)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor, low in (
                (module.running_mean, -0.5),
                (module.running_var, 0.5),
                (module.weight, 0.5),
                (module.bias, -0.5),
            ):
                draws = torch.rand(tensor.shape, generator=generator, dtype=tensor.dtype)
                tensor.data.copy_(low + draws)
    return model.eval()


def assert_plain_second_derivative(network: nn.Module, image: torch.Tensor, weight: torch.Tensor) -> None:
    """Compare a weight's derivative of a logit's squared gradient with differences, without a twin; float64.

    Args:
        network: Any, in any mode.
        image: (N, C, H, W).
        weight: A parameter of the network; it ends a small step away.
    """
    image = image.clone().requires_grad_()
    direction = torch.randn(weight.shape, generator=torch.Generator().manual_seed(0), dtype=weight.dtype)

    def steepness() -> torch.Tensor:
        (slope,) = torch.autograd.grad(network(image)[:, 0].sum(), image, create_graph=True)
        return slope.square().sum()

    (gradient,) = torch.autograd.grad(steepness(), weight)
    heights = []
    for sign in (1, -2):
        with torch.no_grad():
            weight += sign * 1e-4 * direction
        heights.append(steepness().detach())
    expected = (heights[0] - heights[1]) / 2e-4
    assert abs(expected) > 1e-6
    torch.testing.assert_close((gradient * direction).sum(), expected, rtol=1e-4, atol=0)
