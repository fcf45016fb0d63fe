import pytest
from jsonargparse import Namespace

from lit_xai.redaction import redacted
from lit_xai.runs import record
from lit_xai.training.arguments import (
    check_no_secret_missing,
    check_same_run,
    resumed_run,
    with_configuration,
)


@pytest.fixture
def run(tmp_path):
    (tmp_path / "config.yaml").write_text("experiment: x\nruns: runs\nckpt_path: null\n")
    record(tmp_path, [], None)
    return tmp_path


def test_the_run_is_found_in_both_forms(run):
    assert resumed_run(["fit", "--resume", str(run)]) == run
    assert resumed_run(["fit", f"--resume={run}", "--trainer.max_epochs=2"]) == run
    assert resumed_run(["fit", "--trainer.max_epochs=2"]) is None
    assert resumed_run(["test", "--resume", str(run)]) is None
    assert resumed_run(["fit", "--resume"]) is None


def test_options_stand_over_the_configuration_of_the_run(run):
    arguments = ["fit", "--resume", str(run), "--trainer.max_epochs=2"]
    assert with_configuration(arguments, run) == ["fit", "--config", f"{run}/config.yaml", *arguments[1:]]


@pytest.mark.parametrize("name", ["experiment", "runs", "ckpt_path"])
def test_another_run_is_refused(name, run):
    config = Namespace(experiment="x", runs="runs", ckpt_path=None)
    check_same_run(config, run)
    config[name] = "other"
    with pytest.raises(ValueError, match=f"Expected no `--{name}` beside `--resume`, but got other"):
        check_same_run(config, run)


def test_a_secret_that_was_left_out_is_asked_for():
    check_no_secret_missing(Namespace(trainer=Namespace(logger=[Namespace(api_key="ab12")])))
    left_out = redacted({"logger": [{"api_key": "ab12"}]})
    with pytest.raises(ValueError, match="Expected the secrets of this run again, but got none"):
        check_no_secret_missing(Namespace(trainer=Namespace(**left_out)))
