import pandas as pd
import pytest

from lit_xai.evaluation.cost import Passes, count_passes, counting
from lit_xai.evaluation.memory import Memory
from lit_xai.types import Batch
from tests.evaluation.small import small_plan


@pytest.fixture
def plan():
    plan = small_plan()
    plan.grid.prepare(plan.subject.load(), plan.subset.data.donors)
    return plan


def measured(plan, piece):
    done = []
    return piece.measure(plan.subject.load(), Memory(), done.append), done


def test_the_subset_is_stratified_and_the_same_every_time(plan):
    first, second = ([batch.sample_id.tolist() for batch in plan.subset] for _ in range(2))
    assert first == second
    assert [len(ids) for ids in first] == [5, 5, 2]
    assert len(plan.subset) == 12


def test_accuracies_are_those_of_the_whole_split(plan):
    result, done = measured(plan, plan.accuracy)
    assert done == [7, 7, 7, 7, 2]
    assert plan.accuracy.images() == 30
    clean = result.scores[result.scores.attack == "unattacked"]
    assert clean.sample_id.tolist() == list(range(30))
    assert clean.value.tolist() == [float(index % 5 != 0) for index in range(30)]
    assert set(result.scores.attack) == {"unattacked", "pgd"}
    assert result.examples is None
    # The image, the steps of the search, and the attacked image.
    assert plan.accuracy.passes(plan.subject.load()) == Passes(forward=5, backward=3)


def test_a_cell_has_the_scores_that_the_whole_grid_gives(plan):
    network, grid = plan.subject.load(), plan.grid
    for batch in plan.subset:
        grid.update(network, batch)
    whole = grid.records()
    for cell in plan.cells:
        result, done = measured(plan, cell)
        assert done == [5, 5, 2]
        own = whole[(whole.attribution == cell.attribution) & (whole.attack == cell.attack)]
        pd.testing.assert_frame_equal(
            result.scores, own[["metric", "sample_id", "value"]].reset_index(drop=True), rtol=0, atol=1e-12
        )


def test_a_cell_shows_its_extremes_by_the_first_metric(plan):
    cell = plan.cells[1]
    result, _ = measured(plan, cell)
    scores = result.scores[result.scores.metric == "top_k"].set_index("sample_id").value
    failed = result.scores[(result.scores.metric == "failed") & (result.scores.value == 1)].sample_id
    order = scores.drop(failed).sort_values(kind="stable")
    examples = result.examples
    assert examples.metric.unique().tolist() == ["top_k"]
    assert examples[examples.extreme == "worst"].value.tolist() == order.iloc[:2].tolist()
    assert sorted(examples[examples.extreme == "best"].value) == sorted(order.iloc[-2:])


def test_the_passes_of_a_cell_are_those_of_one_image(plan):
    cell = plan.cells[1]
    batch = next(iter(plan.subset))
    expected = count_passes(plan.grid, plan.subject.load(), batch, {("saliency", "top_k")})
    assert cell.passes(plan.subject.load()) == expected
    assert expected.forward > 5


def test_clean_maps_are_made_once_for_all_pieces(plan):
    network = plan.subject.load()
    memory = Memory()
    plan.cells[1].measure(network, memory, lambda _: None)
    with counting(network) as again:
        plan.cells[0].measure(network, memory, lambda _: None)
    with counting(network) as alone:
        plan.cells[0].measure(network, Memory(), lambda _: None)
    included = sum(
        int((network(batch.image.double()).argmax(dim=1) == batch.label).sum()) for batch in plan.subset
    )
    assert included == 6
    assert alone.backward - again.backward == included


def test_the_agreement_is_between_the_maps_of_the_cells(plan):
    network = plan.subject.load()
    memory = Memory()
    for cell in plan.cells[::2]:
        cell.measure(network, memory, lambda _: None)
    with counting(network) as passes:
        result = plan.agreement.measure(network, memory, lambda _: None)
    assert passes.backward == 0
    assert result.scores.metric.unique().tolist() == ["top_k"]
    pairs = [("saliency", "input_x_gradient"), ("input_x_gradient", "saliency")]
    assert list(result.scores.groupby(["first", "second"], sort=False).groups) == pairs
    assert result.scores.groupby(["first", "second"]).size().tolist() == [6, 6]
    there, back = (
        result.scores[result.scores["first"] == first].sort_values("sample_id").value.tolist()
        for first, _ in pairs
    )
    # An intersection has no order.
    assert there == back
    assert min(there) < 1


def test_batches_are_read_as_batches(plan):
    assert isinstance(next(iter(plan.subset)), Batch)
