import numpy as np
import pandas as pd
import pytest
from scipy import stats

from lit_xai.reporting.comparisons import compare_regimes, regime_means
from lit_xai.reporting.plots.style import INK, look
from lit_xai.reporting.plots.units import Means, legend, looks, over_seeds, units
from lit_xai.reporting.verdicts import regimes


def test_networks_without_repetitions_are_units_on_their_own(results):
    natural, pgd = units(results)
    assert (natural.label, natural.members, natural.group) == ("natural", ("natural",), None)
    assert looks(results) == {"natural": look(0), "pgd": look(1)}
    assert pgd.spoken(1) == "pgd"


def test_a_regime_is_a_unit_and_a_network_of_no_known_regime_another(seeds):
    natural, pgd, alone = units(seeds)
    assert natural.members == ("natural_3", "natural_5", "natural_11")
    assert (pgd.label, pgd.group, pgd.seeds) == ("pgd", "pgd", (3, 5, 11))
    assert (alone.label, alone.group) == ("alone", None)
    assert (natural.spoken(3), natural.spoken(1)) == ("natural (mean of 3 seeds)", "natural (mean of 1 seed)")


def test_colours_are_of_regimes_and_markers_of_seeds(seeds):
    found = looks(seeds)
    assert [found[f"pgd_{seed}"][:2] for seed in (3, 5, 11)] == [(look(1).colour, mark) for mark in "os^"]
    assert found["alone"] == look(2)
    entries = legend(units(seeds))
    assert [(entry.text, entry.colour, entry.marker) for entry in entries] == [
        ("natural", look(0).colour, ""),
        ("pgd", look(1).colour, ""),
        ("alone", look(2).colour, "^"),
        ("seed 3", INK, "o"),
        ("seed 5", INK, "s"),
        ("seed 11", INK, "^"),
    ]


def test_a_network_that_is_called_as_a_regime_is_another_unit(changed, seeds):
    checkpoints = {
        "pgd" if name == "alone" else name: entry for name, entry in seeds.card["checkpoints"].items()
    }
    table = seeds.table.replace({"checkpoint": {"alone": "pgd"}})
    results = changed(card={**seeds.card, "checkpoints": checkpoints}, table=table)
    found = units(results)
    assert [unit.label for unit in found] == ["natural", "pgd", "3: pgd"]
    cell = ("saliency", "top_k_eps_0_1", "top_k")
    means = [Means(results).of(unit, *cell) for unit in found[1:]]
    assert [mean.seeds for mean in means] == [3, 1]
    assert means[1].value == Means(seeds).of(units(seeds)[2], *cell).value


def test_the_mean_of_a_regime_is_that_over_its_seeds(seeds):
    unit, cell = units(seeds)[1], ("saliency", "top_k_eps_0_1", "top_k")
    rows = [seeds.cell(name, *cell) for name in unit.members]
    mean = Means(seeds).of(unit, *cell)
    assert mean.value == pytest.approx(np.mean([row["value"] for row in rows]))
    frame = regime_means(seeds)
    expected = frame[(frame.group == "pgd") & (frame.attribution == cell[0]) & (frame.attack == cell[1])]
    expected = expected[expected.metric == "top_k"].iloc[0]
    assert (mean.low, mean.high, mean.seeds) == (expected.low, expected.high, 3)
    assert Means(seeds).samples(unit.members, *cell) == [row["count"] for row in rows]


def test_each_seed_is_under_its_own_strongest_attack(changed, seeds):
    values = {"pgd_3": (0.1, 0.5), "pgd_5": (0.6, 0.4), "pgd_11": (0.6, 0.3)}
    rows = [
        (name, "saliency", attack, "top_k", value, 0.0, 5, 0, 0, value, 5, value, value)
        for name, pair in values.items()
        for attack, value in zip(("top_k_eps_0_1", "top_k_eps_0_2"), pair, strict=True)
    ]
    results = changed(card=seeds.card, table=pd.DataFrame(rows, columns=seeds.table.columns))
    mean, attacks = Means(results).strongest(units(results)[1], "saliency")
    assert attacks == {"pgd_3": "top_k_eps_0_1", "pgd_5": "top_k_eps_0_2", "pgd_11": "top_k_eps_0_2"}
    worst = np.array([0.1, 0.4, 0.3])
    expected = stats.t.interval(0.95, 2, worst.mean(), stats.sem(worst))
    assert (mean.value, mean.low, mean.high) == pytest.approx((worst.mean(), *expected))
    assert mean.seeds == 3
    assert Means(results).strongest(units(results)[0], "saliency") is None


def test_the_regimes_of_the_plots_are_those_of_the_text(seeds):
    entries = regimes(seeds, compare_regimes(seeds))["saliency"].entries
    found = {entry.name: (entry.value, entry.low, entry.high) for entry in entries}
    for unit in units(seeds)[:2]:
        mean, _ = Means(seeds).strongest(unit, "saliency")
        assert found[unit.label] == pytest.approx(mean[:3])


def test_a_seed_that_was_trained_twice_counts_once(seeds):
    unit = units(seeds)[0]._replace(members=("a", "b", "c"), seeds=(0, 0, 1))
    found = {"a": np.array([0.0, 1.0]), "b": np.array([0.2, 1.0]), "c": np.array([0.5, 3.0])}
    assert over_seeds(unit, found) == pytest.approx([0.3, 2.0])
    assert over_seeds(unit, {"c": found["c"]}) == pytest.approx([0.5, 3.0])
