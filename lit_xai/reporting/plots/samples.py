"""The samples whose explanations an attack changed most and least, as images."""

import base64
import io
from typing import Any, NamedTuple

import matplotlib
import numpy as np
import pandas as pd
from PIL import Image

from lit_xai.reporting.reading import Results

_PALETTE = (np.asarray(matplotlib.colormaps["inferno"](np.arange(256)))[:, :3] * 255).round().astype(np.uint8)
_TINY = 1e-12


class Example(NamedTuple):
    """A sample before and after an attack; images and maps are PNG data URIs."""

    checkpoint: str
    attribution: str
    attack: str
    metric: str
    extreme: str
    place: int
    sample_id: int
    value: float
    label: int
    target: int
    kept: bool
    image: str
    map: str
    image_adv: str
    map_adv: str


def example_panels(results: Results, limit: int = 3) -> list[Example]:
    """Return examples of the strongest attack on each checkpoint and explanation, the worst ones first.

    Both maps of a sample share one scale of colour from 0.

    Args:
        results: Of an evaluation; without stored examples there are none.
        limit: How many of the worst, and of the best, at most.

    Raises:
        ValueError: If the bytes of an image or map do not have its size.
    """
    rows = results.examples
    found: list[Example] = []
    for checkpoint in results.checkpoints:
        for attribution in results.attributions:
            attack = results.strongest(checkpoint, attribution)
            cell = (rows["checkpoint"] == checkpoint) & (rows["attribution"] == attribution)
            own = rows[cell & (rows["attack"] == attack) & (rows["place"] <= limit)]
            own = own.sort_values("place", kind="stable")
            for extreme in ("worst", "best"):
                found += [_example(row) for row in _records(own[own["extreme"] == extreme])]
    return found


def _records(rows: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(key): value for key, value in row.items()} for row in rows.to_dict("records")]


def _example(row: dict[str, Any]) -> Example:
    size = (int(row["height"]), int(row["width"]))
    before, after = (_bytes(row, key, np.float32, size) for key in ("map", "map_adv"))
    # Non-finite values are drawn as nothing.
    before, after = (np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0) for values in (before, after))
    top = max(float(before.max()), float(after.max()), _TINY)
    pixels = [_bytes(row, key, np.uint8, (*size, int(row["channels"]))) for key in ("image", "image_adv")]
    return Example(
        checkpoint=str(row["checkpoint"]),
        attribution=str(row["attribution"]),
        attack=str(row["attack"]),
        metric=str(row["metric"]),
        extreme=str(row["extreme"]),
        place=int(row["place"]),
        sample_id=int(row["sample_id"]),
        value=float(row["value"]),
        label=int(row["label"]),
        target=int(row["target"]),
        kept=bool(row["kept"]),
        image=_uri(_picture(pixels[0])),
        map=_uri(_heat(before / top)),
        image_adv=_uri(_picture(pixels[1])),
        map_adv=_uri(_heat(after / top)),
    )


def _bytes(row: dict[str, Any], key: str, kind: type, shape: tuple[int, ...]) -> Any:
    values: Any = np.frombuffer(row[key], dtype=kind)
    if values.size != np.prod(shape):
        raise ValueError(
            f"Expected `{key}` of shape {shape} in an example, but got {values.size} values. "
            "Write examples.parquet again."
        )
    return values.reshape(shape)


def _picture(pixels: Any) -> Image.Image:
    if pixels.shape[2] == 3:
        return Image.fromarray(pixels)
    return Image.fromarray(pixels.mean(axis=2).round().astype(np.uint8))


def _heat(shares: Any) -> Image.Image:
    picture = Image.fromarray((shares.clip(0, 1) * 255).round().astype(np.uint8))
    picture.putpalette(_PALETTE.tobytes())
    return picture


def _uri(picture: Image.Image) -> str:
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
