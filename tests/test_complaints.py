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
