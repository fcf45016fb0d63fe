"""The page shows what the comparison measured, and `SoftCoverage` is ahead wherever it was compared."""

from pathlib import Path

import pandas as pd

import scripts.soft_coverage as comparison
from lit_xai.evaluation.table import insert

SAMPLES = pd.read_parquet(comparison.RESULTS)
COMPARED = ["model", "attribution", "score"]


def test_the_table_is_what_its_results_render():
    page = (Path(__file__).parents[1] / "docs" / "attacks.md").read_text()
    assert insert(page, "soft_coverage", comparison.tables(SAMPLES)) == page


def test_all_attacks_of_a_table_saw_the_same_samples():
    keys = [*COMPARED, "attack", "stepping", "criterion"]
    assert not SAMPLES.duplicated([*keys, "sample_id"]).any()
    seen = SAMPLES.groupby(keys)["sample_id"].agg(lambda ids: tuple(sorted(ids)))
    assert (seen.groupby(COMPARED).nunique() == 1).all()
    assert set(SAMPLES.groupby(keys).size()) == {comparison.SAMPLES}


def test_the_default_surrogate_beats_every_rival_at_about_equal_passes():
    keys = ["attack", "stepping", "criterion"]
    for _, part in SAMPLES.groupby(COMPARED):
        means = part.groupby(keys)[["value", "rows"]].mean()
        ours = means.loc[("soft_coverage, SoftTopK", "adaptive", "lens")]
        rivals = means[~means.index.get_level_values("attack").str.startswith("soft")]
        assert len(rivals) >= 6
        assert ours["value"] < rivals["value"].min()
        assert ours["rows"] <= 1.05 * rivals["rows"].min()
