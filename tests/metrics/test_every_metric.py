"""What every metric of the package must keep to, on one small example."""

import importlib
import inspect
import json
import math
import os
import pkgutil
import subprocess
import sys
import warnings
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from lit_xai import metrics
from lit_xai.metrics.base import SampleMetric
from lit_xai.noise import Noise
from lit_xai.types import AttackResult
from tests.contracts import Untouched, rows_of
from tests.metrics.every_metric import METRICS, SHARES, example, network, updated

ROOT = Path(__file__).parents[2]
EVERY = pytest.mark.parametrize("name", METRICS)
NEEDS_WINDOW = ("image_ssim", "map_ssim")

pytestmark = pytest.mark.filterwarnings("ignore:Expected 20 pixels with none in another's window")


def built(name):
    return METRICS[name](network(1))


def scored(name, result, model=None):
    return built(name).scores(model or network(0), result, Noise(0, result.sample_id))


def assert_close(found, expected, tolerance):
    torch.testing.assert_close(found.double(), expected, rtol=0, atol=tolerance, equal_nan=True)


def shaped(result, height, width):
    images = ("image", "image_adv", "attribution", "attribution_adv")
    return replace(result, **{name: getattr(result, name).view(6, 2, height, width) for name in images})


@pytest.fixture
def result():
    return example()


def test_none_is_left_out():
    modules = [
        importlib.import_module(f"lit_xai.metrics.{found.name}")
        for found in pkgutil.iter_modules(metrics.__path__)
    ]
    defined = {
        value
        for module in modules
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, SampleMetric) and value.__module__ == module.__name__
    }
    whole = {found for found in defined if not (inspect.isabstract(found) or found.__name__.startswith("_"))}
    assert whole == {type(built(name)) for name in METRICS}
    assert len(defined) >= 25


@EVERY
def test_no_samples_are_no_value_and_no_warning(name, result):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        metric = updated(built(name), rows_of(result, slice(0, 0)))
        value, summary = metric.compute(), metric.summary()
    assert (value.shape, value.dtype) == ((), torch.float64)
    assert math.isnan(value)
    assert math.isnan(summary.value)
    assert math.isnan(summary.stderr)
    assert (summary.count, summary.undefined) == (0, 0)


@EVERY
def test_a_score_belongs_to_its_sample(name, result):
    scores = scored(name, result)
    assert scores.shape == (6,)
    assert len(set(scores[~scores.isnan()].tolist())) > 1
    for row in range(6):
        assert_close(scored(name, rows_of(result, slice(row, row + 1))), scores[[row]].double(), 1e-9)
    for order in ([5, 4, 3, 2, 1, 0], [2, 5, 0, 3, 1, 4]):
        assert_close(scored(name, rows_of(result, order)), scores[order].double(), 1e-9)


@EVERY
def test_the_network_and_the_result_stay_as_they_were(name, result):
    model, reference = network(0), network(1)
    metric = METRICS[name](reference)
    with (
        Untouched(reference),
        Untouched(model, *(getattr(result, field) for field in AttackResult.__slots__)),
    ):
        metric.update(model, result, Noise(0, result.sample_id))


@EVERY
def test_single_precision_gives_the_same(name, result):
    tensors = {field: getattr(result, field) for field in AttackResult.__slots__}
    single = {field: value.float() for field, value in tensors.items() if value.is_floating_point()}
    assert len(single) == 6
    assert all(torch.equal(value.double(), tensors[field]) for field, value in single.items())
    metric = METRICS[name](network(1).float())
    found = metric.scores(network(0).float(), replace(result, **single), Noise(0, result.sample_id)).double()
    torch.testing.assert_close(found, scored(name, result).double(), rtol=1e-4, atol=1e-4, equal_nan=True)


@EVERY
def test_inference_mode_changes_nothing(name, result):
    first, second = rows_of(result, slice(0, 2)), rows_of(result, slice(2, 6))
    expected = updated(built(name), second).summary()
    metric = built(name)
    with torch.inference_mode():
        updated(metric, first)
        metric.reset()
    assert updated(metric, second).summary() == pytest.approx(expected, rel=0, abs=1e-12, nan_ok=True)
    metric.reset()
    updated(metric, first)
    with torch.inference_mode():
        metric.reset()
        inside = updated(metric, second).summary()
    assert inside == pytest.approx(expected, rel=0, abs=1e-12, nan_ok=True)


@EVERY
def test_inside_and_outside_inference_mode_add_up(name, result):
    expected = updated(built(name), result).summary()
    metric = built(name)
    updated(metric, rows_of(result, slice(0, 2)))
    with torch.inference_mode():
        updated(metric, rows_of(result, slice(2, 4)))
    updated(metric, rows_of(result, slice(4, 6)))
    assert metric.summary() == pytest.approx(expected, rel=1e-12, abs=1e-12, nan_ok=True)


@EVERY
@pytest.mark.parametrize("field", ["attribution", "attribution_adv"])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_names_the_sample_whose_map_is_not_finite(name, result, field, value):
    broken = getattr(result, field).clone()
    broken[3, 1, 7, 7] = value
    with pytest.raises(ValueError, match=r"finite maps, but got NaN or infinity for sample 3\."):
        updated(built(name), replace(result, **{field: broken}, sample_id=torch.tensor([9, 0, 1, 3, 4, 5])))


@EVERY
def test_a_map_may_be_one_pixel_high(name, result):
    wide, high = shaped(result, 1, 64), shaped(result, 64, 1)
    if name in NEEDS_WINDOW:
        with pytest.raises(ValueError, match=r"at least 6 x 6 pixels for SSIM .*, but got \(1, 64\)"):
            scored(name, wide)
        return
    scores = scored(name, wide)
    assert (~scores.isnan()).sum() >= 4
    assert_close(scored(name, high), scores.double(), 1e-12)


def reversed_rows(result, *names):
    return replace(result, **{name: getattr(result, name).flip(0) for name in names})


@EVERY
def test_what_compares_maps_looks_at_both_and_at_nothing_else(name, result):
    metric, maps = built(name), ("attribution", "attribution_adv")
    expected = scored(name, result)
    others = reversed_rows(result, *(field for field in AttackResult.__slots__ if field not in maps))
    others = replace(others, kept=~result.kept, applied=~result.applied, image=1 - result.image)
    scaled = replace(result, attribution=4 * result.attribution, attribution_adv=result.attribution_adv / 2)

    def same(found):
        return torch.equal(found.nan_to_num(-9.0), expected.nan_to_num(-9.0))

    compares_maps = (
        same(metric.scores(network(2), others, Noise(5, others.sample_id)))
        and same(scored(name, scaled))
        and not any(same(scored(name, reversed_rows(result, field))) for field in maps)
    )
    assert metric.compares_maps == compares_maps


def test_half_of_the_metrics_compare_maps():
    marked = {name for name in METRICS if built(name).compares_maps}
    assert marked == {
        *("top_k", "lens_precision", "lens_precision_diverse", "lens_recall", "lens_distance"),
        *("combined_lens_distance", "spearman", "lens_spearman", "kendall", "lens_kendall"),
        *("cosine", "pearson", "center_shift", "map_ssim"),
    }


@pytest.mark.ddp
def test_two_processes_with_uneven_shares_give_the_numbers_of_one(tmp_path, result):
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    outputs = [tmp_path / f"{process}.json" for process in (0, 1)]
    program = [sys.executable, "-W", "ignore", str(ROOT / "tests" / "metrics" / "every_metric.py")]
    processes = [
        subprocess.Popen(
            [*program, str(process), str(tmp_path / "store"), str(output)],
            env=environment,
            stderr=subprocess.PIPE,
            text=True,
        )
        for process, output in enumerate(outputs)
    ]
    for process in processes:
        _, errors = process.communicate(timeout=300)
        assert process.returncode == 0, errors[-2000:]
    expected = {name: updated(built(name), result).summary() for name in METRICS}
    for output in outputs:
        found = json.loads(output.read_text())
        assert len(found) == len(METRICS) * len(SHARES)
        for name, one in expected.items():
            for share in SHARES:
                value, stderr, count, undefined, computed = found[f"{name}, {share}"]
                assert (value, stderr) == pytest.approx(one[:2], rel=1e-12, abs=1e-12), (name, share)
                assert (count, undefined) == one[2:], (name, share)
                assert computed == value, (name, share)
