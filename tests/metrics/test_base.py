import math
import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch

from lit_xai.attacks.base import run_attack
from lit_xai.attacks.random_sign import RandomSign
from lit_xai.attributions.input_x_gradient import InputXGradient
from lit_xai.metrics.base import SampleMetric, summarize
from lit_xai.noise import Noise
from tests.contracts import assert_metric_contract, rows_of

NAN = float("nan")


class Given(SampleMetric):
    """Return scores that the test chose, by the samples' positions."""

    higher_is_better = True

    def __init__(self, values, precision=torch.float32):
        super().__init__()
        self.values = values
        self.precision = precision

    def scores(self, model, result, noise):
        return torch.tensor([self.values[index] for index in result.sample_id.tolist()], dtype=self.precision)


class Drawn(SampleMetric):
    """Return one draw for each sample."""

    higher_is_better = True

    def scores(self, model, result, noise):
        return noise.uniform(result.logits[:, 0])


@pytest.fixture
def result(model, batch):
    return run_attack(model, InputXGradient(), RandomSign(eps=0.1), batch, seed=0)


def given(result, values, **options):
    return Given(dict(zip(result.sample_id.tolist(), values, strict=True)), **options)


def updated(metric, model, result):
    metric.update(model, result, Noise(0, result.sample_id))
    return metric


def test_contract(model, result):
    assert_metric_contract(given(result, [1.0, NAN, 4.0, -2.0, 0.25, 8.0]), model, result)


def test_contract_with_draws(model, result):
    assert_metric_contract(Drawn(), model, result)


def test_summary_equals_numpy():
    scores = np.random.default_rng(0).normal(3.0, 2.0, 500)
    scores[::7] = NAN
    defined = scores[~np.isnan(scores)]
    summary = summarize(torch.from_numpy(scores))
    assert summary.value == pytest.approx(defined.mean(), rel=1e-12)
    assert summary.stderr == pytest.approx(defined.std(ddof=1) / math.sqrt(len(defined)), rel=1e-12)
    assert (summary.count, summary.undefined) == (428, 72)


def test_single_precision_scores_are_summed_in_double():
    scores = torch.full((30_000,), 0.1)
    assert summarize(scores).value == pytest.approx(scores[0].item(), rel=1e-12)


def test_single_precision_scores_are_added_in_double(model, result):
    values = [0.1, 0.2, 0.3, 0.7, 1e7, 1e-3]
    expected = np.array(values, dtype=np.float32).astype(np.float64)
    summary = updated(given(result, values), model, result).summary()
    assert summary.value == pytest.approx(expected.mean(), rel=1e-15)
    assert summary.stderr == pytest.approx(expected.std(ddof=1) / math.sqrt(6), rel=1e-12)


def test_hand_computed_mean_and_error(model, result):
    summary = updated(given(result, [1.0, 3.0, NAN, NAN, 5.0, 7.0]), model, result).summary()
    # Variance (9 + 1 + 1 + 9) / 3, divided by 4 samples.
    assert summary == (4.0, pytest.approx(math.sqrt(20 / 3 / 4), rel=1e-12), 4, 2)


def test_one_score_has_no_error(model, result):
    summary = updated(given(result, [NAN, NAN, 2.5, NAN, NAN, NAN]), model, result).summary()
    assert (summary.value, summary.count, summary.undefined) == (2.5, 1, 5)
    assert math.isnan(summary.stderr)


def test_equal_scores_have_no_error(model, result):
    assert updated(given(result, [0.5] * 6), model, result).summary().stderr == 0
    assert summarize(torch.full((6,), 0.5)).stderr == 0


@pytest.mark.parametrize("value", [0.1, 1 / 3, 33.3, 1e6 + 0.1, 1e-9])
def test_rounding_gives_equal_scores_no_error(model, result, value):
    metric = given(result, [value] * 6, precision=torch.float64)
    for _ in range(3):
        for row in range(6):
            updated(metric, model, rows_of(result, slice(row, row + 1)))
    assert (metric.summary().count, metric.summary().stderr) == (18, 0)


@pytest.mark.parametrize(("rows", "undefined"), [(slice(0, 0), 0), (slice(0, 3), 3)])
def test_no_defined_score_is_nan_without_a_warning(model, result, rows, undefined):
    part = rows_of(result, rows)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        metric = updated(given(part, [NAN] * len(part.label)), model, part)
        value, summary = metric.compute(), metric.summary()
    assert math.isnan(value)
    assert math.isnan(summary.value)
    assert math.isnan(summary.stderr)
    assert (summary.count, summary.undefined) == (0, undefined)


def test_forward_returns_the_mean_of_the_batch_and_keeps_the_whole(model, result):
    metric = given(result, [1.0, 2.0, 3.0, 4.0, NAN, 11.0])
    values = []
    for rows in (slice(0, 2), slice(2, 6)):
        part = rows_of(result, rows)
        values.append(metric(model, part, Noise(0, part.sample_id)).item())
    assert values == [1.5, 6.0]
    assert metric.compute().item() == pytest.approx(4.2, rel=1e-12)
    assert metric.summary()[2:] == (5, 1)


@pytest.mark.parametrize("field", ["attribution", "attribution_adv"])
@pytest.mark.parametrize("value", [NAN, math.inf, -math.inf])
def test_names_the_sample_whose_map_is_not_finite(model, result, field, value):
    broken = getattr(result, field).clone()
    broken[4, 1, 7, 0] = value
    metric = given(result, [1.0] * 6)
    message = rf"finite maps, but got NaN or infinity for sample {result.sample_id[4]}\."
    with pytest.raises(ValueError, match=message):
        updated(metric, model, replace(result, **{field: broken}))
    assert (metric.count, metric.undefined, metric.total) == (0, 0, 0)


def test_scores_any_explanation_by_default():
    assert Given({}).explanation is None


def test_the_summary_leaves_the_sums_as_they_were(model, result):
    metric = updated(given(result, [1.0, 3.0, NAN, NAN, 5.0, 7.0]), model, result)
    assert metric.summary() == metric.summary()
    assert (metric.total, metric.total_squared, metric.count, metric.undefined) == (16, 84, 4, 2)
    assert [metric.total.dtype, metric.total_squared.dtype] == [torch.float64] * 2
    assert [metric.count.dtype, metric.undefined.dtype] == [torch.int64] * 2


def test_processes_add_up(model, result):
    values = [1.0, 2.0, 3.0, 4.0, NAN, 11.0]
    first = updated(given(result, values), model, rows_of(result, slice(0, 1)))
    second = updated(given(result, values), model, rows_of(result, slice(1, 6)))
    second.merge_state(first)
    assert second.summary() == updated(given(result, values), model, result).summary()
    assert second.summary().value == pytest.approx(4.2, rel=1e-12)


def test_draws_belong_to_the_noise_that_is_handed_in(model, result):
    drawn = Drawn().scores(model, result, Noise(5, result.sample_id))
    assert torch.equal(drawn, Noise(5, result.sample_id).uniform(torch.zeros(6, dtype=torch.float64)))
    assert not torch.equal(drawn, Drawn().scores(model, result, Noise(6, result.sample_id)))


def test_scores_must_be_defined():
    with pytest.raises(TypeError, match=r"abstract method '?scores"):
        SampleMetric()
