from pathlib import Path

import pytest

from lit_xai.complaints import in_plain_words
from lit_xai.programs import program
from lit_xai.shipped import shipped


@pytest.mark.parametrize(
    ("message", "said"),
    [
        (
            "unrecognized arguments: --outptu=3 x",
            "Expected an option, but got --outptu. Did you mean --output?",
        ),
        (
            "argument subcommand: invalid choice: 'fti' (choose from 'fit', 'test')",
            "Expected one of fit, test, but got fti. Did you mean fit?",
        ),
        (
            'Parser key "regime":\n  - Expected a dot import path string: PDG',
            "Expected a class or a YAML file for `regime`, but got PDG. "
            "Did you mean lit_xai.regimes.pgd.PGD?",
        ),
        (
            "Parser key \"steps\":\n Subtypes: [<class 'int'>, <class 'NoneType'>]\n Errors:\n - a\n"
            " Given value type: <class 'str'>\n Given value: many",
            "Expected int or null for `steps`, but got many.",
        ),
        (
            'expected "subcommand" to be one of {fit,validate,test}, but it was not provided.',
            "Expected one of fit, validate, test, but got none. "
            f"`{program('lit-xai-train')} --help` shows examples.",
        ),
        (
            "the following arguments are required: fit.data.init_args.data_dir",
            "Expected `data.init_args.data_dir`, but got none. Set `--data.init_args.data_dir`.",
        ),
        (
            "the following arguments are required: validate.data",
            "Expected `data`, but got none. Set `--...init_args.data`.",
        ),
        (
            "the following arguments are required: test.data.x",
            "Expected `data.x`, but got none. Set `--data.x`.",
        ),
        (
            "the following arguments are required: fit.model.model",
            f"Expected `-c FILE`, but got none. {shipped('experiments')}",
        ),
        (
            "the following arguments are required: grid",
            f"Expected `-c FILE`, but got none. {shipped('evaluate')}",
        ),
        (
            "Parser key \"x\":\n Subtypes: [<class 'bool'>, <class 'str'>]\n Errors:\n - a\n Given value: 3",
            "Expected true or false or text for `x`, but got 3.",
        ),
        (
            'Parser key "config":\n Expected a path but zzz.yaml either does not exist or',
            f"Expected a file, but got zzz.yaml, which does not exist. It was looked for in {Path.cwd()}.",
        ),
        (
            f"Parser key \"data\":\n File does not exist: '{Path.cwd()}/configs/evaluate/quikc.yaml'",
            "Expected a file for `data`, but got configs/evaluate/quikc.yaml, which does not exist. "
            "Did you mean configs/evaluate/quick.yaml?",
        ),
        ("Option 'zzzz' is not accepted", "Expected an option that its class takes, but got `zzzz`."),
        # Lines of a message that nothing here knows stay apart.
        ("Subtypes: [list[int], <class 'str'>]\nErrors: a\nGiven value: 3",) * 2,
        (
            "the following arguments are required: data_dir",
            "Expected `data_dir`, but got none. Set `--...init_args.data_dir`.",
        ),
        ("something else", "something else"),
    ],
)
def test_the_words_of_a_parser_become_plain(message, said):
    assert in_plain_words(message, ["--output"], []) == said


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("configs/evaluate/quikc.yaml", "Did you mean configs/evaluate/quick.yaml?"),
        ("configs/evaluate/nothere.yaml", shipped("evaluate")),
        ("configs/experiments/zzz.yaml", shipped("experiments")),
        ("configs/zzz/zzz.yaml", f"It was looked for in {Path.cwd()}."),
        ("zzz.yaml", f"It was looked for in {Path.cwd()}."),
    ],
)
def test_a_file_that_is_not_there_has_a_remedy(name, remedy):
    said = in_plain_words(f"Parser key \"config\":\n File does not exist: '{name}'", [], ["-c", name])
    assert said == f"Expected a file, but got {name}, which does not exist. {remedy}"


@pytest.mark.parametrize("arguments", [["-c", "a.yaml"], ["--config=a.yaml"]])
def test_a_file_that_was_given_is_not_asked_for(arguments):
    message = "the following arguments are required: grid"
    assert in_plain_words(message, [], arguments) == message


def test_a_file_that_is_there_is_not_missed(tmp_path):
    (tmp_path / "a.yaml").touch()
    message = f"File does not exist: '{tmp_path / 'a.yaml'}'"
    assert in_plain_words(message, [], []) == message


def test_what_the_parser_found_stands_before_what_else_is_wrong():
    arguments = ["-c", "zzz.yaml", "--x=lit_xai.regimes.pgd.PDG"]
    assert in_plain_words("File does not exist: 'zzz.yaml'", [], arguments).startswith(
        "Expected a file, but got zzz.yaml, which does not exist."
    )
    assert in_plain_words("Option 'epss' is not accepted", [], arguments).endswith(
        " for `--x`. Did you mean lit_xai.regimes.pgd.PGD?"
    )


def test_an_option_is_looked_for_among_those_of_the_classes_that_were_named():
    arguments = ["--x=lit_xai.regimes.pgd.PGD"]
    assert in_plain_words("Option 'epss' is not accepted", [], arguments) == (
        "Expected an option that its class takes, but got `epss`. Did you mean eps?"
    )
