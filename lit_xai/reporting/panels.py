"""The worst and best samples, as a page shows them."""

import base64
from typing import NamedTuple

from lit_xai.reporting.isolation import isolated
from lit_xai.reporting.plots.samples import Example, example_panels
from lit_xai.reporting.plots.words import in_words, metric_words
from lit_xai.reporting.reading import Results
from lit_xai.reporting.tables import attack_labels, number

_SMALL = 96
# Where a PNG file says how large it is.
_SIZE = slice(16, 24)


class Panel(NamedTuple):
    """An image: where it is, its size in pixels, what it shows and what stands below."""

    source: str
    width: int
    height: int
    alt: str
    caption: str

    @property
    def is_small(self) -> bool:
        """Whether its pixels are to be seen."""
        return max(self.width, self.height) <= _SMALL


class Sample(NamedTuple):
    """A sample: its score, its images, and what became of its prediction."""

    title: str
    panels: list[Panel]
    text: str


class Group(NamedTuple):
    """The samples of one network and attribution, under its strongest attack, by kind: worst, then best."""

    checkpoint: str
    attribution: str
    attack: str
    kinds: dict[str, list[Sample]]
    is_open: bool


def groups(results: Results) -> list[Group]:
    """Return all examples, those on the first attribution open.

    Args:
        results: What was measured.
    """
    labels = attack_labels(results)
    found: dict[tuple[str, str, str], dict[str, list[Sample]]] = {}
    examples = sorted(example_panels(results), key=lambda one: results.attributions.index(one.attribution))
    for example in examples:
        key = (example.checkpoint, example.attribution, example.attack)
        kinds = found.setdefault(key, {})
        kinds.setdefault(example.extreme, []).append(_sample(example, labels))
    return [
        Group(
            checkpoint,
            in_words(attribution),
            labels[attack],
            kinds,
            is_open=attribution == results.attributions[0],
        )
        for (checkpoint, attribution, attack), kinds in found.items()
    ]


def _sample(example: Example, labels: dict[str, str]) -> Sample:
    sample = f"sample {example.sample_id}"
    attack = labels[example.attack]
    attribution, metric = (
        isolated(words, [words]) for words in (in_words(example.attribution), metric_words(example.metric))
    )
    panels = [
        _panel(example.image, f"Image of {sample}", "image"),
        _panel(example.map, f"Map of {attribution} on {sample}", "map before"),
        _panel(example.image_adv, f"Image of {sample} under {attack}", "attacked"),
        _panel(example.map_adv, f"Map of {attribution} on {sample} under {attack}", "map after"),
    ]
    kept = "prediction kept" if example.kept else "prediction changed"
    rank = f"{example.extreme.capitalize()} {example.place}"
    return Sample(
        f"{rank}: {metric} {number(example.value, 3)}",
        panels,
        f"{sample.capitalize()}: class {example.label}, predicted {example.target}; {kept}.",
    )


def _panel(source: str, alt: str, caption: str) -> Panel:
    head = base64.b64decode(source.partition(",")[2][:32])[_SIZE]
    width, height = int.from_bytes(head[:4], "big"), int.from_bytes(head[4:], "big")
    return Panel(source, width, height, alt, caption)
