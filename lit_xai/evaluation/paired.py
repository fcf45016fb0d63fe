"""Explanations compared sample by sample: `python -m lit_xai.evaluation.paired samples.parquet DOCUMENT`."""

import sys
from pathlib import Path

import pandas as pd
from scipy import stats

from lit_xai.evaluation.table import insert, markdown

CONTROLS = ("constant_map", "random_map")


def paired_tables(samples: pd.DataFrame) -> str:
    """Render how far each explanation's mean lies from the controls', sample by sample, as Markdown.

    Args:
        samples: The columns of `samples.parquet`, of one checkpoint and one attack, with the explanations
            `constant_map` and `random_map` among them.

    Returns:
        A table for each metric. Rows are sorted by the mean, the highest first; an interval covers the mean
        of the paired differences (Student's t), all intervals of the page together with 95 % (Bonferroni).

    Raises:
        ValueError: If a control is missing, or there are several checkpoints or attacks.
    """
    samples = samples[samples["attribution"] != "none"]
    for column in ("checkpoint", "attack"):
        if samples[column].nunique() > 1:
            raise ValueError(f"Expected one {column}, but got {', '.join(sorted(set(samples[column])))}.")
    if missing := " and ".join(name for name in CONTROLS if name not in set(samples["attribution"])):
        raise ValueError(f"Expected {' and '.join(CONTROLS)} among the explanations, but got no {missing}.")
    metrics = [name for name in dict.fromkeys(samples["metric"]) if name not in ("excluded", "failed")]
    methods = samples["attribution"].nunique() - len(CONTROLS)
    level = 1 - 0.05 / (methods * len(CONTROLS) * len(metrics))
    return "\n\n".join(f"{metric}\n\n{_table(samples, metric, level)}" for metric in metrics)


def _table(samples: pd.DataFrame, metric: str, level: float) -> str:
    scores = samples[samples["metric"] == metric].pivot_table(
        index="sample_id", columns="attribution", values="value"
    )
    means = scores.mean().sort_values(ascending=False, kind="stable")
    rows = [
        [
            str(name),
            f"{means[name]:.3f}",
            *(
                "" if name in CONTROLS else _interval(scores[name] - scores[control], level)
                for control in CONTROLS
            ),
            str(scores[name].count()),
        ]
        for name in means.index
    ]
    return markdown(["explanation", "mean", *(f"minus {control}" for control in CONTROLS), "n"], rows)


def _interval(difference: pd.Series, level: float) -> str:
    values = difference.dropna()
    interval = stats.ttest_1samp(values, 0.0).confidence_interval(level)
    return f"{values.mean():+.3f} [{interval.low:+.3f}, {interval.high:+.3f}]"


def main(samples: str, document: str) -> None:
    """Render a file of single scores into a document, between the markers that name the file's folder."""
    path = Path(document)
    table = paired_tables(pd.read_parquet(samples))
    path.write_text(insert(path.read_text(), Path(samples).parent.name, table))


if __name__ == "__main__":
    main(*sys.argv[1:])
