import math

import pandas as pd
import pytest

from lit_xai.reporting.claims import check_claims, measure_claims, verdict, with_interval

KNOWN = (["natural", "pgd"], ["saliency", "integrated_gradients"], ["unattacked", "top_k"], ["lens", "top_k"])


def claim(claimed, measured, stderr, metric="top_k"):
    return {"metric": metric, "claimed": claimed, "measured": measured, "stderr": stderr}


def unknown(kind, name, nearest):
    return f"the {kind} of a claim to be evaluated, but got {name!r}. The nearest is {nearest!r}."


def test_known_claims_pass():
    check_claims({"natural": {"none/unattacked/accuracy": 0.9, "none/pgd/accuracy": 0}}, *KNOWN)
    check_claims({"pgd": {"saliency/top_k/lens": 0.5, "integrated_gradients/unattacked/top_k": 1}}, *KNOWN)
    check_claims({}, *KNOWN)


@pytest.mark.parametrize(
    ("claims", "message"),
    [
        ({"natral": {}}, unknown("checkpoint", "natral", "natural")),
        ({1: {}}, "Expected the checkpoint of a claim to be evaluated, but got 1. "),
        ({"a\nb": {}}, r"but got 'a\nb'."),
        ({"pgd": {"salience/top_k/lens": 1}}, unknown("attribution", "salience", "saliency")),
        ({"pgd": {"saliency/topk/lens": 1}}, unknown("attack", "topk", "top_k")),
        ({"pgd": {"saliency/top_k/lense": 1}}, unknown("metric", "lense", "lens")),
        ({"pgd": {"none/top_k/accuracy": 1}}, "the attack of a claim to be evaluated, but got 'top_k'."),
        ({"pgd": {"none/pgd/lens": 1}}, unknown("metric", "lens", "accuracy")),
        ({"pgd": {"saliency/pgd/accuracy": 1}}, "the attack of a claim to be evaluated, but got 'pgd'."),
        ({"pgd": {"accuracy": 1}}, "Expected a claim `attribution/attack/metric`, but got 'accuracy'."),
        ({"pgd": {"saliency/top_k/lens/x": 1}}, "Expected a claim `attribution/attack/metric`, but got"),
        ({"pgd": {7: 1}}, "Expected a claim `attribution/attack/metric`, but got 7."),
        ({"pgd": 0.5}, "Expected `claims of 'pgd'` to map names to values, but got 0.5."),
        ([1], "Expected `claims` to map names to values, but got [1]."),
    ],
)  # fmt: skip
def test_an_unknown_claim_is_refused_in_one_line(claims, message):
    with pytest.raises(ValueError, match=r"^Expected") as error:
        check_claims(claims, *KNOWN)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("value", ["0.5", None, True, math.nan, math.inf, 10**400, [0.5]])
def test_a_claim_is_a_finite_number(value):
    with pytest.raises(
        ValueError, match="Expected a finite number as claim of 'saliency/top_k/lens', but got"
    ):
        check_claims({"pgd": {"saliency/top_k/lens": value}}, *KNOWN)


def test_nothing_is_nearest_where_nothing_is_known():
    with pytest.raises(ValueError, match=r"but got 'pgd'\.$"):
        check_claims({"pgd": {}}, [], [], [], [])


def test_claims_are_set_beside_the_means():
    columns = ["checkpoint", "attribution", "attack", "metric", "value", "stderr", "count"]
    table = pd.DataFrame(
        [
            ("pgd", "none", "unattacked", "accuracy", 0.75, 0.02, 1000),
            ("pgd", "saliency", "top_k", "lens", 0.5, 0.01, 40),
            ("natural", "saliency", "top_k", "lens", math.nan, math.nan, 0),
        ],
        columns=columns,
    )
    claims = {
        "natural": {"saliency/top_k/lens": 0.4, "saliency/top_k/other": 1},
        "pgd": {"saliency/top_k/lens": 0.6, "none/unattacked/accuracy": 1},
    }
    undefined, missing, lens, accuracy = measure_claims(claims, table)
    assert lens == {
        "checkpoint": "pgd", "attribution": "saliency", "attack": "top_k", "metric": "lens",
        "claimed": 0.6, "measured": 0.5, "stderr": 0.01, "count": 40,
    }  # fmt: skip
    assert (accuracy["attribution"], accuracy["claimed"], accuracy["measured"], accuracy["count"]) == (
        "none", 1.0, 0.75, 1000,
    )  # fmt: skip
    assert undefined["checkpoint"] == "natural"
    for entry in (undefined, missing):
        assert math.isnan(entry["measured"])
        assert entry["count"] == 0
        assert verdict(entry) == "not measured"
    assert all(type(lens[name]) is float for name in ("claimed", "measured", "stderr"))
    assert type(lens["count"]) is int


@pytest.mark.parametrize(
    ("claimed", "measured", "stderr", "higher", "expected"),
    [
        (0.60, 0.64, 0.02, True, "consistent"),
        (0.60, 0.56, 0.02, True, "consistent"),
        (0.60, 0.6401, 0.02, True, "better than claimed"),
        (0.60, 0.5599, 0.02, True, "worse than claimed"),
        (60.0, 65.0, 1.0, False, "worse than claimed"),
        (60.0, 55.0, 1.0, False, "better than claimed"),
        (60.0, 55.0, 1.0, None, "lower than claimed"),
        (60.0, 65.0, 1.0, None, "higher than claimed"),
        # The rounding of three digits, whatever the standard error.
        (0.854, 0.8545, 0.0, True, "consistent"),
        (0.854, 0.8535, math.nan, True, "consistent"),
        (0.854, 0.8546, 0.0001, True, "better than claimed"),
        (0.854, 0.8534, math.nan, True, "worse than claimed"),
        (0.5, math.nan, math.nan, True, "not measured"),
        (0.5, None, None, True, "not measured"),
        ("0.5", 0.5, 0.1, True, "not measured"),
    ],
)
def test_the_verdict(claimed, measured, stderr, higher, expected):
    assert verdict(claim(claimed, measured, stderr), higher_is_better=higher) == expected


def test_more_accuracy_is_always_better():
    assert verdict(claim(0.5, 0.6, 0.01, "accuracy")) == "better than claimed"
    assert verdict(claim(0.6, 0.5, 0.01, "accuracy")) == "worse than claimed"


def test_an_empty_claim_is_not_measured():
    assert verdict({}) == "not measured"


@pytest.mark.parametrize(
    ("claimed", "expected"),
    [(0.29, "better than claimed"), (0.3, "consistent"), (0.9, "consistent"), (0.91, "worse than claimed")],
)
def test_the_interval_judges_where_it_is_known(claimed, expected):
    row = {"value": 0.5, "low": 0.3, "high": 0.9}
    assert verdict(with_interval(claim(claimed, 0.5, 0.01), row), higher_is_better=True) == expected


def test_the_interval_of_another_mean_is_not_taken():
    entry = claim(0.6, 0.5, 0.01)
    assert with_interval(entry, None) == entry
    assert with_interval(entry, {"value": 0.6, "low": 0.5, "high": 0.7}) == entry


def test_an_unknown_interval_leaves_two_standard_errors():
    row = {"value": 0.5, "low": math.nan, "high": math.nan}
    assert verdict(with_interval(claim(0.52, 0.5, 0.01), row), higher_is_better=True) == "consistent"
    assert verdict(with_interval(claim(0.53, 0.5, 0.01), row), higher_is_better=True) == "worse than claimed"
