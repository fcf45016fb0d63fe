import copy
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from lit_xai.noise import Noise
from lit_xai.regimes import rank_thickness as module
from lit_xai.regimes.natural import Natural
from lit_xai.regimes.rank_thickness import RankThickness, gradient_change, rank_thickness
from lit_xai.types import Batch
from tests.conftest import tiny_network
from tests.contracts import assert_every_field_matters, assert_regime_contract, curved
from tests.regimes.checking import (
    Modes,
    assert_moves_the_gradient,
    assert_one_update_of_statistics,
    assert_parameter_gradient,
    cross_entropies,
    flat_gradient,
    gradient_of,
    totals_in_each_grad_mode,
)

SMALL = RankThickness(weight=0.3, curvature=0.2, k=10)


def gradient_by_hand(model: nn.Module, image: Tensor, label: Tensor) -> Tensor:
    """Return the gradient of one sample's cross-entropy, (C, H, W), with its graph."""
    leaf = image.clone().requires_grad_()
    loss = cross_entropies(model, leaf[None], label[None])[0]
    return torch.autograd.grad(loss, leaf, create_graph=True)[0]


def terms_by_hand(model: nn.Module, batch: Batch, k: int, *, relative: bool = False) -> tuple[Tensor, Tensor]:
    """Return section 4.10 of the specification, pixel by pixel: thickness and change, means over samples."""
    thickness, changes = [], []
    for image, label in zip(batch.image, batch.label, strict=True):
        gradient = gradient_by_hand(model, image, label)
        own = sum(channel.abs() for channel in gradient).flatten()
        own = own / own.sum() if relative else own
        ranked = sorted(own, reverse=True)
        penalty = sum(ranked[k - 1] - value for value in ranked[: k - 1])
        penalty = penalty + sum(value - ranked[k - 1] for value in ranked[k:])
        thickness.append(-penalty)
        beside = gradient_by_hand(model, image + 0.001 * gradient.detach().sign(), label)
        changes.append(((beside - gradient) ** 2).sum().sqrt() / 0.001)
    return sum(thickness) / len(thickness), sum(changes) / len(changes)


def test_contract(model, batch):
    assert_regime_contract(SMALL, model, batch)
    assert_regime_contract(replace(SMALL, curvature=0.0, relative=True), model, batch)


@pytest.mark.parametrize(("k", "expected"), [(1, 17.0), (2, 9.0), (3, 9.0), (4, 15.0)])
def test_thickness_by_hand(k, expected):
    maps = torch.tensor([[[9.0, 1.0], [4.0, 5.0]]])
    assert rank_thickness(maps, k=k).tolist() == [expected]


def test_thickness_grows_with_the_gap_that_an_attack_must_close():
    maps = torch.rand(3, 6, 6, generator=torch.Generator().manual_seed(0)).requires_grad_()
    (slope,) = torch.autograd.grad(rank_thickness(maps, k=9).sum(), maps)
    for values, slopes in zip(maps.detach().flatten(1), slope.flatten(1), strict=True):
        order = values.argsort(descending=True)
        assert slopes[order].tolist() == [1.0] * 8 + [-8.0 + 27.0] + [-1.0] * 27


@pytest.mark.parametrize("relative", [False, True])
@pytest.mark.parametrize("kind", ["rectifiers", "curved"])
def test_minimises_cross_entropy_less_thickness_plus_change(model, batch, relative, kind):
    network = curved(model) if kind == "curved" else model
    regime = replace(SMALL, relative=relative)
    loss = regime.loss(network, batch.image, batch.label, Noise(0, batch.sample_id))
    cross_entropy = cross_entropies(network, batch.image, batch.label).sum() / 6
    thickness, change = terms_by_hand(network, batch, 10, relative=relative)
    expected = cross_entropy - 0.3 * thickness + 0.2 * change
    torch.testing.assert_close(loss.total, expected, rtol=0, atol=1e-11)
    torch.testing.assert_close(
        flat_gradient(loss.total, network), flat_gradient(expected, network), rtol=0, atol=1e-9
    )
    torch.testing.assert_close(loss.parts["cross_entropy"], cross_entropy.detach(), rtol=0, atol=1e-12)
    torch.testing.assert_close(loss.parts["rank_thickness"], thickness.detach(), rtol=0, atol=1e-12)
    torch.testing.assert_close(loss.parts["gradient_change"], change.detach(), rtol=0, atol=1e-11)
    assert torch.equal(loss.logits, network(batch.image))


def test_the_change_is_the_hessian_along_the_sign(model, batch):
    smooth = curved(model)
    image = batch.image.clone().requires_grad_()
    loss = cross_entropies(smooth, image, batch.label).sum()
    (gradient,) = torch.autograd.grad(loss, image, create_graph=True)
    (expected,) = torch.autograd.grad(gradient, image, gradient.detach().sign())
    found = gradient_change(smooth, batch.image, batch.label, gradient.detach())
    torch.testing.assert_close(found, expected.flatten(1).norm(dim=1), rtol=1e-2, atol=0)


def test_a_share_counts_pixels(model, batch):
    noise = Noise(0, batch.sample_id)
    losses = [
        replace(SMALL, k=k).loss(model, batch.image, batch.label, noise).total for k in (0.25, 16, 0.001, 1)
    ]
    assert losses[0] == losses[1]
    assert losses[2] == losses[3]
    assert losses[1] != losses[3]


def test_a_relative_map_does_not_gain_by_scale():
    gradient = torch.randn(4, 2, 5, 5, generator=torch.Generator().manual_seed(0))
    once, twice = (replace(SMALL, relative=True).thickness(factor * gradient) for factor in (1, 2))
    torch.testing.assert_close(twice, once)
    torch.testing.assert_close(SMALL.thickness(2 * gradient), 2 * SMALL.thickness(gradient))


@pytest.mark.parametrize("options", [{}, {"curvature": 0.0}, {"relative": True}])
def test_the_parameter_gradient_equals_finite_differences(model, batch, options):
    assert_parameter_gradient(replace(SMALL, **options), model, batch)


@pytest.mark.parametrize("name", ["rank_thickness", "gradient_change"])
def test_a_detached_regulariser_would_be_noticed(model, batch, monkeypatch, name):
    whole = getattr(module, name)
    monkeypatch.setattr(module, name, lambda *arguments, **options: whole(*arguments, **options).detach())
    with pytest.raises(AssertionError, match="Tensor-likes are not close"):
        assert_parameter_gradient(SMALL, model, batch)


@pytest.mark.parametrize("options", [{}, {"curvature": 0.0}])
def test_the_regulariser_moves_the_gradient(trained, fashion_batch, options):
    assert_moves_the_gradient(RankThickness(**options), Natural(), trained, fashion_batch)


def test_each_weight_moves_the_gradient_linearly(model, batch):
    plain = gradient_of(Natural(), model, batch)

    def moves(weight: float, curvature: float) -> Tensor:
        return gradient_of(replace(SMALL, weight=weight, curvature=curvature), model, batch) - plain

    once, other = moves(0.3, 0.0), moves(0.3, 0.2) - moves(0.3, 0.0)
    torch.testing.assert_close(moves(0.6, 0.4), 2 * (once + other), rtol=0, atol=1e-10)
    assert once.norm() > 0.01 * plain.norm()
    assert other.norm() > 0.01 * plain.norm()


def test_a_step_down_widens_the_gaps_or_steadies_the_gradient(trained, fashion_batch):
    image, label, sample_id = fashion_batch
    for options, name, sign in (
        ({"weight": 100.0, "curvature": 0.0}, "rank_thickness", 1),
        ({"weight": 1e-9, "curvature": 100.0}, "gradient_change", -1),
    ):
        regime, network = RankThickness(**options), copy.deepcopy(trained)
        optimizer = torch.optim.SGD(network.parameters(), 1e-7)
        before = regime.loss(network, image, label, Noise(0, sample_id))
        before.total.backward()
        optimizer.step()
        after = regime.loss(network, image, label, Noise(0, sample_id))
        assert sign * (after.parts[name] - before.parts[name]) > 0


def test_only_the_cross_entropy_sees_training_mode(model, batch):
    for options, passes in (({}, 2), ({"curvature": 0.0}, 1)):
        network = Modes(model).train()
        replace(SMALL, **options).loss(network, batch.image, batch.label, Noise(0, batch.sample_id))
        assert network.seen == [True] + [False] * passes


def test_batch_norm_remembers_the_images_once(model, batch):
    assert_one_update_of_statistics(SMALL, model, batch, batch.image)


def test_works_in_any_grad_mode(model, batch):
    first, *others = totals_in_each_grad_mode(SMALL, model, batch)
    for other in others:
        torch.testing.assert_close(other, first, rtol=0, atol=1e-12)


@pytest.mark.parametrize("scale", [0.0, 1e4])
@pytest.mark.parametrize("relative", [False, True])
def test_is_finite_where_the_map_is_zero(batch, scale, relative):
    network = tiny_network().float()
    with torch.no_grad():
        network.head[-1].weight.mul_(scale)
    flat = Batch(torch.cat([batch.image[:3] * 0, batch.image[3:]]).float(), batch.label, batch.sample_id)
    regime = replace(SMALL, relative=relative)
    loss = regime.loss(network, flat.image, flat.label, Noise(0, flat.sample_id))
    assert loss.total.isfinite()
    assert flat_gradient(loss.total, network).isfinite().all()
    if scale == 0:
        assert loss.total == loss.parts["cross_entropy"]


def test_every_field_matters(model, batch):
    changes = {"weight": 0.5, "curvature": 0.0, "k": 12, "relative": True}
    assert_every_field_matters(
        SMALL,
        changes,
        lambda method: method.loss(model, batch.image, batch.label, Noise(0, batch.sample_id)).total.detach(),
    )


def test_the_defaults():
    assert RankThickness() == RankThickness(weight=0.01, curvature=0.01, k=100, relative=False)


def test_the_curvature_may_stand_alone(model, batch):
    noise = Noise(0, batch.sample_id)
    both = RankThickness(k=5).loss(model, batch.image, batch.label, noise)
    alone = RankThickness(weight=0.0, k=5).loss(model, batch.image, batch.label, noise)
    without = both.total + 0.01 * both.parts["rank_thickness"]
    torch.testing.assert_close(alone.total, without, rtol=0, atol=1e-12)
    assert both.parts["rank_thickness"] > 1e-3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"weight": 0.0, "curvature": 0.0},
            "Expected `weight` above 0, but got 0. Use Natural for no regulariser.",
        ),
        ({"weight": -1.0}, "Expected `weight` of at least 0, but got -1."),
        ({"curvature": -0.1}, "Expected `curvature` of at least 0, but got -0.1."),
        ({"curvature": float("nan")}, "Expected `curvature` of at least 0, but got nan."),
        ({"k": 1.5}, r"Expected `k` as a number of pixels or a share in \(0, 1\), but got 1\.5\."),
    ],
)
def test_refuses_options_out_of_range(options, message):
    with pytest.raises(ValueError, match=message):
        RankThickness(**options)


def test_refuses_more_pixels_than_there_are(model, batch):
    with pytest.raises(ValueError, match=r"Expected `k` in \[1, 64\], but got 100\."):
        RankThickness().loss(model, batch.image, batch.label, Noise(0, batch.sample_id))
    with pytest.raises(ValueError, match=r"Expected maps of shape \(N, H, W\), but got \(6, 2, 8, 8\)\."):
        rank_thickness(batch.image, k=3)
