import pytest
import scipy.ndimage
import scipy.stats
import torch

from lit_xai.attacks.criteria import CenterDistance, Intersection, KendallTau
from tests.contracts import assert_every_field_matters


def tied_maps(seed: int) -> torch.Tensor:
    """Return non-negative maps of few values, (5, 6, 7)."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(4, (5, 6, 7), generator=generator).double()


def first_k(values: list[float], k: int) -> set[int]:
    """Return the places of the k largest values, ties by the lowest index."""
    return set(sorted(range(len(values)), key=lambda place: (-values[place], place))[:k])


@pytest.mark.parametrize("k", [1, 9, 42])
def test_intersection_counts_common_pixels(k):
    clean, attacked = tied_maps(0), tied_maps(1)
    expected = [
        len(first_k(a.flatten().tolist(), k) & first_k(b.flatten().tolist(), k)) / k
        for a, b in zip(clean, attacked, strict=True)
    ]
    assert Intersection(k).score(clean, attacked).tolist() == expected


def test_kendall_equals_scipy():
    clean, attacked = tied_maps(0), tied_maps(1)
    expected = [
        scipy.stats.kendalltau(a.flatten(), b.flatten()).statistic
        for a, b in zip(clean, attacked, strict=True)
    ]
    found = KendallTau().score(clean, attacked)
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64), rtol=0, atol=1e-12)


def test_center_distance_equals_scipy_and_falls_as_the_centre_moves():
    clean, attacked = tied_maps(0), tied_maps(1)
    centers = [
        [torch.tensor(scipy.ndimage.center_of_mass(one.numpy())) for one in maps]
        for maps in (clean, attacked)
    ]
    expected = -torch.stack([(a - b).norm() for a, b in zip(*centers, strict=True)])
    torch.testing.assert_close(CenterDistance().score(clean, attacked), expected, rtol=0, atol=1e-12)
    spot = torch.zeros(3, 6, 7, dtype=torch.float64)
    spot[[0, 1, 2], [0, 3, 0], [0, 4, 1]] = 2.0
    origin = spot[[0, 0, 0]]
    assert CenterDistance().score(origin, spot).tolist() == [0.0, -5.0, -1.0]


@pytest.mark.parametrize("criterion", [Intersection(5), KendallTau()])
def test_identical_maps_score_one(criterion):
    torch.testing.assert_close(
        criterion.score(tied_maps(0), tied_maps(0)).double(),
        torch.ones(5, dtype=torch.float64),
        rtol=0,
        atol=1e-12,
    )


@pytest.mark.parametrize("criterion", [CenterDistance(), KendallTau()])
def test_a_map_of_zeros_has_no_score(criterion):
    empty = tied_maps(1).index_fill(0, torch.tensor(3), 0.0)
    assert criterion.score(tied_maps(0), empty).isnan().tolist() == [False, False, False, True, False]


def test_every_field_matters():
    clean, attacked = tied_maps(0), tied_maps(1)
    assert_every_field_matters(Intersection(k=5), {"k": 9}, lambda method: method.score(clean, attacked))
    assert_every_field_matters(KendallTau(), {}, lambda method: method.score(clean, attacked))
    assert_every_field_matters(CenterDistance(), {}, lambda method: method.score(clean, attacked))


def test_refuses_an_empty_or_too_large_set():
    with pytest.raises(ValueError, match="Expected `k` of at least 1, but got 0"):
        Intersection(k=0)
    with pytest.raises(ValueError, match=r"Expected `k` in \[1, 42\], but got 43\."):
        Intersection(k=43).score(tied_maps(0), tied_maps(1))
