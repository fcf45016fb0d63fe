"""The study of eXIAA on ImageNet's images: its settings, and the tables and figures that are made from it."""

import itertools
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image

from lit_xai.attacks.exiaa import EXIAA
from lit_xai.attacks.gaussian import GaussianInjection, MatchedGaussian
from lit_xai.attributions.deep_lift import DeepLiftShap
from lit_xai.attributions.integrated_gradients import IntegratedGradients
from lit_xai.attributions.saliency import Saliency
from lit_xai.evaluation.cli import evaluated
from lit_xai.evaluation.options import evaluation_parser
from lit_xai.evaluation.sweep import expand
from scripts import exiaa_imagenet, imagenet

ROOT = Path(__file__).parents[1]
ALPHAS = (0.03, 0.06, 0.09, 0.12, 0.15)
SHARES = (0.01, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8)


def built(config):
    parser = evaluation_parser()
    return parser.instantiate(parser.parse_args(["-c", str(config)]))


def test_the_study_is_the_papers_sweep():
    found = built(ROOT / "configs/evaluate/exiaa_imagenet.yaml")
    attributions = [type(method) for method in found.grid.attributions.values()]
    assert attributions == [Saliency, IntegratedGradients, DeepLiftShap]
    attacks, families = expand(found.grid.attacks, found.sweeps)
    whole = {
        (family, *(getattr(attacks[name], "reference", attacks[name]),))
        for name, (family, _) in families.items()
    }
    settings = list(itertools.product(ALPHAS, SHARES, range(3)))
    expected = {("exiaa", EXIAA(alpha=a, k=k, rank=r)) for a, k, r in settings}
    expected |= {("gaussian_equal_l2", EXIAA(alpha=a, k=k, rank=r)) for a, k, r in settings}
    expected |= {
        ("exiaa_random_places", EXIAA(alpha=a, k=k, rank=r, features="random")) for a, k, r in settings
    }
    expected |= {("gaussian", GaussianInjection(alpha=a, k=k)) for a, k in itertools.product(ALPHAS, SHARES)}
    assert whole == expected
    assert len(attacks) == len(expected) + 2
    matched = attacks["gaussian_equal_l2_alpha_0_12_k_0_3_rank_2"]
    assert matched == MatchedGaussian(EXIAA(alpha=0.12, k=0.3, rank=2))
    assert {"change", "confidence_change", "ssim", "top_k", "prediction_kept", "linf_norm", "l2_norm"} <= set(
        found.grid.metrics
    )


def test_the_top_k_study_has_the_walk_of_its_own_radius():
    attacks = built(ROOT / "configs/evaluate/top_k_imagenet.yaml").grid.attacks
    attack, walk = attacks["top_k"], attacks["random_walk"]
    assert (walk.eps, walk.step_size, walk.steps) == (attack.eps, attack.step_size, attack.steps)
    assert walk.criterion == attack.own_criterion()
    assert attack.steps == 10


@pytest.mark.parametrize("name", imagenet.PARTS)
def test_a_part_builds_what_it_says(name, tmp_path):
    (tmp_path / "val").mkdir()
    part = imagenet.PARTS[name]
    config = tmp_path / "part.yaml"
    config.write_text(yaml.safe_dump(imagenet.configured(part, tmp_path, "tf_efficientnet_lite0")))
    found = built(config)
    assert list(found.grid.attributions) == [part.attribution]
    method = found.grid.attributions[part.attribution]
    assert {option: getattr(method, option) for option in part.options} == dict(part.options)
    assert found.data.data_dir == tmp_path.resolve()
    assert found.max_samples == part.samples
    attacks, _ = expand(found.grid.attacks, found.sweeps)
    cells = [attack for key, attack in attacks.items() if key.startswith("exiaa_alpha")]
    assert {(cell.alpha, cell.k) for cell in cells} == set(itertools.product(part.alphas, part.shares))
    assert {cell.rank for cell in cells} <= {0}
    assert set(part.attacks) <= set(attacks)


def test_the_page_is_written_once_all_parts_are_there(tmp_path, monkeypatch, capsys):
    written = []
    monkeypatch.setattr(imagenet, "collect", lambda *arguments: written.append("results"))
    monkeypatch.setattr("scripts.reproduce.render", lambda: written.append("page"))
    given = ["--data=none", "--weights=none", "--measured", f"--output={tmp_path}"]
    *first, last = imagenet.PARTS
    for name in first:
        (tmp_path / name).mkdir()
        (tmp_path / name / "card.json").touch()
    imagenet.main(imagenet.parser().parse_args([*given, "--parts", first[0]]))
    assert written == []
    assert capsys.readouterr().out == f"The page is as it was: {last} not measured yet.\n"
    (tmp_path / last).mkdir()
    (tmp_path / last / "card.json").touch()
    imagenet.main(imagenet.parser().parse_args([*given, "--parts", first[0]]))
    assert written == ["results", "page"]


@pytest.mark.parametrize("changed", ["network", "weights"])
def test_parts_of_different_networks_are_not_mixed(changed, tmp_path):
    *first, last = imagenet.PARTS
    for name in (*first, last):
        odd = changed if name == last else None
        network = {"weights_sha256": "2" if odd == "weights" else "1"}
        card = {"checkpoints": {"b" if odd == "network" else "a": network}}
        (tmp_path / name).mkdir()
        (tmp_path / name / "card.json").write_text(json.dumps(card))
    with pytest.raises(ValueError, match=rf"^Expected parts of one network, but got [ab] in \S*{last}, "):
        imagenet.collect(tmp_path)


@pytest.fixture(scope="module")
def evaluation(tmp_path_factory):
    """A tiny study of two donors on generated pictures: class 2 has one picture, so no second donor."""
    folder = tmp_path_factory.mktemp("study")
    generator = np.random.default_rng(0)
    for label, count in enumerate((4, 4, 1)):
        place = folder / "pictures" / "val" / f"class_{label}"
        place.mkdir(parents=True)
        for number in range(count):
            pixels = generator.integers(0, 256, (16, 16, 3), dtype=np.uint8)
            pixels[..., label] //= 2
            Image.fromarray(pixels).save(place / f"{number}.png")
    options = {"num_classes": 3, "units": 1, "width": 4}
    network = {"class_path": "lit_xai.models.small.PlainResNet", "init_args": options}
    (folder / "net.yaml").write_text(yaml.safe_dump({"model": network}))
    part = imagenet.Part("exiaa_imagenet", "saliency", 9, alphas=(0.03, 0.15), shares=(0.05, 0.6))
    options = imagenet.configured(part, folder / "pictures", "resnet18")
    options["data"]["init_args"].update(network=None, size=16, resize=16)
    options["grid"]["init_args"]["metrics"]["top_k"]["init_args"]["k"] = 50
    for name, sweep in options["sweeps"].items():
        if name != "gaussian":
            sweep["values"][next(key for key in sweep["values"] if key.endswith("rank"))] = [0, 1]
    (folder / "part.yaml").write_text(yaml.safe_dump(options))
    command = ["-c", str(folder / "part.yaml"), "--models", f"tiny={folder / 'net.yaml'}"]
    with pytest.warns(UserWarning, match="val serves as test"):
        directory = evaluated([*command, "--output", str(folder / "run")])
    return directory, exiaa_imagenet.write([directory], folder / "out")


def test_every_table_and_figure_is_a_file(evaluation):
    _, files = evaluation
    names = {path.name for path in files}
    figures = {
        f"figure_{name}{end}" for name in ("change", "ssim", "confidence_change") for end in (".png", ".svg")
    }
    assert names == {"counts.csv", "cells.csv", "tables.md", "table_saliency.csv", *figures}
    for path in files:
        if path.suffix == ".png":
            with Image.open(path) as picture:
                assert len(set(picture.convert("RGB").resize((60, 40)).get_flattened_data())) > 10


def by_hand(directory, family, alpha, k, metric):
    """Return the mean of a cell over images of their means over donors, written out."""
    card = json.loads((directory / "card.json").read_text())
    samples = pd.read_parquet(directory / "samples.parquet").astype({"metric": str})
    scores: dict[int, list[float]] = {}
    for name, entry in card["attacks"].items():
        values = {key.split(".")[-1]: value for key, value in entry["values"].items()}
        if entry["sweep"] != family or (values["alpha"], values["k"]) != (alpha, k):
            continue
        own = samples[(samples["attack"] == name) & (samples["attribution"] == "saliency")]
        excluded = set(own.loc[(own["metric"] == "excluded") & (own["value"] == 1), "sample_id"])
        for row in own[own["metric"] == metric].itertuples():
            if row.sample_id not in excluded:
                scores.setdefault(row.sample_id, []).append(row.value)
    return np.mean([np.mean(values) for values in scores.values()]), len(scores)


@pytest.mark.parametrize("family", exiaa_imagenet.KINDS)
def test_a_cell_is_the_mean_over_images_of_their_donors(evaluation, family):
    directory, _ = evaluation
    cells = exiaa_imagenet.means(exiaa_imagenet.read_samples([directory]))
    for alpha, k in itertools.product((0.03, 0.15), (0.05, 0.6)):
        cell = cells[(cells["kind"] == family) & (cells["alpha"] == alpha) & (cells["k"] == k)].iloc[0]
        for metric in ("change", "confidence_change", "ssim"):
            mean, count = by_hand(directory, family, alpha, k, metric)
            assert cell[metric] == pytest.approx(mean, rel=1e-9)
            assert cell["count"] == count


def test_the_table_has_the_papers_layout(evaluation):
    directory, files = evaluation
    table = pd.read_csv(next(path for path in files if path.name == "table_saliency.csv"))
    assert list(table.columns) == ["checkpoint", "alpha", "attack", "k=0.05", "k=0.6"]
    attacks = list(exiaa_imagenet.KINDS.values())
    assert list(zip(table["alpha"], table["attack"], strict=True)) == list(
        itertools.product((0.03, 0.15), attacks)
    )
    change, _ = by_hand(directory, "gaussian", 0.15, 0.6, "change")
    confidence, _ = by_hand(directory, "gaussian", 0.15, 0.6, "confidence_change")
    assert table.iloc[5]["k=0.6"] == f"{change:.1f} / {confidence:.2f}"
    text = next(path for path in files if path.name == "tables.md").read_text()
    assert f"{change:.1f} / {confidence:.2f}" in text


def test_images_without_a_donor_are_counted(evaluation):
    directory, files = evaluation
    counts = pd.read_csv(next(path for path in files if path.name == "counts.csv"))
    results = pd.read_csv(directory / "results.csv")
    for rank in (0, 1):
        own = counts[(counts["kind"] == "exiaa") & (counts["rank"] == rank) & (counts["alpha"] == 0.03)].iloc[
            0
        ]
        name = f"exiaa_alpha_0_03_k_{'0_05' if own['k'] == 0.05 else '0_6'}_rank_{rank}"
        row = results[(results["attack"] == name) & (results["metric"] == "change")].iloc[0]
        assert (own["attacked"], own["failed"], own["excluded"]) == (
            row["count"],
            row["failed"],
            row["excluded"],
        )
        assert own["attacked"] + own["excluded"] == 9


def test_a_directory_without_an_evaluation_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"^Expected the directory of a finished evaluation, but got"):
        exiaa_imagenet.read_samples([tmp_path])
