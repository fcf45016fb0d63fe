"""The report of an evaluation, made from its result files."""

import os
import tempfile
from pathlib import Path
from typing import Any

import pandas as pd

from lit_xai.reporting import provenance, sections
from lit_xai.reporting.comparisons import compare_checkpoints, compare_regimes
from lit_xai.reporting.findings import caution, findings, regime_seeds
from lit_xai.reporting.latex import document
from lit_xai.reporting.page import render
from lit_xai.reporting.plots.words import in_words
from lit_xai.reporting.reading import Results, read

_COUNTS = ("n", "only_first", "only_second", "first_seeds", "second_seeds")


def write_report(directory: Path) -> Path:
    """Write `report.html`, `results.tex` and `comparisons.csv` beside the result files.

    Equal result files give equal bytes. Nothing is written if anything fails before the last file is ready.

    Args:
        directory: What `evaluate.py` wrote.

    Returns:
        The page.

    Raises:
        FileNotFoundError: If the directory or a file is missing.
        ValueError: If a file is damaged.
    """
    results = read(directory)
    checkpoints, regimes = compare_checkpoints(results), compare_regimes(results)
    both = [checkpoints.assign(unit="sample"), regimes.assign(unit="seed")]
    texts = {
        "comparisons.csv": _joined(both).to_csv(index=False, lineterminator="\n"),
        "results.tex": document(results),
        "report.html": render("report.html.j2", **_context(results, checkpoints, regimes)),
    }
    for name, text in texts.items():
        _replace(directory / name, text)
    return directory / "report.html"


def _joined(frames: list[pd.DataFrame]) -> pd.DataFrame:
    columns = list(dict.fromkeys(["unit", *(column for frame in frames for column in frame)]))
    filled = [frame for frame in frames if len(frame)]
    joined = (pd.concat(filled, ignore_index=True) if filled else pd.DataFrame()).reindex(columns=columns)
    # Counts stay whole where other rows have none.
    return joined.astype({name: "Int64" for name in columns if name in _COUNTS})


def _replace(path: Path, text: str) -> None:
    """Write a file whole or not at all."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            # Names from JSON may hold half a character, which no file can.
            file.write(text.encode("utf-8", errors="replace"))
        Path(temporary).chmod(0o666 & ~_mask())
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _mask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _context(results: Results, checkpoints: pd.DataFrame, regimes: pd.DataFrame) -> dict[str, Any]:
    parts = sections.parts(results, checkpoints, regimes)
    ends = [("measured", "How it was measured"), ("words", "Words")]
    return {
        "lede": _lede(results),
        "findings": findings(results, checkpoints),
        "caution": caution(results),
        "parts": parts,
        "sections": [("short", "In short"), *((part.anchor, part.title) for part in parts), *ends],
        "facts": provenance.facts(results.card),
        "networks": provenance.checkpoints(results),
        "attacks": provenance.attacks(results),
        "settings": provenance.settings(results.card),
        "claims": provenance.claims(results),
        "glossary": sections.glossary(results),
    }


def _lede(results: Results) -> str:
    card = results.card
    names = {
        "network": results.checkpoints,
        "attribution": results.attributions,
        "attack": [name for name in results.attacks if name != "unattacked"],
    }
    counted = [f"{len(found)} {word}{'' if len(found) == 1 else 's'}" for word, found in names.items()]
    data = str((card.get("data") or {}).get("class_path") or "").rpartition(".")[2]
    samples = card.get("samples") or {}
    of_data = f" of {data}" if data else ""
    on = f" on {samples['count']:,} {samples['split']} images{of_data}" if "count" in samples else ""
    regimes = len(regime_seeds(results))
    trained = f" ({regimes} regimes)" if regimes != len(results.checkpoints) else ""
    return f"{counted[0]}{trained}, {counted[1]}, {counted[2]}{on}, judged by {in_words(results.headline)}."
