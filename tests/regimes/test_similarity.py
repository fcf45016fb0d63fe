from math import inf

import pytest
import torch
from scipy.stats import kendalltau, pearsonr, spearmanr
from torch import Tensor

from lit_xai.noise import Noise
from lit_xai.regimes.similarity import Cosine, Pearson, Similarity, SoftKendall, SoftSpearman
from tests.contracts import assert_every_field_matters

EVERY = [Cosine(), Pearson(), SoftKendall(), SoftSpearman()]
SHARP = 1e6


def some_maps(samples: int = 5, channels: int = 2, size: int = 6) -> list[Tensor]:
    """Return two related float64 maps of the size of integrated gradients."""
    generator = torch.Generator().manual_seed(3)
    shape = (samples, channels, size, size)
    first, other = (torch.randn(shape, generator=generator, dtype=torch.float64) for _ in range(2))
    return [1e-3 * first, 1e-3 * (first + other)]


def tied_maps() -> list[Tensor]:
    return [(1e3 * maps).round() for maps in some_maps()]


def compared(method: Similarity, first: Tensor, second: Tensor) -> Tensor:
    return method.similarity(first, second, Noise(0, torch.arange(len(first))))


def by_scipy(measure: object, first: Tensor, second: Tensor) -> Tensor:
    pairs = zip(first.flatten(1).numpy(), second.flatten(1).numpy(), strict=True)
    return torch.tensor([measure(a, b).statistic for a, b in pairs], dtype=torch.float64)


def kendall_by_hand(first: Tensor, second: Tensor, sharpness: float) -> float:
    a, b = ((maps - maps.mean()) / maps.std(unbiased=False) for maps in (first.flatten(), second.flatten()))
    common = own = other = 0.0
    for i in range(len(a)):
        for j in range(i):
            s, t = (torch.tanh(sharpness * (values[i] - values[j])).item() for values in (a, b))
            common, own, other = common + s * t, own + s * s, other + t * t
    return common / (own * other) ** 0.5


def spearman_by_hand(first: Tensor, second: Tensor, sharpness: float) -> float:
    ranks = []
    for maps in (first.flatten(), second.flatten()):
        values = (maps - maps.mean()) / maps.std(unbiased=False)
        ranks.append([torch.sigmoid(2 * sharpness * (value - values)).sum().item() for value in values])
    return pearsonr(*ranks).statistic


def test_the_cosine_equals_its_definition():
    first, second = some_maps()
    expected = [
        (a @ b / (a @ a * (b @ b)).sqrt()).item()
        for a, b in zip(first.flatten(1), second.flatten(1), strict=True)
    ]
    assert compared(Cosine(), first, second).tolist() == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("maps", [some_maps(), tied_maps()], ids=["distinct", "tied"])
@pytest.mark.parametrize(
    ("method", "measure"),
    [(Pearson(), pearsonr), (SoftKendall(SHARP), kendalltau), (SoftSpearman(SHARP), spearmanr)],
)
def test_the_sharp_limit_is_that_of_scipy(method, measure, maps):
    torch.testing.assert_close(compared(method, *maps), by_scipy(measure, *maps), rtol=0, atol=1e-9)


@pytest.mark.parametrize(
    ("method", "by_hand"), [(SoftKendall, kendall_by_hand), (SoftSpearman, spearman_by_hand)]
)
def test_soft_order_equals_a_loop_over_pairs(method, by_hand):
    first, second = (maps[:2, :, :3, :3] for maps in some_maps())
    found = [compared(method(sharpness), first, second) for sharpness in (0.5, 3.0)]
    for sharpness, values in zip((0.5, 3.0), found, strict=True):
        expected = [by_hand(a, b, sharpness) for a, b in zip(first, second, strict=True)]
        assert values.tolist() == pytest.approx(expected, abs=1e-9)
    assert (found[0] - found[1]).abs().min() > 1e-3


@pytest.mark.parametrize("method", EVERY, ids=repr)
def test_equal_maps_are_alike_opposite_ones_opposite_and_scale_does_not_count(method):
    first, second = some_maps()
    one = torch.ones(5, dtype=torch.float64)
    torch.testing.assert_close(compared(method, first, first), one, rtol=0, atol=1e-12)
    torch.testing.assert_close(compared(method, first, -first), -one, rtol=0, atol=1e-12)
    found = compared(method, first, second)
    for scaled in (1e-12, 1e12):
        torch.testing.assert_close(compared(method, scaled * first, second), found, rtol=0, atol=1e-12)
    torch.testing.assert_close(compared(method, second, first), found, rtol=0, atol=1e-12)
    moved = compared(method, first + 2e-3, second)
    assert torch.allclose(moved, found, rtol=0, atol=1e-9) == (method != Cosine())


@pytest.mark.parametrize("method", [*EVERY, SoftKendall(samples=20), SoftSpearman(samples=20)], ids=repr)
def test_the_gradient_equals_finite_differences(method):
    first, second = (1e3 * maps[:2, :1, :5, :5] for maps in some_maps())
    leaves = first.requires_grad_(), second.requires_grad_()
    assert torch.autograd.gradcheck(lambda *maps: compared(method, *maps), leaves, eps=1e-6, atol=1e-6)
    (gradient,) = torch.autograd.grad(compared(method, *leaves).sum(), leaves[:1])
    assert gradient.abs().amax(dim=(1, 2, 3)).min() > 1e-2


@pytest.mark.parametrize("method", EVERY, ids=repr)
def test_a_map_that_says_nothing_has_no_similarity_and_no_gradient(method):
    first, second = (maps.float() for maps in some_maps())
    first[0], second[1] = 0.0, 0.0
    first[2], second[2] = 0.0, 0.0
    # The mean of such values is not theirs in single precision.
    first[3] = 0.3
    leaves = first.requires_grad_(), second.requires_grad_()
    found = compared(method, *leaves)
    silent = [0, 1, 2] if method == Cosine() else [0, 1, 2, 3]
    assert found[silent].tolist() == [0.0] * len(silent)
    assert found[4] > 0.3
    for gradient in torch.autograd.grad(found.sum(), leaves):
        assert gradient.isfinite().all()
        assert not gradient[silent].any()
        assert gradient[4].abs().max() > 0


@pytest.mark.parametrize("method", EVERY, ids=repr)
@pytest.mark.parametrize("size", [1e-25, 1e-3, 1e25])
def test_small_and_large_maps_in_single_precision(method, size):
    first, second = some_maps()
    leaf = (first * size / 1e-3).float().requires_grad_()
    found = compared(method, leaf, second.float())
    torch.testing.assert_close(found.double(), compared(method, first, second), rtol=0, atol=1e-5)
    (gradient,) = torch.autograd.grad(found.sum(), leaf)
    assert gradient.isfinite().all()
    assert (gradient.abs().amax(dim=(1, 2, 3)) * size).min() > 1e-3


@pytest.mark.parametrize("kind", [SoftKendall, SoftSpearman])
def test_drawn_pixels_estimate_the_whole(kind):
    first, second = some_maps(samples=20, channels=1, size=16)
    whole, found = (compared(kind(SHARP, samples=number), first, second) for number in (256, 100))
    error = found - whole
    assert 0 < error.abs().max() < 0.25
    assert error.mean().abs() < 0.03


def test_the_same_pixels_of_both_maps_are_drawn_by_sample():
    first, second = some_maps()
    method, noise = SoftKendall(samples=20), Noise(0, torch.tensor([5, 3, 9, 1, 7]))
    torch.testing.assert_close(
        method.similarity(first, first, noise), torch.ones(5, dtype=torch.float64), rtol=0, atol=1e-12
    )
    found = method.similarity(first, second, noise)
    alone = method.similarity(first[[2]], second[[2]], noise.select(torch.tensor([2])))
    torch.testing.assert_close(alone, found[[2]], rtol=0, atol=1e-12)
    assert not torch.equal(method.similarity(first, second, Noise(1, noise.sample_id)), found)


@pytest.mark.parametrize("kind", [SoftKendall, SoftSpearman])
def test_every_field_matters(kind):
    assert_every_field_matters(
        kind(), {"sharpness": 3.0, "samples": 20}, lambda method: compared(method, *some_maps())
    )


@pytest.mark.parametrize("kind", [SoftKendall, SoftSpearman])
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sharpness": 0.0}, "Expected `sharpness` above 0 and finite, but got 0."),
        ({"sharpness": inf}, "Expected `sharpness` above 0 and finite, but got inf."),
        ({"samples": 1}, "Expected `samples` of at least 2, but got 1."),
    ],
)
def test_refuses_options_out_of_range(kind, options, message):
    with pytest.raises(ValueError, match=message):
        kind(**options)
