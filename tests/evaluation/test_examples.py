import multiprocessing
import os
import pickle
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from torch import distributed

from lit_xai.evaluation.examples import Extremes
from lit_xai.types import AttackResult
from tests.contracts import Untouched, rows_of
from tests.reporting.made_up import made_up_examples

NAN = float("nan")


def result_of(ids, channels=2, seed=0, height=3, width=4):
    """Return a result of attacks that succeeded, single precision."""
    count = len(ids)
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return torch.rand(count, *shape, generator=generator)

    return AttackResult(
        image=draw(channels, height, width),
        image_adv=draw(channels, height, width),
        label=torch.arange(count) % 3,
        target=torch.arange(count) % 4,
        sample_id=torch.tensor(ids, dtype=torch.int64),
        logits=draw(4),
        logits_adv=draw(4),
        attribution=draw(channels, height, width) - 0.5,
        attribution_adv=draw(channels, height, width) - 0.5,
        applied=torch.ones(count, dtype=torch.bool),
        kept=torch.ones(count, dtype=torch.bool),
    )


def extremes(ids, values, size=2, higher_is_better=True, kept=None, result=None):
    result = result_of(ids) if result is None else result
    if kept is not None:
        result = replace(result, kept=torch.tensor(kept))
    found = Extremes("top_k", higher_is_better, size)
    found.add(result, torch.tensor(values, dtype=torch.float64))
    return found


def ends(found):
    """Return the positions of the worst and of the best, by place."""
    frame = found.frame()
    lists = []
    for extreme in ("worst", "best"):
        chosen = frame[frame["extreme"] == extreme]
        assert chosen["place"].tolist() == list(range(1, len(chosen) + 1))
        lists.append(chosen["sample_id"].tolist())
    return tuple(lists)


VALUES = {9: 0.5, 4: 0.1, 7: 0.9, 1: 0.3, 6: 0.7, 3: 0.8}


@pytest.mark.parametrize(
    ("higher_is_better", "expected"),
    [(True, ([4, 1], [7, 3])), (None, ([4, 1], [7, 3])), (False, ([7, 3], [4, 1]))],
)
def test_the_worst_are_the_least_robust_in_the_sense_of_the_metric(higher_is_better, expected):
    found = extremes(list(VALUES), list(VALUES.values()), higher_is_better=higher_is_better)
    assert ends(found) == expected
    frame = found.frame()
    assert frame["value"].tolist() == [VALUES[index] for index in frame["sample_id"]]


def test_every_column_is_that_of_the_sample():
    ids = list(VALUES)
    result = replace(result_of(ids), kept=torch.tensor([False] * 5 + [True]), applied=torch.zeros(6).bool())
    frame = extremes(ids, list(VALUES.values()), size=3, result=result).frame()
    assert set(frame["metric"]) == {"top_k"}
    assert frame["extreme"].tolist() == ["worst"] * 3 + ["best"] * 3
    assert len(frame) == 6
    for _, found in frame.iterrows():
        row = ids.index(found["sample_id"])
        assert (found["label"], found["target"], found["kept"]) == (row % 3, row % 4, row == 5)
        assert (found["height"], found["width"], found["channels"]) == (3, 4, 2)
        for name in ("image", "image_adv"):
            pixels = np.frombuffer(found[name], dtype=np.uint8).reshape(3, 4, 2)
            expected = np.rint(255 * getattr(result, name)[row].double().numpy()).astype(np.uint8)
            assert np.array_equal(pixels.transpose(2, 0, 1), expected)
        for name, tensor in {"map": result.attribution, "map_adv": result.attribution_adv}.items():
            values = np.frombuffer(found[name], dtype=np.float32).reshape(3, 4)
            assert np.array_equal(values, np.abs(tensor[row].numpy()).sum(axis=0))


def test_pixels_of_eight_bits_come_back():
    pixels = torch.arange(256).view(1, 1, 16, 16)
    result = result_of([5], channels=1, height=16, width=16)
    result = replace(result, image=pixels.float() / 255, image_adv=pixels.double() / 255)
    frame = extremes([5], [0.5], result=result).frame()
    assert frame["image"][0] == frame["image_adv"][0] == bytes(range(256))


def test_maps_in_double_precision_and_of_one_channel_are_kept_in_single_precision():
    result = result_of([5])
    result = replace(
        result, attribution=result.attribution.double()[:, :1], attribution_adv=-result.attribution
    )
    frame = extremes([5], [0.5], result=result).frame()
    assert frame["map"][0] == result.attribution[0, 0].abs().float().numpy().tobytes()
    assert len(frame["map_adv"][0]) == 4 * 12


def test_the_table_has_the_columns_of_a_result_file():
    expected = made_up_examples(("natural",), ("saliency",)).drop(
        columns=["checkpoint", "attribution", "attack"]
    )
    for found in (
        extremes(list(VALUES), list(VALUES.values())),
        extremes([], []),
        Extremes("top_k", None, 0),
    ):
        assert found.frame().dtypes.to_dict() == expected.dtypes.to_dict()
        assert list(found.frame().columns) == list(expected.columns)


def test_ties_stand_in_the_order_of_the_data_set():
    ids = [8, 2, 6, 4, 0]
    assert ends(extremes(ids, [0.5] * 5)) == ([0, 2], [8, 6])
    assert ends(extremes(ids, [0.5] * 5, higher_is_better=False)) == ([0, 2], [8, 6])
    assert ends(extremes(ids, [0.5, 0.5, 0.5, 0.1, 0.5], size=1)) == ([4], [8])


@pytest.mark.parametrize(
    ("count", "expected"),
    [
        (0, ([], [])),
        (1, ([0], [])),
        (2, ([0], [1])),
        (3, ([0, 1], [2])),
        (4, ([0, 1], [3, 2])),
        (5, ([0, 1, 2], [4, 3])),
        (6, ([0, 1, 2], [5, 4, 3])),
        (7, ([0, 1, 2], [6, 5, 4])),
        (9, ([0, 1, 2], [8, 7, 6])),
    ],
)
def test_no_sample_stands_at_both_ends(count, expected):
    assert ends(extremes(list(range(count)), [index / 10 for index in range(count)], size=3)) == expected


def test_undefined_scores_are_no_candidates():
    assert ends(extremes([3, 1, 2, 0], [NAN, 0.5, NAN, 0.7])) == ([1], [0])
    assert ends(extremes([3, 1], [NAN, NAN])) == ([], [])


def test_failed_attacks_are_no_examples():
    ids, values = [3, 1, 2, 0, 5], [0.1, 0.5, 0.6, 1.0, 0.9]
    kept = [False, True, True, False, True]
    assert ends(extremes(ids, values, kept=kept)) == ([1, 2], [5])
    result = replace(result_of(ids), applied=torch.tensor(kept))
    assert ends(extremes(ids, values, result=result)) == ([1, 2], [5])


def test_failed_attacks_stand_in_where_there_are_no_others():
    ids, values = [3, 1, 2, 0, 5], [0.1, 0.5, 0.6, 1.0, 0.9]
    found = extremes(ids, values, kept=[False] * 5)
    assert ends(found) == ([3, 1], [0, 5])
    assert not found.frame()["kept"].any()
    found.add(result_of([9]), torch.tensor([0.55]))
    assert ends(found) == ([9], [])
    found.add(replace(result_of([7]), kept=torch.tensor([False])), torch.tensor([0.0]))
    assert ends(found) == ([9], [])
    assert ends(extremes([3, 1], [0.1, NAN], kept=[False, True])) == ([3], [])


def split_up(result, scores, parts, size):
    found = Extremes("change", False, size)
    for rows in parts:
        found.add(rows_of(result, rows), scores[rows])
    return found


@pytest.mark.parametrize("size", [1, 2, 5])
def test_the_choice_depends_on_no_batch_size_or_order(size):
    generator = torch.Generator().manual_seed(2)
    result = result_of(torch.randperm(400, generator=generator)[:40].tolist())
    # Few values, so that ties decide.
    scores = torch.randint(4, (40,), generator=generator).double() / 4
    scores[::7] = NAN
    result = replace(result, kept=torch.rand(40, generator=generator) < 0.7)
    expected = split_up(result, scores, [torch.arange(40)], size).frame()
    assert len(expected) == 2 * size
    for batch_size in (1, 3, 16):
        order = torch.randperm(40, generator=generator)
        found = split_up(result, scores, order.split(batch_size), size).frame()
        pd.testing.assert_frame_equal(found, expected, check_exact=True)


def test_few_samples_are_held():
    found = Extremes("top_k", True, 2)
    sizes = []
    for begin in range(0, 600, 6):
        ids = list(range(begin, begin + 6))
        result = result_of(ids, height=16, width=16)
        found.add(replace(result, kept=torch.arange(6) % 2 == 0), torch.rand(6))
        sizes.append(len(pickle.dumps(found)))
    # Two images and two maps each, and what comes with them.
    assert max(sizes) < 4 * (2 * 2 * 256 + 2 * 4 * 256) + 2500


def test_of_size_nothing_is_kept():
    found = extremes(list(VALUES), list(VALUES.values()), size=0)
    assert len(pickle.dumps(found)) < 300
    assert len(found.frame()) == 0


def test_the_result_may_change_afterwards():
    result = result_of(list(VALUES))
    found = extremes(list(VALUES), list(VALUES.values()), result=result)
    before = found.frame()
    for name in AttackResult.__slots__:
        getattr(result, name).zero_()
    pd.testing.assert_frame_equal(found.frame(), before)


def test_the_result_is_left_as_it_was():
    result = result_of(list(VALUES))
    with Untouched(
        torch.nn.Sequential(torch.nn.Linear(1, 1)), *(getattr(result, n) for n in result.__slots__)
    ):
        extremes(list(VALUES), list(VALUES.values()), result=result)


def test_refuses_a_negative_size():
    with pytest.raises(ValueError, match=r"^Expected `size` of at least 0, but got -1\.$"):
        Extremes("top_k", True, -1)


def shared(process, store, output):
    """Consider every second sample and write the table of both processes."""
    distributed.init_process_group("gloo", init_method=f"file://{store}", rank=process, world_size=2)
    result = result_of(list(VALUES))
    result = replace(result, kept=torch.tensor([True, False, True, False, True, False]))
    scores = torch.tensor(list(VALUES.values()))
    tables = []
    for size, kept in ((1, result.kept), (2, result.kept), (2, ~result.kept & False)):
        found = Extremes("top_k", True, size)
        found.add(rows_of(replace(result, kept=kept), slice(process, None, 2)), scores[process::2])
        tables.append(found.frame())
    output.write_bytes(pickle.dumps(tables))
    distributed.destroy_process_group()


@pytest.mark.ddp
def test_two_processes_choose_as_one(tmp_path, monkeypatch):
    monkeypatch.setitem(os.environ, "OMP_NUM_THREADS", "1")
    context = multiprocessing.get_context("spawn")
    outputs = [tmp_path / f"{process}.pickle" for process in (0, 1)]
    processes = [
        context.Process(target=shared, args=(process, tmp_path / "store", output))
        for process, output in enumerate(outputs)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(timeout=120)
        assert process.exitcode == 0
    result = result_of(list(VALUES))
    alternate = [True, False, True, False, True, False]
    scores = torch.tensor(list(VALUES.values())).tolist()
    expected = [
        extremes(list(VALUES), scores, size, kept=kept, result=result).frame()
        for size, kept in ((1, alternate), (2, alternate), (2, [False] * 6))
    ]
    assert [len(frame) for frame in expected] == [2, 3, 4]
    for output in outputs:
        for found, one in zip(pickle.loads(output.read_bytes()), expected, strict=True):
            pd.testing.assert_frame_equal(found, one, check_exact=True)
