"""Pages that hold everything they need."""

import base64
import hashlib
import re
from html.parser import HTMLParser

import pytest
from jinja2 import DictLoader, UndefinedError
from markupsafe import Markup

from lit_xai.reporting import page

HOSTILE = ("<script>alert(1)</script>", "\"'><img src=x onerror=alert(1)>", "a_b%#&amp;", "模型")
TEMPLATE = """{% extends "base.html.j2" %}
{% block title %}{{ name }}{% endblock %}
{% block content %}<p id="name" title="{{ name }}">{{ name }}</p>{{ drawing }}{% endblock %}"""


class Elements(HTMLParser):
    """The elements of a page with their attributes, and its text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.words.append(data)

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.found if name == tag]


class Tables(Elements):
    """The rows of every table of a page: (text, value) of its cells, under the name of its caption."""

    def __init__(self, text: str) -> None:
        self.rows: dict[str, list[list[tuple[str, float | None]]]] = {}
        self._cell: list | None = None
        super().__init__(text)

    def handle_starttag(self, tag, attrs):
        super().handle_starttag(tag, attrs)
        attributes = dict(attrs)
        if tag == "table":
            self.rows[attributes["aria-labelledby"]] = []
            self._rows = self.rows[attributes["aria-labelledby"]]
        elif tag == "tr":
            self._rows.append([])
        elif tag in ("td", "th"):
            self._cell = ["", attributes.get("data-value")]

    def handle_data(self, data):
        super().handle_data(data)
        if self._cell is not None:
            self._cell[0] += data

    def handle_endtag(self, tag):
        if tag in ("td", "th"):
            text, value = self._cell
            self._rows[-1].append((" ".join(text.split()), None if value is None else float(value)))
            self._cell = None


@pytest.fixture
def named(monkeypatch):
    """A page with a name in its title, its text and an attribute."""
    environment = page._environment().overlay()
    files = {"named.html.j2": TEMPLATE, "base.html.j2": page._text("base.html.j2")}
    environment.loader = DictLoader(files)
    monkeypatch.setattr(page, "_environment", lambda: environment)
    return lambda name, drawing="": page.render("named.html.j2", name=name, drawing=drawing, sections=[])


@pytest.mark.parametrize("name", HOSTILE)
def test_names_are_text_wherever_they_stand(named, name):
    found = Elements(named(name, name))
    assert len(found.of("script")) == 1
    assert not found.of("img")
    assert [attributes["title"] for attributes in found.of("p") if "title" in attributes] == [name]
    assert "".join(found.words).count(name) == 4
    assert not [key for _, attributes in found.found for key in attributes if key.startswith("on")]


def test_only_what_is_marked_safe_becomes_an_element(named):
    found = Elements(named("", Markup('<svg role="img"></svg>')))
    assert found.of("svg") == [{"role": "img"}]


def test_the_policy_allows_the_one_script_and_no_request(named):
    text = named("x")
    (policy,) = (
        attributes["content"]
        for attributes in Elements(text).of("meta")
        if attributes.get("http-equiv") == "Content-Security-Policy"
    )
    (script,) = re.findall("<script>(.*?)</script>", text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert policy.split("; ") == [
        "default-src 'none'",
        "img-src data:",
        "style-src 'unsafe-inline'",
        f"script-src 'sha256-{digest}'",
        "base-uri 'none'",
        "form-action 'none'",
    ]
    assert text.index("Content-Security-Policy") < text.index("<style>") < text.index("<script>")


def test_a_missing_value_is_an_error():
    with pytest.raises(UndefinedError):
        page.render("base.html.j2")


def test_the_page_asks_for_nothing(named):
    found = Elements(named("x"))
    assert [attributes["href"] for attributes in found.of("link")] == ["data:,"]
    assert not re.search(r"https?:|@import|url\(", named("x"))
