"""Values without a place on an axis, in every file a plot is made of: the others are drawn all the same."""

from dataclasses import replace

import numpy as np
import pytest

from lit_xai.reporting.plots.agreement import agreement
from lit_xai.reporting.plots.base import svg
from lit_xai.reporting.plots.curves import epoch_curves, radius_curves
from lit_xai.reporting.plots.distributions import distributions
from lit_xai.reporting.plots.pareto import pareto
from lit_xai.reporting.plots.surface import surfaces
from lit_xai.reporting.reading import read
from tests.reporting.made_up import write_results

VALUES = [np.inf, -np.inf, np.nan, 1e300]


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return read(write_results(tmp_path_factory.mktemp("small"), attributions=("ig", "saliency"), samples=8))


def drawn(results, *kinds):
    found = {plot.name: plot for kind in kinds for plot in kind(results)}
    for plot in found.values():
        assert "nan" not in svg(plot).lower()
    return found


def spoiled(frame, step, value, columns=("value",)):
    frame = frame.copy()
    frame.loc[frame.index[::step], list(columns)] = value
    return frame


@pytest.mark.parametrize("value", VALUES)
@pytest.mark.parametrize("columns", [("value",), ("low",), ("high",), ("value", "low", "high")])
def test_in_the_table(small, value, columns):
    table = spoiled(small.table, 7, value, columns)
    names = set(drawn(replace(small, table=table), radius_curves, surfaces, pareto))
    assert {"radius-ig", "radius-saliency", "surface-saliency-exiaa-alpha-k-ssim"} <= names


@pytest.mark.parametrize("value", VALUES)
def test_in_everything_of_the_table(small, value):
    table = spoiled(small.table, 1, value, ("value", "low", "high"))
    names = list(drawn(replace(small, table=table), radius_curves, surfaces, pareto))
    assert names == ["pareto-epochs-integrated_gradients"]


@pytest.mark.parametrize("value", VALUES)
@pytest.mark.parametrize(("step", "count"), [(1, 0), (5, 2)])
def test_in_the_log(small, value, step, count):
    training = spoiled(small.training, step, value)
    assert len(drawn(replace(small, training=training), epoch_curves)) == count
    drawn(replace(small, training=training), pareto)


@pytest.mark.parametrize("value", VALUES)
@pytest.mark.parametrize(("step", "count"), [(1, 0), (5, 10)])
def test_in_the_samples(small, value, step, count):
    samples = spoiled(small.samples, step, value)
    assert len(drawn(replace(small, samples=samples), distributions)) == count


@pytest.mark.parametrize("value", VALUES)
@pytest.mark.parametrize(("step", "count"), [(1, 0), (20, 1)])
def test_in_the_agreement(small, value, step, count):
    frame = spoiled(small.agreement, step, value)
    assert len(drawn(replace(small, agreement=frame), agreement)) == count


@pytest.mark.parametrize("value", VALUES)
def test_in_a_regime_of_seeds(seeds, value):
    table, training = spoiled(seeds.table, 5, value), spoiled(seeds.training, 5, value)
    kinds = radius_curves, epoch_curves, surfaces, pareto
    found = drawn(replace(seeds, table=table, training=training), *kinds)
    assert "Not drawn: " in found["radius-saliency"].alt
