"""Regimes, their seeds and what they are called."""

import pandas as pd
import pytest

from lit_xai.reporting.reading import Results
from lit_xai.reporting.repetitions import checkpoints_by_regime, labels, seeds_by_label
from tests.reporting.made_up import made_up_card


def made(**checkpoints):
    """Results whose checkpoints have a group, a seed and a regime."""
    card = made_up_card(tuple(checkpoints), ("saliency",), {}, 10, ())
    for name, (group, seed, regime) in checkpoints.items():
        card["checkpoints"][name].update(group=group, seed=seed, regime=regime)
    empty = pd.DataFrame()
    return Results(card, empty, empty, empty, empty, empty)


def test_checkpoints_of_one_seed_stand_together():
    results = made(
        a=("g", 0, "pgd"), early=("g", 0, "pgd"), b=("g", 1, "pgd"), c=(None, 1, "x"), g=("h", None, "x")
    )
    assert checkpoints_by_regime(results) == {
        ("g", None): {0: ["a", "early"], 1: ["b"]},
        ("c", "c"): {1: ["c"]},
        ("g", "g"): {None: ["g"]},
    }
    assert seeds_by_label(results) == [("pgd", 2), ("c", 1), ("g", 1)]


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ("pgd", "ig", ["pgd", "ig"]),
        ("pgd", "pgd", ["g", "h"]),
        (None, "ig", ["g", "ig"]),
        # The first would be called as the second is, which keeps its group.
        ("h", None, ["g", "h"]),
    ],
)
def test_a_regime_is_called_by_its_group_where_its_name_is_not_its_own(first, second, expected):
    results = made(a=("g", 0, first), b=("h", 0, second))
    assert list(labels(results).values()) == expected


def test_a_group_of_two_regimes_is_called_as_a_group():
    assert labels(made(a=("g", 0, "pgd"), b=("g", 1, "ig"))) == {("g", None): "g"}


def test_a_shared_name_takes_no_other_regime_its_own():
    results = made(a=("g", 0, "pgd"), b=("h", 0, "pgd"), c=("i", 0, "ig"))
    assert list(labels(results).values()) == ["g", "h", "ig"]
