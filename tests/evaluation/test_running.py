import logging
from dataclasses import dataclass, replace

import pandas as pd
import pytest
from lightning.fabric import Fabric

from lit_xai.evaluation.cost import Passes
from lit_xai.evaluation.pieces import Measured, Piece
from lit_xai.evaluation.running import Runner
from lit_xai.evaluation.store import Store, identity
from tests.evaluation.small import small_plan, small_subject


@dataclass(frozen=True, eq=False)
class Fake(Piece):
    """A piece of 10 images and 3 passes each that says when it is counted and measured."""

    key: str
    journal: list
    broken: bool = False

    def images(self):
        return 10

    def passes(self, network):
        self.journal.append(f"count {self.key}")
        return Passes(forward=2, backward=1)

    def measure(self, network, memory, advance):
        if self.broken:
            raise KeyboardInterrupt
        self.journal.append(f"measure {self.key}")
        advance(10)
        return Measured(pd.DataFrame({"key": [self.key]}), pd.DataFrame({"image": [self.key]}))


class Pieces:
    """A plan of fakes on one network."""

    def __init__(self, name: str, keys: list[str], journal: list, broken: str = "") -> None:
        plan = small_plan(small_subject(name))
        self.subject, self.grid, self.subset = plan.subject, plan.grid, plan.subset
        self.pieces = [Fake(key, journal, broken=key == broken) for key in keys]
        self.cells = tuple(self.pieces)
        self.agreement = None


@pytest.fixture
def fabric():
    return Fabric(accelerator="cpu", devices=1)


def test_what_is_missing_is_measured_and_written_once(tmp_path, fabric):
    journal = []
    plans = [Pieces("a", ["1", "2", "2"], journal), Pieces("b", ["3", "1", "4"], journal)]
    passes = Runner(Store(tmp_path), fabric).run(plans)
    # Passes are those of the first network; a piece that comes twice is measured once.
    assert journal == ["count 1", "count 2", "count 2", *(f"measure {key}" for key in "1234")]
    assert passes == Passes(forward=120, backward=60)
    assert Store(tmp_path).seconds("1") > 0
    for key in "1234":
        assert Store(tmp_path).scores(key).key.tolist() == [key]
        assert Store(tmp_path).beside(key, "examples").image.tolist() == [key]
    journal.clear()
    again = Runner(Store(tmp_path), fabric).run(plans)
    assert journal == []
    assert again == passes


def test_a_stopped_evaluation_goes_on_where_it_was(tmp_path, fabric):
    journal = []
    with pytest.raises(KeyboardInterrupt):
        Runner(Store(tmp_path), fabric).run([Pieces("a", ["1", "2", "3"], journal, broken="2")])
    assert journal == ["count 1", "count 2", "count 3", "measure 1"]
    journal.clear()
    Runner(Store(tmp_path), fabric).run([Pieces("a", ["1", "2", "3"], journal)])
    assert journal == ["measure 2", "measure 3"]


def test_the_cost_is_said_before(tmp_path, fabric, caplog):
    caplog.set_level(logging.INFO)
    Store(tmp_path).write("2", pd.DataFrame({"key": ["2"]}), {})
    plans = [Pieces("a", ["1", "2", "3"], []), Pieces("b", ["4", "5", "6"], [])]
    Runner(Store(tmp_path), fabric).run(plans)
    assert (
        "Evaluating 2 network(s) x 2 explanation(s) x 2 attack(s) on 12 images: 6 cells, 1 of them found. "
        "The rest needs about 100 forward and 50 backward passes of one image."
    ) in caplog.text


def test_the_bar_counts_passes(tmp_path, fabric, capsys):
    Runner(Store(tmp_path), fabric).run([Pieces("a", ["1", "2"], [])])
    assert "60.0/60.0" in capsys.readouterr().out
    Runner(Store(tmp_path), fabric).run([Pieces("a", ["1", "2"], [])])
    assert "Evaluating:" not in capsys.readouterr().err


def test_a_network_that_is_done_is_not_prepared(tmp_path, fabric, monkeypatch):
    prepared = []
    journal = []
    plans = [Pieces("a", ["1"], journal), Pieces("b", ["2"], journal)]
    Runner(Store(tmp_path), fabric).run(plans[:1])
    for plan in plans:
        monkeypatch.setattr(
            plan.grid, "prepare", lambda *_, name=plan.subject.name: prepared.append(name), raising=True
        )
    Runner(Store(tmp_path), fabric).run(plans)
    assert prepared == ["b"]


def test_only_the_first_process_reads(tmp_path, fabric, monkeypatch):
    plans = [Pieces("a", ["1", "2"], [])]
    expected = Runner(Store(tmp_path), fabric).run(plans)
    key = identity("passes", ["1", "2"])
    # What the first process of two would send.
    sent = [set(), Store(tmp_path).scores(key)]

    class Second:
        is_global_zero = False

        def broadcast(self, own):
            assert own in (None, set())
            return sent.pop(0)

    assert Runner(Store(tmp_path / "nothing"), Second()).run(plans) == expected
    # Nor where it could.
    sent += [set(), Store(tmp_path).scores(key)]
    monkeypatch.setattr(Store, "scores", None)
    assert Runner(Store(tmp_path), Second()).run(plans) == expected


def test_real_pieces_leave_the_scores_of_the_whole_grid(tmp_path, fabric):
    plan = small_plan()
    plan.grid.prepare(plan.subject.load(), plan.subset.data.donors)
    for batch in plan.subset:
        plan.grid.update(plan.subject.load(), batch)
    whole = plan.grid.records()
    plan = replace(plan)
    store = Store(tmp_path)
    Runner(store, fabric).run([plan])
    found = pd.concat(
        store.scores(cell.key).assign(attribution=cell.attribution, attack=cell.attack) for cell in plan.cells
    )
    expected = whole[list(found)].reset_index(drop=True)
    pd.testing.assert_frame_equal(found.reset_index(drop=True), expected, rtol=0, atol=1e-12)
    assert len(store.scores(plan.accuracy.key)) == 60
    assert len(store.scores(plan.agreement.key)) == 12
