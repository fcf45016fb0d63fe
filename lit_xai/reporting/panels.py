"""The worst and best samples, as a page shows them."""

import base64
from typing import NamedTuple

from lit_xai.reporting.plots.samples import Example, example_panels
from lit_xai.reporting.plots.words import in_words
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
    """The samples of one network and attribution, under its strongest attack."""

    title: str
    samples: list[Sample]
    is_open: bool


def groups(results: Results) -> list[Group]:
    """Return all examples, those on the first attribution open.

    Args:
        results: What was measured.
    """
    labels = attack_labels(results)
    found: dict[tuple[str, str, str], list[Sample]] = {}
    examples = sorted(example_panels(results), key=lambda one: results.attributions.index(one.attribution))
    for example in examples:
        key = (example.checkpoint, example.attribution, example.attack)
        found.setdefault(key, []).append(_sample(example, labels))
    return [
        Group(
            f"{checkpoint}: {in_words(attribution)} under {labels[attack]}",
            samples,
            is_open=attribution == results.attributions[0],
        )
        for (checkpoint, attribution, attack), samples in found.items()
    ]


def _sample(example: Example, labels: dict[str, str]) -> Sample:
    sample = f"sample {example.sample_id}"
    attack, attribution = labels[example.attack], in_words(example.attribution)
    panels = [
        _panel(example.image, f"Image of {sample}", "image"),
        _panel(example.map, f"Map of {attribution} on {sample}", "its map"),
        _panel(example.image_adv, f"Image of {sample} under {attack}", "attacked"),
        _panel(example.map_adv, f"Map of {attribution} on {sample} under {attack}", "its map"),
    ]
    kept = "prediction kept" if example.kept else "prediction changed"
    rank = f"{example.extreme.capitalize()} {example.place}"
    return Sample(
        f"{rank}: {in_words(example.metric)} {number(example.value, 3)}",
        panels,
        f"{sample.capitalize()}: class {example.label}, predicted {example.target}; {kept}.",
    )


def _panel(source: str, alt: str, caption: str) -> Panel:
    head = base64.b64decode(source.partition(",")[2][:32])[_SIZE]
    width, height = int.from_bytes(head[:4], "big"), int.from_bytes(head[4:], "big")
    return Panel(source, width, height, alt, caption)
