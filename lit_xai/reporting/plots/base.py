"""A plot, and how it becomes a vector image in a page or a bitmap."""

import io
import re
import warnings
from collections.abc import Iterator
from typing import Any, NamedTuple
from xml.etree import ElementTree

import matplotlib
from matplotlib.figure import Figure

from lit_xai.reporting.plots.style import INK, styled
from lit_xai.reporting.plots.words import storable

# A plot may be this much larger on a wide page than its own pixels: the text grows with it.
_LARGEST = 1.5
_NO_METADATA = dict.fromkeys(("Date", "Creator", "Format", "Type"))
_ROUNDED = ("d", "x", "y", "width", "height", "transform")


class Plot(NamedTuple):
    """A figure and the words that go with it."""

    name: str
    title: str
    alt: str
    figure: Figure


def svg(plot: Plot) -> str:
    """Return an element to stand in a page: its text and axes have the colour of the page's text.

    It is as wide as its place in the page, brings no style sheet, and all its ids begin with the plot's name.
    Equal plots give equal texts.

    Args:
        plot: Made by one of the functions of this package.
    """
    root = ElementTree.fromstring(_saved(plot, "svg", metadata=_NO_METADATA))
    width = float(root.attrib["viewBox"].split()[2])
    _strip_namespaces(root)
    ids = _new_ids(root, plot.name)
    _clean(root, ids)
    labels = (f"{plot.name}-title", f"{plot.name}-text")
    parts = [_labelled("title", labels[0], plot.title), _labelled("desc", labels[1], plot.alt), *root]
    element = ElementTree.Element(
        "svg",
        {
            "viewBox": root.attrib["viewBox"],
            "width": "100%",
            "role": "img",
            "aria-labelledby": " ".join(labels),
            "style": f"max-width:{_LARGEST * width:g}px;stroke-linejoin:round;stroke-linecap:butt",
        },
    )
    element.extend(parts)
    return ElementTree.tostring(element, encoding="unicode")


def png(plot: Plot, width: int) -> bytes:
    """Return a bitmap of a plot, dark on white.

    Args:
        plot: Made by one of the functions of this package.
        width: In pixels.
    """
    # The canvas truncates its size.
    dots = (width + 0.01) / plot.figure.get_figwidth()
    return _saved(plot, "png", dpi=dots, facecolor="white", metadata={"Software": None})


def _saved(plot: Plot, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    with styled(), matplotlib.rc_context({"svg.hashsalt": plot.name}), warnings.catch_warnings():
        # The page has fonts for what matplotlib's font lacks.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        plot.figure.savefig(buffer, format=kind, **options)
    return buffer.getvalue()


def _labelled(tag: str, label: str, text: str) -> ElementTree.Element:
    element = ElementTree.Element(tag, {"id": label})
    element.text = storable(text)
    return element


def _strip_namespaces(root: ElementTree.Element) -> None:
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
        for key in [key for key in element.attrib if key.startswith("{")]:
            element.set(key.rpartition("}")[2], element.attrib.pop(key))


def _new_ids(root: ElementTree.Element, name: str) -> dict[str, str]:
    """Return a new name for every id that something refers to, in the order of appearance."""
    referred = set()
    for element in root.iter():
        referred.update(re.findall(r"url\(#([^)]+)\)", element.get("clip-path", "")))
        referred.add(element.get("href", "").removeprefix("#"))
    found = (element.get("id", "") for element in root.iter())
    kept = dict.fromkeys(old for old in found if old in referred)
    return {old: f"{name}-{place}" for place, old in enumerate(kept)}


def _clean(parent: ElementTree.Element, ids: dict[str, str]) -> None:
    """Drop what is not seen, flatten groups that only group, and adapt the attributes to the page."""
    for child in parent:
        _clean(child, ids)
    parent[:] = list(_seen(parent))
    parent.tail = None
    if parent.tag != "text":
        parent.text = None
    _rename(parent, ids)
    for key in _ROUNDED:
        if key in parent.attrib:
            parent.set(key, _compact(parent.attrib[key]))
    if "style" in parent.attrib:
        parent.set("style", _page_style(parent.attrib["style"]))
    if parent.get("transform", "").startswith("rotate(-0 "):
        del parent.attrib["transform"]


def _seen(parent: ElementTree.Element) -> Iterator[ElementTree.Element]:
    for child in parent:
        empty = child.tag in ("g", "defs") and not len(child)
        unpainted = child.tag == "path" and child.get("style") == "fill:none"
        if child.tag in ("metadata", "style") or empty or unpainted:
            continue
        if child.tag == "g" and not child.attrib:
            yield from child
        else:
            yield child


def _rename(element: ElementTree.Element, ids: dict[str, str]) -> None:
    old = element.attrib.pop("id", None)
    if old in ids:
        element.set("id", ids[old])
    if "href" in element.attrib and element.attrib["href"].startswith("#"):
        element.set("href", f"#{ids[element.attrib['href'][1:]]}")
    if "clip-path" in element.attrib:
        element.set("clip-path", f"url(#{ids[element.attrib['clip-path'][5:-1]]})")


def _compact(text: str) -> str:
    rounded = re.sub(r"-?\d+\.\d+", lambda found: f"{float(found[0]):.2f}".rstrip("0").rstrip("."), text)
    return " ".join(rounded.split())


def _page_style(text: str) -> str:
    pairs = [part.split(":", 1) for part in text.split(";") if part.strip()]
    kept = [(key.strip(), value.strip()) for key, value in pairs if key.strip() != "font-family"]
    return ";".join(f"{key}:{'currentColor' if value == INK else value}" for key, value in kept)
