from dataclasses import replace

import pytest

from lit_xai.attributions.saliency import Saliency
from lit_xai.evaluation.grid import Grid
from lit_xai.evaluation.plan import planned
from lit_xai.metrics.change import ExplanationChange
from lit_xai.regimes.pgd import PGD
from tests.evaluation.small import SETTINGS, small_grid, small_plan, small_subject


def keys(plan) -> list[str]:
    return [piece.key for piece in plan.pieces]


def test_pieces_come_in_order():
    plan = small_plan()
    assert plan.pieces == [plan.accuracy, *plan.cells, plan.agreement]
    assert [(cell.attribution, cell.attack) for cell in plan.cells] == [
        ("saliency", "random_sign"),
        ("saliency", "top_k"),
        ("input_x_gradient", "random_sign"),
        ("input_x_gradient", "top_k"),
    ]
    assert len(set(keys(plan))) == 6
    assert keys(plan) == keys(small_plan())


@pytest.mark.parametrize(
    ("changes", "kept"),
    [
        ({"attacks": {**SETTINGS.attacks, "top_k": {"eps": 0.2}}}, [0, 1, 3, 5]),
        ({"attributions": {**SETTINGS.attributions, "saliency": {"score": "loss"}}}, [0, 3, 4]),
        ({"metrics": {"top_k": {"k": 11}, "change": {}}}, [0]),
        ({"examples": 3}, [0, 5]),
        ({"data": {**SETTINGS.data, "seed": 1}}, []),
        ({"data": {**SETTINGS.data, "batch_size": 6}}, []),
        ({"data": {**SETTINGS.data, "init_args": {"max_train": 3}}}, []),
        ({"data": {**SETTINGS.data, "init_args": {"num_workers": 2, "download": True}}}, [0, 1, 2, 3, 4, 5]),
        ({"metrics": dict(reversed(SETTINGS.metrics.items()))}, [0]),
        ({"attributions": dict(reversed(SETTINGS.attributions.items()))}, [0, 1, 2, 3, 4]),
        ({"environment": {**SETTINGS.environment, "device": {"type": "cpu", "processes": 2}}}, []),
        ({"environment": {**SETTINGS.environment, "code": "00"}}, []),
        ({"environment": {**SETTINGS.environment, "versions": {"torch": "2"}}}, []),
    ],
)
def test_a_piece_is_known_by_what_decides_it(changes, kept):
    before, after = keys(small_plan()), keys(small_plan(**changes))
    assert [place for place, key in enumerate(before) if key == after[place]] == kept


def test_another_network_shares_nothing():
    assert not set(keys(small_plan())) & set(keys(small_plan(small_subject("natural", seed=1))))


def test_a_name_decides_nothing():
    assert keys(small_plan()) == keys(small_plan(small_subject("other")))


@pytest.mark.parametrize("changes", [{"adversary": PGD(eps=0.2)}, {"adversary": None}, {"noise_seed": 1}])
def test_the_adversary_decides_the_accuracies_alone(changes):
    before, after = keys(small_plan()), keys(small_plan(replace(small_subject(), **changes)))
    assert before[0] != after[0]
    assert before[1:] == after[1:]


def test_the_seed_of_the_grid_decides_all_but_the_accuracies():
    plan = small_plan()
    grid = small_grid()
    grid.seed = 1
    other = planned(plan.subject, grid, plan.subset, SETTINGS)
    assert keys(plan)[0] == keys(other)[0]
    assert not set(keys(plan)[1:]) & set(keys(other)[1:])


def test_one_explanation_agrees_with_nothing():
    plan = small_plan()
    grid = Grid({"saliency": Saliency()}, plan.grid.attacks, {"top_k": plan.grid.metrics["top_k"]})
    assert planned(plan.subject, grid, plan.subset, SETTINGS).agreement is None


def test_metrics_that_compare_no_maps_leave_agreement_out():
    plan = small_plan()
    grid = Grid(plan.grid.attributions, plan.grid.attacks, {"change": ExplanationChange()})
    assert planned(plan.subject, grid, plan.subset, SETTINGS).agreement is None
