from dataclasses import replace

import pytest
import torch

from lit_xai.attacks.base import run_attack
from lit_xai.attacks.random_sign import RandomSign
from lit_xai.attacks.unattacked import Unattacked
from lit_xai.attributions.input_x_gradient import InputXGradient
from lit_xai.metrics.diverse_count import DiverseCount
from lit_xai.noise import Noise
from tests.contracts import assert_metric_contract
from tests.metrics.test_lens import MAY_LACK_PIXELS, assert_every_option_matters, greedy
from tests.metrics.test_maps import REDUCTIONS


@pytest.fixture
def result(model, batch):
    return run_attack(model, InputXGradient(), RandomSign(eps=0.3), batch, seed=0)


@pytest.mark.parametrize("reduce", REDUCTIONS)
@pytest.mark.parametrize(("k", "w"), [(12, 1), (64, 1), (5, 2), (64, 3)])
@MAY_LACK_PIXELS
def test_metric_counts_the_greedy_choice_on_the_attacked_map(model, result, k, w, reduce):
    expected = [len(greedy(values, k, w)) for values in REDUCTIONS[reduce](result.attribution_adv)]
    scores = assert_metric_contract(DiverseCount(k, w, reduce=reduce), model, result)
    assert scores.dtype == torch.float64
    assert scores.tolist() == expected


@MAY_LACK_PIXELS
def test_the_clean_map_is_counted_where_nothing_attacks(model, batch, result):
    clean = run_attack(model, InputXGradient(), Unattacked(), batch, seed=0)
    expected = [len(greedy(values, 64, 1)) for values in REDUCTIONS["abs_sum"](result.attribution)]
    assert DiverseCount(64, 1).scores(model, clean, None).tolist() == expected
    assert DiverseCount(64, 1).scores(model, result, None).tolist() != expected


def test_warns_below_k(model, result):
    with pytest.warns(UserWarning, match=r"Expected 64 pixels with none in another's window of 3 x 3"):
        assert DiverseCount(64, 1).scores(model, result, None).max() < 64
    assert DiverseCount(9, 1).scores(model, result, None).tolist() == [9] * 6
    assert DiverseCount(64, 0).scores(model, result, None).tolist() == [64] * 6


@MAY_LACK_PIXELS
def test_every_option_changes_the_score(model, result):
    assert_every_option_matters(
        DiverseCount,
        {"k": 14, "w": 1},
        {"k": [9, 64], "w": [0, 2], "reduce": ["sum_abs", "sum"]},
        lambda metric: metric.scores(model, result, None),
    )


def test_the_defaults_are_those_of_the_metrics_it_goes_with():
    assert (DiverseCount().k, DiverseCount().w, DiverseCount().reduce) == (100, 1, "abs_sum")


def test_refuses_what_does_not_fit(model, result):
    with pytest.raises(ValueError, match=r"Expected `k` of at least 1, but got 0\."):
        DiverseCount(k=0)
    with pytest.raises(ValueError, match=r"Expected `w` of at least 0, but got -1\."):
        DiverseCount(w=-1)
    with pytest.raises(ValueError, match="Expected `reduce` as abs_sum or sum_abs or sum, but got max"):
        DiverseCount(reduce="max")
    with pytest.raises(ValueError, match=r"Expected `k` in \[1, 64\], but got 100\."):
        DiverseCount().scores(model, result, None)


def test_an_update_names_the_sample_whose_map_is_not_finite(model, result):
    broken = result.attribution_adv.clone()
    broken[3, 1, 0, 0] = float("nan")
    with pytest.raises(ValueError, match=rf"NaN or infinity for sample {result.sample_id[3].item()}\."):
        DiverseCount(k=5).update(model, replace(result, attribution_adv=broken), Noise(0, result.sample_id))


def test_higher_is_better():
    assert DiverseCount.higher_is_better is True
