import dataclasses

import pandas as pd
import pytest

from lit_xai.reporting.reading import read
from tests.reporting.made_up import write_results

ODD = ("<script>alert(1)</script>", "\"'>", r"$\frac{a}$", "模型", "a_b%#&", "two\nlines", "", "#16191d")


@pytest.fixture(scope="session")
def results(tmp_path_factory):
    return read(write_results(tmp_path_factory.mktemp("plots")))


@pytest.fixture(scope="session")
def odd(tmp_path_factory):
    """An evaluation whose names are not words."""
    names = {"attributions": ("<b>bold</b>", "$x^2$")}
    return read(write_results(tmp_path_factory.mktemp("odd"), ODD, samples=10, **names))


@pytest.fixture(scope="session")
def seeds(tmp_path_factory):
    """Two regimes with three seeds each, and a network of no known regime."""
    groups = {f"{name}_{seed}": (name, seed) for name in ("natural", "pgd") for seed in (3, 5, 11)}
    directory = tmp_path_factory.mktemp("seeds")
    results = read(write_results(directory, (*groups, "alone"), groups=groups, samples=12))
    results.card["checkpoints"]["alone"] |= {"group": None, "seed": None, "regime": None}
    return results


@pytest.fixture
def changed(results):
    """Return the made-up evaluation with other parts."""

    def change(**parts):
        return dataclasses.replace(results, **parts)

    return change


@pytest.fixture
def empty(results):
    """An evaluation that found nothing but its samples."""
    frames = {
        name: getattr(results, name).iloc[:0]
        for name in ("table", "samples", "agreement", "examples", "training")
    }
    return dataclasses.replace(results, **frames)


@pytest.fixture
def mean(results):
    """Return a column of a row of the table, looked up without the code under test."""

    def look_up(checkpoint, attribution, attack, metric, column="value"):
        table: pd.DataFrame = results.table
        cell = (table.checkpoint == checkpoint) & (table.attribution == attribution)
        return table[cell & (table.attack == attack) & (table.metric == metric)][column].item()

    return look_up
