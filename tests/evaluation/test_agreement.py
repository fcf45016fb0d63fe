import pandas as pd
import pytest
import torch
from scipy import stats

from lit_xai.evaluation.agreement import agreement_scores
from lit_xai.metrics.center_shift import CenterShift
from lit_xai.metrics.change import ExplanationChange
from lit_xai.metrics.lens import LENSPrecision, LENSRecall, lens_precision
from lit_xai.metrics.maps import pixel_map
from lit_xai.metrics.prediction import PredictionKept
from lit_xai.metrics.rank import Spearman
from lit_xai.metrics.similarity import Cosine, cosine
from lit_xai.metrics.top_k import TopKIntersection, top_k_intersection
from lit_xai.noise import Noise
from lit_xai.types import Batch
from tests.contracts import Untouched

METRICS = {
    "top_k": TopKIntersection(10),
    "kept": PredictionKept(),
    "change": ExplanationChange(),
    "lens_precision": LENSPrecision(5, 1),
    "spearman": Spearman(),
}
NAMES = ["coloured", "grey", "rough"]


@pytest.fixture
def maps(batch):
    generator = torch.Generator().manual_seed(3)

    def draw(channels):
        return torch.randn(6, channels, 8, 8, generator=generator, dtype=torch.float64)

    return {"coloured": draw(2), "grey": draw(1), "rough": draw(2).round()}


@pytest.fixture
def scored(model, batch, maps):
    def score(metrics, maps=maps, batch=batch):
        return agreement_scores(model, metrics, maps, batch, Noise(0, batch.sample_id))

    return score


def values(frame, first, second, metric):
    chosen = frame[(frame["first"] == first) & (frame["second"] == second) & (frame["metric"] == metric)]
    return torch.tensor(chosen["value"].to_numpy())


def test_every_ordered_pair_is_scored_by_what_compares_maps(scored, batch):
    frame = scored(METRICS)
    assert list(frame.columns) == ["first", "second", "metric", "sample_id", "value"]
    groups = frame.groupby(["first", "second", "metric"], sort=False)["sample_id"].apply(list)
    pairs = [(first, second) for first in NAMES for second in NAMES if first != second]
    expected = [(*pair, metric) for pair in pairs for metric in ("top_k", "lens_precision", "spearman")]
    assert list(groups.index) == expected
    assert all(ids == batch.sample_id.tolist() for ids in groups)


def test_the_scores_are_those_of_the_functions_on_maps_over_pixels(scored, maps):
    frame = scored(METRICS)
    flat = {name: values.abs().sum(dim=1) for name, values in maps.items()}
    for first in NAMES:
        for second in set(NAMES) - {first}:
            before, after = flat[first], flat[second]
            found = values(frame, first, second, "top_k")
            assert torch.equal(found, top_k_intersection(before, after, k=10))
            found = values(frame, first, second, "lens_precision")
            assert torch.equal(found, lens_precision(before, after, k=5, w=1))
            expected = [
                stats.spearmanr(*(values[row].flatten().numpy() for values in (before, after))).statistic
                for row in range(6)
            ]
            assert values(frame, first, second, "spearman").tolist() == pytest.approx(expected, abs=1e-12)


def test_the_order_of_a_pair_is_kept(scored):
    frame = scored({"precision": LENSPrecision(5, 1), "recall": LENSRecall(5, 1)})
    precision = values(frame, "coloured", "rough", "precision")
    assert not torch.equal(precision, values(frame, "rough", "coloured", "precision"))
    assert torch.equal(precision, values(frame, "rough", "coloured", "recall"))


def test_a_metric_decides_how_channels_become_pixels(scored, maps):
    metrics = {"signed": Cosine("sum"), "plain": Cosine(), "netted": CenterShift("sum_abs")}
    frame = scored(metrics)
    for name, reduce in {"signed": "sum", "plain": "abs_sum"}.items():
        expected = cosine(pixel_map(maps["coloured"], reduce), pixel_map(maps["grey"], reduce))
        assert torch.equal(values(frame, "coloured", "grey", name), expected)
    other = scored({"netted": CenterShift()})
    assert (values(frame, "grey", "coloured", "netted") != values(other, "grey", "coloured", "netted")).all()


def test_an_explanation_agrees_with_itself_at_another_scale(scored, maps):
    frame = scored(METRICS, {"one": maps["coloured"], "other": 8 * maps["coloured"].float()})
    assert len(frame) == 2 * 3 * 6
    assert frame["value"].tolist() == pytest.approx([1.0] * 36, abs=1e-12)


def test_what_is_undefined_stays_a_row(scored, maps):
    maps["grey"][4] = 0
    frame = scored({"spearman": Spearman()})
    undefined = frame[frame["value"].isna()]
    assert len(frame) == 6 * 6
    assert set(undefined["sample_id"]) == {frame["sample_id"][4]}
    assert len(undefined) == 4


def test_no_number_depends_on_the_samples_beside(scored, batch, maps):
    whole = scored(METRICS)
    parts = [
        scored(
            METRICS,
            {name: values[rows] for name, values in maps.items()},
            Batch(*(tensor[rows] for tensor in batch)),
        )
        for rows in ([5, 1], [0], [], [2, 4, 3])
    ]
    keys = ["first", "second", "metric", "sample_id"]
    joined = pd.concat(parts, ignore_index=True).sort_values(keys).reset_index(drop=True)
    pd.testing.assert_frame_equal(joined, whole.sort_values(keys).reset_index(drop=True), rtol=0, atol=1e-12)


@pytest.mark.parametrize("names", [[], ["grey"]])
def test_fewer_than_two_explanations_have_no_agreement(scored, maps, names):
    frame = scored(METRICS, {name: maps[name] for name in names})
    assert len(frame) == 0
    assert frame.dtypes.to_dict() == scored(METRICS).dtypes.to_dict()


def test_nothing_is_changed(model, batch, maps):
    with Untouched(model, *batch, *maps.values()):
        agreement_scores(model, METRICS, maps, batch, Noise(0, batch.sample_id))


def test_names_the_sample_whose_map_is_not_finite(scored, batch, maps):
    maps["rough"][3, 1, 7, 7] = float("nan")
    match = f"Expected finite maps, but got NaN or infinity for sample {batch.sample_id[3]}"
    with pytest.raises(ValueError, match=match):
        scored(METRICS)
