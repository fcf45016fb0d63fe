import numpy as np
import pytest
import scipy.sparse
import torch
from scipy.sparse.linalg import spsolve
from torch import Tensor

from lit_xai.attacks.poisson import PoissonBlend, laplacian, solve_poisson


def pixels(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def neighbours(row: int, column: int, height: int, width: int) -> list[tuple[int, int]]:
    around = [(row - 1, column), (row + 1, column), (row, column - 1), (row, column + 1)]
    return [(r, c) for r, c in around if 0 <= r < height and 0 <= c < width]


def blended_directly(image: np.ndarray, donor: np.ndarray, chosen: np.ndarray, alpha: float) -> np.ndarray:
    """Blend one channel (H, W), with one sparse matrix and its factorisation."""
    places = [(int(row), int(column)) for row, column in np.argwhere(chosen)]
    number = {place: index for index, place in enumerate(places)}
    matrix = scipy.sparse.lil_matrix((len(places), len(places)))
    right = np.zeros(len(places))
    for place, index in number.items():
        for other in neighbours(*place, *image.shape):
            matrix[index, index] += 1
            right[index] += (1 - alpha) * (image[place] - image[other])
            right[index] += alpha * (donor[place] - donor[other])
            if other in number:
                matrix[index, number[other]] -= 1
            else:
                right[index] += image[other]
    result = image.copy()
    if places:
        result[chosen] = spsolve(matrix.tocsc(), right)
    return result


@pytest.mark.parametrize("alpha", [0.15, 1.0])
@pytest.mark.parametrize("share", [0.05, 0.4, 0.9])
@pytest.mark.parametrize("size", [(12, 17), (1, 30), (23, 1)])
def test_equals_a_direct_sparse_solve(size, share, alpha):
    image, donor = pixels(2, 2, *size), pixels(2, 2, *size, seed=1)
    chosen = pixels(2, 2, *size, seed=2) < share
    chosen[..., -1, -1] = False
    found = PoissonBlend().mix(image, donor, chosen, alpha)
    for row in range(2):
        for channel in range(2):
            place = row, channel
            expected = blended_directly(*(one[place].numpy() for one in (image, donor, chosen)), alpha)
            np.testing.assert_allclose(found[place], expected, rtol=0, atol=1e-10)


def test_the_worst_system_equals_a_direct_sparse_solve():
    image, donor = pixels(1, 1, 40, 40), pixels(1, 1, 40, 40, seed=1)
    chosen = torch.ones(1, 1, 40, 40, dtype=torch.bool)
    chosen[..., 0, 0] = False
    found = PoissonBlend().mix(image, donor, chosen, 0.5)[0, 0]
    expected = blended_directly(*(one[0, 0].numpy() for one in (image, donor, chosen)), 0.5)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9)


def test_a_whole_channel_gets_the_gradients_and_keeps_its_mean():
    image, donor = pixels(3, 2, 6, 5), pixels(3, 2, 6, 5, seed=1)
    chosen = pixels(3, 2, 6, 5, seed=2) < 0.5
    chosen[1, 0] = True
    found = PoissonBlend().mix(image, donor, chosen, 0.3)
    expected = 0.7 * laplacian(image) + 0.3 * laplacian(donor)
    torch.testing.assert_close(laplacian(found)[1, 0], expected[1, 0], rtol=0, atol=1e-12)
    assert abs(found[1, 0].mean() - image[1, 0].mean()) < 1e-14
    chosen[1, 0] = False
    others = PoissonBlend().mix(image, donor, chosen, 0.3)
    found[1, 0] = image[1, 0]
    torch.testing.assert_close(found, others, rtol=0, atol=1e-12)


def test_a_lone_feature_gets_the_donors_difference_from_its_neighbours():
    image, donor = torch.full((1, 1, 3, 3), 0.5), torch.zeros(1, 1, 3, 3)
    donor[..., 1, 1], donor[..., 0, 1] = 0.8, 0.4
    chosen = torch.zeros(1, 1, 3, 3, dtype=torch.bool)
    chosen[..., 1, 1] = True
    found = PoissonBlend().mix(image, donor, chosen, 0.5)
    assert found[0, 0, 1, 1].item() == pytest.approx(0.5 + 0.5 * (0.8 - 0.4 / 4))
    chosen[..., 1, 1], chosen[..., 0, 1] = False, True
    found = PoissonBlend().mix(image, donor, chosen, 0.5)
    # At the border there are three neighbours.
    assert found[0, 0, 0, 1].item() == pytest.approx(0.5 + 0.5 * (0.4 - 0.8 / 3))


def test_a_brighter_donor_is_the_same_donor():
    image, donor = pixels(2, 3, 8, 8), 0.5 * pixels(2, 3, 8, 8, seed=1)
    chosen = pixels(2, 3, 8, 8, seed=2) < 0.6
    first, second = (PoissonBlend().mix(image, other, chosen, 0.4) for other in (donor, donor + 0.5))
    torch.testing.assert_close(first, second, rtol=0, atol=1e-12)


def test_laplacian_by_hand():
    values = pixels(2, 2, 4, 6)
    found = laplacian(values)
    for row in range(4):
        for column in range(6):
            around = neighbours(row, column, 4, 6)
            expected = len(around) * values[..., row, column] - sum(values[..., r, c] for r, c in around)
            torch.testing.assert_close(found[..., row, column], expected, rtol=0, atol=1e-14)


def test_a_system_stops_by_itself():
    easy, hard = torch.zeros(2, 1, 1, 20, 20, dtype=torch.bool)
    easy[..., 3, 3] = hard[..., 1:, :] = True
    source = pixels(1, 1, 20, 20) - 0.5
    sources = torch.cat([source, source, 1e-8 * source, source])
    together = solve_poisson(sources, torch.cat([easy, hard, hard, hard & ~hard]))
    torch.testing.assert_close(together[0, 0, 3, 3], source[0, 0, 3, 3] / 4, rtol=1e-15, atol=0)
    assert torch.equal(together[:1], solve_poisson(source, easy))
    torch.testing.assert_close(together[1:2], solve_poisson(source, hard), rtol=0, atol=1e-11)
    torch.testing.assert_close(1e8 * together[2], together[1], rtol=0, atol=1e-11)
    assert not together[3].any()
    residual = (laplacian(together) - source)[1:2][hard]
    assert residual.norm() < 2e-12 * source[hard].norm()
