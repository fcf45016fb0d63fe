"""The report as a browser shows it: on a desk and on a phone, by day and by night, and printed."""

import json
import math

import pandas as pd
import pytest

from lit_xai.reporting.report import write_report
from tests.reporting.browser import CONTRAST, EXECUTABLE, SORTED, Browser
from tests.reporting.made_up import write_results

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(EXECUTABLE is None, reason="needs Chromium"),
]
HOSTILE = (
    "<script>alert(1)</script>", "\"'><img src=x onerror=alert(1)>", r"$\frac{a}$ 模型 a_b%#&", "long" * 40,
)  # fmt: skip
SEEDS = {HOSTILE[0]: ("</style><b>", 0), HOSTILE[1]: ("</style><b>", 1)}


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    directory = tmp_path_factory.mktemp("results")
    claim = {"attribution": "none", "attack": "unattacked", "metric": "accuracy", "claimed": 0.9}
    claims = ({**claim, "checkpoint": HOSTILE[0], "measured": 0.8, "stderr": 0.01, "count": 80},)
    write_results(directory, HOSTILE, groups=SEEDS, samples=8, claims=claims)
    card = json.loads((directory / "card.json").read_text())
    card["command"] = ["evaluate.py", "x" * 400, "<b>bold</b>"]
    (directory / "card.json").write_text(json.dumps(card))
    table = pd.read_csv(directory / "results.csv", keep_default_na=False)
    undefined = (table.metric == "ssim") & (table.attack == "unattacked")
    table.loc[undefined, ["value", "stderr", "low", "high"]] = math.nan
    table.to_csv(directory / "results.csv", index=False)
    return write_report(directory)


@pytest.fixture(scope="module")
def browser():
    with Browser() as found:
        yield found


@pytest.fixture(params=[1280, 360], ids=["desk", "phone"])
def width(request):
    return request.param


@pytest.fixture(params=["light", "dark"])
def opened(request, browser, report, width):
    """The browser with the report, at a width, by day or by night."""
    browser.media(scheme=request.param)
    browser.viewport(width)
    browser.open(report)
    return browser


def test_nothing_is_complained_of_and_nothing_asked_for(opened, report):
    assert opened.complaints == []
    assert opened.dialogs == []
    asked = [address for address in opened.requests if not address.startswith("data:")]
    assert asked == [report.resolve().as_uri()]


def test_the_page_does_not_scroll_sideways(opened, width):
    opened.evaluate("document.querySelectorAll('details').forEach((one) => (one.open = true))")
    opened.settle()
    assert opened.evaluate("innerWidth") == width
    wide, room = opened.evaluate(
        "[document.documentElement.scrollWidth, document.documentElement.clientWidth]"
    )
    assert wide <= room == width


def test_text_stands_out(opened):
    ratios = opened.evaluate(CONTRAST)
    assert set(ratios) >= {"H1", "H2", "P", "LI", "A", "TD", "TH", "BUTTON", "FIGCAPTION", "SUMMARY", "DD"}
    assert min(ratios.values()) >= 4.5, ratios


def test_every_image_is_there(opened):
    count, broken, silent = opened.evaluate("""(() => {
      const found = Array.from(document.images);
      return [found.length, found.filter((one) => !one.complete || !one.naturalWidth).length,
        found.filter((one) => !one.alt).length];
    })()""")
    assert (count, broken, silent) == (4 * 2 * 2 * 4, 0, 0)


def test_every_plot_has_a_name(opened):
    names = opened.evaluate("""Array.from(document.querySelectorAll("svg"), (one) =>
      one.getAttribute("role") === "img" &&
      one.getAttribute("aria-labelledby").split(" ")
        .map((id) => document.getElementById(id)?.textContent).join(" "))
    """)
    assert len(names) > 10
    assert all(isinstance(name, str) and len(name) > 20 and "undefined" not in name for name in names)


def test_every_column_of_every_table_sorts(opened):
    tables = opened.evaluate("document.querySelectorAll('table').length")
    broken, count = opened.evaluate(SORTED)
    assert broken == []
    assert tables >= 10
    assert count == 2 * opened.evaluate("document.querySelectorAll('thead th').length") > 100


def test_what_has_no_value_comes_last_both_ways(opened):
    for _ in range(2):
        texts = opened.evaluate("""(() => {
          const table = document.querySelector("table[aria-labelledby=means-table-1]");
          const heads = Array.from(table.tHead.rows[0].cells);
          const place = heads.findIndex((one) => one.textContent.trim() === "SSIM");
          heads[place].querySelector("button").click();
          return Array.from(table.tBodies[0].rows, (row) => row.cells[place].textContent.trim());
        })()""")
        assert texts[-4:] == ["–"] * 4
        assert "–" not in texts[:-4]


def test_buttons_fit_a_finger(opened):
    heights = opened.evaluate(
        "Array.from(document.querySelectorAll('button'), (one) => one.getBoundingClientRect().height)"
    )
    shown = [height for height in heights if height]
    assert len(shown) > 20
    assert min(shown) >= 44


def test_the_first_column_stays_while_a_table_scrolls(opened):
    left, moved = opened.evaluate("""(() => {
      const region = document.querySelector("[aria-labelledby=means-table-1].scroll");
      const left = () => region.querySelector("tbody th").getBoundingClientRect().left;
      const before = left();
      region.scrollLeft = 150;
      return [left() - before, region.scrollLeft];
    })()""")
    assert moved == 150
    assert left == pytest.approx(0, abs=1)


def test_hostile_names_are_seen_as_text(opened):
    rows = (
        "Array.from(document.querySelectorAll('[aria-labelledby=networks] tbody th'), (one) => one.innerText)"
    )
    assert opened.evaluate(rows) == list(HOSTILE)
    assert opened.evaluate("document.querySelectorAll('script').length") == 1
    assert opened.dialogs == []


def test_the_theme_can_be_turned(browser, report):
    browser.media(scheme="light")
    browser.viewport(1280)
    browser.open(report)
    ground = "getComputedStyle(document.body).backgroundColor"
    press = "document.querySelector('button.theme').click()"
    day = browser.evaluate(ground)
    browser.evaluate(press)
    night = browser.evaluate(ground)
    browser.media(scheme="dark")
    assert browser.evaluate(ground) == night != day
    browser.evaluate(press)
    assert browser.evaluate(ground) == day
    browser.evaluate("localStorage.clear()")


def test_print_is_light_whole_and_opened(browser, report):
    browser.media(scheme="dark")
    browser.viewport(800)
    browser.open(report)
    closed = browser.evaluate("document.querySelectorAll('details:not([open])').length")
    browser.media("print", scheme="dark")
    state = """[getComputedStyle(document.body).backgroundColor, getComputedStyle(document.body).color,
      document.querySelectorAll("details:not([open])").length,
      getComputedStyle(document.querySelector("nav")).display,
      getComputedStyle(document.querySelector(".scroll")).overflowX]"""
    assert browser.evaluate(state) == ["rgb(255, 255, 255)", "rgb(28, 33, 38)", 0, "none", "visible"]
    browser.media(scheme="dark")
    assert browser.evaluate("document.querySelectorAll('details:not([open])').length") == closed > 5


def test_without_scripts_everything_can_be_read(browser, report):
    browser.media(scheme="light")
    browser.viewport(1280)
    browser.open(report, scripts=False)
    rows, theme = browser.evaluate("""[document.querySelectorAll("tbody tr").length,
      getComputedStyle(document.querySelector("button.theme")).display]""")
    assert rows > 100
    assert theme == "none"
    assert browser.complaints == []


def test_printed_tables_are_not_cut(browser, report):
    browser.media("print")
    # The width of a sheet of A4 between its margins.
    browser.viewport(688)
    browser.open(report)
    right = browser.evaluate("""Array.from(document.querySelectorAll("table, svg, img, pre"), (one) =>
      [one.getBoundingClientRect().right, one.getAttribute("aria-labelledby")])""")
    assert len(right) > 100
    assert [name for edge, name in right if edge > 688 + 1] == []
