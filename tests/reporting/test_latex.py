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
    ],
)
def test_text_is_printed_as_it_is(text, escaped):
    assert latex.escape(text) == escaped


def tables_of(text: str) -> list[str]:
    return re.findall(r"\\begin\{table\}.*?\\end\{table\}", text, re.DOTALL)


def test_one_table_for_the_accuracies_and_one_for_every_attribution(results):
    text = latex.document(results)
    found = tables_of(text)
    assert len(found) == 3
    for table in found:
        for command in (r"\caption{", r"\toprule", r"\midrule", r"\bottomrule", r"\begin{tabular}"):
            assert table.count(command) == 1
    assert [table.count("\\addlinespace") for table in found] == [0, 12, 12]
    assert r"\usepackage{booktabs}" in text.splitlines()[0]
    assert text.splitlines()[0].startswith("%")


def test_every_row_has_the_columns_of_the_table(results):
    for table in tables_of(latex.document(results)):
        (places,) = re.findall(r"\\begin\{tabular\}\{@\{\}([lr]+)@\{\}\}", table)
        rows = [line for line in table.splitlines() if line.endswith(r" \\")]
        assert len(rows) in (1 + len(HOSTILE), 1 + 13 * len(HOSTILE))
        for row in rows:
            assert len(re.findall(r"(?<!\\)&", row)) == len(places) - 1


def test_nothing_in_a_name_is_a_command(results):
    text = "".join(tables_of(latex.document(results)))
    commands = set(re.findall(r"\\([a-zA-Z]+)", text))
    assert commands == {
        "begin", "end", "centering", "caption", "scriptsize", "setlength", "tabcolsep", "toprule", "midrule",
        "bottomrule", "addlinespace", "tiny", "textbackslash", "textless", "textgreater", "textasciitilde",
        "textasciicircum", "textasciigrave", "textbar",
    }  # fmt: skip
    assert not re.search(r"(?<!\\)[%#$~^_]", text.replace("$-$", ""))
    depth = 0
    for character in re.findall(r"\\.|[{}]", text):
        depth += {"{": 1, "}": -1}.get(character, 0)
        assert depth >= 0
    assert depth == 0


def test_the_headline_has_its_interval_and_the_others_their_means(results):
    row = results.cell("natural", "saliency", "top_k_eps_0_2", "top_k")
    text = tables_of(latex.document(results))[2]
    (line,) = (line for line in text.splitlines() if line.startswith("top k, eps 0.2 & natural &"))
    cells = line.removesuffix(r" \\").split(" & ")
    assert cells[2] == rf"{row['value']:.3f} {{\tiny [{row['low']:.3f}, {row['high']:.3f}]}}"
    assert float(cells[3]) == pytest.approx(
        results.cell("natural", "saliency", "top_k_eps_0_2", "lens_precision")["value"], abs=5e-4
    )
    assert [int(cell) for cell in cells[-3:]] == [int(row[name]) for name in ("count", "failed", "excluded")]


def test_at_most_five_further_metrics(results, monkeypatch):
    monkeypatch.setattr(latex, "FURTHER", 2)
    (_, table, _) = tables_of(latex.document(results))
    (head,) = (line for line in table.splitlines() if line.startswith("attack &"))
    assert head == (
        r"attack & checkpoint & top k & LENS precision & change & kept only & n & failed & excluded \\"
    )


def test_a_bracket_at_the_start_of_a_row_is_no_option():
    table = latex.Table("c", [], [[latex.Cell("[x]")], [latex.Cell("*")]])
    assert latex._rows(table) == [r"{[x]} \\", r"{*} \\"]
