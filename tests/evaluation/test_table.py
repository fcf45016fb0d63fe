import pandas as pd
import pytest

from lit_xai.evaluation.table import comparison, insert, main

COLUMNS = ["checkpoint", "attribution", "attack", "metric", "value", "stderr", "count", "failed", "excluded"]
NAN = float("nan")
RESULTS = pd.DataFrame(
    [
        ("natural", "none", "unattacked", "accuracy", 0.875, 0.01, 1000, 0, 0),
        ("natural", "none", "pgd", "accuracy", 0.0416, 0.01, 1000, 0, 0),
        ("natural", "ig", "unattacked", "top_k", 1.0, 0.0, 220, 220, 36),
        ("natural", "ig", "unattacked", "change", 0.0, 0.0, 220, 220, 36),
        ("natural", "ig", "top_k", "top_k", 0.25049, 0.0125, 220, 7, 36),
        ("natural", "ig", "top_k", "change", 148.26, 3.04, 218, 7, 36),
        ("robust", "none", "unattacked", "accuracy", 0.8, 0.01, 1000, 0, 0),
        ("robust", "ig", "unattacked", "top_k", 1.0, 0.0, 200, 200, 56),
        ("robust", "ig", "unattacked", "change", 0.0, 0.0, 200, 200, 56),
        ("robust", "ig", "top_k", "top_k", 0.75, 0.02, 200, 11, 56),
        ("robust", "ig", "top_k", "change", NAN, NAN, 0, 11, 56),
    ],
    columns=COLUMNS,
)
ACCURACIES = """\
| checkpoint | accuracy       | PGD accuracy   |
| ---------- | -------------- | -------------- |
| natural    | 0.875 (n=1000) | 0.042 (n=1000) |
| robust     | 0.800 (n=1000) |                |"""
ATTACKS = """\
Explanation: ig

| attack     | checkpoint | top_k         | change              | n   | failed | excluded |
| ---------- | ---------- | ------------- | ------------------- | --- | ------ | -------- |
| unattacked | natural    | 1.000 ± 0.000 | 0.000 ± 0.000       | 220 | 220    | 36       |
| unattacked | robust     | 1.000 ± 0.000 | 0.000 ± 0.000       | 200 | 200    | 56       |
| top_k      | natural    | 0.250 ± 0.013 | 148.3 ± 3.0 (n=218) | 220 | 7      | 36       |
| top_k      | robust     | 0.750 ± 0.020 | nan ± nan (n=0)     | 200 | 11     | 56       |"""


def test_accuracies_come_first_then_every_attack():
    assert comparison(RESULTS) == f"{ACCURACIES}\n\n{ATTACKS}"


def test_no_accuracies_give_no_table():
    assert comparison(RESULTS[RESULTS["attribution"] == "ig"]) == ATTACKS
    assert comparison(RESULTS[RESULTS["attribution"] == "none"]) == ACCURACIES


def test_explanations_keep_their_order():
    other = RESULTS[RESULTS["attribution"] == "ig"].assign(attribution="gradient")
    text = comparison(pd.concat([RESULTS, other]))
    assert text == f"{ACCURACIES}\n\n{ATTACKS}\n\n{ATTACKS.replace('ig', 'gradient', 1)}"


@pytest.mark.parametrize(
    ("value", "text"),
    [(9.99, "9.990 ± 0.500"), (10.0, "10.0 ± 0.5"), (-12.34, "-12.3 ± 0.5"), (-0.5, "-0.500 ± 0.500")],
)
def test_large_numbers_have_one_digit(value, text):
    row = pd.DataFrame([("a", "ig", "top_k", "change", value, 0.5, 5, 0, 0)], columns=COLUMNS)
    assert f"| {text} |" in comparison(row)


def test_insert_replaces_what_is_between_the_markers():
    start, end = "<!-- results: demo -->", "<!-- end of results -->"
    other = f"<!-- results: other -->\n\nuntouched\n\n{end}"
    document = f"# Title\n\n{other}\n\n{start}\nold\n{end}\n\nText.\n"
    first = insert(document, "demo", "| new |")
    assert first == f"# Title\n\n{other}\n\n{start}\n\n| new |\n\n{end}\n\nText.\n"
    assert insert(first, "demo", "| new |") == first


@pytest.mark.parametrize(
    "document",
    [
        "nothing",
        "<!-- results: demo --> no end",
        "<!-- end of results -->",
        "<!-- results: other --><!-- end of results -->",
        "<!-- end of results --><!-- results: demo -->",
    ],
)
def test_refuses_a_document_without_markers(document):
    with pytest.raises(
        ValueError, match="Expected a document with <!-- results: demo --> and <!-- end of re"
    ):
        insert(document, "demo", "")


def test_main_prints_a_file(tmp_path, capsys):
    RESULTS.to_csv(tmp_path / "results.csv", index=False)
    main(str(tmp_path / "results.csv"))
    assert capsys.readouterr().out == f"{ACCURACIES}\n\n{ATTACKS}\n"


def test_main_fills_a_document_between_the_markers_of_the_folder(tmp_path, capsys):
    folder, document = tmp_path / "demo", tmp_path / "README.md"
    folder.mkdir()
    RESULTS.to_csv(folder / "results.csv", index=False)
    document.write_text("Before\n<!-- results: demo --><!-- end of results -->\nafter\n")
    main(str(folder / "results.csv"), str(document))
    table = f"{ACCURACIES}\n\n{ATTACKS}"
    expected = f"Before\n<!-- results: demo -->\n\n{table}\n\n<!-- end of results -->\nafter\n"
    assert document.read_text() == expected
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("name", ["1", "007", "null", "nan"])
def test_main_takes_a_name_for_a_name(tmp_path, capsys, name):
    named = RESULTS[RESULTS["checkpoint"] == "natural"].assign(checkpoint=name)
    named.to_csv(tmp_path / "results.csv", index=False)
    main(str(tmp_path / "results.csv"))
    assert capsys.readouterr().out == comparison(named) + "\n"
    assert f"| {name} " in comparison(named)


def test_where_attacks_failed_the_mean_over_the_others_stands_beside():
    row = {"checkpoint": "a", "attribution": "saliency", "attack": "top_k", "metric": "kendall", "value": 0.5}
    row |= {"stderr": 0.1, "count": 4, "failed": 1, "excluded": 0, "kept_value": 0.25, "kept_count": 3}
    assert "| 0.500 ± 0.100 [0.250] |" in comparison(pd.DataFrame([row]))
    assert "| 0.500 ± 0.100 |" in comparison(pd.DataFrame([row | {"failed": 0, "kept_count": 4}]))
