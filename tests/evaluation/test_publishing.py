import base64
import hashlib
import json
import os
import subprocess
import sys
import time
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import wandb
from matplotlib.figure import Figure
from PIL import Image

from lit_xai.evaluation import publishing
from lit_xai.evaluation.publishing import publish
from lit_xai.refusal import one_line_errors
from lit_xai.reporting.plots.base import Plot
from lit_xai.reporting.plots.gallery import gallery
from lit_xai.reporting.reading import read
from tests.reporting.made_up import RADII, write_results

WANDB = str(Path(sys.executable).parent / "wandb")
DIRECTORIES = ("WANDB_DIR", "WANDB_DATA_DIR", "WANDB_CACHE_DIR", "WANDB_ARTIFACT_DIR")
SETTINGS = ("WANDB_API_KEY", "WANDB_BASE_URL", "WANDB_MODE", "WANDB_SILENT")
MARKUP = ("<script>alert(1)</script>", "\"'>", r"$\frac{a}$", "模型", "a_b%#&")
CLASHING = ("a.b", "a_b", "a*b", "../../up", "_hidden", "", "line\nbreak", "evaluation")


@cache
def inspect(run: Path) -> list[dict]:
    """Return the records of an offline run, all of which are written."""
    deadline = time.monotonic() + 60
    while True:
        text = subprocess.check_output([WANDB, "leet", "inspect", "--json", str(run)], text=True)
        records = [json.loads(line) for line in text.splitlines()]
        if any(record["type"] == "exit" for record in records):
            return records
        assert time.monotonic() < deadline


def summary(run: Path) -> dict:
    """Return the last value of every number, by its whole key."""
    found = {}
    for record in inspect(run):
        if record["type"] == "summary":
            found |= record["summary"]["update"]
    # What W&B notes about pictures and tables stands behind dots, which numbers do not have.
    return {key: value for key, value in found.items() if "/" in key and "." not in key}


def histories(run: Path) -> list[dict]:
    return [record["history"]["item"] for record in inspect(run) if record["type"] == "history"]


def artifacts(run: Path, kind: str) -> dict[str, dict]:
    records = [record["artifact"] for record in inspect(run) if record["type"] == "artifact"]
    return {record["name"]: record for record in records if record["type"] == kind}


def tables(run: Path) -> dict[str, pd.DataFrame]:
    """Return the published tables by key."""
    found = {}
    for item in histories(run):
        for key in (key.removesuffix("._type") for key, kind in item.items() if kind == "table-file"):
            content = json.loads((run / "files" / item[f"{key}.path"]).read_text())
            found[key] = pd.DataFrame(content["data"], columns=content["columns"])
    return found


def write_checkpoints(directory: Path, names: tuple[str, ...] = ("natural", "pgd")) -> dict[str, Path]:
    paths = {name: directory / str(number) / "last.ckpt" for number, name in enumerate(names)}
    for name, path in paths.items():
        path.parent.mkdir(parents=True)
        path.write_text(f"weights of {name}")
    return paths


def files(directory: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def plots(results: object) -> dict[str, list[Plot]]:
    """Return one plot of each of two sections."""
    figure = Figure(figsize=(4, 2))
    figure.add_subplot().plot([0, 1])
    return {
        "radius": [Plot("top-k", "Top-k", "It falls from 1 to 0.2.", figure)],
        "pareto": [Plot("top-k", "Pareto", "Two regimes.", figure)],
    }


def prepare(monkeypatch: pytest.MonkeyPatch, directory: Path) -> None:
    """Give the process an empty home and working directory, no settings of W&B and few plots."""
    # Another test's process of W&B is not to be found.
    wandb.teardown()
    for name in (*DIRECTORIES, *SETTINGS, "NETRC"):
        # Set first: what the code then sets is undone too.
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    for name in ("home", "work"):
        (directory / name).mkdir()
    monkeypatch.setenv("HOME", str(directory / "home"))
    monkeypatch.chdir(directory / "work")
    monkeypatch.setattr(publishing, "gallery", plots)


@pytest.fixture
def place(tmp_path, monkeypatch):
    prepare(monkeypatch, tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """A published evaluation: its result directory, its run and its checkpoints."""
    place = tmp_path_factory.mktemp("published")
    results = write_results(place / "results")
    for name in ("report.html", "results.tex", "comparisons.csv"):
        (results / name).write_text(f"<p>{name}</p>")
    checkpoints = write_checkpoints(place / "runs")
    with pytest.MonkeyPatch.context() as monkeypatch:
        prepare(monkeypatch, place)
        return results, publish(results, "explanations", checkpoints), checkpoints


def test_the_summary_holds_every_mean_with_its_interval_and_counts(published):
    results, run, _ = published
    expected = {}
    for row in pd.read_csv(results / "results.csv").to_dict("records"):
        cell = f"{row['checkpoint']}/{row['attribution']}/{row['attack']}"
        for name, key in {"value": "", "low": "_low", "high": "_high", "count": "_count"}.items():
            expected[f"{cell}/{row['metric']}{key}"] = row[name]
        # What is not attacked cannot fail.
        counts = ("excluded",) if row["attack"] == "unattacked" else ("failed", "excluded")
        expected |= {f"{cell}/{name}": row[name] for name in counts}
    assert len(expected) == 2 * (2 * 13 * (5 * 4 + 2) + 2 * (4 + 2)) - 2 * 3
    assert summary(run) == pytest.approx(expected)


def test_every_number_is_defined_by_its_exact_name(published):
    _, run, _ = published
    defined = {
        record["metric"].get("name"): record["metric"]
        for record in inspect(run)
        if record["type"] == "metric"
    }
    assert {key for key, metric in defined.items() if metric["summary"] == {"last": True}} == set(
        summary(run)
    )
    curves = {key: metric for key, metric in defined.items() if metric.get("step_metric") == "eps"}
    assert set(curves) == {
        f"{checkpoint}/{attribution}/{family}/{metric}"
        for checkpoint in ("natural", "pgd")
        for attribution in ("integrated_gradients", "saliency")
        for family in ("random_sign", "top_k")
        for metric in ("top_k", "lens_precision", "change", "ssim", "confidence_change")
    }
    assert len(defined) == len(summary(run)) + len(curves) + 1


def test_swept_attacks_are_curves_over_the_radius(published):
    results, run, _ = published
    items = [item for item in histories(run) if "eps" in item]
    assert [item["eps"] for item in items] == list(RADII)
    found = read(results)
    for item, eps in zip(items, RADII, strict=True):
        assert len(item) == 1 + 2 * 2 * 2 * 5 + len({"_step", "_runtime", "_timestamp"})
        attack = f"top_k_eps_{str(eps).replace('.', '_')}"
        row = found.cell("pgd", "saliency", attack, "lens_precision")
        assert item["pgd/saliency/top_k/lens_precision"] == pytest.approx(row["value"])


def test_tables_have_a_row_for_every_attack_and_checkpoint_the_strongest_first(published):
    results, run, _ = published
    found = read(results)
    assert set(tables(run)) == {
        "accuracy", "results/integrated_gradients", "results/saliency", "comparisons/checkpoints"
    }  # fmt: skip
    table = tables(run)["results/saliency"]
    assert len(table) == 2 * 13
    assert list(table)[:6] == ["attack", "checkpoint", "top_k", "top_k_low", "top_k_high", "top_k_count"]
    assert list(table)[-2:] == ["failed", "excluded"]
    for row in table.to_dict("records"):
        for metric in found.metrics:
            cell = found.cell(row["checkpoint"], "saliency", row["attack"], metric)
            assert [row[metric], row[f"{metric}_high"]] == pytest.approx([cell["value"], cell["high"]])
            assert row["excluded"] == cell["excluded"]
            # What is not attacked cannot fail.
            still = row["attack"] == "unattacked"
            assert np.isnan(row["failed"]) if still else row["failed"] == cell["failed"]
    means = table.groupby("attack", sort=False)["top_k"].mean()
    assert means.is_monotonic_increasing
    assert means.index[-1] == "unattacked"
    assert len(tables(run)["accuracy"]) == 4


def test_comparisons_are_those_of_the_headline_metric_and_the_accuracies_the_surest_first(published):
    _, run, _ = published
    table = tables(run)["comparisons/checkpoints"]
    assert set(table["metric"]) == {"top_k", "accuracy"}
    assert len(table) == 2 * 13 + 2
    assert table["p_holm"].dropna().is_monotonic_increasing


def test_regimes_of_several_seeds_are_compared(place):
    groups = {name: (name[0], int(name[1])) for name in ("a0", "a1", "b0", "b1")}
    results = write_results(
        place / "results", tuple(groups), attributions=("saliency",), groups=groups, samples=5
    )
    table = tables(publish(results, "p", {}))["comparisons/regimes"]
    assert set(zip(table["first"], table["second"], strict=True)) == {("a", "b")}
    assert len(table) == 13 + 2


def test_no_table_is_longer_than_64_rows_and_none_is_lost(place):
    names = tuple(f"run{number}" for number in range(16))
    results = write_results(place / "results", names, attributions=("saliency",), samples=4)
    found = tables(publish(results, "p", {}))
    means = [f"results/saliency ({number} of 4)" for number in range(1, 5)]
    assert [len(found[name]) for name in means] == [64, 64, 64, 16]
    rows = [(row["attack"], row["checkpoint"]) for name in means for row in found[name].to_dict("records")]
    assert set(rows) == {(attack, name) for attack in read(results).attacks for name in names}
    assert found[means[0]]["attack"].iloc[0] == "exiaa_alpha_0_15_k_0_6"
    # 120 pairs; 13 attacks and two accuracies.
    assert len(found["left out"]) == 1
    (lost,) = found["left out"].to_dict("records")
    pairs = {
        name: len(table) for name, table in found.items() if name.startswith("comparisons/checkpoints (")
    }
    assert set(pairs.values()) == {64}
    assert lost == {
        "table": "comparisons/checkpoints", "rows": 120 * 15, "left_out": 120 * 15 - sum(pairs.values())
    }  # fmt: skip
    assert len(found) == 20 + 1


def test_the_means_of_regimes_are_published(place):
    groups = {name: (name[0], int(name[1])) for name in ("a0", "a1", "b0", "b1")}
    results = write_results(
        place / "results", tuple(groups), attributions=("saliency",), groups=groups, samples=5
    )
    table = tables(publish(results, "p", {}))["regimes"]
    assert set(table["metric"]) == {"top_k", "accuracy"}
    chosen = (table["metric"] == "accuracy") & (table["attack"] == "pgd") & (table["group"] == "a")
    means = [read(results).cell(name, "none", "pgd", "accuracy")["value"] for name in ("a0", "a1")]
    assert table[chosen]["value"].tolist() == pytest.approx([np.mean(means)])
    assert set(table["seeds"]) == {2}


def test_claims_are_published_with_their_interval_and_verdict(place):
    cell = {"checkpoint": "natural", "attribution": "none", "attack": "unattacked", "metric": "accuracy"}
    results = write_results(place / "results", ("natural",), attributions=("saliency",), samples=5)
    row = read(results).cell(*cell.values())
    measured = {"measured": row["value"], "stderr": row["stderr"], "count": int(row["count"])}
    claims = [{**cell, **measured, "claimed": row["value"] + step} for step in (0.001, 0.5)]
    card = json.loads((results / "card.json").read_text())
    (results / "card.json").write_text(json.dumps({**card, "claims": claims}))
    table = tables(publish(results, "p", {}))["claims"]
    assert table["verdict"].tolist() == ["consistent", "worse than claimed"]
    assert table["low"].tolist() == pytest.approx([row["low"]] * 2)
    assert table["high"].tolist() == pytest.approx([row["high"]] * 2)


def test_without_seeds_and_claims_there_are_no_such_tables(published):
    assert not {"regimes", "claims", "left out"} & set(tables(published[1]))


def test_plots_are_pictures_with_their_text_as_caption(published):
    _, run, _ = published
    (item,) = [item for item in histories(run) if "plots/radius/top-k.path" in item]
    assert item["plots/radius/top-k.caption"] == "It falls from 1 to 0.2."
    assert item["plots/pareto/top-k.caption"] == "Two regimes."
    with Image.open(run / "files" / item["plots/radius/top-k.path"]) as picture:
        assert picture.size == (1200, 600)
        assert np.ptp(np.asarray(picture)) > 100


def test_every_plot_of_the_report_is_published(place, monkeypatch):
    monkeypatch.setattr(publishing, "gallery", gallery)
    results = write_results(place / "results", attributions=("saliency",), samples=10)
    expected = {
        f"plots/{section}/{plot.name}": plot.alt
        for section, shown in gallery(read(results)).items()
        for plot in shown
    }
    (item,) = [item for item in histories(publish(results, "p", {})) if "accuracy._type" in item]
    captions = {key: item[key] for key in item if key.startswith("plots/") and key.endswith(".caption")}
    assert {key.removesuffix(".caption"): text for key, text in captions.items()} == expected
    assert len(expected) > 5


def test_a_small_report_is_shown(published, place, monkeypatch):
    results, run, _ = published
    (item,) = [item for item in histories(run) if "report.path" in item]
    shown = run / "files" / item["report.path"]
    assert shown.read_bytes() == (results / "report.html").read_bytes()
    monkeypatch.setattr(publishing, "_LARGE", 10)
    other = write_results(place / "results", ("natural",), attributions=("saliency",), samples=4)
    (other / "report.html").write_text("<p>too large</p>")
    assert not [item for item in histories(publish(other, "p", {})) if "report.path" in item]


def md5(path: Path) -> str:
    return base64.b64encode(hashlib.md5(path.read_bytes()).digest()).decode()


def test_the_result_files_are_an_artifact(published):
    results, run, _ = published
    (artifact,) = artifacts(run, "evaluation").values()
    contents = {entry["path"]: entry for entry in artifact["manifest"]["contents"]}
    assert set(contents) == {
        "results.csv", "samples.parquet", "card.json", "report.html", "results.tex", "comparisons.csv"
    }  # fmt: skip
    for name, entry in contents.items():
        assert entry["digest"] == md5(results / name)
        assert Path(entry["local_path"]).is_relative_to(results)
        assert Path(entry["local_path"]).read_bytes() == (results / name).read_bytes()


def test_checkpoints_are_artifacts_that_say_where_they_come_from(published):
    results, run, checkpoints = published
    found = artifacts(run, "model")
    assert set(found) == {"natural", "pgd"}
    (entry,) = found["pgd"]["manifest"]["contents"]
    assert (entry["path"], entry["digest"]) == ("last.ckpt", md5(checkpoints["pgd"]))
    metadata = json.loads(found["pgd"]["metadata"])
    strongest = metadata.pop("strongest_attack")
    assert metadata == {
        "checkpoint": "pgd", "sha256": f"{1:064x}", "regime": "pgd", "seed": 0, "metric": "top_k"
    }  # fmt: skip
    row = read(results).cell("pgd", "saliency", "exiaa_alpha_0_15_k_0_6", "top_k")
    assert strongest["saliency"] == {
        "attack": "exiaa_alpha_0_15_k_0_6",
        **{name: pytest.approx(row[name]) for name in ("value", "low", "high", "count")},
    }


def filled(value: object) -> object:
    """Return a nested dictionary without its empty ones, which W&B does not keep."""
    if not isinstance(value, dict):
        return value
    return {key: filled(item) for key, item in value.items() if item != {}}


def test_the_configuration_is_the_card_without_its_times(published):
    results, run, _ = published
    found = json.loads(
        subprocess.check_output([WANDB, "leet", "inspect", "--summary", "--json", str(run)], text=True)
    )
    card = json.loads((results / "card.json").read_text())
    expected = {key: value for key, value in card.items() if key not in ("created", "seconds", "config")}
    assert found["config"] == filled(expected)
    assert (found["project"], found["exit_code"]) == ("explanations", 0)
    (record,) = [record["run"] for record in inspect(run) if record["type"] == "run"]
    assert record["job_type"] == "evaluation"


def test_everything_stays_inside_the_directory(place):
    results = write_results(place / "results", ("natural",), attributions=("saliency",), samples=4)
    checkpoints = write_checkpoints(place / "runs", ("natural",))
    before = files(place)
    run = publish(results, "p", checkpoints)
    after = files(place)
    assert run.parent == results / "wandb"
    assert {path for path in after if path not in before and not path.is_relative_to(results)} == set()
    assert {path: after[path] for path in before} == before


@pytest.mark.parametrize("given", [{}, {"WANDB_DIR": "/mine", "WANDB_SILENT": "false", "WANDB_TAGS": "x"}])
def test_the_process_is_as_before(place, monkeypatch, given):
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    results = write_results(place / "results", ("natural",), attributions=("saliency",), samples=4)
    before = (dict(os.environ), sys.exit, sys.excepthook, wandb.run)
    publish(results, "p", {})
    assert (dict(os.environ), sys.exit, sys.excepthook, wandb.run) == before


def test_a_run_of_the_caller_goes_on(place):
    results = write_results(place / "results", ("natural",), attributions=("saliency",), samples=4)
    with wandb.init(project="mine", dir=place / "work", mode="offline") as mine:
        run = publish(results, "p", write_checkpoints(place / "runs", ("natural",)))
        assert wandb.run is mine
        mine.log({"after/all": 1})
        (path,) = artifacts(run, "model")["natural"]["manifest"]["contents"]
        assert Path(path["local_path"]).is_relative_to(results)
    wandb.teardown()
    assert run.parent == results / "wandb"
    assert summary(Path(mine.sync_dir)) == {"after/all": 1}


def test_a_second_run_stands_beside_the_first(place):
    runs = []
    for name in ("one", "one", "two"):
        if not (place / name).exists():
            write_results(place / name, ("natural",), attributions=("saliency",), samples=4)
        runs.append(publish(place / name, "p", {}))
    assert [run.parents[1].name for run in runs] == ["one", "one", "two"]
    assert len(set(runs)) == 3
    # W&B's own process writes there; it is another one for each run.
    assert all(any((place / name / "wandb" / "logs").iterdir()) for name in ("one", "two"))
    assert summary(runs[0]) == summary(runs[1])


def test_names_are_published_whatever_they_are(place):
    names = (*MARKUP, *CLASHING)
    results = write_results(place / "results", names, attributions=("../<b>'模型",), samples=4)
    run = publish(results, "p", write_checkpoints(place / "runs", names))
    found = summary(run)
    table = read(results).table
    cells = table.drop_duplicates(["checkpoint", "attribution", "attack"])
    numbers = table[["value", "low", "high", "count"]].notna().to_numpy().sum()
    # An image that is left as it is can fail nothing.
    still = (cells["attack"] == "unattacked").sum()
    assert len(found) == numbers + 2 * len(cells) - still
    for name in MARKUP:
        if "\\" not in name:
            row = read(results).cell(name, "../<b>'模型", "unattacked", "top_k")
            assert found[f"{name}/__/<b>'模型/unattacked/top_k"] == pytest.approx(row["value"])
    assert not [key for key in found if set(key) & set(".*\\\n") or key.startswith("_")]
    models = artifacts(run, "model")
    assert {json.loads(model["metadata"])["checkpoint"] for model in models.values()} == set(names)
    assert all(name.isascii() and name.replace("-", "").replace("_", "").isalnum() for name in models)
    assert "evaluation" not in models
    assert {path.relative_to(place).parts[0] for path in files(place)} == {"results", "runs"}
    parts = [table for key, table in tables(run).items() if key.startswith("results/__/<b>'模型 (")]
    assert [len(table) for table in parts] == [64, 64, len(names) * 13 - 128]
    assert {name for table in parts for name in table["checkpoint"]} == set(names)


def test_curves_of_names_that_look_alike_stay_apart(place):
    results = write_results(place / "results", ("a.b", "a_b"), attributions=("saliency",), samples=4)
    run = publish(results, "p", {})
    items = [item for item in histories(run) if "eps" in item]
    for name, key in {"a.b": "", "a_b": "-2"}.items():
        row = read(results).cell(name, "saliency", "top_k_eps_0_2", "top_k")
        assert items[-1][f"a_b/saliency/top_k/top_k{key}"] == pytest.approx(row["value"])


def edited(directory: Path, edit) -> Path:
    card = json.loads((directory / "card.json").read_text())
    table = pd.read_csv(directory / "results.csv")
    edit(card, table)
    (directory / "card.json").write_text(json.dumps(card))
    table.to_csv(directory / "results.csv", index=False)
    return directory


def test_a_sweep_over_two_options_is_a_curve_for_each_value_of_the_other(place):
    def add_steps(card: dict, table: pd.DataFrame) -> None:
        for number, attack in enumerate(f"top_k_eps_0_{end}" for end in ("05", "1", "2")):
            card["attacks"][attack]["values"]["steps"] = 5 if number < 2 else 10

    results = write_results(place / "results", ("natural",), attributions=("saliency",), samples=4)
    items = histories(publish(edited(results, add_steps), "p", {}))
    radii = {
        steps: [item["eps"] for item in items if f"natural/saliency/top_k_steps_{steps}/top_k" in item]
        for steps in (5, 10)
    }
    assert radii == {5: [0.05, 0.1], 10: [0.2]}


def test_what_is_undefined_is_left_out_but_counted(place):
    attack = "top_k_eps_0_1"

    def undefine(card: dict, table: pd.DataFrame) -> None:
        rows = (table["attack"] == attack) & (table["metric"] == "top_k")
        table.loc[rows, ["value", "low", "high"]] = np.nan
        table.loc[rows, "count"] = 0

    results = write_results(place / "results", ("natural",), attributions=("saliency",), samples=4)
    run = publish(edited(results, undefine), "p", {})
    keys = {key for key in summary(run) if key.startswith(f"natural/saliency/{attack}/top_k")}
    assert keys == {f"natural/saliency/{attack}/top_k_count"}
    items = [item["eps"] for item in histories(run) if "natural/saliency/top_k/top_k" in item]
    assert items == [0.05, 0.2]
    table = tables(run)["results/saliency"].set_index("attack")
    assert table.index[-1] == attack
    assert np.isnan(table.loc[attack, "top_k"])
    assert table.loc[attack, "top_k_count"] == 0


def test_a_refusal_is_one_line_and_loses_nothing(place, capsys):
    results = write_results(place / "results", ("natural",), attributions=("saliency",), samples=4)
    before, environment = files(results), dict(os.environ)
    with pytest.raises(SystemExit), one_line_errors():
        publish(results, "mine/theirs", {})
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: Expected to publish to 'mine/theirs' in W&B, but got UsageError: Invalid")
    assert line.endswith(f"The results are in {results}.")
    assert {path: content for path, content in files(results).items() if path in before} == before
    assert dict(os.environ) == environment


def test_a_run_that_breaks_is_marked_as_failed(place, monkeypatch):
    def fail(*arguments: object) -> None:
        raise wandb.errors.CommError("The server\nhas gone.")

    monkeypatch.setattr(wandb.Run, "log_artifact", fail)
    results = write_results(place / "results", ("natural",), attributions=("saliency",), samples=4)
    environment = dict(os.environ)
    with pytest.raises(
        ValueError, match=r"^Expected .* but got CommError: The server has gone\. The results"
    ):
        publish(results, "p", {})
    assert dict(os.environ) == environment
    (run,) = (results / "wandb").glob("offline-run-*")
    (ending,) = [record["exit"] for record in inspect(run) if record["type"] == "exit"]
    assert ending["exit_code"] == 1
    assert summary(run)


def test_refuses_a_missing_checkpoint_before_anything_is_published(place):
    results = write_results(place / "results", ("natural",), attributions=("saliency",), samples=4)
    with pytest.raises(FileNotFoundError, match=r"Expected a checkpoint file, but got .*gone\.ckpt"):
        publish(results, "p", {"natural": place / "gone.ckpt"})
    assert not (results / "wandb").exists()


def test_nothing_is_published_where_wandb_is_disabled(place, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "disabled")
    results = write_results(place / "results", ("natural",), attributions=("saliency",), samples=4)
    before = files(place)
    assert publish(results, "p", write_checkpoints(place / "runs", ("natural",))) == results
    assert set(files(place)) - set(before) == {place / "runs" / "0" / "last.ckpt"}


def test_an_online_run_is_named_by_its_address(place, monkeypatch):
    monkeypatch.setattr(wandb.Run, "offline", False)
    monkeypatch.setattr(wandb.Run, "url", "https://wandb.example/mine/p/runs/1")
    results = write_results(place / "results", ("natural",), attributions=("saliency",), samples=4)
    assert publish(results, "p", {}) == "https://wandb.example/mine/p/runs/1"
