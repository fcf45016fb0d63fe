import re
import subprocess
import sys
from importlib.metadata import PackageNotFoundError

import pytest

from lit_xai.evaluation.options import evaluation_parser
from lit_xai.manual import answered, completion, manual, versions
from lit_xai.training.entry import trained


def options(text: str) -> set[str]:
    return set(re.findall(r"--[a-z_.]+[a-z]", text))


def test_the_help_of_evaluation_names_options_that_exist():
    known = evaluation_parser().format_help()
    named = options(manual("lit-xai-evaluate")) - {"--print_completion"}
    assert {"--checkpoints", "--max_samples", "--output"} <= named
    assert not {name for name in named if name not in known and name != "--adversary.eps"}


def test_the_help_of_training_names_options_that_exist(capsys):
    for name in ("fit", "validate", "test"):
        with pytest.raises(SystemExit, match="0"):
            trained([name, "--help_all"])
        known = options(capsys.readouterr().out)
        named = {option.partition(".init_args")[0] for option in options(manual("lit-xai-train", name))}
        assert len(named) > 20
        assert named <= known


@pytest.mark.parametrize("name", [None, "fit", "validate", "test"])
def test_the_help_ends_with_the_exit_statuses(name):
    ending = "Exit status: 0 done, 2 refused (one line says why), 130 after Ctrl-C, 143 after SIGTERM.\n"
    for command in ("lit-xai-train", "lit-xai-evaluate"):
        assert manual(command, name).endswith(f"\n{ending}")


@pytest.mark.parametrize(
    ("name", "use"),
    [("fit", "to begin with, and its optimiser"), ("validate", "to measure"), ("test", "to measure")],
)
def test_the_help_says_what_a_checkpoint_is_for(name, use):
    assert f"  --ckpt_path FILE      A checkpoint {use}.\n" in manual("lit-xai-train", name)


def test_versions_are_told_where_one_is_unknown(monkeypatch):
    def unknown(name):
        if name == "lit_xai":
            raise PackageNotFoundError
        return "7.8"

    monkeypatch.setattr("lit_xai.manual.version", unknown)
    assert versions().startswith("lit_xai (not installed), torch 7.8, lightning 7.8, Python 3.")


@pytest.mark.parametrize(("text", "default"), [("max_samples", 256), ("batch_size", 64), ("seed", 0)])
def test_defaults_in_the_help_are_the_parsers(text, default):
    assert evaluation_parser().get_default(text) == default
    assert re.search(rf"--{text} N [^-]*\(default: {default}\)", manual("lit-xai-evaluate"))


def test_help_and_versions_come_before_anything_heavy():
    code = (
        "import sys\nfrom lit_xai.cli import evaluate_cli, train_cli\n"
        "train_cli(['fit', '--help'])\nevaluate_cli(['--version'])\n"
        "assert not {'torch', 'lightning', 'pandas', 'numpy'} & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("usage: lit-xai-train fit -c FILE")
    assert re.search(r"^lit_xai .*, torch \S+, lightning \S+, Python 3", done.stdout, re.MULTILINE)


@pytest.mark.parametrize("shell", ["bash", "zsh", "tcsh"])
def test_completion_names_the_options(shell):
    script = completion("lit-xai-train", shell)
    for word in ("lit-xai-train", "validate", "resume"):
        assert word in script


@pytest.mark.parametrize("shell", ["bash", "zsh", "tcsh"])
@pytest.mark.parametrize("command", ["lit-xai-train", "lit-xai-evaluate"])
def test_completion_offers_every_option_of_a_line(command, shell):
    script = completion(command, shell)
    named = ["--data.help", "--help", "--config"]
    named += ["--model.regime.help", "--model.model.help"] if command == "lit-xai-train" else ["--grid.help"]
    for name in named:
        # tcsh leaves the dashes out.
        assert re.search(rf"{name.lstrip('-')}(?![\w.])", script), name
    assert "--model.regime.init_args.eps" not in script
    assert "-true" not in script


@pytest.mark.parametrize(
    ("arguments", "first"),
    [
        (["fit", "--help"], "usage: lit-xai-train fit "),
        (["-h", "test"], "usage: lit-xai-train test "),
        (["test", "--experiment", "fit", "--help"], "usage: lit-xai-train test "),
        (["-c", "fit", "test", "-h"], "usage: lit-xai-train test "),
        (["--config=fit", "validate", "-h"], "usage: lit-xai-train validate "),
        (["fit", "--print_config", "-h"], "usage: lit-xai-train fit "),
        (["--print_config", "test", "-h"], "usage: lit-xai-train test "),
        (["--help_all", "test", "-h"], "usage: lit-xai-train test "),
        (["--help"], "usage: lit-xai-train {fit,validate,test}"),
        (["tset", "fit", "--help"], "usage: lit-xai-train {fit,validate,test}"),
        (["fit", "--experiment=--version"], None),
        (["fit", "--experiment=--help", "-c", "a.yaml"], None),
        (["fit", "--experiment=--print_completion", "bash"], None),
        # As for the parser, what begins with a dash is no value of what stands before.
        (["fit", "-c", "--help"], "usage: lit-xai-train fit "),
        (["fit", "--version"], "lit_xai "),
        (["--print_completion", "bash"], "# AUTOMATICALLY GENERATED"),
        (["--print_completion=bash"], "# AUTOMATICALLY GENERATED"),
    ],
)
def test_what_is_asked_for_is_no_value_of_another_option(arguments, first, capsys):
    assert answered("lit-xai-train", arguments) == (first is not None)
    assert capsys.readouterr().out.startswith(first or "")


@pytest.mark.parametrize("arguments", [["--print_completion"], ["--print_completion", "fish"]])
def test_another_shell_is_refused(arguments, capsys):
    with pytest.raises(SystemExit, match="2"):
        answered("lit-xai-evaluate", arguments)
    assert capsys.readouterr().err.startswith("error: Expected one of bash, zsh, tcsh, but got ")
