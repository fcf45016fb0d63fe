from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from lit_xai.noise import Noise
from lit_xai.regimes import smooth_surface
from lit_xai.regimes.natural import Natural
from lit_xai.regimes.smooth_surface import SmoothSurface, curvature_along, top_direction
from lit_xai.types import Batch
from tests.conftest import tiny_batch, tiny_network
from tests.contracts import assert_every_field_matters, assert_regime_contract, curved, moved
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

SMALL = SmoothSurface(weight=0.7, rounds=5)
# Enough for all 16 pixels of the smallest images.
CONVERGED = SmoothSurface(weight=0.7, rounds=16)


@pytest.fixture
def pixels() -> Batch:
    return tiny_batch(samples=4, channels=1, size=4)


@pytest.fixture(params=["rectifiers", "curved"])
def network(request) -> nn.Module:
    rectified = tiny_network(channels=1, size=4)
    return curved(rectified) if request.param == "curved" else rectified


def eigenvalues_by_hand(model: nn.Module, image: Tensor, label: Tensor) -> Tensor:
    """Return all eigenvalues of the Hessian of the cross-entropy in the pixels, ascending, (N, D)."""
    rows = []
    for own, cls in zip(image, label, strict=True):
        hessian = torch.autograd.functional.hessian(
            lambda point, cls=cls: cross_entropies(model, point[None], cls[None])[0], own, vectorize=True
        )
        rows.append(torch.linalg.eigvalsh(hessian.reshape(own.numel(), own.numel())))
    return torch.stack(rows)


def curvatures(regime: SmoothSurface, model: nn.Module, batch: Batch) -> Tensor:
    """Return the curvature of each sample in the direction that the search finds."""
    direction = regime.direction(model, batch.image, batch.label, Noise(0, batch.sample_id))
    return curvature_along(model, batch.image, batch.label, direction).detach()


def stretched(matrix: Tensor, rounds: int, seed: int = 0) -> Tensor:
    """Return v^T A v for the directions that are found, (N,)."""
    start = torch.randn(matrix.shape[:2], generator=torch.Generator().manual_seed(seed), dtype=matrix.dtype)
    found = top_direction(lambda vector: (matrix @ vector[:, :, None]).squeeze(2), start, rounds)
    return torch.einsum("nd,nde,ne->n", found, matrix, found)


def rotated(values: list[list[float]], dtype: torch.dtype = torch.float64) -> Tensor:
    """Return symmetric matrices with given eigenvalues, (N, D, D)."""
    spectrum = torch.tensor(values, dtype=torch.float64)
    noise = torch.randn(*spectrum.shape, spectrum.shape[1], generator=torch.Generator().manual_seed(2))
    basis = torch.linalg.qr(noise.double()).Q
    return (basis @ torch.diag_embed(spectrum) @ basis.mT).to(dtype)


def held(monkeypatch: pytest.MonkeyPatch, model: nn.Module, batch: Batch) -> None:
    """Make the search return the directions that it finds for one network."""
    found = SMALL.direction(curved(model), batch.image, batch.label, Noise(0, batch.sample_id))
    monkeypatch.setattr(SmoothSurface, "direction", lambda *_: found)


def test_contract(model, batch):
    assert_regime_contract(SMALL, model, batch)
    assert_regime_contract(SMALL, curved(model), batch)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_the_largest_eigenvalue_is_found_with_its_sign(dtype):
    values = [
        [5.0, 1.0, 0.5, 0.1, 0.0, 0.0],
        [3.0, -9.0, 1.0, 0.0, 0.0, 0.0],  # a negative one dominates
        [-1.0, -2.0, -3.0, -3.0, -3.0, -3.0],  # seen in three rounds: nothing may pass for an eigenvalue 0
        [2.0, 2.0, 2.0, 2.0, 2.0, 2.0],
        [4.0, 0.0, 0.0, 0.0, 0.0, 0.0],
        [1e-6, 1e-7, -1e-5, 0.0, 0.0, 0.0],
    ]
    matrix = rotated(values, dtype)
    expected = matrix.new_tensor(values).amax(dim=1)
    scale = matrix.new_tensor(values).abs().amax(dim=1)
    tolerance = 1e-12 if dtype == torch.float64 else 1e-5
    for rounds in (6, 12):
        error = (stretched(matrix, rounds) - expected).abs()
        assert (error <= tolerance * scale).all(), error / scale


def test_fewer_rounds_than_eigenvalues_find_most_of_the_largest():
    spread = [[1 / (1 + place) for place in range(100)]] * 8
    found = [stretched(rotated(spread), rounds) for rounds in (2, 5, 10)]
    assert (found[0] < found[1]).all()
    assert (found[1] < found[2]).all()
    assert (found[2] <= 1 + 1e-12).all()
    assert found[2].min() > 0.99
    # Far beyond convergence, in single precision: rounding errors may not come back as directions.
    assert (stretched(rotated(spread, torch.float32), 60) - 1).abs().max() < 1e-5


def test_of_a_zero_matrix_there_is_no_direction():
    matrix = torch.zeros(2, 5, 5)
    assert stretched(matrix, 4).tolist() == [0.0, 0.0]
    found = top_direction(lambda vector: vector * 0, torch.zeros(2, 5), 3)
    assert found.tolist() == torch.zeros(2, 5).tolist()


def test_the_curvature_is_the_largest_eigenvalue(network, pixels):
    expected = eigenvalues_by_hand(network, pixels.image, pixels.label)
    found = curvatures(CONVERGED, network, pixels)
    torch.testing.assert_close(found, expected[:, -1], rtol=0, atol=1e-11)
    # Curved networks have samples where a negative eigenvalue dominates, and one that has no other.
    dominated = expected[:, 0].abs() > expected[:, -1]
    assert dominated.any() == (expected[:, -1] < 0).any() == (expected[:, 0] < -1e-12).any()
    assert expected[:, -1].abs().min() > 1e-4


def test_one_round_more_than_there_are_classes_is_exact_for_rectifiers(batch):
    for classes in (2, 4):
        model = tiny_network()
        model.head[-1] = nn.Linear(model.head[-1].in_features, classes).double()
        labelled = batch._replace(label=batch.label % classes)
        expected = eigenvalues_by_hand(model, batch.image[:2], labelled.label[:2])[:, -1]
        found = curvatures(SmoothSurface(rounds=classes + 1), model, labelled)[:2]
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-11)


def test_passes_do_not_grow_with_the_classes(batch):
    network = Modes(nn.Sequential(nn.Flatten(), nn.Linear(128, 300)).double())
    found = curvatures(SmoothSurface(rounds=10), network, batch)
    assert len(network.seen) == 2
    assert found.min() > 0


def test_minimises_cross_entropy_plus_the_curvature(network, pixels):
    loss = CONVERGED.loss(network, pixels.image, pixels.label, Noise(0, pixels.sample_id))
    cross_entropy = cross_entropies(network, pixels.image, pixels.label).sum() / 4
    curvature = eigenvalues_by_hand(network, pixels.image, pixels.label)[:, -1].sum() / 4
    torch.testing.assert_close(loss.total, cross_entropy + 0.7 * curvature, rtol=0, atol=1e-11)
    torch.testing.assert_close(loss.parts["cross_entropy"], cross_entropy.detach(), rtol=0, atol=1e-12)
    torch.testing.assert_close(loss.parts["curvature"], curvature.detach(), rtol=0, atol=1e-11)
    assert torch.equal(loss.logits, network(pixels.image))


def test_the_gradient_is_that_of_the_true_largest_eigenvalue(network, pixels):
    one = Batch(*(tensor[:1] for tensor in pixels))
    direction = CONVERGED.direction(network, one.image, one.label, Noise(0, one.sample_id))
    analytic = flat_gradient(curvature_along(network, one.image, one.label, direction).mean(), network)
    places = [(parameter, place) for parameter in network.parameters() for place in range(parameter.numel())]
    order = torch.randperm(len(places), generator=torch.Generator().manual_seed(4))[:20].tolist()
    numeric = []
    for chosen in order:
        parameter, place = places[chosen]
        by = torch.zeros(parameter.numel(), dtype=parameter.dtype)
        by[place] = 1e-5
        ends = [
            moved(
                parameter,
                sign * by.view_as(parameter),
                lambda image: eigenvalues_by_hand(network, image, one.label)[0, -1],
                one.image,
            )
            for sign in (1, -1)
        ]
        numeric.append((ends[0] - ends[1]) / 2e-5)
    torch.testing.assert_close(analytic[order], torch.stack(numeric), rtol=1e-5, atol=1e-8)
    assert (analytic[order].abs() > 1e-4).sum() >= 8


def test_the_parameter_gradient_equals_finite_differences(model, batch, monkeypatch):
    held(monkeypatch, model, batch)
    assert_parameter_gradient(SMALL, model, batch)


def test_a_detached_regulariser_would_be_noticed(model, batch, monkeypatch):
    held(monkeypatch, model, batch)
    monkeypatch.setattr(
        smooth_surface, "curvature_along", lambda *arguments: curvature_along(*arguments).detach()
    )
    with pytest.raises(AssertionError, match="Tensor-likes are not close"):
        assert_parameter_gradient(SMALL, model, batch)


def test_the_regulariser_moves_the_gradient(trained, fashion_batch):
    few = Batch(*(tensor[:16] for tensor in fashion_batch))
    assert_moves_the_gradient(SmoothSurface(), Natural(), trained, few)


def test_the_weight_moves_the_gradient_linearly(model, batch):
    plain = gradient_of(Natural(), model, batch)
    once, twice = (gradient_of(replace(SMALL, weight=weight), model, batch) - plain for weight in (0.3, 0.6))
    torch.testing.assert_close(twice, 2 * once, rtol=0, atol=1e-11)
    assert once.norm() > 0.01 * plain.norm()


def test_beats_its_start_and_random_noise(trained, fashion_batch):
    few = Batch(*(tensor[:32] for tensor in fashion_batch))
    found = curvatures(SmoothSurface(), trained, few)
    image, label, sample_id = few
    start = Noise(0, sample_id).child("direction").normal(image)
    for other in (start, Noise(9, sample_id).normal(image)):
        unit = other / other.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
        assert (found > 10 * curvature_along(trained, image, label, unit)).double().mean() >= 0.9


def test_every_sample_has_its_own_direction_of_length_one(model, batch):
    noise = Noise(0, batch.sample_id)
    found = SMALL.direction(model, batch.image, batch.label, noise).flatten(1)
    assert not found.requires_grad
    torch.testing.assert_close(found.norm(dim=1), torch.ones(6).double(), rtol=0, atol=1e-12)
    likeness = (found @ found.T - torch.eye(6)).abs()
    assert likeness.max() < 0.99


def test_the_noise_draws_the_start(model, batch):
    smooth, regime = curved(model), SmoothSurface(rounds=2)
    once, again, other = (
        regime.direction(smooth, batch.image, batch.label, Noise(seed, batch.sample_id)) for seed in (0, 0, 1)
    )
    assert torch.equal(once, again)
    assert ((once - other).flatten(1).norm(dim=1) > 0.1).all()


def test_only_the_cross_entropy_sees_training_mode(model, batch):
    network = Modes(model).train()
    SMALL.loss(network, batch.image, batch.label, Noise(0, batch.sample_id))
    assert network.seen == [True, False, False]


def test_batch_norm_remembers_the_images_once(model, batch):
    assert_one_update_of_statistics(SMALL, model, batch, batch.image)


def test_works_in_any_grad_mode(model, batch):
    first, *others = totals_in_each_grad_mode(SMALL, model, batch)
    for other in others:
        torch.testing.assert_close(other, first, rtol=0, atol=1e-12)


@pytest.mark.parametrize("scale", [0.0, 1e4])
def test_is_finite_where_there_is_no_curvature(batch, scale):
    network = tiny_network().float()
    with torch.no_grad():
        network.head[-1].weight.mul_(scale)
    flat = Batch(torch.cat([batch.image[:3] * 0, batch.image[3:]]).float(), batch.label, batch.sample_id)
    loss = SMALL.loss(network, flat.image, flat.label, Noise(0, flat.sample_id))
    assert loss.total.isfinite()
    assert flat_gradient(loss.total, network).isfinite().all()
    if scale == 0:
        assert loss.parts["curvature"] == 0


def test_every_field_matters(model, batch):
    smooth = curved(model)
    changes = {"weight": 0.5, "rounds": 3}
    assert_every_field_matters(
        replace(SMALL, rounds=2),
        changes,
        lambda method: method.loss(
            smooth, batch.image, batch.label, Noise(0, batch.sample_id)
        ).total.detach(),
    )


def test_the_defaults():
    assert SmoothSurface() == SmoothSurface(weight=0.3, rounds=10)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"weight": 0.0}, "Expected `weight` above 0, but got 0. Use Natural for no regulariser."),
        ({"rounds": 1}, "Expected `rounds` of at least 2, but got 1."),
    ],
)
def test_refuses_options_out_of_range(options, message):
    with pytest.raises(ValueError, match=message):
        SmoothSurface(**options)
