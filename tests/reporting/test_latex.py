"""Tables in LaTeX: their structure, their numbers and what may not reach LaTeX unescaped."""

import re

import pytest

from lit_xai.reporting import latex
from lit_xai.reporting.reading import read
from tests.reporting.made_up import write_results

HOSTILE = ("natural", "<b>\"'`", r"$\frac{a}$ \input{x}", "a_b%#&~^|", "模型", "two\nlines -- and ]")


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    return read(write_results(tmp_path_factory.mktemp("results"), HOSTILE, samples=12))


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("a_b%#&", r"a\_b\%\#\&"),
        (r"$\frac{a}$", r"\$\textbackslash{}frac\{a\}\$"),
        (
            "<x> ^~|`",
            r"\textless{}x\textgreater{} \textasciicircum{}\textasciitilde{}\textbar{}\textasciigrave{}",
        ),
        ('"q"', "''q''"),
        ("模型", "模型"),
        ("a\r\n\tb\x00c", "a b c"),
        ("a---b", "a-{}-{}-b"),
        ("−1 – ∞", r"$-$1 -- $\infty$"),
        ("\u2068\u202eabc\u2069 1", "abc 1"),
    ],
)
def test_text_is_printed_as_it_is(text, escaped):
    assert latex.escape(text) == escaped


def tables_of(text: str) -> list[str]:
    pattern = r"\\begin\{table\}.*?\\end\{table\}|\\begingroup.*?\\endgroup"
    return re.findall(pattern, text, re.DOTALL)


def test_the_strongest_attacks_come_first_then_accuracies_then_every_attribution(results):
    text = latex.document(results)
    found = tables_of(text)
    assert [re.search(r"\\caption\{([^,.:]*)", table)[1] for table in found] == [
        "Top-k intersection under the strongest attack on each network",
        "Share of images classified correctly",
        "Integrated gradients under attack",
        "Saliency under attack",
    ]
    for table in found:
        for command in (r"\caption{", r"\bottomrule"):
            assert table.count(command) == 1
    assert [table.count("\\addlinespace") for table in found] == [1, 0, 12, 12]
    assert text.splitlines()[0] == r"% Needs \usepackage{booktabs,longtable}."


def test_a_table_of_many_rows_goes_on_on_the_next_page(results):
    found = tables_of(latex.document(results))
    assert [r"\begin{longtable}" in table for table in found] == [False, False, True, True]
    assert [r"\begin{tabular}" in table for table in found] == [True, True, False, False]
    # The head is repeated.
    assert [table.count(r"\toprule") for table in found] == [1, 1, 2, 2]
    first, repeated = (re.findall(r"\\toprule\n(.*)\n\\midrule", table) for table in found[2:3] * 2)
    assert first == repeated
    assert found[2].index(r"\endfirsthead") < found[2].index(r"\endhead") < found[2].index(r"\endfoot")


def test_few_rows_float(results):
    rows = [[latex.Cell("a")]] * latex._LONGEST
    table = latex.Table("c", [latex.Column("b", numeric=False)], rows)
    assert r"\begin{table}" in latex._table(table)
    assert r"\begin{longtable}" in latex._table(table._replace(rows=[*rows, rows[0]]))


def test_every_row_has_the_columns_of_the_table(results):
    counts = []
    for table in tables_of(latex.document(results)):
        (places,) = re.findall(r"\\begin\{(?:tabular|longtable)\}\{@\{\}([lr]+)@\{\}\}", table)
        rows = [line for line in table.splitlines() if line.endswith(r" \\") and "caption" not in line]
        counts.append(len(rows))
        for row in rows:
            assert len(re.findall(r"(?<!\\)&", row)) == len(places) - 1
    names = len(HOSTILE)
    assert counts == [1 + 2 * names, 1 + names, 2 + 13 * names, 2 + 13 * names]


def test_nothing_in_a_name_is_a_command(results):
    text = "".join(tables_of(latex.document(results)))
    commands = set(re.findall(r"\\([a-zA-Z]+)", text))
    assert commands == {
        "begin", "end", "centering", "caption", "scriptsize", "setlength", "tabcolsep", "toprule", "midrule",
        "bottomrule", "addlinespace", "textbackslash", "textless", "textgreater", "textasciitilde",
        "textasciicircum", "textasciigrave", "textbar", "begingroup", "endgroup", "endfirsthead", "endhead",
        "endfoot",
    }  # fmt: skip
    assert not re.search(r"(?<!\\)[%#$~^_]", text.replace("$-$", ""))
    depth = 0
    for character in re.findall(r"\\.|[{}]", text):
        depth += {"{": 1, "}": -1}.get(character, 0)
        assert depth >= 0
    assert depth == 0


def line_of(table: str, start: str) -> list[str]:
    (line,) = (line for line in table.splitlines() if line.startswith(start))
    return line.removesuffix(r" \\").split(" & ")


def test_the_strongest_attack_of_every_network(results):
    table = tables_of(latex.document(results))[0]
    attack = results.strongest("natural", "saliency")
    row = results.cell("natural", "saliency", attack, "top_k")
    assert line_of(table, "saliency & natural &")[2:] == [
        "eXIAA, alpha 0.15, k 0.6",
        f"{row['value']:.3f}",
        f"{{[{row['low']:.3f}, {row['high']:.3f}]}}",
        str(row["count"]), str(row["failed"]), str(row["excluded"]),
    ]  # fmt: skip
    assert line_of(table, "attribution &")[3:] == ["top-k", r"95 \% interval", "n", "fail.", "excl."]


def test_the_accuracies_have_their_intervals(results):
    table = tables_of(latex.document(results))[1]
    rows = [results.cell("natural", "none", attack, "accuracy") for attack in ("unattacked", "pgd")]
    expected = [
        text for row in rows for text in (f"{row['value']:.3f}", f"{{[{row['low']:.3f}, {row['high']:.3f}]}}")
    ]
    assert line_of(table, "natural &")[1:] == [*expected, "120"]


def test_the_headline_has_its_interval_and_the_others_their_means(results):
    row = results.cell("natural", "saliency", "top_k_eps_0_2", "top_k")
    cells = line_of(tables_of(latex.document(results))[3], "top-k attack, eps 0.2 & natural &")
    assert cells[2:4] == [f"{row['value']:.3f}", f"{{[{row['low']:.3f}, {row['high']:.3f}]}}"]
    assert float(cells[4]) == pytest.approx(
        results.cell("natural", "saliency", "top_k_eps_0_2", "lens_precision")["value"], abs=5e-4
    )
    assert [int(cell) for cell in cells[-3:]] == [int(row[name]) for name in ("count", "failed", "excluded")]
    unattacked = line_of(tables_of(latex.document(results))[3], "unattacked & natural &")
    assert (unattacked[-4], unattacked[-2]) == ("--", "--")


def test_at_most_five_further_metrics(results, monkeypatch):
    monkeypatch.setattr(latex, "FURTHER", 2)
    table = tables_of(latex.document(results))[2]
    assert line_of(table.partition(r"\endfirsthead")[0], "attack &") == [
        "attack", "network", "top-k", r"95 \% interval", "LENS prec.", "change", "kept only", "n", "fail.",
        "excl.",
    ]  # fmt: skip


def test_a_heading_is_never_empty():
    assert latex._heading("intersection") == "intersection"
    assert latex._heading("prediction_kept & confidence") == r"prediction\_kept \& conf."


def test_a_bracket_at_the_start_of_a_row_is_no_option():
    table = latex.Table("c", [], [[latex.Cell("[x]")], [latex.Cell("*")]])
    assert latex._rows(table) == [r"{[x]} \\", r"{*} \\"]
