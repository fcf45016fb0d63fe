"""The report of an evaluation, made from its result files."""

import os
import tempfile
from pathlib import Path
from typing import Any

import pandas as pd

from lit_xai.reporting import provenance, sections
from lit_xai.reporting.comparisons import compare_checkpoints, compare_regimes
from lit_xai.reporting.entries import CONTROLS, short_class
from lit_xai.reporting.findings import caution, findings, regime_seeds
from lit_xai.reporting.glossary import glossary
from lit_xai.reporting.isolation import isolated, turning_names, unbroken
from lit_xai.reporting.latex import document
from lit_xai.reporting.page import render
from lit_xai.reporting.phrases import Sentence
from lit_xai.reporting.plots.words import metric_words
from lit_xai.reporting.reading import Results, read
from lit_xai.reporting.tables import attacks

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
        "report.html": unbroken(render("report.html.j2", **_context(results, checkpoints, regimes))),
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
    parts, names = sections.parts(results, checkpoints, regimes), turning_names(results.card)
    ends = [("measured", "How it was measured"), ("glossary", "Glossary")]
    return {
        "lede": _lede(results),
        "findings": [_spoken(said, names) for said in findings(results, checkpoints, regimes)],
        "caution": _spoken(caution(results), names),
        "parts": parts,
        "open_plots": sections.OPEN_PLOTS,
        "sections": [("short", "In short"), *((part.anchor, part.title) for part in parts), *ends],
        "facts": provenance.facts(results.card),
        "networks": provenance.checkpoints(results),
        "attacks": provenance.attacks(results),
        "settings": provenance.settings(results.card),
        "claims": provenance.claims(results),
        "glossary": glossary(results),
    }


def _spoken(sentence: Sentence, names: list[str]) -> Sentence:
    """Return a sentence whose words hold no name that turns them."""
    return [part if part.is_name else part._replace(text=isolated(part.text, names)) for part in sentence]


def _lede(results: Results) -> str:
    card, samples = results.card, results.card.get("samples") or {}
    names = {"network": results.checkpoints, "attribution": results.attributions}
    counted = [_counted(len(found), word) for word, found in names.items()]
    data = str((card.get("data") or {}).get("class_path") or "").rpartition(".")[2]
    of_data = f" of {data}" if data else ""
    images = f"{samples.get('split') or ''} image".strip()
    on = f" on {_counted(samples['count'], images)}{of_data}" if "count" in samples else ""
    regimes = len(regime_seeds(results))
    trained = f" ({_counted(regimes, 'regime')})" if regimes != len(results.checkpoints) else ""
    metric = metric_words(results.headline)
    text = f"{counted[0]}{trained}, {counted[1]}, {_attacks(results)}{on}, judged by {metric}."
    return isolated(text, [*results.metrics, data])


def _attacks(results: Results) -> str:
    """Return how many attacks were made, at how many strengths, and how many controls."""
    entries = {name: results.card["attacks"][name] for name in attacks(results)}
    kinds: dict[bool, list[str]] = {True: [], False: []}
    for name, entry in entries.items():
        kinds[short_class(entry) in CONTROLS].append(str(entry.get("sweep") or name))
    families, points = len(set(kinds[False])), len(kinds[False])
    text = _counted(families, "attack") + (f" at {points:,} strengths" if points > families else "")
    controls = len(set(kinds[True]))
    return text + (f" and {_counted(controls, 'control')}" if controls else "")


def _counted(count: int, word: str) -> str:
    return f"{count:,} {word}{'' if count == 1 else 's'}"
