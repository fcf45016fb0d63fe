from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from lit_xai.noise import Noise
from lit_xai.regimes import gradient_alignment
from lit_xai.regimes.gradient_alignment import GradientAlignment, alignment
from lit_xai.regimes.natural import Natural
from lit_xai.types import Batch
from tests.contracts import assert_every_field_matters, assert_regime_contract
from tests.regimes.checking import (
    Modes,
    assert_moves_the_gradient,
    assert_one_update_of_statistics,
    assert_parameter_gradient,
    cross_entropies,
    gradient_of,
    totals_in_each_grad_mode,
)

REGIME = GradientAlignment(eps=0.1, weight_l2=0.3, weight_cosine=0.7)


def gradient_by_hand(model: nn.Module, image: Tensor, label: Tensor) -> Tensor:
    """Return d f_y / dx of one image, flat, with its graph."""
    leaf = image.detach().clone().requires_grad_()
    return torch.autograd.grad(model(leaf[None])[0, label], leaf, create_graph=True)[0].flatten()


def parts_by_hand(model: nn.Module, batch: Batch, eps: float) -> tuple[Tensor, Tensor]:
    """Return ||g - g'||^2 and (1 - cos(g, g')) / 2 of section 4.6 of the specification, one by one, (N,)."""
    moves = Noise(0, batch.sample_id).child("near").uniform(batch.image, -eps, eps)
    distances, turns = [], []
    for image, label, move in zip(batch.image, batch.label, moves, strict=True):
        near = torch.max(torch.min(image + move, torch.ones(())), torch.zeros(()))
        clean = gradient_by_hand(model, image, label).detach()
        gradient = gradient_by_hand(model, near, label)
        distances.append(((clean - gradient) ** 2).sum())
        cosine = clean @ gradient / ((clean @ clean) * (gradient @ gradient)).sqrt()
        turns.append((1 - cosine) / 2)
    return torch.stack(distances), torch.stack(turns)


def loss_of(regime: GradientAlignment, model: nn.Module, batch: Batch) -> Tensor:
    return regime.loss(model, batch.image, batch.label, Noise(0, batch.sample_id)).total


def test_contract(model, batch):
    assert_regime_contract(REGIME, model, batch)


def test_minimises_cross_entropy_plus_distance_and_angle(model, batch):
    loss = REGIME.loss(model, batch.image, batch.label, Noise(0, batch.sample_id))
    cross_entropy = cross_entropies(model, batch.image, batch.label).sum() / 6
    distance, turn = (values.sum() / 6 for values in parts_by_hand(model, batch, 0.1))
    expected = cross_entropy + 0.3 * distance + 0.7 * turn
    torch.testing.assert_close(loss.total, expected, rtol=0, atol=1e-12)
    torch.testing.assert_close(loss.parts["cross_entropy"], cross_entropy.detach(), rtol=0, atol=1e-12)
    torch.testing.assert_close(loss.parts["gradient_l2"], distance.detach(), rtol=0, atol=1e-12)
    torch.testing.assert_close(loss.parts["gradient_cosine"], turn.detach(), rtol=0, atol=1e-12)
    assert torch.equal(loss.logits, model(batch.image))
    assert min(distance, turn) > 1e-3


def test_the_clean_gradient_is_held_fixed(model, batch):
    found = gradient_of(REGIME, model, batch)
    distance, turn = (values.mean() for values in parts_by_hand(model, batch, 0.1))
    total = cross_entropies(model, batch.image, batch.label).mean() + 0.3 * distance + 0.7 * turn
    gradients = torch.autograd.grad(total, list(model.parameters()))
    expected = torch.cat([gradient.flatten() for gradient in gradients])
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


def hold_clean_gradients(monkeypatch: pytest.MonkeyPatch, clean: Tensor) -> None:
    """Give the gradients without a graph these values, so that finite differences hold them fixed too."""
    compute = gradient_alignment.input_gradient

    def held_or_computed(*arguments: object) -> Tensor:
        return compute(*arguments) if torch.is_grad_enabled() else clean

    monkeypatch.setattr(gradient_alignment, "input_gradient", held_or_computed)


def test_the_parameter_gradient_equals_finite_differences(model, batch, monkeypatch):
    hold_clean_gradients(monkeypatch, Noise(1, batch.sample_id).normal(batch.image))
    assert_parameter_gradient(REGIME, model, batch)


def test_a_detached_regulariser_would_be_noticed(model, batch, monkeypatch):
    hold_clean_gradients(monkeypatch, Noise(1, batch.sample_id).normal(batch.image))
    compute = gradient_alignment.input_gradient
    monkeypatch.setattr(gradient_alignment, "input_gradient", lambda *given: compute(*given).detach())
    with pytest.raises(AssertionError, match="Tensor-likes are not close"):
        assert_parameter_gradient(REGIME, model, batch)


def test_the_regulariser_moves_the_gradient(trained, fashion_batch):
    assert_moves_the_gradient(GradientAlignment(), Natural(), trained, fashion_batch)


@pytest.mark.parametrize("name", ["weight_l2", "weight_cosine"])
def test_each_weight_moves_the_gradient_linearly(model, batch, name):
    plain = gradient_of(replace(REGIME, **{name: 0.0}), model, batch)
    once, twice = (gradient_of(replace(REGIME, **{name: weight}), model, batch) - plain for weight in (1, 2))
    torch.testing.assert_close(twice, 2 * once, rtol=0, atol=1e-12)
    assert once.norm() > 0.01 * plain.norm()


def test_neighbours_are_uniform_in_the_part_of_the_ball_that_is_an_image(batch, monkeypatch):
    seen = []

    def remember(_, image: Tensor, __) -> Tensor:
        seen.append(image)
        return torch.ones_like(image).requires_grad_()

    monkeypatch.setattr(gradient_alignment, "input_gradient", remember)
    image = torch.tensor([0.0, 0.5, 1.0], dtype=torch.float64).view(1, 3, 1, 1).expand(6, 3, 1000, 1)
    network = nn.Sequential(nn.Flatten(), nn.Linear(3000, 4)).double()
    REGIME.loss(network, image, batch.label, Noise(0, batch.sample_id))
    clean, near = seen
    assert torch.equal(clean, image)
    black, grey, white = (near - image).unbind(dim=1)
    assert abs((black == 0).double().mean() - 0.5) < 0.03
    assert abs((white == 0).double().mean() - 0.5) < 0.03
    assert black.min() == 0 == white.max()
    assert max(black.max(), -white.min(), grey.abs().max()) <= 0.1
    assert abs(grey.mean()) < 0.003
    assert abs(grey.std() - 0.2 / 12**0.5) < 0.002


def test_only_the_cross_entropy_sees_training_mode(model, batch):
    network = Modes(model).train()
    REGIME.loss(network, batch.image, batch.label, Noise(0, batch.sample_id))
    assert network.seen == [True, False, False]


def test_batch_norm_remembers_the_clean_images_once(model, batch):
    assert_one_update_of_statistics(REGIME, model, batch, batch.image)


def test_works_in_any_grad_mode(model, batch):
    first, *others = totals_in_each_grad_mode(REGIME, model, batch)
    for other in others:
        torch.testing.assert_close(other, first, rtol=0, atol=1e-12)


def test_every_field_matters(model, batch):
    changes = {"eps": 0.2, "weight_l2": 0.1, "weight_cosine": 0.1}
    assert_every_field_matters(REGIME, changes, lambda method: loss_of(method, model, batch).detach())


def test_the_alignment_is_the_cosine_whatever_the_scale():
    first, second = torch.tensor([[3.0, 0.0, 4.0]]), torch.tensor([[0.0, 1.0, 1.0]])
    for scale in (1e-30, 1.0, 1e30):
        assert abs(alignment(scale * first, second).item() - 4 / (5 * 2**0.5)) < 1e-6
    assert alignment(first, first).item() == pytest.approx(1)
    assert alignment(first, -first).item() == pytest.approx(-1)


def test_the_alignment_has_first_and_second_derivatives(batch):
    maps = [value.clone().requires_grad_() for value in (batch.image[:2, :, 0], batch.image[2:4, :, 0] - 0.5)]
    assert torch.autograd.gradcheck(alignment, maps)
    assert torch.autograd.gradgradcheck(alignment, maps)


def test_a_map_of_zeros_is_aligned_with_none_and_gets_no_derivative():
    zeros, ones = torch.zeros(1, 4, requires_grad=True), torch.ones(1, 4, requires_grad=True)
    for first, second in ((zeros, ones), (ones, zeros), (zeros, zeros)):
        value = alignment(first, second)
        assert value.item() == 0
        assert not any(
            gradient.any()
            for gradient in torch.autograd.grad(value, (first, second), allow_unused=True)
            if gradient is not None
        )


@pytest.mark.parametrize("scale", [0.0, 1e-30])
def test_gradients_of_almost_nothing_leave_finite_numbers(scale):
    network = nn.Sequential(nn.Flatten(), nn.Linear(4, 3))
    with torch.no_grad():
        network[1].weight.mul_(scale)
    image, label = torch.zeros(2, 1, 2, 2), torch.tensor([0, 1])
    loss = GradientAlignment().loss(network, image, label, Noise(0, torch.arange(2)))
    assert loss.parts["gradient_cosine"].item() == pytest.approx(0.0 if scale else 0.5, abs=1e-6)
    for gradient in torch.autograd.grad(loss.total, list(network.parameters())):
        assert gradient.isfinite().all()


def test_the_defaults_are_the_published_ones():
    assert GradientAlignment() == GradientAlignment(eps=4 / 255, weight_l2=0.01, weight_cosine=1.0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"eps": 4}, r"Expected `eps` in \(0, 1\], but got 4\. Write 8/255 as 0\.0314\."),
        ({"weight_l2": -1.0}, "Expected `weight_l2` of at least 0, but got -1."),
        ({"weight_cosine": float("nan")}, "Expected `weight_cosine` of at least 0, but got nan."),
        (
            {"weight_l2": 0.0, "weight_cosine": 0.0},
            "Expected `weight_l2` or `weight_cosine` above 0, but got 0 for both. Use Natural for no regul",
        ),
    ],
)
def test_refuses_options_out_of_range(options, message):
    with pytest.raises(ValueError, match=message):
        GradientAlignment(**options)
