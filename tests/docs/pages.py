"""The blocks and commands of README and pages."""

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = {
    str(path.relative_to(ROOT)): path.read_text()
    for path in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
}
_BLOCK = re.compile(r"^( *)```(\w*)\n(.*?)^ *```", re.DOTALL | re.MULTILINE)
_NAMED = re.compile(r"# ([\w./-]+\.(?:py|yaml))(?:[,;].*)?$")


@dataclass(frozen=True)
class Block:
    """What stands between two fences.

    Attributes:
        language: Behind the first fence.
        code: Without the fences and their indent.
        file: The name in a comment on the first line, if there is one: the reader saves the block under it.
    """

    language: str
    code: str
    file: str | None


def all_blocks(document: str) -> list[Block]:
    found = []
    for indent, language, text in _BLOCK.findall(document):
        code = "\n".join(line.removeprefix(indent) for line in text.split("\n"))
        named = _NAMED.match(code.partition("\n")[0])
        found.append(Block(language, code, named[1] if named else None))
    return found


def blocks(document: str, language: str) -> list[str]:
    return [block.code for block in all_blocks(document) if block.language == language]


def commands_of(code: str) -> list[str]:
    lines = code.replace("\\\n", " ").splitlines()
    return [line.split("  #")[0].strip() for line in lines if line.strip()]


def commands(document: str) -> list[str]:
    return [command for code in blocks(document, "bash") for command in commands_of(code)]


def words(command: str) -> list[str]:
    """Return a command's words without the interpreter and the folder of the environment's programs."""
    first, *rest = shlex.split(command)
    first = first.removeprefix(".venv/bin/")
    return rest if first == "python" else [first, *rest]
