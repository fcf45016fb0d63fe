"""Every attribution, attack and metric gives a sample the same numbers, whoever is measured beside it.

21 samples in one batch, in batches of 1 and 4, and in two processes of 11 and 10 in batches of 4. Percentages
are compared as fractions. With a network in single precision, each value of a map may differ by 1e-6 of the
largest that this map has, and each score, pixel and logit by 1e-6, or by 1e-6 of itself above 1; in double
precision it is 1e-10 instead. What single precision does not give is in `DOUBLE`, and compared in double.
"""

import os
import subprocess
import sys
from functools import cache
from pathlib import Path

import lightning.pytorch as pl
import pandas as pd
import pytest
import torch

from lit_xai.data.embedded_fashion import EmbeddedFashion
from lit_xai.models.small import SmallCNN
from lit_xai.module import LitClassifier
from lit_xai.regimes.pgd import PGD
from tests.processes_program import (
    CHANGES,
    DOUBLE,
    FURTHER,
    KINDS,
    ROOT,
    SAMPLES,
    Measured,
    measured,
    stems,
    trained,
)

FRAGMENTS = [f"{kind}/{stem}" for kind in KINDS for stem in stems(kind)]
FRAGMENTS += [f"attacks/{stem}" for stem in FURTHER]
# By the name that a network has in `processes_program.py`.
TOLERANCE = {"small": 1e-6, "double": 1e-10, "normed": 1e-10}
MAPS = ("attribution", "attribution_adv")
PERCENTAGES = ("change", "confidence_change")
# What an attack does not change is not tested by it.
STILL = ("attacks/unattacked",)
# Metrics that are the same for all samples by their nature, and why.
CONSTANT: dict[str, str] = {}
LAYOUTS = ["batches of 1 and 4", pytest.param("2 processes", marks=pytest.mark.ddp)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with trained networks, and the weights of one before it was taught."""
    path = tmp_path_factory.mktemp("processes")
    torch.save(trained(), path / "networks.pt")
    torch.save(SmallCNN().state_dict(), path / "reference.ckpt")
    return path


@pytest.fixture(scope="module")
def seen(folder):
    """Return what was seen in a layout, by the processes."""

    failures: dict[str, BaseException] = {}

    def of(layout: str) -> list[Measured]:
        # Neither is a layout measured again for the next fragment when it has failed for the first.
        if layout in failures:
            raise failures[layout]
        try:
            return measure(layout)
        except Exception as error:
            failures[layout] = error
            raise

    @cache
    def measure(layout: str) -> list[Measured]:
        if layout == "2 processes":
            return in_two_processes(folder)
        sizes, donors = {"one batch": ((SAMPLES,), 200), "batches of 1 and 4": ((1, 4), 64)}[layout]
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(folder)
            return [measured(folder, sizes, donors)]

    return of


def in_two_processes(folder: Path) -> list[Measured]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    program = str(ROOT / "tests" / "processes_program.py")
    running = [
        subprocess.Popen(
            [sys.executable, program, str(rank), "2", str(folder)],
            env=environment, cwd=folder, stderr=subprocess.PIPE, text=True,
        )
        for rank in range(2)
    ]  # fmt: skip
    try:
        for process in running:
            _, said = process.communicate(timeout=280)
            assert process.returncode == 0, said[-2000:]
    finally:
        for process in running:
            process.kill()
    return [Measured(*torch.load(folder / f"{rank}.pt", weights_only=False)) for rank in range(2)]


def cells(whole: Measured, fragment: str) -> dict[str, list[str]]:
    """Return the quantities to compare for a fragment, by cell."""
    kind, stem = fragment.split("/")
    if kind == "metrics":
        return {cell: [stem] for cell, found in whole.samples.items() if stem in found and "/own/" in cell}
    place = {"attributions": -2, "attacks": -1}[kind]
    return {
        cell: list(found)
        for cell, found in whole.samples.items()
        if cell.split("/")[1] == kind and cell.split("/")[place] == stem
    }


def differences(quantity: str, one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """Return the largest difference that each sample has, (N,), relative to its scale."""
    one, other = one.flatten(1).nan_to_num(), other.flatten(1).nan_to_num()
    if quantity in PERCENTAGES:
        one, other = one / 100, other / 100
    # A map has no unit, so its own size is all there is; scores, pixels and logits are of the order of 1.
    scale = one.abs().amax(dim=1).clamp_min(1e-12 if quantity in MAPS else 1.0)
    return (one - other).abs().amax(dim=1) / scale


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("fragment", FRAGMENTS)
def test_a_sample_has_its_numbers_whoever_is_beside_it(seen, fragment, layout):
    (whole,), parts = seen("one batch"), seen(layout)
    chosen = cells(whole, fragment)
    single = set() if fragment in DOUBLE else {"small"}
    if fragment.startswith("metrics"):
        expected_networks = single | {"double"}
    else:
        expected_networks = (single or {"double"}) | {"normed"}
    assert {cell.split("/")[0] for cell in chosen} == expected_networks
    for cell, quantities in chosen.items():
        for quantity in quantities:
            expected = whole.samples[cell][quantity]
            shares = [part.samples.get(cell, {}).get(quantity, {}) for part in parts]
            ids = sorted(expected)
            assert sorted(index for share in shares for index in share) == ids
            assert len(ids) >= 14
            found = {index: value for share in shares for index, value in share.items()}
            one, other = (torch.stack([values[index] for index in ids]) for values in (expected, found))
            assert torch.equal(one.isnan(), other.isnan())
            difference = differences(quantity, one[:, None], other[:, None]).max()
            assert difference <= TOLERANCE[cell.split("/")[0]], (cell, quantity, difference)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_tables_hold_every_sample_once(seen, layout):
    (whole,), parts = seen("one batch"), seen(layout)
    for part in parts:
        assert part.records.keys() == whole.records.keys()
        for grid, one in whole.records.items():
            other = part.records[grid]
            names = ["attribution", "attack", "metric", "sample_id"]
            pd.testing.assert_frame_equal(one[names], other[names])
            tolerance = TOLERANCE[grid.split("/")[0]]
            unit = one.metric.map(lambda name: 100.0 if name in PERCENTAGES else 1.0)
            difference = (one.value - other.value).abs() / one.value.abs().clip(lower=unit)
            assert (difference.isna() == one.value.isna()).all()
            assert difference.max() <= tolerance
            excluded = other[other.metric == "excluded"].groupby(["attribution", "attack"]).value
            assert set(excluded.size()) == {SAMPLES}
            assert excluded.sum().between(3, 7).all()
            for row, same in zip(whole.rows[grid], part.rows[grid], strict=True):
                names = ("attribution", "attack", "metric", "count", "failed", "excluded", "kept_count")
                assert all(getattr(row, name) == getattr(same, name) for name in names)
                unit = 100.0 if row.metric in PERCENTAGES else 1.0
                for name in ("value", "stderr", "kept_value"):
                    expected = getattr(row, name)
                    # NaN equals NaN alone.
                    close = pytest.approx(expected, rel=tolerance, abs=tolerance * unit, nan_ok=True)
                    assert getattr(same, name) == close, (row, same)
    # What is gathered is gathered by all.
    for part in parts[1:]:
        for grid, table in parts[0].records.items():
            pd.testing.assert_frame_equal(part.records[grid], table, check_exact=True)
            assert repr(part.rows[grid]) == repr(parts[0].rows[grid])


def test_the_comparison_is_not_empty(seen):
    (whole,) = seen("one batch")
    assert {fragment for fragment in FRAGMENTS if not cells(whole, fragment)} == set()
    assert {*DOUBLE, *CHANGES, *STILL} <= set(FRAGMENTS)
    for fragment in (name for name in FRAGMENTS if name.startswith("attacks") and name not in STILL):
        for cell in cells(whole, fragment):
            found = whole.samples[cell]
            moved = [index for index, image in found["image_adv"].items() if found["change"][index] > 0]
            assert len(moved) >= 10, cell
            for quantity in MAPS:
                assert not_zero(found[quantity]) > len(found[quantity]) / 2, (cell, quantity)


def test_the_maps_compared_are_not_empty(seen):
    (whole,) = seen("one batch")
    for fragment in (name for name in FRAGMENTS if name.startswith("attributions")):
        for cell in cells(whole, fragment):
            for quantity in MAPS:
                found = whole.samples[cell][quantity]
                assert not_zero(found) > len(found) / 2, (cell, quantity)


def test_the_scores_compared_differ(seen):
    (whole,) = seen("one batch")
    assert set(CONSTANT) <= set(stems("metrics"))
    for stem in stems("metrics"):
        chosen = cells(whole, f"metrics/{stem}")
        for network in {cell.split("/")[0] for cell in chosen}:
            own = [
                torch.stack(list(whole.samples[cell][stem].values()))
                for cell in chosen
                if cell.startswith(network)
            ]
            assert len(own) == 2
            assert all(values.isfinite().sum() >= 14 for values in own), stem
            distinct = torch.cat(own).unique()
            assert (len(distinct[distinct.isfinite()]) == 1) == (stem in CONSTANT), (stem, distinct)


def not_zero(maps: dict[int, torch.Tensor]) -> int:
    return sum(bool(values.any()) for values in maps.values())


def test_worker_processes_change_no_byte():
    found = []
    for workers in (0, 2):
        data = EmbeddedFashion(batch_size=8, max_train=16, max_val=21, num_workers=workers)
        torch.manual_seed(0)
        classifier = LitClassifier(SmallCNN(width=2), PGD(steps=2), 10, adversary=PGD(steps=2))
        trainer = pl.Trainer(
            max_epochs=2, accelerator="cpu", logger=False, enable_checkpointing=False,
            enable_progress_bar=False, enable_model_summary=False, num_sanity_val_steps=0,
        )  # fmt: skip
        trainer.fit(classifier, data)
        weights = torch.cat([parameter.detach().flatten() for parameter in classifier.parameters()])
        batches = list(data.evaluation_loader("val", 13, batch_size=4))
        found.append((weights, batches))
    (weights, batches), (same_weights, same_batches) = found
    assert torch.equal(weights, same_weights)
    assert [len(batch[1]) for batch in same_batches] == [4, 4, 4, 1]
    for batch, same in zip(batches, same_batches, strict=True):
        assert all(torch.equal(one, other) for one, other in zip(batch, same, strict=True))
