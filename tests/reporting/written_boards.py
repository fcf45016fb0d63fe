"""Result files of several evaluations that never ran, and what a leaderboard of them holds."""

import csv
import json
from html.parser import HTMLParser
from pathlib import Path

from tests.reporting.made_up import write_results

VOID = {"meta", "link", "br", "img", "wbr", "path", "circle"}


class Page(HTMLParser):
    """The rows of a page's boards, its links and its elements."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.words: list[str] = []
        self.text = path.read_text(encoding="utf-8")
        self.feed(self.text)
        self.close()
        self.links = [values["href"] for tag, values in self.tags if tag == "a"]

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)
        if {"td", "th"} & set(self.open):
            self.rows[-1][-1] += f" {data.strip()}" if data.strip() else ""


def edit(directory: Path, change) -> None:
    card = json.loads((directory / "card.json").read_text())
    change(card)
    (directory / "card.json").write_text(json.dumps(card))


def checksums(offset: int):
    def change(card):
        for place, facts in enumerate(card["checkpoints"].values()):
            facts["sha256"] = f"{offset + place:064x}"

    return change


def records(root: Path) -> list[dict[str, str]]:
    with (root / "leaderboard.csv").open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def write_several(root: Path) -> Path:
    """Write three evaluations, two of them on the same images; return the directory."""
    one = {"attributions": ("saliency",), "samples": 20}
    write_results(root / "b", ("natural", "pgd"), **one, groups={"pgd": ("robust", 7)})
    write_results(root / "a" / "deep", ("ig_norm", "trades", "triplet"), **one)
    edit(root / "a" / "deep", checksums(10))
    write_results(root / "large", ("natural",), attributions=("saliency",), samples=30)
    (root / "b" / "report.html").write_text("")
    for path in root.glob("**/*.parquet"):
        path.unlink()
    return root
