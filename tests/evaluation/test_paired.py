import numpy as np
import pandas as pd
import pytest
from scipy import stats

from lit_xai.evaluation.paired import main, paired_tables

METHODS = ("saliency", "constant_map", "random_map")


def samples(methods=METHODS, number=30):
    generator = np.random.default_rng(0)
    base = generator.normal(size=number)
    frames = []
    for place, method in enumerate(methods):
        for metric in ("excluded", "insertion", "deletion"):
            value = base + 0.1 * place + 0.01 * generator.normal(size=number)
            frames.append(pd.DataFrame({"sample_id": np.arange(number), "value": value}))
            frames[-1] = frames[-1].assign(
                checkpoint="natural", attribution=method, attack="unattacked", metric=metric
            )
    return pd.concat(frames, ignore_index=True)


def cells(line):
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_differences_are_paired_and_intervals_simultaneous():
    table = samples()
    lines = paired_tables(table).splitlines()
    assert [line for line in lines if "|" not in line and line] == ["insertion", "deletion"]
    scores = table[table.metric == "insertion"].pivot(
        index="sample_id", columns="attribution", values="value"
    )
    difference = scores["saliency"] - scores["random_map"]
    # One method, two controls, two metrics: four intervals.
    half = stats.t.ppf(1 - 0.05 / 8, 29) * difference.std() / 30**0.5
    mean = difference.mean()
    row = next(cells(line) for line in lines if line.startswith("| saliency"))
    assert row[3] == f"{mean:+.3f} [{mean - half:+.3f}, {mean + half:+.3f}]"
    assert row[1] == f"{scores['saliency'].mean():.3f}"
    assert row[4] == "30"
    assert half < 0.02 < scores["saliency"].std()


def test_the_best_mean_comes_first_and_controls_have_no_interval():
    lines = paired_tables(samples()).splitlines()
    rows = [cells(line) for line in lines if line.startswith("| ") and "---" not in line][1:4]
    assert [row[0] for row in rows] == ["random_map", "constant_map", "saliency"]
    assert rows[0][2:4] == ["", ""]


def test_an_undefined_score_leaves_its_pair_out():
    table = samples()
    table.loc[(table.attribution == "saliency") & (table.sample_id == 3), "value"] = float("nan")
    row = next(cells(line) for line in paired_tables(table).splitlines() if line.startswith("| saliency"))
    assert row[4] == "29"
    assert "nan" not in row[3]


def test_a_missing_control_is_refused():
    with pytest.raises(ValueError, match=r"Expected constant_map and random_map .* but got no random_map\."):
        paired_tables(samples(("saliency", "constant_map")))


@pytest.mark.parametrize("column", ["checkpoint", "attack"])
def test_several_checkpoints_or_attacks_are_refused(column):
    table = pd.concat([samples(), samples().assign(**{column: "another"})])
    with pytest.raises(ValueError, match=f"Expected one {column}, but got another, "):
        paired_tables(table)


def test_main_renders_between_the_markers(tmp_path):
    folder = tmp_path / "faith"
    folder.mkdir()
    samples().to_parquet(folder / "samples.parquet")
    document = tmp_path / "page.md"
    document.write_text("before\n<!-- results: faith -->\n<!-- end of results -->\nafter\n")
    main(str(folder / "samples.parquet"), str(document))
    assert paired_tables(samples()) in document.read_text()
    assert document.read_text().startswith("before\n")
