import math
from dataclasses import dataclass
from itertools import product

import numpy as np
import pytest
import scipy.ndimage
import scipy.stats
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torch import Tensor

from lit_xai.attacks.base import Criterion, run_attack
from lit_xai.attacks.criteria import (
    Box,
    CenterDistance,
    Intersection,
    KendallTau,
    LENSOverlap,
    RegionShare,
    SpearmanRho,
)
from lit_xai.attacks.top_k import TopK
from lit_xai.metrics.maps import pixel_map
from tests.attacks.test_base import Counted
from tests.contracts import assert_every_field_matters
from tests.metrics.test_lens import greedy, top
from tests.metrics.test_windows import near

CRITERIA = [
    Intersection(5),
    Intersection(0.2),
    LENSOverlap(5),
    LENSOverlap(0.1, w=2, side="recall"),
    LENSOverlap(3, diverse=True),
    KendallTau(),
    SpearmanRho(),
    CenterDistance(),
    RegionShare(),
]
PAIRS = arrays(np.float64, (2, 5, 6), elements=st.integers(0, 3)) | arrays(
    np.float64, (2, 5, 6), elements=st.floats(0, 1, width=32)
)
EXAMPLES = settings(deadline=None, max_examples=50, derandomize=True)
MAY_LACK_PIXELS = pytest.mark.filterwarnings("ignore:Expected .* pixels with none in another's window")


@dataclass(frozen=True)
class Endless(Criterion):
    """A criterion that never says that a sample is finished."""

    criterion: Criterion

    def score(self, clean_map: Tensor, attacked_map: Tensor) -> Tensor:
        return self.criterion.score(clean_map, attacked_map)


def tied_maps(seed: int) -> Tensor:
    """Return non-negative maps of few values, (5, 6, 7)."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(4, (5, 6, 7), generator=generator).double()


def each(function, clean: Tensor, attacked: Tensor) -> list[float]:
    return [function(a.numpy(), b.numpy()) for a, b in zip(clean, attacked, strict=True)]


@pytest.mark.parametrize(("k", "size"), [(1, 1), (9, 9), (42, 42), (0.2, 8), (0.001, 1), (0.999, 42)])
def test_intersection_counts_common_pixels(k, size):
    clean, attacked = tied_maps(0), tied_maps(1)
    expected = each(lambda a, b: len(top(a, size) & top(b, size)) / size, clean, attacked)
    assert Intersection(k).score(clean, attacked).tolist() == expected


@MAY_LACK_PIXELS
@pytest.mark.parametrize("diverse", [False, True])
@pytest.mark.parametrize(("k", "size"), [(1, 1), (4, 4), (0.2, 8)])
@pytest.mark.parametrize("w", [0, 1, 2])
def test_overlap_counts_pixels_in_windows(k, size, w, diverse):
    clean, attacked = tied_maps(0), tied_maps(1)

    def chosen(values):
        return greedy(values, size, w) if diverse else top(values, size)

    def overlap(values, others):
        return len(chosen(values) & near(chosen(others), w, values.shape)) / size

    precision = LENSOverlap(k, w, diverse=diverse).score(clean, attacked)
    assert precision.tolist() == each(overlap, clean, attacked)
    recall = LENSOverlap(k, w, side="recall", diverse=diverse).score(clean, attacked)
    assert recall.tolist() == each(overlap, attacked, clean)


@pytest.mark.parametrize(
    ("criterion", "reference"),
    [(KendallTau(), scipy.stats.kendalltau), (SpearmanRho(), scipy.stats.spearmanr)],
)
def test_rank_correlations_equal_scipy(criterion, reference):
    clean, attacked = tied_maps(0), tied_maps(1)
    expected = each(lambda a, b: reference(a.flatten(), b.flatten()).statistic, clean, attacked)
    found = criterion.score(clean, attacked)
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64), rtol=0, atol=1e-12)


def test_center_distance_equals_scipy_and_falls_as_the_centre_moves():
    clean, attacked = tied_maps(0), tied_maps(1)
    expected = each(
        lambda a, b: -math.dist(*map(scipy.ndimage.center_of_mass, (a, b))),
        clean,
        attacked,
    )
    found = CenterDistance().score(clean, attacked)
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64), rtol=0, atol=1e-12)
    spot = torch.zeros(3, 6, 7, dtype=torch.float64)
    spot[[0, 1, 2], [0, 3, 0], [0, 4, 1]] = 2.0
    origin = spot[[0, 0, 0]]
    assert CenterDistance().score(origin, spot).tolist() == [0.0, -5.0, -1.0]


def test_region_share_adds_up_what_the_attacked_map_holds_inside():
    clean, attacked = tied_maps(0), tied_maps(1)
    rows, columns = range(3, 6), range(1, 4)
    expected = [-sum(m[i, j] for i in rows for j in columns) / m.sum() for m in attacked.numpy()]
    found = RegionShare(Box(top=0.5, left=1 / 7, bottom=1.0, right=4 / 7)).score(clean, attacked)
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64), rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    "criterion", [Intersection(5), LENSOverlap(5), LENSOverlap(5, side="recall"), KendallTau(), SpearmanRho()]
)
def test_identical_maps_score_one(criterion):
    found = criterion.score(tied_maps(0), tied_maps(0))
    torch.testing.assert_close(found, torch.ones(5, dtype=torch.float64), rtol=0, atol=1e-12)


@pytest.mark.parametrize("criterion", [CenterDistance(), KendallTau(), SpearmanRho(), RegionShare()])
def test_a_map_of_zeros_has_no_score(criterion):
    empty = tied_maps(1).index_fill(0, torch.tensor(3), 0.0)
    assert criterion.score(tied_maps(0), empty).isnan().tolist() == [False, False, False, True, False]


@pytest.mark.parametrize("criterion", CRITERIA, ids=repr)
@MAY_LACK_PIXELS
@EXAMPLES
@given(PAIRS)
def test_no_score_is_below_the_lowest(criterion, pair):
    clean, attacked = torch.from_numpy(pair).split(1)
    score = criterion.score(clean, attacked)
    assert score.shape == (1,)
    assert not (score < criterion.lowest).any()


@pytest.mark.parametrize(
    ("criterion", "tolerance"),
    [
        (Intersection(5), 0),
        (LENSOverlap(5), 0),
        (LENSOverlap(5, side="recall"), 0),
        (LENSOverlap(3, diverse=True), 0),
        (RegionShare(), 0),
        (KendallTau(), 1e-12),
        (SpearmanRho(), 1e-12),
    ],
    ids=repr,
)
def test_the_lowest_score_is_that_of_the_opposite_map(criterion, tolerance):
    rising = torch.linspace(0, 0.9, 30, dtype=torch.float64).view(1, 5, 6)
    opposite = rising.flip(1, 2)
    if isinstance(criterion, RegionShare):
        opposite[:, 2:], opposite[:, :, 3:] = 0.0, 0.0
    assert abs(criterion.score(rising, opposite).item() - criterion.lowest) <= tolerance
    assert criterion.score(rising, rising).item() > criterion.lowest + 0.1


@pytest.mark.parametrize("criterion", [Intersection(4), LENSOverlap(2), LENSOverlap(4, w=0, side="recall")])
def test_finishing_early_spares_passes_and_changes_no_result(model, batch, criterion):
    attack = {"eps": 0.05, "step_size": 0.03, "steps": 8, "k": 4, "restarts": 2}
    results, passes = [], []
    for one in (criterion, Endless(criterion)):
        explanation = Counted()
        results.append(run_attack(model, explanation, TopK(**attack, criterion=one), batch, seed=0))
        passes.append(sum(len(image) for image, _ in explanation.seen))
    early, late = results
    assert torch.equal(early.image_adv, late.image_adv)
    score = criterion.score(pixel_map(early.attribution), pixel_map(early.attribution_adv))
    assert 1 <= (score == 0).sum() < 6
    # Clean maps twice, attacked ones once; then a map for the step and one for the judgement.
    assert passes[1] == 6 * (3 + 2 * 2 * 8)
    assert passes[0] < passes[1]


def test_every_field_matters():
    clean, attacked = tied_maps(0), tied_maps(1)
    changes = {
        Intersection(k=5): {"k": 9},
        LENSOverlap(k=5): {"k": 9, "w": 0, "side": "recall", "diverse": True},
        KendallTau(): {},
        SpearmanRho(): {},
        CenterDistance(): {},
        RegionShare(): {"region": Box(right=1.0)},
    }
    for criterion, change in changes.items():
        assert_every_field_matters(criterion, change, lambda method: method.score(clean, attacked))
    sides = {"top": 0.3, "left": 0.3, "bottom": 0.8, "right": 0.8}
    assert_every_field_matters(Box(), sides, lambda box: box.mask(clean))


SIDES = st.tuples(st.floats(0, 1), st.floats(0, 1)).map(sorted).filter(lambda sides: sides[0] < sides[1])


@EXAMPLES
@given(SIDES, SIDES, st.integers(1, 9), st.integers(1, 9))
def test_a_box_holds_the_pixels_between_its_rounded_sides(rows, columns, height, width):
    box = Box(rows[0], columns[0], rows[1], columns[1])
    expected = torch.tensor(
        [
            [
                round(rows[0] * height) <= i < round(rows[1] * height)
                and round(columns[0] * width) <= j < round(columns[1] * width)
                for j in range(width)
            ]
            for i in range(height)
        ]
    )
    if expected.all() or not expected.any():
        with pytest.raises(
            ValueError, match=f"some of the {height * width} pixels, but got {expected.sum()}"
        ):
            box.mask(torch.zeros(2, height, width))
    else:
        assert torch.equal(box.mask(torch.zeros(2, height, width)), expected)


@pytest.mark.parametrize(("box", "size"), [(Box(bottom=1.0, right=0.95), 42), (Box(bottom=0.05), 0)])
def test_refuses_a_box_of_every_pixel_or_of_none(box, size):
    with pytest.raises(
        ValueError, match=rf"some of the 42 pixels, but got {size}\. Move a side of the box\."
    ):
        box.mask(tied_maps(0))


def test_boxes_that_meet_share_no_pixel_and_leave_none():
    sides = [(0.0, 0.3), (0.3, 0.77), (0.77, 1.0)]
    total = sum(
        Box(top, left, bottom, right).mask(torch.zeros(1, 7, 11)).int()
        for (top, bottom), (left, right) in product(sides, sides)
    )
    assert torch.equal(total, torch.ones(7, 11, dtype=torch.int32))


def test_a_box_is_the_upper_left_quarter_by_default():
    assert Box().mask(torch.zeros(1, 4, 6)).nonzero().tolist() == [[i, j] for i in (0, 1) for j in (0, 1, 2)]


@pytest.mark.parametrize(
    ("sides", "message"),
    [
        ({"top": -0.1}, r"0 <= `top` < `bottom` <= 1, but got -0\.1 and 0\.5\. Write them in shares"),
        ({"bottom": 14}, r"0 <= `top` < `bottom` <= 1, but got 0 and 14\. "),
        ({"left": 0.5}, r"0 <= `left` < `right` <= 1, but got 0\.5 and 0\.5\. "),
        ({"left": 0.7, "right": 0.6}, r"0 <= `left` < `right` <= 1, but got 0\.7 and 0\.6\. "),
        ({"right": float("nan")}, r"0 <= `left` < `right` <= 1, but got 0 and nan\. "),
    ],
)
def test_refuses_sides_that_do_not_make_a_box(sides, message):
    with pytest.raises(ValueError, match=message):
        Box(**sides)


@pytest.mark.parametrize("kind", [Intersection, LENSOverlap])
def test_refuses_an_empty_or_too_large_set(kind):
    for size in (0, 1.5):
        with pytest.raises(ValueError, match=rf"`k` as a number of pixels or a share .*, but got {size}\."):
            kind(k=size)
    with pytest.raises(ValueError, match=r"Expected `k` in \[1, 42\], but got 43\."):
        kind(k=43).score(tied_maps(0), tied_maps(1))


def test_refuses_options_of_no_overlap():
    with pytest.raises(ValueError, match=r"Expected `w` of at least 0, but got -1\."):
        LENSOverlap(w=-1)
    with pytest.raises(ValueError, match=r"Expected `side` as precision or recall, but got both\."):
        LENSOverlap(side="both")


def test_refuses_maps_that_have_no_share_in_a_region():
    with pytest.raises(ValueError, match=r"Expected maps without negative values, but got some\."):
        RegionShare().score(tied_maps(0), tied_maps(1) - 1)
    with pytest.raises(ValueError, match="Expected finite maps"):
        RegionShare().score(tied_maps(0), tied_maps(1).masked_fill(tied_maps(1) == 3, math.nan))
    with pytest.raises(ValueError, match="Expected maps of one shape"):
        RegionShare().score(tied_maps(0), tied_maps(1)[:, 1:])
