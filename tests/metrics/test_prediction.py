import math
from dataclasses import replace

import pytest
import torch

from lit_xai.attacks.base import run_attack
from lit_xai.attacks.random_sign import RandomSign
from lit_xai.attributions.input_x_gradient import InputXGradient
from lit_xai.metrics.prediction import ConfidenceChange, PredictionKept
from tests.contracts import assert_metric_contract


@pytest.fixture
def result(model, batch):
    return run_attack(model, InputXGradient(), RandomSign(eps=0.4), batch, seed=0)


def probability(logits, target):
    weights = [math.exp(value) for value in logits.tolist()]
    return weights[target] / sum(weights)


def test_kept_is_the_share_of_unchanged_predictions(model, result):
    kept = torch.tensor([True, False, True, True, False, True])
    changed = replace(result, kept=kept, applied=torch.zeros_like(kept))
    scores = assert_metric_contract(PredictionKept(), model, changed)
    assert scores.tolist() == [1, 0, 1, 1, 0, 1]


def test_confidence_change_equals_the_loop(model, result):
    rows = zip(result.logits, result.logits_adv, result.target.tolist(), strict=True)
    expected = [
        100 * abs(probability(before, target) - probability(after, target)) for before, after, target in rows
    ]
    scores = assert_metric_contract(ConfidenceChange(), model, result)
    assert scores.tolist() == pytest.approx(expected, rel=1e-9)


def test_confidence_is_of_the_class_predicted_before(model, result):
    logits = torch.tensor([[0.7, 0.2, 0.1], [0.6, 0.3, 0.1]]).log()
    logits_adv = torch.tensor([[0.1, 0.2, 0.7], [0.9, 0.05, 0.05]]).log()
    changed = replace(
        result,
        logits=logits,
        logits_adv=logits_adv,
        target=torch.tensor([0, 0]),
        label=torch.tensor([1, 2]),
    )
    scores = ConfidenceChange().scores(model, changed, None)
    assert scores.tolist() == pytest.approx([60, 30], abs=1e-4)


def test_confidence_change_is_symmetric_and_ignores_a_shift_of_the_logits(model, result):
    before = ConfidenceChange().scores(model, result, None)
    turned = replace(result, logits=result.logits_adv + 300, logits_adv=result.logits - 300)
    assert ConfidenceChange().scores(model, turned, None).tolist() == pytest.approx(before.tolist(), rel=1e-9)
    still = replace(result, logits_adv=result.logits)
    assert ConfidenceChange().scores(model, still, None).tolist() == [0] * 6


def test_directions():
    assert PredictionKept.higher_is_better is True
    assert ConfidenceChange.higher_is_better is False
