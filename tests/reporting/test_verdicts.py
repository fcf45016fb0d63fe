"""Rankings under the strongest attacks, held against scipy."""

import numpy as np
import pytest
from scipy import stats

from lit_xai.reporting.comparisons import compare_checkpoints, compare_regimes
from lit_xai.reporting.statistics import holm
from lit_xai.reporting.verdicts import networks, regimes
from tests.reporting.made_up_scores import STRONG, WEAK, scored

NOISE = np.random.default_rng(1).normal(0, 0.02, (6, 20))


def ranked(results):
    return networks(results, compare_checkpoints(results))["saliency"]


def names(entries):
    return [entry.name for entry in entries]


def test_one_that_beats_all_others_leads_alone():
    results = scored({("a", WEAK): 0.3 + NOISE[0], ("b", WEAK): 0.9 + NOISE[1], ("c", WEAK): 0.5 + NOISE[2]})
    ranking = ranked(results)
    assert names(ranking.entries) == ["b", "c", "a"]
    assert names(ranking.leaders()) == ["b"]
    assert names(ranking.below(ranking.entries[0])) == ["c", "a"]
    row = compare_checkpoints(results).iloc[0]
    gap = ranking.gap(ranking.entries[0], ranking.entries[2])
    assert (row["first"], row["second"], gap.p) == ("a", "b", row["p_holm"])
    assert gap[:3] == tuple(row[["difference", "low", "high"]])
    turned = ranking.gap(ranking.entries[2], ranking.entries[0])
    assert turned == gap._replace(difference=-gap.difference, low=-gap.high, high=-gap.low)


def test_those_that_no_test_tells_from_the_best_lead_with_it():
    scores = {("a", WEAK): 0.5 + NOISE[0], ("b", WEAK): 0.501 + NOISE[1], ("c", WEAK): 0.2 + NOISE[2]}
    ranking = ranked(scored(scores))
    assert set(names(ranking.leaders())) == {"a", "b"}
    assert names(ranking.below(ranking.entries[0])) == ["c"]
    falling = ranked(scored(scores, rises=False))
    assert names(falling.leaders()) == ["c"]


def test_different_strongest_attacks_are_paired_by_sample():
    first, second = 0.4 + NOISE[0], 0.43 + NOISE[1]
    scores = {
        ("a", WEAK): first,
        ("a", STRONG): 0.9 + NOISE[2],
        ("b", WEAK): 0.8 + NOISE[3],
        ("b", STRONG): second,
    }
    results = scored(scores)
    ranking = ranked(results)
    assert [entry.attack for entry in ranking.entries] == [STRONG, WEAK]
    gap = ranking.gap(*ranking.entries)
    test = stats.ttest_rel(second, first)
    assert gap.difference == pytest.approx((second - first).mean())
    assert (gap.low, gap.high) == pytest.approx(tuple(test.confidence_interval()))
    # Corrected together with the two primary tests.
    primary = compare_checkpoints(results).query("family == 'primary'")["p"].tolist()
    assert len(primary) == 2
    assert gap.p == pytest.approx(holm([*primary, test.pvalue])[2])
    assert (gap.size, gap.mixed, gap.over_seeds) == (20, True, False)


def test_only_common_samples_are_paired():
    scores = {("a", WEAK): 0.4 + NOISE[0], ("b", STRONG): 0.5 + NOISE[1][:12]}
    assert ranked(scored(scores)).gap(*ranked(scored(scores)).entries).size == 12


@pytest.mark.filterwarnings("error")
def test_infinities_are_ranked_and_the_undefined_are_named():
    scores = {
        ("a", WEAK): NOISE[0],
        ("b", WEAK): [-np.inf, 1.0],
        ("c", WEAK): [np.nan, np.nan],
        ("d", WEAK): [np.inf],
    }
    ranking = ranked(scored(scores))
    assert names(ranking.entries) == ["d", "a", "b"]
    assert ranking.silent == ["c"]
    assert names(ranking.leaders()) == ["d"]
    assert names(ranking.untested(ranking.entries[0])) == ["a", "b"]


SEEDS = {f"{regime}{seed}": (regime, seed) for regime in "ab" for seed in range(3)}


def seeded(difference, groups=SEEDS):
    scores = {
        (name, WEAK): 0.4 + difference * (name[0] == "b") + 0.01 * place + NOISE[place]
        for place, name in enumerate(groups)
    }
    return scored(scores, groups=groups)


def test_regimes_are_compared_over_seeds():
    results = seeded(0.3)
    ranking = regimes(results, compare_regimes(results))["saliency"]
    assert names(ranking.entries) == ["b", "a"]
    assert names(ranking.leaders()) == ["b"]
    values = [
        [results.cell(name, "saliency", WEAK, "top_k")["value"] for name in SEEDS if name[0] == r]
        for r in "ba"
    ]
    test = stats.ttest_ind(*values, equal_var=False)
    gap = ranking.gap(*ranking.entries)
    assert gap.difference == pytest.approx(np.mean(values[0]) - np.mean(values[1]))
    assert (gap.low, gap.high) == pytest.approx(tuple(test.confidence_interval()))
    assert gap.p == pytest.approx(test.pvalue)
    assert gap.over_seeds
    interval = stats.ttest_1samp(values[0], 0).confidence_interval()
    best = ranking.entries[0]
    assert (best.value, best.low, best.high, best.size) == pytest.approx((np.mean(values[0]), *interval, 3))


def test_every_seed_is_under_its_own_strongest_attack():
    groups = {name: SEEDS[name] for name in ("a0", "a1", "b0", "b1")}
    scores = {(name, WEAK): [0.1 * place] * 2 for place, name in enumerate(groups)}
    scores["a0", STRONG] = [-0.1, -0.3]
    results = scored(scores, groups=groups)
    ranking = regimes(results, compare_regimes(results))["saliency"]
    assert [entry.value for entry in ranking.entries] == pytest.approx([0.25, (-0.2 + 0.1) / 2])
    assert ranking.gap(*ranking.entries).p == pytest.approx(
        # Of two tests: the weak attack has a row of its own.
        holm(
            [*compare_regimes(results)["p"], stats.ttest_ind([0.2, 0.3], [-0.2, 0.1], equal_var=False).pvalue]
        )[1]
    )


def test_without_two_regimes_of_two_seeds_there_is_no_ranking():
    results = seeded(0.3, {name: SEEDS[name] for name in ("a0", "a1", "b0")})
    assert regimes(results, compare_regimes(results)) == {}


def test_networks_of_one_regime_are_not_compared():
    ranking = ranked(seeded(0.3))
    assert set(ranking.gaps) == {(f"b{i}", f"a{j}") for i in range(3) for j in range(3)}
    best = ranking.entries[0]
    assert names(ranking.below(best)) == [entry.name for entry in ranking.entries[3:]]
    assert ranking.gap(best, ranking.entries[1]) is None
