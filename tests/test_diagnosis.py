import pytest

from lit_xai.diagnosis import fault, parameters_in, similar


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
