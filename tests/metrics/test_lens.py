import inspect
import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
import torchvision
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from lit_xai.attacks.base import run_attack
from lit_xai.attacks.random_sign import RandomSign
from lit_xai.attributions.input_x_gradient import InputXGradient
from lit_xai.metrics.lens import (
    LENSPrecision,
    LENSRecall,
    Neighbourhoods,
    diverse_top_k_mask,
    lens_distance,
    lens_precision,
    lens_recall,
)
from lit_xai.metrics.maps import descending_rank, top_k_mask
from lit_xai.metrics.top_k import top_k_intersection
from lit_xai.noise import Noise
from tests.contracts import assert_every_field_matters, assert_metric_contract
from tests.metrics.test_maps import DTYPES, MAPS, REDUCTIONS, maps_of
from tests.metrics.test_windows import near, positions

SHAPES = st.tuples(st.just(2), st.integers(1, 6), st.integers(1, 7))
PAIRS = maps_of(st.just(2))
DISTINCT = arrays(np.float64, SHAPES, elements=st.integers(-99, 99), unique=True)
OPTIONS = st.sampled_from([{}, {"diverse": True}, {"diverse": True, "divide_by": "found"}])
EXAMPLES = settings(deadline=None, max_examples=50, derandomize=True)
MAY_LACK_PIXELS = pytest.mark.filterwarnings("ignore:Expected .* pixels with none in another's window")
BOTH = pytest.mark.parametrize(
    ("function", "metric", "place"),
    [(lens_precision, LENSPrecision, 0), (lens_recall, LENSRecall, 1)],
    ids=["precision", "recall"],
)


def top(values, k):
    chosen = sorted(range(values.size), key=lambda index: (-values.flat[index], index))[:k]
    return {divmod(index, values.shape[1]) for index in chosen}


def greedy(values, k, w):
    left, chosen = set(np.ndindex(values.shape)), set()
    while left and len(chosen) < k:
        largest = min(left, key=lambda pixel: (-values[pixel], pixel))
        chosen.add(largest)
        left -= near({largest}, w, values.shape)
    return chosen


def suppressed(values, k, w):
    """Choose as detectors do: two boxes of side w + 1 overlap where their corners are within w."""
    order = sorted(range(values.size), key=lambda index: (-values.flat[index], index))
    corners = torch.tensor([divmod(index, values.shape[1]) for index in order], dtype=torch.float32)
    boxes = torch.cat([corners.flip(1), corners.flip(1) + w + 1], dim=1)
    kept = torchvision.ops.nms(boxes, -torch.arange(len(order), dtype=torch.float32), iou_threshold=0.0)
    return {divmod(order[place], values.shape[1]) for place in kept[:k].tolist()}


def shares(first, second, *, k, w, diverse=False, divide_by="k"):
    """Return precision, recall and distance of two maps (H, W)."""
    sets = [greedy(values, k, w) if diverse else top(values, k) for values in (first, second)]
    sizes = [len(pixels) if divide_by == "found" else k for pixels in sets]
    windows = [near(pixels, w, first.shape) for pixels in sets]
    return (
        len(sets[0] & windows[1]) / sizes[0],
        len(sets[1] & windows[0]) / sizes[1],
        len(sets[0] - windows[1]) / sizes[0] + len(sets[1] - windows[0]) / sizes[1],
    )


def assert_every_option_matters(metric, options, changes, effect):
    """Check that every change of an option of a metric's constructor changes its effect."""
    assert inspect.signature(metric).parameters.keys() == changes.keys()
    before = effect(metric(**options))
    for name, values in changes.items():
        for value in values:
            assert not torch.equal(effect(metric(**options | {name: value})), before), f"{name}={value}"


def some_k(values):
    """Return a strategy for k, often small: large sets are near everything."""
    return st.integers(1, min(values.size, 6)) | st.integers(1, values.size)


def spots(*pixels, shape=(5, 5)):
    maps = torch.zeros(1, *shape, dtype=torch.float64)
    for value, pixel in enumerate(pixels, start=1):
        maps[(0, *pixel)] = value
    return maps


def large_map(kind):
    """Return a map of 40 x 33 pixels, (40, 33), float64."""
    row, column = np.mgrid[:40, :33]
    generator = np.random.default_rng(0)
    if kind == "noise":
        return generator.normal(size=(40, 33))
    if kind == "tied noise":
        return generator.integers(0, 4, (40, 33)).astype(float)
    if kind == "cone":
        return -np.hypot(row - 20, column - 16)
    if kind == "bumps":
        return sum(
            height * np.exp(-((row - i) ** 2 + (column - j) ** 2) / 18)
            for height, i, j in [(1.0, 8, 7), (0.9, 30, 25), (0.7, 20, 3)]
        )
    return np.full((40, 33), 0.3)


@pytest.fixture
def result(model, batch):
    return run_attack(model, InputXGradient(), RandomSign(eps=0.3), batch, seed=0)


@EXAMPLES
@given(MAPS, st.integers(0, 3), DTYPES, st.data())
@MAY_LACK_PIXELS
def test_diverse_sets_are_the_greedy_choice(maps, w, dtype, data):
    k = data.draw(some_k(maps[0]))
    masks = diverse_top_k_mask(torch.from_numpy(maps).to(dtype), k=k, w=w)
    assert masks.dtype == torch.bool
    for values, mask in zip(maps, masks, strict=True):
        assert positions(mask) == greedy(values, k, w) == suppressed(values, k, w)


@pytest.mark.parametrize("kind", ["noise", "tied noise", "cone", "bumps", "constant"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@MAY_LACK_PIXELS
def test_diverse_sets_of_larger_maps_are_the_greedy_choice(kind, dtype):
    maps = torch.from_numpy(large_map(kind)).to(dtype)[None]
    values = maps[0].double().numpy()
    for k, w in [(1, 3), (20, 3), (60, 2), (150, 1), (200, 3)]:
        chosen = positions(diverse_top_k_mask(maps, k=k, w=w)[0])
        assert chosen == suppressed(values, k, w)
        if (k, w) == (20, 3):
            assert chosen == greedy(values, k, w)


@pytest.mark.parametrize(
    ("kind", "k", "w", "reach"),
    [
        ("cone", 20, 3, 80),
        ("bumps", 20, 3, 80),
        ("constant", 20, 3, 80),
        ("cone", 10, 3, 160),
        ("bumps", 5, 4, 80),
    ],
)
def test_diverse_sets_reach_beyond_the_first_values(kind, k, w, reach):
    """The first `reach` values, four or sixteen times `k`, do not suffice."""
    maps = torch.from_numpy(large_map(kind))[None]
    mask = diverse_top_k_mask(maps, k=k, w=w)
    assert positions(mask[0]) == suppressed(maps[0].numpy(), k, w)
    assert mask.sum() == k
    assert descending_rank(maps)[mask].max() >= reach


def test_samples_that_need_more_values_do_not_touch_the_others():
    kinds = ["noise", "cone", "tied noise", "constant", "bumps"]
    maps = torch.from_numpy(np.stack([large_map(kind) for kind in kinds]))
    masks = diverse_top_k_mask(maps, k=20, w=3)
    assert torch.equal(masks, torch.cat([diverse_top_k_mask(row[None], k=20, w=3) for row in maps]))
    assert torch.equal(masks.flip(0), diverse_top_k_mask(maps.flip(0), k=20, w=3))


def test_greedy_is_not_the_largest_sum():
    maps = torch.tensor([[[0.9, 1.0, 0.9]]])
    with pytest.warns(UserWarning, match="Expected 2 pixels"):
        assert diverse_top_k_mask(maps, k=2, w=1).tolist() == [[[False, True, False]]]


def test_what_the_released_code_gets_wrong():
    """It passes over the second choice, never takes the first pixel and lets windows wrap around rows."""
    maps = torch.zeros(1, 4, 5)
    maps[0, 0, 0], maps[0, 1, 4], maps[0, 3, 0] = 9, 8, 7
    assert positions(diverse_top_k_mask(maps, k=3, w=1)[0]) == {(0, 0), (1, 4), (3, 0)}
    maps[0, 2, 0] = 7.5
    assert positions(diverse_top_k_mask(maps, k=3, w=1)[0]) == {(0, 0), (1, 4), (2, 0)}


def test_double_precision_values_are_not_ties():
    maps = 1 + torch.arange(12, dtype=torch.float64).view(1, 1, 12) * 1e-14
    assert positions(diverse_top_k_mask(maps, k=3, w=1)[0]) == {(0, 11), (0, 9), (0, 7)}


def test_a_constant_map_gives_a_grid():
    mask = diverse_top_k_mask(torch.ones(1, 6, 7), k=12, w=1)
    assert positions(mask[0]) == {(row, column) for row in (0, 2, 4) for column in (0, 2, 4, 6)}


@EXAMPLES
@given(MAPS, st.data())
def test_no_window_gives_the_top_k(maps, data):
    k = data.draw(some_k(maps[0]))
    maps = torch.from_numpy(maps)
    assert torch.equal(diverse_top_k_mask(maps, k=k, w=0), top_k_mask(maps, k))


@EXAMPLES
@given(DISTINCT, st.integers(0, 2))
@MAY_LACK_PIXELS
def test_diverse_sets_turn_with_the_map(maps, w):
    maps = torch.from_numpy(maps)
    mask = diverse_top_k_mask(maps, k=maps[0].numel(), w=w)
    for turn in (lambda part: part.flip(1), lambda part: part.flip(2), lambda part: part.mT):
        assert torch.equal(diverse_top_k_mask(turn(maps), k=maps[0].numel(), w=w), turn(mask))


def test_a_view_with_other_strides_is_the_same_map():
    maps = torch.from_numpy(np.random.default_rng(0).normal(size=(6, 6, 5)))
    for view in (maps.mT, maps.permute(1, 0, 2), maps[:, ::2], maps[:1].expand(6, 6, 5)):
        found = diverse_top_k_mask(view, k=2, w=1)
        plain = view.clone(memory_format=torch.contiguous_format)
        assert torch.equal(found, diverse_top_k_mask(plain, k=2, w=1))
        assert found.flatten(1).sum(dim=1).tolist() == [2] * 6


def test_sets_take_no_gradient_and_leave_the_maps_as_they_are():
    maps = torch.rand(2, 5, 5, generator=torch.Generator().manual_seed(0))
    before, leaf = maps.clone(), maps.clone().requires_grad_()
    assert torch.equal(diverse_top_k_mask(leaf, k=3, w=1), diverse_top_k_mask(maps, k=3, w=1))
    assert not lens_precision(leaf, leaf.flip(1), k=3, w=1, diverse=True).requires_grad
    assert torch.equal(maps, before)


def test_warns_once_where_fewer_fit_and_only_there():
    fitting = torch.arange(30.0).view(1, 5, 6)
    center = torch.zeros(1, 5, 6)
    center[0, 2, 2] = 1
    text = r"Expected 6 pixels with none in another's window of 5 x 5, but fewer fit into maps of 5 x 6\."
    remedy = r" Lower `k` or `w`, or divide by the number found\.$"
    with pytest.warns(UserWarning, match=text + remedy) as record:
        assert diverse_top_k_mask(torch.cat([fitting, center]), k=6, w=2).flatten(1).sum(1).tolist() == [4, 3]
    assert len(record) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        diverse_top_k_mask(fitting, k=4, w=2)
        diverse_top_k_mask(center, k=3, w=2)
        diverse_top_k_mask(fitting, k=30, w=0)
        diverse_top_k_mask(fitting[:0], k=6, w=2)
        with pytest.raises(UserWarning, match="Expected 4 pixels"):
            diverse_top_k_mask(center, k=4, w=2)


@pytest.mark.parametrize("function", [lens_precision, lens_recall, lens_distance])
def test_two_maps_give_one_warning_and_plain_sets_none(function):
    maps = torch.arange(30.0).view(1, 5, 6)
    with pytest.warns(UserWarning, match="Expected 6 pixels") as record:
        function(maps, maps.flip(1), k=6, w=2, diverse=True)
    assert len(record) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        function(maps, maps.flip(1), k=6, w=2)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("diverse", [False, True])
def test_a_map_that_cannot_be_ranked_names_its_sample(value, diverse):
    maps = torch.zeros(3, 2, 4)
    maps[1, 0, 3] = value
    for function in (lens_precision, lens_recall, lens_distance):
        for pair in [(maps, torch.zeros(3, 2, 4)), (torch.zeros(3, 2, 4), maps)]:
            with pytest.raises(ValueError, match=r"NaN or infinity for sample 1 of the batch\."):
                function(*pair, k=1, w=1, diverse=diverse)
    with pytest.raises(ValueError, match=r"NaN or infinity for sample 1 of the batch\."):
        diverse_top_k_mask(maps, k=1, w=1)


@pytest.mark.parametrize("diverse", [False, True])
def test_refuses_what_is_not_maps_over_pixels(diverse):
    maps = torch.zeros(2, 3, 4, 5)
    for function in (lens_precision, lens_recall, lens_distance):
        with pytest.raises(ValueError, match=r"maps of shape \(N, H, W\), but got \(2, 3, 4, 5\)"):
            function(maps, maps, k=1, w=1, diverse=diverse)
    with pytest.raises(ValueError, match=r"maps of shape \(N, H, W\), but got \(2, 3, 4, 5\)"):
        diverse_top_k_mask(maps, k=1, w=1)


def test_diverse_sets_refuse_what_does_not_fit():
    with pytest.raises(ValueError, match=r"Expected `k` in \[1, 6\], but got 7\."):
        diverse_top_k_mask(torch.zeros(1, 2, 3), k=7, w=0)
    with pytest.raises(ValueError, match=r"Expected `k` in \[1, 6\], but got 0\."):
        diverse_top_k_mask(torch.zeros(1, 2, 3), k=0, w=0)
    with pytest.raises(ValueError, match=r"Expected `w` of at least 0, but got -1\."):
        diverse_top_k_mask(torch.zeros(1, 2, 3), k=1, w=-1)


@BOTH
@EXAMPLES
@given(PAIRS, st.integers(0, 3), OPTIONS, DTYPES, st.data())
@MAY_LACK_PIXELS
def test_equals_the_definition(function, metric, place, pair, w, options, dtype, data):
    k = data.draw(some_k(pair[0]))
    first, second = torch.from_numpy(pair).to(dtype).split(1)
    share = function(first, second, k=k, w=w, **options)
    assert share.dtype == torch.float64
    assert share.tolist() == [shares(*pair, k=k, w=w, **options)[place]]


@pytest.mark.parametrize(
    "options",
    [{}, {"diverse": True}, {"diverse": True, "divide_by": "found"}],
    ids=["plain", "diverse", "found"],
)
@MAY_LACK_PIXELS
def test_hundreds_of_random_pairs_equal_the_definition(options):
    partial = 0
    for seed in range(300):
        generator = np.random.default_rng(seed)
        height, width = generator.integers(1, 11, 2)
        pair = generator.integers(-20, 21, (2, height, width)) / 2
        sizes = {
            "k": int(generator.integers(1, min(height * width, 16) + 1)),
            "w": int(generator.integers(0, 3)),
        }
        first, second = torch.from_numpy(pair).split(1)
        expected = shares(*pair, **sizes, **options)
        for function, value in zip((lens_precision, lens_recall, lens_distance), expected, strict=True):
            assert function(first, second, **sizes, **options).item() == value
        partial += 0 < expected[0] < 1
    assert partial > 50


@EXAMPLES
@given(maps_of(st.just(6)), st.integers(0, 2), OPTIONS, st.data())
@MAY_LACK_PIXELS
def test_a_batch_is_its_samples(maps, w, options, data):
    k = data.draw(some_k(maps[0]))
    first, second = torch.from_numpy(maps).split(3)
    for function in (lens_precision, lens_recall, lens_distance):
        alone = [
            function(*rows, k=k, w=w, **options) for rows in zip(first[:, None], second[:, None], strict=True)
        ]
        assert torch.equal(function(first, second, k=k, w=w, **options), torch.cat(alone))


@EXAMPLES
@given(PAIRS, st.integers(0, 3), OPTIONS, st.data())
@MAY_LACK_PIXELS
def test_exchanging_the_maps_exchanges_precision_and_recall(pair, w, options, data):
    k = data.draw(some_k(pair[0]))
    first, second = torch.from_numpy(pair).split(1)
    precision = lens_precision(first, second, k=k, w=w, **options)
    assert torch.equal(precision, lens_recall(second, first, k=k, w=w, **options))


@BOTH
@EXAMPLES
@given(DISTINCT, st.integers(0, 2), OPTIONS, st.data())
@MAY_LACK_PIXELS
def test_turning_both_maps_or_stretching_their_values_changes_nothing(
    function, metric, place, pair, w, options, data
):
    options = {"k": data.draw(some_k(pair[0])), "w": w, **options}
    first, second = torch.from_numpy(pair).split(1)
    share = function(first, second, **options)
    assert torch.equal(function(first.flip(1, 2), second.flip(1, 2), **options), share)
    assert torch.equal(function(first.mT, second.mT, **options), share)
    assert torch.equal(function(first**3 - 5, 2 * second, **options), share)


@BOTH
@EXAMPLES
@given(PAIRS, st.data())
def test_grows_with_the_window_from_the_top_k_intersection_to_one(function, metric, place, pair, data):
    """Proposition 1."""
    k = data.draw(some_k(pair[0]))
    first, second = torch.from_numpy(pair).split(1)
    values = [function(first, second, k=k, w=w).item() for w in range(8)]
    assert values == sorted(values)
    assert values[0] == top_k_intersection(first, second, k=k).item()
    assert values[-1] == 1


def test_precision_and_recall_are_not_the_same():
    first = spots((0, 0), (0, 1), (0, 2))
    second = spots((1, 1), (4, 3), (4, 4))
    assert lens_precision(first, second, k=3, w=1).item() == 1
    assert lens_recall(first, second, k=3, w=1).item() == 1 / 3


@BOTH
@pytest.mark.parametrize(("column", "expected"), [(1, 1.0), (2, 0.0)])
def test_a_shift_of_w_is_forgiven_and_one_more_is_not(function, metric, place, column, expected):
    assert function(spots((2, 0)), spots((2, column)), k=1, w=1).item() == expected


def test_windows_are_cut_at_the_border_and_do_not_wrap():
    corner, opposite = spots((0, 0)), spots((4, 4))
    assert lens_precision(corner, opposite, k=1, w=3).item() == 0
    assert lens_precision(corner, spots((1, 4)), k=1, w=1).item() == 0
    assert lens_precision(corner, opposite, k=1, w=4).item() == 1


def test_shares_of_k_and_of_the_pixels_found():
    first, second = (
        torch.tensor([[[5.0, 1.0, 4.0, 0.0, 3.0, 2.0]]]),
        torch.tensor([[[0.0, 9.0, 0.0, 0.0, 8.0, 0.0]]]),
    )
    # Three and two of the four pixels fit, {0, 2, 4} and {1, 4}; each lies in a window of the other set.
    for divide_by, expected in {"k": (3 / 4, 2 / 4, 0), "found": (1, 1, 0)}.items():
        options = {"k": 4, "w": 1, "diverse": True, "divide_by": divide_by}
        for function, value in zip((lens_precision, lens_recall, lens_distance), expected, strict=True):
            with pytest.warns(UserWarning, match="Expected 4 pixels"):
                assert function(first, second, **options).item() == value


@pytest.mark.parametrize(
    ("function", "exchanged", "of_k", "of_found"),
    [
        (lens_precision, lens_recall, 2 / 4, 2 / 3),
        (lens_recall, lens_precision, 4 / 4, 4 / 4),
        (lens_distance, lens_distance, 1 / 4, 1 / 3),
    ],
)
def test_sets_of_unlike_sizes_are_divided_by_their_own(function, exchanged, of_k, of_found):
    first = spots((0, 1), (0, 4), (0, 7), shape=(1, 9))
    second = spots((0, 0), (0, 2), (0, 6), (0, 8), shape=(1, 9))
    # {1, 4, 7}, beside which nothing fits, and {0, 2, 6, 8}, of which none is near 4.
    for divide_by, value in {"k": of_k, "found": of_found}.items():
        options = {"k": 4, "w": 1, "diverse": True, "divide_by": divide_by}
        with pytest.warns(UserWarning, match="Expected 4 pixels"):
            assert function(first, second, **options).item() == value
        with pytest.warns(UserWarning, match="Expected 4 pixels"):
            assert exchanged(second, first, **options).item() == value


@EXAMPLES
@given(PAIRS, st.integers(1, 3))
@MAY_LACK_PIXELS
def test_sets_that_nothing_fits_beside_are_near_everything(pair, w):
    first, second = torch.from_numpy(pair).split(1)
    options = {"k": pair[0].size, "w": w, "diverse": True}
    assert lens_precision(first, second, **options, divide_by="found").item() == 1
    assert (
        lens_precision(first, second, **options).item()
        == len(greedy(pair[0], pair[0].size, w)) / pair[0].size
    )
    assert lens_distance(first, second, **options).item() == 0


def test_every_field_of_the_neighbourhoods_matters(result):
    maps = [REDUCTIONS["abs_sum"](values) for values in (result.attribution, result.attribution_adv)]
    first, second = (torch.from_numpy(values) for values in maps)
    for name in ("precision", "recall"):
        with pytest.warns(UserWarning, match="Expected 1[45] pixels"):
            assert_every_field_matters(
                Neighbourhoods(k=14, w=1, diverse=True),
                {"k": 15, "w": 0, "diverse": False, "divide_by": "found"},
                lambda method, name=name: getattr(method, name)(first, second),
            )


@BOTH
@pytest.mark.parametrize("reduce", REDUCTIONS)
@pytest.mark.parametrize(
    "options",
    [
        {"k": 5, "w": 0},
        {"k": 6, "w": 1},
        {"k": 3, "w": 2},
        {"k": 6, "w": 1, "diverse": True},
        {"k": 14, "w": 1, "diverse": True},
        {"k": 14, "w": 1, "diverse": True, "divide_by": "found"},
    ],
    ids=str,
)
@MAY_LACK_PIXELS
def test_metric_equals_the_loop_on_reduced_maps(model, result, function, metric, place, options, reduce):
    maps = [REDUCTIONS[reduce](values) for values in (result.attribution, result.attribution_adv)]
    expected = [shares(*pair, **options)[place] for pair in zip(*maps, strict=True)]
    scores = assert_metric_contract(metric(**options, reduce=reduce), model, result)
    assert scores.tolist() == expected


@BOTH
@MAY_LACK_PIXELS
def test_every_option_changes_the_score(model, result, function, metric, place):
    assert_every_option_matters(
        metric,
        {"k": 14, "w": 1, "diverse": True},
        {
            "k": [5, 15],
            "w": [0, 2],
            "diverse": [False],
            "divide_by": ["found"],
            "reduce": ["sum_abs", "sum"],
        },
        lambda changed: changed.scores(model, result, None),
    )


@BOTH
def test_the_default_is_a_window_of_three_around_the_plain_top_hundred(function, metric, place):
    assert metric().windows == Neighbourhoods(100, 1, diverse=False, divide_by="k")
    assert metric().reduce == "abs_sum"


@BOTH
@pytest.mark.parametrize("diverse", [False, True])
def test_no_samples_give_no_scores(function, metric, place, diverse):
    assert function(torch.zeros(0, 3, 3), torch.zeros(0, 3, 3), k=2, w=1, diverse=diverse).shape == (0,)


@BOTH
@pytest.mark.parametrize("diverse", [False, True])
def test_functions_refuse_what_does_not_fit(function, metric, place, diverse):
    maps = torch.zeros(1, 2, 3)
    with pytest.raises(ValueError, match=r"maps of one shape, but got \(1, \d, \d\) and \(1, \d, \d\)"):
        function(maps, maps.view(1, 3, 2), k=1, w=1, diverse=diverse)
    with pytest.raises(ValueError, match=r"Expected `k` in \[1, 6\], but got 7\."):
        function(maps, maps, k=7, w=1, diverse=diverse)
    with pytest.raises(ValueError, match=r"Expected `k` of at least 1, but got 0\."):
        function(maps, maps, k=0, w=1, diverse=diverse)
    with pytest.raises(ValueError, match=r"Expected `w` of at least 0, but got -1\."):
        function(maps, maps, k=1, w=-1, diverse=diverse)


def test_refuses_a_divisor_that_is_unknown_or_has_no_effect():
    maps = torch.zeros(1, 2, 3)
    unknown = "Expected `divide_by` as k or found, but got 3"
    idle = "Expected `divide_by` as k, but got found: only diverse sets lack pixels"
    for function in (lens_precision, lens_recall, lens_distance):
        with pytest.raises(ValueError, match=unknown):
            function(maps, maps, k=1, w=1, diverse=True, divide_by=3)
        with pytest.raises(ValueError, match=idle):
            function(maps, maps, k=1, w=1, divide_by="found")
    for metric in (LENSPrecision, LENSRecall):
        with pytest.raises(ValueError, match=unknown):
            metric(diverse=True, divide_by=3)
        with pytest.raises(ValueError, match=idle):
            metric(divide_by="found")


@BOTH
def test_metrics_refuse_what_does_not_fit(model, result, function, metric, place):
    with pytest.raises(ValueError, match=r"Expected `k` of at least 1, but got 0\."):
        metric(k=0)
    with pytest.raises(ValueError, match=r"Expected `w` of at least 0, but got -1\."):
        metric(w=-1)
    with pytest.raises(ValueError, match="Expected `reduce` as abs_sum or sum_abs or sum, but got mean"):
        metric(reduce="mean")
    with pytest.raises(ValueError, match=r"Expected `k` in \[1, 64\], but got 100\."):
        metric().scores(model, result, None)


@BOTH
@pytest.mark.parametrize("name", ["attribution", "attribution_adv"])
def test_an_update_names_the_sample_whose_map_is_not_finite(model, result, function, metric, place, name):
    broken = getattr(result, name).clone()
    broken[3, 1, 0, 0] = float("nan")
    with pytest.raises(ValueError, match=rf"NaN or infinity for sample {result.sample_id[3].item()}\."):
        metric(k=5).update(model, replace(result, **{name: broken}), Noise(0, result.sample_id))


@BOTH
def test_higher_is_better(function, metric, place):
    assert metric.higher_is_better is True
