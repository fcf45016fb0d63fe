"""The table of the top-k attack on ImageNet's images."""

import pandas as pd

from lit_xai.evaluation.table import markdown

COLUMNS = {
    "top_k": "top 1,000",
    "lens_recall": "3-LENS recall",
    "lens_precision": "3-LENS precision",
    "kendall": "Kendall",
    "center_shift": "centre shift",
    "confidence_change": "confidence change %",
}


def top_k_table(samples: pd.DataFrame, published: pd.DataFrame) -> str:
    """Render what the attack and its controls leave of the map, beside published means.

    Args:
        samples: A row for each attribution, attack (`kind`) and sample.
        published: Means by source, network, attribution and attack.
    """
    rows = []
    for attribution in dict.fromkeys(samples["attribution"]):
        whole = samples[(samples["attribution"] == attribution) & (samples["kind"] != "unattacked")]
        walk = whole[whole["kind"] == "random_walk"].set_index("sample_id")["top_k"]
        for kind in dict.fromkeys(whole["kind"]):
            own = whole[(whole["kind"] == kind) & (whole["excluded"] == 0)].set_index("sample_id")
            values = ["" if pd.isna(mean) else f"{mean:.3f}" for mean in own[list(COLUMNS)].mean()]
            if (own["failed"] == 1).any() and (own["failed"] == 0).any():
                values[0] += f" [{own.loc[own['failed'] == 0, 'top_k'].mean():.3f}]"
            below = f"{int((own['top_k'] < walk.reindex(own.index)).sum())} of {len(own)}"
            excluded = int((whole.loc[whole["kind"] == kind, "excluded"] == 1).sum())
            lost = int((own["prediction_kept"] == 0).sum())
            counts = [str(lost), str(int(own["failed"].sum())), str(excluded), str(len(own))]
            rows.append(
                [str(attribution), kind, "here", *values, "" if kind == "random_walk" else below, *counts]
            )
        for row in published[published["attribution"] == attribution].to_dict("records"):
            text = "about {:.2f}" if "by eye" in row["source"] else "{:g}"
            known = [
                "" if pd.isna(row.get(name)) else text.format(row[name]) for name in COLUMNS if name in row
            ]
            blank = [""] * (len(COLUMNS) - len(known) + 5)
            rows.append(
                [str(attribution), row["attack"], f"{row['source']}, {row['network']}", *known, *blank]
            )
    header = ["explanation", "attack", "source", *COLUMNS.values(), "below the walk"]
    return markdown([*header, "predictions lost", "failed", "excluded", "n"], rows)
