"""The report as a browser shows it: on a desk and on a phone, by day and by night, and printed."""

import json
import math
import re

import pandas as pd
import pytest

from lit_xai.reporting.report import write_report
from tests.reporting import browser as browser_module
from tests.reporting.browser import CONTRAST, EXECUTABLE, SORTED, Browser
from tests.reporting.made_up import write_results

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(EXECUTABLE is None, reason="needs Chromium"),
]
HOSTILE = (
    "<script>alert(1)</script>", "\"'><img src=x onerror=alert(1)>", r"$\frac{a}$ 模型 a_b%#&", "long" * 40,
    "\u202eoverride", "\u05e9\u05dc\u05d5\u05dd",
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
    assert (count, broken, silent) == (len(HOSTILE) * 2 * 2 * 4, 0, 0)


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
        count = len(HOSTILE)
        assert texts[-count:] == ["–"] * count
        assert "–" not in texts[:-count]


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


# The text of an element as it is seen: its characters from left to right, line by line.
SEEN = """((element) => {
  const found = [];
  const walker = document.createTreeWalker(element, NodeFilter.SHOW_TEXT);
  const range = document.createRange();
  while (walker.nextNode()) {
    const node = walker.currentNode;
    for (let place = 0; place < node.length; place++) {
      range.setStart(node, place);
      range.setEnd(node, place + 1);
      const box = range.getBoundingClientRect();
      if (box.width) found.push([Math.round(box.bottom), box.left, node.data[place]]);
    }
  }
  const line = (one) => one[0];
  return found.sort((a, b) => Math.abs(line(a) - line(b)) > 4 ? line(a) - line(b) : a[1] - b[1])
    .map((one, place, all) => (place && line(one) - line(all[place - 1]) > 4 ? "\\n" : "") + one[2]).join("");
})"""


def test_names_from_right_to_left_turn_no_number(opened):
    everywhere = (
        "Array.from(document.querySelectorAll('SELECTOR')).filter((one) => one.checkVisibility()).map(SEEN)"
    )
    assert opened.evaluate(f"{SEEN}(document.querySelector('.masthead .kind'))") == "Robustness report"
    for selector in ("#short li", "summary", "figcaption", ".what", ".masthead p", ".number"):
        expression = everywhere.replace("SELECTOR", selector).replace("SEEN", SEEN)
        seen, written = opened.evaluate(f"""[{expression},
          Array.from(document.querySelectorAll('{selector}')).filter((one) => one.checkVisibility())
            .map((one) => one.textContent)]""")
        assert len(seen) == len(written) > 0
        for one, text in zip(seen, written, strict=True):
            numbers = sorted(re.findall(r"\d+\.?\d*", text))
            assert sorted(re.findall(r"\d+\.?\d*", one)) == numbers, (selector, one, text)


def test_the_difference_and_the_better_one_are_seen(opened, width):
    table, region = (
        "table[aria-labelledby=comparisons-table-1]",
        ".scroll[aria-labelledby=comparisons-table-1]",
    )
    place = f"""((title) => {{
      const heads = Array.from(document.querySelector("{table}").tHead.rows[0].cells);
      const found = heads.find((one) => one.querySelector("bdi").textContent === title);
      return found.getBoundingClientRect().toJSON();
    }})"""
    room = opened.evaluate(f"document.querySelector('{region}').getBoundingClientRect().toJSON()")
    if width == 1280:
        for title in ("difference", "better"):
            box = opened.evaluate(f"{place}('{title}')")
            assert room["left"] <= box["left"] < box["right"] <= room["right"]
        return
    first = opened.evaluate(f"{place}('attack')")
    assert first["width"] <= 0.4 * room["width"]
    for title in ("difference", "better"):
        box = opened.evaluate(f"""(() => {{
          const region = document.querySelector("{region}");
          region.scrollLeft = 0;
          region.scrollLeft = {place}("{title}").left - {first["right"]};
          return {place}("{title}");
        }})()""")
        assert first["right"] - 1 <= box["left"] < box["right"] <= room["right"] + 1


def test_sorting_is_told(opened):
    told = opened.evaluate("""(() => {
      const button = document.querySelector("table[aria-labelledby=networks] thead button");
      const region = document.querySelector("[role=status]");
      const texts = [region.textContent];
      for (let press = 0; press < 2; press++) {
        button.click();
        texts.push(region.textContent);
      }
      return texts;
    })()""")
    assert told == ["", "Sorted by checkpoint, ascending.", "Sorted by checkpoint, descending."]


def test_an_interval_stays_on_one_line(opened):
    heights = opened.evaluate("""Array.from(
      document.querySelectorAll("[aria-labelledby=means-table-1] td .note bdi"),
      (one) => one.textContent.startsWith("[") ? one.getClientRects().length : 1)""")
    assert len(heights) > 100
    assert set(heights) == {1}


def test_samples_of_one_kind_stand_together(opened):
    kinds = opened.evaluate("""Array.from(document.querySelectorAll(".group[open]"), (one) => [
      Array.from(one.querySelectorAll("h3"), (head) => head.textContent),
      Array.from(one.querySelectorAll(".examples"), (row) =>
        Array.from(row.querySelectorAll(".what"), (title) => title.textContent.split(" ")[0]))])""")
    assert kinds == [[["The least robust", "The most robust"], [["Worst"], ["Best"]]]] * len(HOSTILE)


def test_a_start_that_fails_is_tried_again(tmp_path, monkeypatch):
    tries, script = tmp_path / "tries", tmp_path / "browser"
    script.write_text(f'#!/bin/sh\necho >> {tries}\n[ $(wc -l < {tries}) -gt 2 ] && exec {EXECUTABLE} "$@"\n')
    script.chmod(0o755)
    monkeypatch.setattr(browser_module, "EXECUTABLE", str(script))
    with Browser() as found:
        assert found.evaluate("1 + 1") == 2
    assert len(tries.read_text()) == 3
    script.write_text("#!/bin/sh\n")
    with pytest.raises(OSError, match=r"ended|Broken pipe"), Browser():
        pass


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
