import io
import re
import warnings
from xml.etree import ElementTree

import matplotlib
import numpy as np
import pytest
from PIL import Image

from lit_xai.reporting.plots.base import Plot, png, svg
from lit_xai.reporting.plots.gallery import gallery
from lit_xai.reporting.plots.style import INK, blank, styled, write
from tests.reporting.plots.conftest import ODD


@pytest.fixture(scope="module")
def plots(results):
    return [plot for plots in gallery(results).values() for plot in plots]


@pytest.fixture(scope="module")
def roots(plots):
    return [ElementTree.fromstring(svg(plot)) for plot in plots]


def one(text, name="one", alt="alt"):
    with styled():
        figure = blank(100)
        write(figure, 10, 50, text)
    return Plot(name, "title", alt, figure)


def texts(plot):
    return [element.text for element in ElementTree.fromstring(svg(plot)).iter("text")]


def test_an_element_without_anything_that_concerns_the_page(plots):
    for plot in plots:
        text = svg(plot)
        assert text.startswith("<svg viewBox=")
        assert not re.search(
            r"<\?xml|<!DOCTYPE|<style|<metadata|font-family|xmlns|matplotlib|NaN|\bnan\b", text
        )


def test_it_is_as_wide_as_its_place(roots):
    for root in roots:
        assert root.get("width") == "100%"
        assert root.get("height") is None
        assert root.get("viewBox").startswith("0 0 400 ")


def test_it_is_an_image_with_a_title_and_a_description(plots, roots):
    for plot, root in zip(plots, roots, strict=True):
        assert root.get("role") == "img"
        labels = {element.get("id"): element.text for element in root[:2]}
        assert [labels[label] for label in root.get("aria-labelledby").split()] == [plot.title, plot.alt]


def test_ids_are_unique_over_the_page_and_every_reference_has_its_own(plots, roots):
    seen = []
    for plot, root in zip(plots, roots, strict=True):
        ids = [element.get("id") for element in root.iter() if element.get("id")]
        assert all(name.startswith(f"{plot.name}-") for name in ids)
        referred = re.findall(r'(?:url\(|href=")#([^)"]+)', svg(plot))
        assert set(referred) <= set(ids)
        seen += ids
    assert len(seen) == len(set(seen))
    assert len({plot.name for plot in plots}) == len(plots)


def test_text_and_axes_have_the_colour_of_the_page(roots):
    for root in roots:
        styles = " ".join(element.get("style", "") for element in root.iter())
        assert INK not in styles
        assert "stroke:currentColor" in styles or "fill:currentColor" in styles
        # White and black stand on tiles only.
        others = {element.get("style") for element in root.iter("text")} - {None}
        assert all(re.search(r"fill:(currentColor|#ffffff|#010101)", style) for style in others)


def test_nothing_lies_behind_the_plot(roots):
    for root in roots:
        width, height = root.get("viewBox").split()[2:]
        assert not [path for path in root.iter("path") if f"L {width} {height}" in path.get("d", "")]


def test_equal_plots_are_equal_texts(results):
    first, second = ([svg(plot) for plots in gallery(results).values() for plot in plots] for _ in range(2))
    assert first == second


def test_a_second_image_of_a_figure_is_the_same_also_after_a_bitmap():
    plot = one("text")
    before = svg(plot)
    assert png(plot, 300) == png(plot, 300)
    assert svg(plot) == before


@pytest.mark.parametrize("name", [name for name in ODD if name and "\n" not in name])
def test_a_text_is_shown_as_it_is(name):
    assert texts(one(name)) == [name]
    # The parser of a page sees no other element.
    assert "<script" not in svg(one(name, alt=name))


def test_odd_names_stand_in_the_plots_of_an_evaluation(odd):
    plots = gallery(odd)
    assert {name for name in ODD if name and "\n" not in name} <= set(texts(plots["Epochs"][0]))
    assert {"two lines", "(no name)"} <= set(texts(plots["Epochs"][0]))


def test_no_warning_for_characters_without_a_glyph():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert texts(one("模型 🙂")) == ["模型 🙂"]
        png(one("模型"), 100)


def test_settings_stay(plots):
    before = dict(matplotlib.rcParams)
    svg(plots[0])
    png(plots[0], 100)
    assert dict(matplotlib.rcParams) == before


@pytest.mark.parametrize("width", [100, 333, 1280])
def test_a_bitmap_is_dark_on_white_and_exactly_as_wide_as_asked(width):
    image = Image.open(io.BytesIO(png(one("text"), width)))
    assert image.size[0] == width
    pixels = np.asarray(image.convert("RGB"))
    assert (pixels[0] == 255).all()
    assert pixels.min() < 100
    assert image.info.get("Software") is None


def test_places_are_written_with_two_decimals(plots):
    assert not re.search(r"\d\.\d{3,}", " ".join(re.findall(r' (?:d|x|y)="([^"]*)"', svg(plots[0]))))
