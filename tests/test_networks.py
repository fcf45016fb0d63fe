"""Every method runs on every network, or refuses it, as the page on attributions says."""

import re
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
import yaml

import scripts.networks as program
from lit_xai.attributions.base import Attribution
from lit_xai.evaluation.table import insert

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "attributions.md").read_text()
QUICK = {"SmallCNN", "torchvision resnet18", "timm vit_tiny_patch16_224"}


def block(name: str) -> list[str]:
    inside = PAGE.partition(f"<!-- results: {name} -->")[2].partition("<!-- end of results -->")[0]
    return inside.strip().splitlines()


def cells_of(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


HEADER, _, *ROWS = [cells_of(line) for line in block("networks") if line.startswith("|")]
CELLS = {
    (row[0].strip("`"), network): cell
    for row in ROWS
    for network, cell in zip(HEADER[1:], row[1:], strict=True)
}
REFUSALS = [line for line in block("networks") if line.startswith("- ")]
EXPLAINED = re.findall(
    r"^- `(\w+)`", PAGE.partition("Where the correlation is .99 or more:")[2], re.MULTILINE
)
PAIRS = [
    pytest.param(method, network, marks=[] if network in QUICK else pytest.mark.slow)
    for network in HEADER[1:]
    for method in dict.fromkeys(name for name, _ in CELLS)
]


def test_every_method_and_every_network_is_in_the_table():
    fragments = [yaml.safe_load(path.read_text()) for path in (ROOT / "configs" / "attributions").iterdir()]
    methods = {content["class_path"].rsplit(".", 1)[1] for content in fragments} - {
        "ConstantMap",
        "RandomMap",
    }
    networks = {
        *("SmallCNN", "torchvision resnet18", "torchvision squeezenet1_1", "torchvision vgg11"),
        *("timm resnet18", "timm tf_efficientnet_lite0", "timm convnext_tiny", "timm vit_tiny_patch16_224"),
    }
    assert set(CELLS) == {(method, network) for method in methods for network in networks}
    assert {cells_of(line)[0].split("`")[1] for line in block("methods")[2:]} == methods


def test_the_table_is_what_its_results_render():
    assert insert(PAGE, "networks", program.results_table(program.read())) == PAGE


def test_the_list_of_methods_is_what_the_classes_say():
    assert insert(PAGE, "methods", program.methods_table()) == PAGE


def test_a_refusal_says_what_was_expected():
    assert len(REFUSALS) >= 4
    assert all(re.match(r"- `.+` on .+: Expected .+\.$", line) for line in REFUSALS)


def test_a_link_leads_to_the_source():
    links = re.findall(r"\]\((\S+)\)", "\n".join(block("methods")))
    assert len(links) == len(ROWS)
    assert all((ROOT / "docs" / link).is_file() for link in links)


def test_the_example_runs():
    (example,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    names: dict[str, object] = {}
    exec(compile(example, "attributions.md", "exec"), names)
    assert names["maps"].shape == (2, 1, 28, 28)


@pytest.mark.parametrize(("method", "network"), PAIRS)
def test_a_cell_is_what_is_measured(method, network):
    row, cell = program.measure(method, network), CELLS[method, network]
    if cell == "refused":
        assert row.outcome == "refused"
        (line,) = [line for line in REFUSALS if line.endswith(f": {row.message}")]
        assert f"`{method}`" in line
        assert network in line
        return
    assert row.outcome == "runs"
    assert row.finite
    assert row.constant == 0
    assert row.batch_difference <= 1e-6
    assert abs(row.rank_correlation - float(cell)) <= 0.02
    assert row.rank_correlation < 0.99 or method in EXPLAINED


def test_methods_differ_but_for_the_two_that_are_one():
    results = program.read()
    for _, column in results[results["outcome"] == "runs"].groupby("network"):
        same = column[column["rank_correlation"].duplicated(keep=False)]["method"]
        assert set(same) == {"FastIG", "InputXGradient"}


def test_a_method_that_cannot_explain_a_network_has_its_line():
    said = PAGE.partition("What a method cannot explain:")[2].partition("\n## ")[0]
    for method in {method for (method, _), cell in CELLS.items() if cell == "refused"}:
        assert re.search(rf"^- .*`{method}`.*:", said, re.MULTILINE)


@pytest.mark.parametrize("name", ["SmallCNN", "torchvision resnet18"])
def test_no_bias_and_no_statistic_is_fresh(name):
    model = program.subject(name).model
    values = {key: value for key, value in model.state_dict().items() if value.ndim == 1}
    assert len(values) > 3
    assert all(value.std() > 0.1 for value in values.values())
    assert all(parameter.dtype == torch.float64 for parameter in model.parameters())


def test_a_network_is_the_same_every_time_and_the_global_generator_untouched():
    before = program.subject("SmallCNN")
    program.subject.cache_clear()
    torch.rand(3)
    state = torch.get_rng_state()
    again = program.subject("SmallCNN")
    assert again is not before
    assert torch.equal(again.gradient, before.gradient)
    assert torch.equal(torch.get_rng_state(), state)


@dataclass(frozen=True)
class Faulty(Attribution):
    """A map that depends on the batch, is not finite, or is constant."""

    fault: str
    differentiable = False

    def attribute(self, model, image, target, noise):
        if self.fault == "refusal":
            raise ValueError("Expected another network.")
        found = torch.ones_like(image) if self.fault == "constant" else image.clone()
        if self.fault == "nan":
            found[-1, 0, 0, 0] = torch.nan
        return found / len(image) if self.fault == "batch" else found


@pytest.mark.parametrize("fault", ["none", "batch", "nan", "constant", "refusal"])
@pytest.mark.filterwarnings("ignore:An input array is constant")
def test_a_fault_is_measured(fault, monkeypatch):
    monkeypatch.setattr(program, "methods", lambda: {"Faulty": Faulty(fault)})
    row = program.measure("Faulty", "SmallCNN")
    if fault == "refusal":
        assert (row.outcome, row.message) == ("refused", "Expected another network.")
        return
    assert row.outcome == "runs"
    assert row.finite == (fault != "nan")
    assert row.constant == (4 if fault == "constant" else 0)
    if fault != "nan":
        assert row.batch_difference == pytest.approx(0.75 if fault == "batch" else 0.0)


def test_passes_are_counted():
    methods = program.methods({})
    assert program.passes(methods["Saliency"]) == 1
    assert program.passes(replace(methods["SmoothGrad"], samples=7)) == 7
    assert program.passes(replace(methods["IntegratedGradients"], path_steps=9)) == 9


def test_settings_reach_the_members_and_only_where_there_is_an_option():
    methods = program.methods({"path_steps": 5})
    assert methods["IntegratedGradients"].path_steps == 5
    assert methods["GuidedIG"].path_steps == 5
    assert methods["SmoothGrad"].samples == 50
    assert isinstance(methods["MeanOf"].members, tuple)
    assert all(isinstance(member, Attribution) for member in methods["MeanOf"].members)
