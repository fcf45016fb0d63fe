import pytest

from lit_xai.diagnosis import class_names, fault, parameters_in, similar


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("class_path: lit_xai.regimes.pgd.PDG", "Did you mean lit_xai.regimes.pgd.PGD?"),
        ("class_path: lit_xai.regimess.pgd.PGD", "Did you mean lit_xai.regimes.pgd.PGD?"),
        ("class_path: lit_xai.regimes.pgd.PGD\ninit_args: {epss: 1}", "Did you mean eps?"),
    ],
)
def test_a_typo_is_found_through_files(content, said, tmp_path):
    (tmp_path / "outer.yaml").write_text("model: {regime: inner.yaml}")
    (tmp_path / "inner.yaml").write_text(content)
    found = fault(["-c", str(tmp_path / "outer.yaml")])
    assert found.endswith(said)
    assert f"in {tmp_path / 'inner.yaml'}." in found


def test_what_is_right_has_no_fault(tmp_path):
    (tmp_path / "a.yaml").write_text("class_path: lit_xai.regimes.pgd.PGD\ninit_args: {eps: 0.1}")
    assert fault(["-c", str(tmp_path / "a.yaml"), "--x=lit_xai.regimes.pgd.PGD"]) is None


def test_nothing_is_like_something_else():
    assert similar("--max_epoch", ["--max_epochs"]) == " Did you mean --max_epochs?"
    assert similar("zzz", ["--max_epochs"]) == ""


def test_options_are_those_of_classes_not_of_modules(tmp_path):
    (tmp_path / "a.yaml").write_text(
        "- class_path: lit_xai.regimes.pgd\n- class_path: lit_xai.regimes.trades.TRADES"
    )
    assert parameters_in(["-c", str(tmp_path / "a.yaml")]) == ["eps", "step_size", "steps", "weight"]


def test_a_class_without_options_takes_none(tmp_path):
    (tmp_path / "a.yaml").write_text("class_path: lit_xai.regimes.natural.Natural\ninit_args: {eps: 1}")
    assert fault(["-c", str(tmp_path / "a.yaml")]).startswith(
        "Expected an option of lit_xai.regimes.natural.Natural, but got `eps`"
    )


@pytest.mark.parametrize(
    ("content", "option"),
    [
        ("class_path: nowhere_at_all.Net", "class_path"),
        ("model: {regime: {class_path: nowhere_at_all.Net}}", "model.regime"),
        (
            "model: {class_path: builtins.dict, init_args: {model: {class_path: nowhere_at_all.Net}}}",
            "model.model",
        ),
        ("metrics: [{class_path: lit_xai.regimes.pgd.PGD}, {class_path: nowhere_at_all.Net}]", "metrics[1]"),
    ],
)
def test_the_place_in_a_file_is_told(content, option, tmp_path):
    (tmp_path / "a.yaml").write_text(content)
    assert fault(["-c", str(tmp_path / "a.yaml")]) == (
        f"Expected a class, but got nowhere_at_all.Net for `{option}` in {tmp_path / 'a.yaml'}. "
        "Python finds no nowhere_at_all, neither installed nor beside you."
    )


@pytest.mark.parametrize("arguments", [["--x", "lit_xai.regimes.pgd.PDG"], ["--x=lit_xai.regimes.pgd.PDG"]])
def test_the_option_of_a_command_is_told(arguments):
    assert fault(arguments) == (
        "Expected a class, but got lit_xai.regimes.pgd.PDG for `--x`. Did you mean lit_xai.regimes.pgd.PGD?"
    )


def test_what_a_module_of_the_user_lacks_is_told(tmp_path, monkeypatch):
    (tmp_path / "own_module_of_a_test.py").write_text("import nowhere_at_all\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert fault(["--x=own_module_of_a_test.Net"]) == (
        "Expected own_module_of_a_test.Net to be importable, but got: No module named 'nowhere_at_all'. "
        "It stands for `--x`."
    )


@pytest.mark.parametrize(
    "content",
    [
        "model: a.yaml",
        "model: [",
        "class_path: collections.Counter\ninit_args: {anything: 1}",
        "class_path: torch.Tensor\ninit_args: {anything: 1}",
    ],
    ids=["itself", "broken", "any_option", "no_signature"],
)
def test_what_cannot_be_looked_into_has_no_fault(content, tmp_path):
    (tmp_path / "a.yaml").write_text(content)
    assert fault(["-c", str(tmp_path / "a.yaml")]) is None


def test_the_options_of_every_class_that_has_some_are_known(tmp_path):
    classes = ["lit_xai.regimes.pgd.PGD", "lit_xai.regimes.pgd.PDG", "torch.nn", "torch.Tensor"]
    (tmp_path / "a.yaml").write_text("".join(f"- class_path: {name}\n" for name in classes))
    found = parameters_in(["-c", str(tmp_path / "a.yaml"), "--x=torch.nn.Flatten"])
    assert {"eps", "steps", "start_dim"} <= set(found)


def test_components_are_known_by_their_public_names():
    names = class_names()
    assert names["PGD"] == "lit_xai.regimes.pgd.PGD"
    assert not [name for name in names if name.startswith("_")]
