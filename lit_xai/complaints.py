"""What a parser complains about, in one line that says what was expected."""

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from lit_xai.diagnosis import class_names, fault, parameters_in, similar
from lit_xai.programs import program
from lit_xai.shipped import shipped, shipped_beside, similar_file

_CONFIG = ("-c", "--config")
# Where the files lie of which one is needed, by what is missing without.
_FOLDERS = {"grid": "evaluate", "model.model": "experiments"}
_TYPES = {"NoneType": "null", "str": "text", "bool": "true or false"}


def in_plain_words(message: str, options: Iterable[str], arguments: Sequence[str]) -> str:
    """Return what a user has to know of a parser's message.

    Args:
        message: Of jsonargparse or argparse.
        options: All options that the parser knows, with their dashes.
        arguments: What was parsed.
    """
    text = " ".join(message.split())
    for words in (
        _unknown(text, list(options)),
        _missing(text, arguments),
        _no_subcommand(text),
        _no_file(text),
        fault(arguments),
        _refused_option(text, arguments),
        _unknown_class(text),
        _wrong_type(text),
    ):
        if words is not None:
            return words
    return message


def _unknown(text: str, options: Sequence[str]) -> str | None:
    if found := re.match(r"unrecognized arguments: (\S+)", text):
        name = found[1].partition("=")[0]
        return f"Expected an option, but got {name}.{similar(name, options)}"
    if found := re.match(r"argument (\S+): invalid choice: '(.*?)' \(choose from (.*)\)", text):
        choices = [name.strip("' ") for name in found[3].split(",")]
        return f"Expected one of {', '.join(choices)}, but got {found[2]}.{similar(found[2], choices)}"
    return None


def _missing(text: str, arguments: Sequence[str]) -> str | None:
    found = re.match(r"the following arguments are required: (?:fit\.|validate\.|test\.)?([\w.]+)", text)
    if found is None:
        return None
    name = found[1]
    if name not in _FOLDERS:
        # Of a class that was named: the parser says which option, but not whose.
        where = name if "." in name else f"...init_args.{name}"
        return f"Expected `{name}`, but got none. Set `--{where}`."
    if any(argument.partition("=")[0] in _CONFIG for argument in arguments):
        return None
    return f"Expected `-c FILE`, but got none. {shipped(_FOLDERS[name])}"


def _no_subcommand(text: str) -> str | None:
    found = re.match(r'expected "subcommand" to be one of \{(.*?)\}', text)
    if found is None:
        return None
    names = found[1].replace(",", ", ")
    return f"Expected one of {names}, but got none. `{program('lit-xai-train')} --help` shows examples."


def _no_file(text: str) -> str | None:
    found = re.search(r"File does not exist: '(.*?)'", text) or re.search(
        r"Expected a path but (\S+\.(?:ya?ml|json)) either", text
    )
    if found is None:
        return None
    path = Path(found[1])
    path = path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
    # Files that name files: the parser says the name as it is written there.
    if path.is_file():
        return None
    close = similar_file(path)
    remedy = f"Did you mean {close}?" if close is not None else shipped_beside(path)
    remedy = remedy or f"It was looked for in {Path.cwd()}."
    return f"Expected a file{_key(text)}, but got {path}, which does not exist. {remedy}"


def _key(text: str) -> str:
    found = re.search(r'Parser key "(.*?)"', text)
    return "" if found is None or found[1] == "config" else f" for `{found[1]}`"


def _refused_option(text: str, arguments: Sequence[str]) -> str | None:
    found = re.search(r"Option '(.*?)' is not accepted", text)
    if found is None:
        return None
    question = similar(found[1], parameters_in(arguments))
    return f"Expected an option that its class takes, but got `{found[1]}`.{question}"


def _unknown_class(text: str) -> str | None:
    found = re.search(r"Expected a dot import path string: (\w+)", text)
    if found is None:
        return None
    return f"Expected a class or a YAML file{_key(text)}, but got {found[1]}.{_similar_class(found[1])}"


def _similar_class(name: str) -> str:
    names: Mapping[str, str] = class_names()
    question = similar(name, list(names))
    return next(
        (f" Did you mean {path}?" for own, path in names.items() if question == f" Did you mean {own}?"), ""
    )


def _wrong_type(text: str) -> str | None:
    found = re.search(r"Subtypes: \[(.*?)\] Errors: .* Given value: (.*)", text)
    if found is None or not re.fullmatch(r"(<class '\w+'>(, )?)+", found[1]):
        return None
    kinds = [_TYPES.get(name, name) for name in re.findall(r"'(\w+)'", found[1])]
    return f"Expected {' or '.join(kinds)}{_key(text)}, but got {found[2]}."
