import json
import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from lit_xai.reporting.reading import read, read_table
from tests.reporting.made_up import METRICS, attacks, write_results

ODD = ("nan", "1", "inf", "", "<script>alert(1)</script>", "\"'>", r"$\frac{a}$", "模型", "a_b%#&,\n;", "007")


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    return write_results(tmp_path_factory.mktemp("written"), samples=12)


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    return write_results(tmp_path_factory.mktemp("other"), ("natural", "other\n"), samples=2)


@pytest.fixture
def directory(written, tmp_path):
    return shutil.copytree(written, tmp_path / "results")


def rewrite_card(directory, change):
    path = directory / "card.json"
    card = json.loads(path.read_text())
    change(card)
    path.write_text(json.dumps(card))


def rewrite_table(directory, change):
    change(pd.read_csv(directory / "results.csv")).to_csv(directory / "results.csv", index=False)


def rewrite_samples(directory, change):
    path = directory / "samples.parquet"
    change(pd.read_parquet(path)).to_parquet(path, index=False)


def refusal(directory, kind=ValueError):
    with pytest.raises(kind) as caught:
        read(directory)
    message = str(caught.value)
    assert message.startswith("Expected ")
    assert ", but got " in message
    assert "\n" not in message
    return message


def test_all_files_are_read(directory):
    results = read(directory)
    for name, frame in (("samples", results.samples), ("agreement", results.agreement)):
        plain = frame.astype({name: "str" for name in frame if frame[name].dtype == "category"})
        pd.testing.assert_frame_equal(plain, pd.read_parquet(directory / f"{name}.parquet"))
    pd.testing.assert_frame_equal(results.examples, pd.read_parquet(directory / "examples.parquet"))
    pd.testing.assert_frame_equal(results.training, pd.read_csv(directory / "training.csv"))
    assert results.card == json.loads((directory / "card.json").read_text())
    assert results.table["value"].tolist() == [
        float(line.split(",")[4]) for line in (directory / "results.csv").read_text().splitlines()[1:]
    ]


def test_orders_are_the_card_s(directory):
    rewrite_samples(directory, lambda samples: samples.iloc[::-1])
    results = read(directory)
    assert results.checkpoints == ["natural", "pgd"]
    assert results.attributions == ["integrated_gradients", "saliency"]
    assert results.attacks == list(attacks())
    assert results.metrics == list(METRICS)
    assert results.headline == "top_k"
    categories = {name: list(results.samples[name].cat.categories) for name in ("attribution", "attack")}
    assert categories["attribution"] == ["none", "integrated_gradients", "saliency"]
    assert categories["attack"] == [*attacks(), "pgd"]
    metrics = list(results.samples["metric"].cat.categories)
    assert metrics[:6] == ["accuracy", *METRICS]
    assert set(metrics[6:]) == {"excluded", "failed"}


def test_a_cell_is_a_row_of_the_table(directory):
    results = read(directory)
    row = results.cell("pgd", "saliency", "top_k_eps_0_1", "change")
    expected = results.table[
        (results.table.checkpoint == "pgd")
        & (results.table.attribution == "saliency")
        & (results.table.attack == "top_k_eps_0_1")
        & (results.table.metric == "change")
    ]
    assert len(expected) == 1
    pd.testing.assert_series_equal(row, expected.iloc[0])
    assert results.cell("pgd", "none", "pgd", "accuracy")["value"] == pytest.approx(0.4, abs=0.1)
    assert results.cell("pgd", "saliency", "pgd", "accuracy") is None


def test_the_strongest_attack_has_the_worst_mean(directory):
    results = read(directory)
    assert results.strongest("natural", "saliency") == "exiaa_alpha_0_15_k_0_6"
    table = results.table
    chosen = (table.checkpoint == "natural") & (table.attribution == "saliency") & (table.metric == "top_k")
    table.loc[chosen & (table.attack == "exiaa_alpha_0_15_k_0_6"), "value"] = np.nan
    table.loc[chosen & (table.attack == "random_sign_eps_0_1"), "value"] = -2
    table.loc[chosen & (table.attack == "unattacked"), "value"] = -3
    assert replace(results).strongest("natural", "saliency") == "random_sign_eps_0_1"
    table.loc[chosen, "value"] = 1.0
    assert replace(results).strongest("natural", "saliency") == "random_sign_eps_0_05"
    table.loc[chosen, "value"] = np.nan
    assert replace(results).strongest("natural", "saliency") is None
    assert results.strongest("natural", "none") is None


def test_the_strongest_attack_follows_the_headline_s_direction(directory):
    def first(name, rises):
        def change(card):
            entry = {**card["metrics"].pop(name), "higher_is_better": rises}
            card["metrics"] = {name: entry, **card["metrics"]}

        rewrite_card(directory, change)
        return read(directory)

    assert first("change", False).strongest("natural", "saliency") == "exiaa_alpha_0_15_k_0_6"
    results = first("change", True)
    assert results.headline == "change"
    assert results.strongest("natural", "saliency") == "random_sign_eps_0_05"
    assert first("change", None).strongest("natural", "saliency") is None


def test_directions(directory):
    rewrite_card(directory, lambda card: card["metrics"]["ssim"].update(higher_is_better=None))
    results = read(directory)
    expected = {"top_k": 1, "change": -1, "ssim": 0, "accuracy": 1, "failed": 0, "excluded": 0}
    assert {name: results.direction(name) for name in expected} == expected


def test_names_stay_text(tmp_path):
    results = read(write_results(tmp_path, ODD, attributions=("saliency", "1"), samples=2))
    assert results.checkpoints == list(ODD)
    for frame in (results.samples, results.table, results.agreement, results.examples, results.training):
        assert list(frame["checkpoint"].unique()) == list(ODD)
    for name in ODD:
        assert results.cell(name, "saliency", "unattacked", "top_k")["value"] == 1.0


def test_numbers_stay_numbers(directory):
    def change(table):
        table.loc[0, ["value", "low", "high"]] = [0.1 + 0.2, np.nan, np.inf]
        return table

    rewrite_table(directory, change)
    table = read_table(directory / "results.csv")
    assert table.loc[0, "value"] == 0.1 + 0.2
    assert np.isnan(table.loc[0, "low"])
    assert table.loc[0, "high"] == np.inf
    assert table["count"].dtype == np.int64


def test_a_table_without_intervals_is_read_as_well(tmp_path):
    path = tmp_path / "old.csv"
    path.write_text("checkpoint,attribution,attack,metric,value,count\nnan,none,pgd,accuracy,,5\n")
    row = read_table(path).iloc[0]
    assert (row["checkpoint"], row["count"]) == ("nan", 5)
    assert np.isnan(row["value"])


@pytest.mark.parametrize("file", ["agreement.parquet", "examples.parquet", "training.csv"])
def test_optional_files_may_be_missing_or_empty(directory, file):
    name = file.partition(".")[0]
    columns = list(getattr(read(directory), name).columns)
    empty = pd.DataFrame(columns=columns)
    if file.endswith("csv"):
        empty.to_csv(directory / file, index=False)
    else:
        empty.to_parquet(directory / file)
    without_rows = getattr(read(directory), name)
    (directory / file).unlink()
    for frame in (without_rows, getattr(read(directory), name)):
        assert (len(frame), set(frame.columns)) == (0, set(columns))
        assert frame["value"].dtype == np.float64 if name != "examples" else True
        assert list(frame[frame["checkpoint"] == "natural"]["value"]) == []


def test_what_a_card_leaves_out_is_unknown(directory):
    def change(card):
        for key in ("regime", "group", "seed", "epoch"):
            del card["checkpoints"]["pgd"][key]
        del card["attacks"]["unattacked"]["sweep"], card["attacks"]["unattacked"]["values"]
        del card["attacks"]["unattacked"]["radius"], card["metrics"]["ssim"]["higher_is_better"]
        del card["claims"]

    rewrite_card(directory, change)
    card = read(directory).card
    assert [card["checkpoints"]["pgd"][key] for key in ("regime", "group", "seed", "epoch")] == [None] * 4
    assert [card["attacks"]["unattacked"][key] for key in ("sweep", "values", "radius")] == [None, {}, None]
    assert card["claims"] == []
    assert read(directory).direction("ssim") == 0


def test_refuses_a_missing_directory(tmp_path):
    message = refusal(tmp_path / "none", FileNotFoundError)
    assert message == (f"Expected a directory of results, but got {tmp_path / 'none'}, which does not exist.")
    (tmp_path / "file").write_text("")
    assert "which is a file." in refusal(tmp_path / "file", FileNotFoundError)


@pytest.mark.parametrize("file", ["card.json", "samples.parquet", "results.csv"])
def test_refuses_a_missing_file(directory, file):
    (directory / file).unlink()
    message = refusal(directory, FileNotFoundError)
    assert message == f"Expected {file} in {directory}, but got a directory without it."


@pytest.mark.parametrize(
    "file",
    ["card.json", "samples.parquet", "results.csv", "agreement.parquet", "examples.parquet", "training.csv"],
)
@pytest.mark.parametrize("content", [b"\x00\xff\n\"'", b"checkpoint,value\n1,2\n1,2,3\n"])
def test_refuses_a_damaged_file(directory, file, content):
    (directory / file).write_bytes(content)
    assert f"Expected a readable {file}, but got {directory / file}, which is damaged: " in refusal(directory)


@pytest.mark.parametrize("file", ["samples.parquet", "agreement.parquet"])
def test_refuses_half_a_file(directory, file):
    content = (directory / file).read_bytes()
    (directory / file).write_bytes(content[: len(content) // 2])
    assert "which is damaged: " in refusal(directory)


@pytest.mark.parametrize(("found", "said"), [(2, "2"), (None, "None"), ("1", "'1'")])
def test_refuses_a_card_of_another_format(directory, found, said):
    rewrite_card(directory, lambda card: card.update(format=found))
    assert f"Expected a card of format 1, but got {said} in " in refusal(directory)


@pytest.mark.parametrize("card", ["{}", "[]", "7"])
def test_refuses_a_card_without_a_format(directory, card):
    (directory / "card.json").write_text(card)
    assert "Expected a card of format 1, but got 'none' in " in refusal(directory)


@pytest.mark.parametrize("section", ["checkpoints", "attributions", "attacks", "metrics"])
@pytest.mark.parametrize("content", [None, {}, ["a"], {"a": 1}])
def test_refuses_a_card_without_its_parts(directory, section, content):
    rewrite_card(directory, lambda card: card.update({section: content}))
    assert f"Expected a card with `{section}` by name, but got " in refusal(directory)


@pytest.mark.parametrize(
    "file", ["samples.parquet", "results.csv", "agreement.parquet", "examples.parquet", "training.csv"]
)
def test_refuses_a_checkpoint_that_the_card_does_not_name(directory, other, file):
    (directory / file).write_bytes((other / file).read_bytes())
    message = refusal(directory)
    assert f"Expected the checkpoints of the card, but got 'other\\n' in {directory / file}." in message


def test_refuses_a_file_without_a_column(directory):
    rewrite_table(directory, lambda table: table.drop(columns=["low", "high"]))
    assert f"Expected columns low, high in {directory / 'results.csv'}, but got " in refusal(directory)


def test_refuses_a_row_without_a_name(directory):
    rewrite_samples(directory, lambda samples: samples.assign(attack=samples["attack"].replace("pgd", None)))
    expected = f"Expected names in attack of {directory / 'samples.parquet'}, but got none in a row."
    assert expected in refusal(directory)


def test_refuses_a_value_that_is_no_number(directory):
    rewrite_samples(directory, lambda samples: samples.assign(value="high"))
    assert "which is damaged: could not convert string to float" in refusal(directory)
    rewrite_samples(directory, lambda samples: samples.assign(value=0.5, sample_id="first"))
    assert f"Expected numbers in sample_id of {directory / 'samples.parquet'}, but got text." in refusal(
        directory
    )


def test_refuses_a_sample_that_comes_twice(directory):
    rewrite_samples(directory, lambda samples: pd.concat([samples, samples.iloc[[7]]]))
    message = refusal(directory)
    assert f"but got sample 7 twice in {directory / 'samples.parquet'}." in message


@pytest.mark.parametrize(
    ("file", "column", "section"),
    [
        ("samples.parquet", "attribution", "attributions"),
        ("samples.parquet", "attack", "attacks"),
        ("samples.parquet", "metric", "metrics"),
        ("agreement.parquet", "second", "attributions"),
        ("agreement.parquet", "metric", "metrics"),
        ("examples.parquet", "attack", "attacks"),
    ],
)
def test_refuses_a_name_that_the_card_lacks(directory, file, column, section):
    frame = pd.read_parquet(directory / file)
    frame.loc[frame.index[-1:], column] = "other\n"
    frame.to_parquet(directory / file, index=False)
    message = refusal(directory)
    assert f"Expected the {section} of the card, but got 'other\\n' in {directory / file}." in message


@pytest.mark.parametrize(
    ("section", "name"),
    [("attributions", "saliency"), ("attacks", "top_k_eps_0_2"), ("metrics", "ssim")],
)
def test_refuses_what_the_card_no_longer_names(directory, section, name):
    rewrite_card(directory, lambda card: card[section].pop(name))
    (directory / "samples.parquet").unlink()
    pd.DataFrame(columns=["checkpoint", "attribution", "attack", "metric", "sample_id", "value"]).astype(
        {"sample_id": "int64", "value": "float64"}
    ).to_parquet(directory / "samples.parquet")
    message = refusal(directory)
    assert f"Expected the {section} of the card, but got {name!r} in {directory / 'results.csv'}." in message


def test_accuracies_and_flags_need_no_name_in_the_card(directory):
    rewrite_card(directory, lambda card: card["attacks"].pop("unattacked"))
    rewrite_samples(
        directory, lambda frame: frame[(frame.attribution == "none") | (frame.attack != "unattacked")]
    )
    rewrite_table(
        directory, lambda frame: frame[(frame.attribution == "none") | (frame.attack != "unattacked")]
    )
    assert set(read(directory).samples.attack.unique()) >= {"unattacked", "pgd"}
