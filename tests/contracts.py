"""What every attribution, attack, regime and metric must keep to."""

import copy
from collections.abc import Callable
from dataclasses import fields, replace

import torch
from torch import Tensor, nn

from lit_xai.attacks.base import Attack, run_attack
from lit_xai.attributions.base import Attribution
from lit_xai.gate import evaluating
from lit_xai.metrics.base import SampleMetric
from lit_xai.noise import Noise
from lit_xai.regimes.base import Regime
from lit_xai.types import AttackResult, Batch, Donors


class Untouched:
    """Check that a piece of code leaves the network, its gradients and the global generator as they were."""

    def __init__(self, model: nn.Module, *tensors: Tensor) -> None:
        self.model = model
        self.tensors = tensors

    def __enter__(self) -> None:
        self.model.train()
        next(iter(self.model.children())).eval()
        self.modes = [module.training for module in self.model.modules()]
        self.values = [parameter.detach().clone() for parameter in self.model.parameters()]
        self.copies = [tensor.clone() for tensor in self.tensors]
        self.generator = torch.get_rng_state()

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is not None:
            return
        assert [module.training for module in self.model.modules()] == self.modes, "modes were not restored"
        assert all(parameter.requires_grad for parameter in self.model.parameters()), (
            "parameters stayed frozen"
        )
        assert all(parameter.grad is None for parameter in self.model.parameters()), (
            "parameters' .grad was filled"
        )
        assert all(torch.equal(a, b) for a, b in zip(self.values, self.model.parameters(), strict=True))
        assert all(torch.equal(a, b) for a, b in zip(self.copies, self.tensors, strict=True)), (
            "inputs were changed"
        )
        assert not any(tensor.requires_grad for tensor in self.tensors)
        assert torch.equal(self.generator, torch.get_rng_state()), "the global generator was used"


def select(batch: Batch, rows: slice) -> Batch:
    return Batch(*(tensor[rows] for tensor in batch))


def assert_attribution_contract(
    method: Attribution, model: nn.Module, batch: Batch, tolerance: float = 1e-9
) -> Tensor:
    """Check an attribution on float64 inputs and return its map."""
    image, target, noise = batch.image, batch.label, Noise(3, batch.sample_id)
    with Untouched(model, *batch), torch.no_grad():
        first = method.attribute(model, image, target, noise)
    assert first.shape in (image.shape, (len(image), 1, *image.shape[2:]))
    assert first.dtype == image.dtype
    assert first.isfinite().all()
    assert (first.flatten(1).amax(dim=1) > first.flatten(1).amin(dim=1)).all(), "a map is constant"
    assert not first.requires_grad
    with torch.inference_mode():
        inside = method.attribute(model, image.clone(), target.clone(), Noise(3, batch.sample_id.clone()))
    torch.testing.assert_close(inside.clone(), first, rtol=0, atol=tolerance)
    reverse = torch.arange(len(image)).flip(0)
    turned = method.attribute(model, image[reverse], target[reverse], Noise(3, batch.sample_id[reverse]))
    torch.testing.assert_close(turned.detach()[reverse], first, rtol=0, atol=tolerance)
    for row in range(len(image)):
        alone = select(batch, slice(row, row + 1))
        own = method.attribute(model, alone.image, alone.label, Noise(3, alone.sample_id)).detach()
        torch.testing.assert_close(own, first[[row]], rtol=0, atol=tolerance)
    if method.differentiable:
        assert method.attribute(model, image, target, noise).requires_grad, "no graph with grad mode on"
        assert_second_derivatives(method, model, batch)
    return first


def assert_second_derivatives(method: Attribution, model: nn.Module, batch: Batch) -> None:
    """Compare derivatives of a map, in the image and in every weight, with central differences.

    The rectifiers are replaced by curved units first: the second derivative of a rectifier network is zero.
    """
    smooth = curved(model)
    image, target, noise = batch.image[:2], batch.label[:2], Noise(3, batch.sample_id[:2])
    weight = _unit(method.attribute(smooth, image, target, noise).detach(), 5)

    def value(point: Tensor) -> Tensor:
        return (weight * method.attribute(smooth, point, target, noise)).sum()

    leaf = image.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(value(leaf), leaf)
    direction = _unit(image, 11)
    assert_directional(lambda step: value(image + step * direction), gradient, direction)
    parameters = list(smooth.parameters())
    gradients = torch.autograd.grad(value(image), parameters, materialize_grads=True, allow_unused=True)
    for number, (parameter, gradient) in enumerate(zip(parameters, gradients, strict=True)):
        towards = _unit(parameter, number)
        assert_directional(
            lambda step, chosen=parameter, towards=towards: moved(chosen, step * towards, value, image),
            gradient,
            towards,
        )


def moved(parameter: Tensor, by: Tensor, value: Callable[[Tensor], Tensor], image: Tensor) -> Tensor:
    """Return a value with one parameter moved, and move it back."""
    before = parameter.detach().clone()
    with torch.no_grad():
        parameter.add_(by)
    result = value(image).detach()
    with torch.no_grad():
        parameter.copy_(before)
    return result


def curved(model: nn.Module) -> nn.Module:
    """Return a copy with sigmoid-linear units and mean pooling."""
    smooth = copy.deepcopy(model)
    for module in smooth.modules():
        for name, child in module.named_children():
            if isinstance(child, nn.ReLU):
                setattr(module, name, nn.SiLU())
            elif isinstance(child, nn.MaxPool2d):
                setattr(module, name, nn.AvgPool2d(2))
    return smooth


def assert_directional(
    value: Callable[[float], Tensor], gradient: Tensor, direction: Tensor, step: float = 1e-5
) -> None:
    """Compare a gradient along a direction with a central difference, to four digits."""
    numeric = (value(step) - value(-step)).detach() / (2 * step)
    analytic = (gradient * direction).sum().detach()
    assert abs(numeric - analytic) <= 1e-4 * max(abs(numeric.item()), 1e-3), (numeric.item(), analytic.item())


def _unit(like: Tensor, seed: int) -> Tensor:
    direction = torch.randn(like.shape, generator=torch.Generator().manual_seed(seed), dtype=like.dtype)
    return direction / direction.norm()


def assert_attack_contract(
    attack: Attack,
    attribution: Attribution,
    model: nn.Module,
    batch: Batch,
    eps: float = 1.0,
    tolerance: float = 1e-9,
) -> AttackResult:
    """Check an attack on float64 inputs and return its result."""
    with Untouched(model, *batch):
        result = run_attack(model, attribution, attack, batch, seed=0)
    assert result.image_adv.shape == batch.image.shape
    assert result.image_adv.min() >= 0
    assert result.image_adv.max() <= 1
    assert (result.image_adv - batch.image).abs().max() <= eps + 1e-6
    assert torch.equal(result.kept, result.logits_adv.argmax(dim=1) == result.target)
    assert torch.equal(result.applied, (result.image_adv != batch.image).flatten(1).any(dim=1))
    with evaluating(model), torch.no_grad():
        assert torch.equal(result.target, model(batch.image).argmax(dim=1))
        torch.testing.assert_close(result.logits_adv, model(result.image_adv), rtol=0, atol=tolerance)
        noise = Noise(0, batch.sample_id).child("attribution")
        again = attribution.attribute(model, result.image_adv, result.target, noise)
        torch.testing.assert_close(result.attribution_adv, again, rtol=0, atol=tolerance)
    for row in range(len(batch.image)):
        alone = run_attack(model, attribution, attack, select(batch, slice(row, row + 1)), seed=0)
        torch.testing.assert_close(alone.image_adv, result.image_adv[[row]], rtol=0, atol=tolerance)
    with torch.inference_mode():
        inside = run_attack(model, attribution, attack, Batch(*(tensor.clone() for tensor in batch)), seed=0)
    torch.testing.assert_close(inside.image_adv.clone(), result.image_adv, rtol=0, atol=tolerance)
    return result


def assert_regime_contract(regime: Regime, model: nn.Module, batch: Batch, donors: Donors = list) -> None:
    """Check a regime on float64 inputs."""
    noise = Noise(0, batch.sample_id)
    with Untouched(model, *batch):
        loss = regime.loss(model, batch.image, batch.label, noise)
    assert loss.total.shape == ()
    assert loss.logits.shape == (len(batch.label), 4)
    assert loss.parts
    assert not any(part.requires_grad for part in loss.parts.values())
    gradients = torch.autograd.grad(loss.total, list(model.parameters()))
    assert all(gradient.abs().max() > 0 for gradient in gradients)
    again = regime.loss(model, batch.image, batch.label, noise)
    torch.testing.assert_close(again.total, loss.total, rtol=0, atol=0)
    halves = [
        regime.loss(model, part.image, part.label, Noise(0, part.sample_id)).total
        for part in (select(batch, slice(0, 3)), select(batch, slice(3, 6)))
    ]
    torch.testing.assert_close(sum(halves) / 2, loss.total, rtol=0, atol=1e-9)
    assert regime.at(0.5) == regime
    assert regime.prepare(model, donors) == regime


def assert_metric_contract(metric: SampleMetric, model: nn.Module, result: AttackResult) -> Tensor:
    """Check a metric on N samples and return its scores."""
    noise = Noise(0, result.sample_id)
    generator = torch.get_rng_state()
    scores = metric.scores(model, result, noise)
    assert scores.shape == (len(result.label),)
    assert torch.equal(generator, torch.get_rng_state())
    first, second = rows_of(result, slice(0, 2)), rows_of(result, slice(2, None))
    parts = [metric.scores(model, part, Noise(0, part.sample_id)) for part in (first, second)]
    torch.testing.assert_close(torch.cat(parts), scores, rtol=0, atol=1e-9, equal_nan=True)
    assert metric.scores(model, rows_of(result, slice(0, 0)), Noise(0, result.sample_id[:0])).shape == (0,)
    for part in (first, second):
        metric.update(model, part, Noise(0, part.sample_id))
    defined = scores[~scores.isnan()].double()
    summary = metric.summary()
    assert summary.count == len(defined)
    assert summary.undefined == len(scores) - len(defined)
    assert abs(summary.value - defined.mean().item()) < 1e-9
    assert abs(summary.stderr - defined.std().item() / len(defined) ** 0.5) < 1e-9
    assert abs(metric.compute().item() - defined.mean().item()) < 1e-9
    metric.reset()
    with torch.inference_mode():
        metric.update(model, first, Noise(0, first.sample_id))
        metric.reset()
    metric.update(model, second, Noise(0, second.sample_id))
    assert metric.summary().count + metric.summary().undefined == len(second.label)
    metric.reset()
    return scores


def rows_of(result: AttackResult, rows: slice) -> AttackResult:
    return AttackResult(**{name: getattr(result, name)[rows] for name in AttackResult.__slots__})


def assert_every_field_matters(
    method: object, changes: dict[str, object], effect: Callable[[object], Tensor]
) -> None:
    """Check that changing any field of a frozen dataclass changes its effect.

    Args:
        method: With every field at a working value.
        changes: Another working value for each field.
        effect: Takes a method, returns what it does.
    """
    assert {field.name for field in fields(method) if field.init} == changes.keys()
    before = effect(method)
    for name, value in changes.items():
        after = effect(replace(method, **{name: value}))
        assert after.shape != before.shape or not torch.equal(after, before), f"{name} has no effect"
