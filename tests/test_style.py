"""Habits that no linter knows."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
SOURCES = {path: path.read_text() for path in sorted((ROOT / "lit_xai").rglob("*.py"))}


def lines_with(pattern: str, *, but: str = "$^") -> list[str]:
    return [
        f"{path.relative_to(ROOT)}: {line.strip()}"
        for path, text in SOURCES.items()
        for line in text.splitlines()
        if re.search(pattern, line) and not re.search(but, line)
    ]


def test_nothing_draws_from_the_global_generator():
    assert not lines_with(
        r"torch\.(rand|randn|randint|randperm|rand_like|randn_like|normal|bernoulli)\(", but="generator="
    )


def test_only_the_domain_clamps_pixels():
    assert not [line for line in lines_with(r"\.clamp\(0") if "domain.py" not in line]


def test_pixels_are_normalised_in_models_only():
    assert not [line for line in lines_with(r"Normalize\(") if "/models/" not in line]


def test_package_files_hold_a_docstring_only():
    for path, text in SOURCES.items():
        if path.name == "__init__.py":
            assert re.fullmatch(r'"""[^"\n]+\."""\n', text), path


def test_files_stay_small():
    assert not [path for path, text in SOURCES.items() if len(text.splitlines()) > 250]


def test_errors_say_what_was_expected():
    messages = lines_with(r"raise (ValueError|TypeError|FileNotFoundError)\(f?\"")
    assert len(messages) > 30
    assert not [line for line in messages if not re.search(r"\(f?\"Expected ", line)]
