"""docs/quickstart.py runs as a script, and says the numbers that its text is about."""

import ast
import re
import runpy
import time

import matplotlib.pyplot as plt
import pytest

from tests.docs import sandbox
from tests.docs.pages import ROOT

SCRIPT = ROOT / "docs" / "quickstart.py"


def test_it_uses_no_lightning():
    tree = ast.parse(SCRIPT.read_text())
    named = {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    named |= {name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names}
    assert named >= {"torch", "lit_xai.attacks.base", "lit_xai.evaluation.grid"}
    assert not [name for name in named if name.startswith(("lightning", "lit_xai.module", "lit_xai.cli"))]


def test_its_cells_are_code_and_text_in_turn():
    cells = re.findall(r"^# %%(.*)$", SCRIPT.read_text(), re.MULTILINE)
    assert cells[::2] == [" [markdown]"] * (len(cells) // 2)
    assert cells[1::2] == [""] * (len(cells) // 2)


@pytest.mark.slow
def test_it_says_what_it_measured(tmp_path, capsys):
    begun = time.process_time()
    with sandbox.inside(tmp_path):
        names = runpy.run_path(str(SCRIPT), run_name="__main__")
        curves = plt.figure(plt.get_fignums()[0]).axes[0]
    spent = time.process_time() - begun
    styles = [line.get_linestyle() for line in curves.lines]
    names_of_lines = [text.get_text() for text in curves.get_legend().get_texts()]
    # The control is drawn beside each curve, dotted.
    assert (styles.count("-"), styles.count(":")) == (2, 2)
    assert names_of_lines == ["natural", "natural, random signs", "PGD", "PGD, random signs"]
    assert spent < 60
    said = capsys.readouterr().out
    accuracies = dict(re.findall(r"^(\w+): accuracy ([\d.]+)$", said, re.MULTILINE))
    assert accuracies.keys() == {"natural", "pgd"}
    assert all(0.65 < float(value) < 0.9 for value in accuracies.values())
    found = re.findall(
        r"^(\w+): top_k ([\d.]+) \+- ([\d.]+), n (\d+), failed (\d+), excluded (\d+)$", said, re.MULTILINE
    )
    rows = {name: [float(value) for value in values] for name, *values in found}
    for _, _, count, failed, excluded in rows.values():
        assert count + excluded == 64
        assert failed < 5
    # Training against attacks on predictions keeps more of the explanation: far beyond both errors.
    natural, robust = rows["natural"], rows["pgd"]
    assert robust[0] - natural[0] > 3 * (natural[1] ** 2 + robust[1] ** 2) ** 0.5
    assert re.search(r"^radius 0\.100, failed \d of 64$", said, re.MULTILINE)
    curves = [names["natural_curve"], names["robust_curve"]]
    assert [len(curve) for curve in curves] == [3, 3]
    assert all(point["random_sign", "top_k"].value > point["top_k", "top_k"].value for point in curves[0])
    assert sorted(path.name for path in (tmp_path / "quickstart").iterdir()) == ["curve.png", "maps.png"]
    assert min(path.stat().st_size for path in (tmp_path / "quickstart").iterdir()) > 5000
