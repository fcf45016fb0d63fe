"""Exclusions, failures and the tests against random signs."""

import numpy as np
import pytest
from scipy import stats

from lit_xai.reporting.statistics import holm
from lit_xai.reporting.trials import Excluded, Failures, Trial, counts, excluded, failures, trials
from tests.reporting.made_up_scores import SIGNS, STRONG, WEAK, scored

NOISE = np.random.default_rng(2).normal(0, 0.05, (4, 30))
EXIAA = "exiaa_alpha_0_06_k_0_2"


def test_images_of_a_cell_are_counted():
    cells = {
        ("a", WEAK): [0.5] * 8,
        ("a", EXIAA): [0.5] * 6,
        ("b", "unattacked"): [1.0] * 9,
        ("b", WEAK): [0.1] * 9,
    }
    failed = {("a", EXIAA): [1, 1, 0, 0, 1, 0], ("b", "unattacked"): [1] * 9}
    results = scored(cells, failed=failed, excluded={("a", WEAK): 2, ("a", EXIAA): 4, ("b", WEAK): 1})
    table = counts(results)
    assert table.loc[("a", "saliency", EXIAA)].to_dict() == {
        "images": 10, "excluded": 4, "attacked": 6, "failed": 3,
    }  # fmt: skip
    assert excluded(results, table) == [
        Excluded("a", 10, 2, {"eXIAA": 2}),
        Excluded("b", 10, 0, {"top-k attack": 1}),
    ]
    # The unattacked images are left out, which fail by definition.
    assert failures(results, table) == [
        Failures("top-k attack", False, 0, 17), Failures("eXIAA", False, 3, 6),
    ]  # fmt: skip


def test_failures_of_a_sweep_are_added_and_controls_marked():
    cells = {("a", attack): [0.5, 0.6] for attack in (SIGNS, WEAK, STRONG)}
    results = scored(cells, failed={("a", WEAK): [1, 0], ("a", STRONG): [1, 1], ("a", SIGNS): [0, 1]})
    assert failures(results, counts(results)) == [
        Failures("random signs", True, 1, 2), Failures("top-k attack", False, 3, 4),
    ]  # fmt: skip


def test_without_flags_nothing_is_counted():
    results = scored({}, accuracy={"a": [1, 0]})
    assert counts(results).empty
    assert failures(results, counts(results)) == excluded(results, counts(results)) == []


@pytest.mark.parametrize("rises", [True, False])
def test_attacks_are_held_against_random_signs_by_sample(rises):
    cells = {
        ("a", SIGNS): 0.5 + NOISE[0], ("a", WEAK): 0.3 + NOISE[1],
        ("b", SIGNS): 0.5 + NOISE[2], ("b", WEAK): 0.51 + NOISE[2] + 0.2 * NOISE[3],
        ("c", SIGNS): 0.5 + NOISE[1], ("c", WEAK): 0.5 + NOISE[0],
        # Another radius has no control here.
        ("c", STRONG): NOISE[0],
    }  # fmt: skip
    found = trials(scored(cells, rises=rises))
    p = [stats.ttest_rel(cells[name, SIGNS], cells[name, WEAK]).pvalue for name in "abc"]
    sign = 1 if rises else -1
    assert [trial[:3] for trial in found] == [(name, "saliency", WEAK) for name in "abc"]
    np.testing.assert_allclose([trial.p for trial in found], holm(p))
    expected = [sign * (cells[name, SIGNS] - cells[name, WEAK]).mean() for name in "abc"]
    np.testing.assert_allclose([trial.harm for trial in found], expected)
    assert [trial.verdict for trial in found] == [sign, -sign, 0]


def test_what_no_test_tells_is_inconclusive():
    one, none = scored({("a", SIGNS): [0.5], ("a", WEAK): [0.1]}), scored({("a", WEAK): [0.1, 0.2]})
    assert [trial.verdict for trial in trials(one)] == [0]
    assert trials(none) == []
    assert Trial("a", "saliency", WEAK, 0.4, 0.05).verdict == 0
    assert trials(scored({("a", SIGNS): [0.5], ("a", WEAK): [0.1]}, rises=None)) == []
