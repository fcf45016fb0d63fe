"""The samples that an attack changes most and least, to be looked at."""

import math
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from lit_xai.evaluation.gathering import of_all_processes
from lit_xai.metrics.maps import pixel_map
from lit_xai.types import AttackResult

_COLUMNS: dict[str, type] = {
    "metric": str,
    "extreme": str,
    "place": np.int64,
    "sample_id": np.int64,
    "value": np.float64,
    "label": np.int64,
    "target": np.int64,
    "kept": bool,
    "height": np.int64,
    "width": np.int64,
    "channels": np.int64,
    "image": object,
    "image_adv": object,
    "map": object,
    "map_adv": object,
}


class _Place(NamedTuple):
    """Where a sample stands: after the order of its fields."""

    failed: bool
    robustness: float
    sample_id: int


class Extremes:
    """The samples that an attack changes most and least, with their images and maps.

    Samples stand in one order, by robustness and where that is equal by `sample_id`; the worst are its
    beginning, the best its end. So the choice depends on no batch size, order or number of processes, and no
    sample stands at both ends: where there are too few, each end has half of them, the worst one more if
    their number is odd. Where an attack failed, the image is as it was or the map explains a lost prediction,
    which is no example of robustness: such samples stand at neither end, unless the attack failed on all.

    At most `2 * size` samples are held, on the CPU.

    Args:
        metric: Name of the metric.
        higher_is_better: Whether more is more robust; if None, as if it were.
        size: Samples at each end; 0 keeps nothing.

    Raises:
        ValueError: If `size` is negative.
    """

    def __init__(self, metric: str, higher_is_better: bool | None, size: int) -> None:  # noqa: FBT001
        if size < 0:
            raise ValueError(f"Expected `size` of at least 0, but got {size}.")
        self.metric = metric
        self.size = size
        self._sign = -1.0 if higher_is_better is False else 1.0
        self._held: dict[_Place, dict[str, Any]] = {}

    def add(self, result: AttackResult, scores: Tensor) -> None:
        """Consider N samples, none of them excluded.

        Args:
            result: Before and after the attack.
            scores: Of the metric, (N,); a sample whose score is NaN is left out.
        """
        values = scores.tolist()
        flags = zip(result.failed.tolist(), values, result.sample_id.tolist(), strict=True)
        places = [_Place(failed, self._sign * value, sample_id) for failed, value, sample_id in flags]
        rows = {place: row for row, place in enumerate(places) if not math.isnan(values[row])}
        chosen = _ends([*self._held, *rows], self.size)
        self._held = {
            place: _described(result, rows[place], values[rows[place]])
            if place in rows
            else self._held[place]
            for place in chosen
        }

    def frame(self) -> pd.DataFrame:
        """Return both ends, over all processes; every process must call it.

        Returns:
            A row for each sample, the worst first, then the best: `metric`, `extreme` (worst or best),
            `place` (from 1 within an end), `sample_id`, `value`, `label`, `target`, `kept`, and `height`,
            `width`, `channels` of `image` and `image_adv`, 8-bit pixels in the order (H, W, C) as bytes;
            `map` and `map_adv`, `pixel_map` as little-endian single precision in the order (H, W), as bytes.
        """
        samples = {place: sample for share in of_all_processes(self._held) for place, sample in share.items()}
        order = _ends(samples, self.size)
        half = (len(order) + 1) // 2
        rows = [
            {"metric": self.metric, "extreme": extreme, "place": number, **samples[place]}
            for extreme, places in (("worst", order[:half]), ("best", order[half:][::-1]))
            for number, place in enumerate(places, start=1)
        ]
        return pd.DataFrame(rows, columns=list(_COLUMNS)).astype(_COLUMNS)


def _ends(places: Iterable[_Place], size: int) -> list[_Place]:
    """Return at most `2 * size` places in their order, of failed attacks only if there is no other."""
    order = sorted(places)
    succeeded = [place for place in order if not place.failed]
    candidates = succeeded or order
    middle = range(size, max(size, len(candidates) - size))
    return [place for number, place in enumerate(candidates) if number not in middle]


def _described(result: AttackResult, row: int, value: float) -> dict[str, Any]:
    channels, height, width = result.image[row].shape
    return {
        "sample_id": int(result.sample_id[row]),
        "value": value,
        "label": int(result.label[row]),
        "target": int(result.target[row]),
        "kept": bool(result.kept[row]),
        "height": height,
        "width": width,
        "channels": channels,
        "image": _pixel_bytes(result.image[row]),
        "image_adv": _pixel_bytes(result.image_adv[row]),
        "map": _map_bytes(result.attribution[row]),
        "map_adv": _map_bytes(result.attribution_adv[row]),
    }


def _pixel_bytes(image: Tensor) -> bytes:
    pixels = (255 * image.detach().cpu().double()).round().to(torch.uint8)
    return pixels.permute(1, 2, 0).numpy().tobytes()


def _map_bytes(attribution: Tensor) -> bytes:
    return pixel_map(attribution[None]).squeeze(0).detach().cpu().numpy().astype("<f4").tobytes()
