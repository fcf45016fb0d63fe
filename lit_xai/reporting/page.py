"""HTML pages that hold everything they need: one style, one script, no request."""

import base64
import hashlib
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

_TEMPLATES = Path(__file__).parent / "templates"


def render(template: str, **context: Any) -> str:
    """Return a page.

    Every text of the context is escaped, except what is marked safe: the figures drawn by this package.

    Args:
        template: Name of a file in `templates` that extends `base.html.j2`.
        context: What the template shows; a name that it misses is an error.
    """
    style, script = (_text(name).strip() for name in ("style.css", "sort.js"))
    return _environment().get_template(template).render(
        **context, style=Markup(style), script=Markup(script), policy=_policy(script)
    )  # fmt: skip


def _policy(script: str) -> str:
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return "; ".join(
        (
            "default-src 'none'",
            "img-src data:",
            # The elements of a figure carry their colours in style attributes.
            "style-src 'unsafe-inline'",
            f"script-src 'sha256-{digest}'",
            "base-uri 'none'",
            "form-action 'none'",
        )
    )


def _text(name: str) -> str:
    return (_TEMPLATES / name).read_text(encoding="utf-8")


@cache
def _environment() -> Environment:
    return Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
