import csv

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from lit_xai.cli import evaluate_cli, train_cli

EXPERIMENT = "configs/experiments/image_folder_natural.yaml"


@pytest.fixture
def folder(tmp_path):
    """Three classes of twelve pictures of several sizes, told apart by their colour."""
    generator = np.random.default_rng(0)
    for label, name in enumerate(("blue", "green", "red")):
        (tmp_path / "pictures" / name).mkdir(parents=True)
        for number in range(12):
            pixels = generator.integers(0, 90, (*generator.integers(30, 50, 2), 3), dtype=np.uint8)
            pixels[..., 2 - label] += 160
            Image.fromarray(pixels).save(tmp_path / "pictures" / name / f"{number}.png")
    return tmp_path / "pictures"


def listed(path) -> dict[str, list[str]]:
    with path.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    return {
        split: [row["file"] for row in rows if row["split"] == split] for split in ("train", "val", "test")
    }


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*(donors of each class|does not have many workers).*")
def test_a_folder_of_pictures_trains_and_is_evaluated(folder, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("WANDB_MODE", "disabled")
    runs = tmp_path / "runs"
    small = ["--data.init_args.size=32", "--data.init_args.num_workers=1", "--data.init_args.batch_size=9"]
    small += ["--model.model.init_args.name=test_resnet"]
    train_cli(
        [
            *("fit", "--config", EXPERIMENT, f"--runs={runs}", f"--data.init_args.data_dir={folder}", *small),
            *("--trainer.max_epochs=1", "--trainer.logger=configs/loggers/csv.yaml"),
            "--trainer.enable_progress_bar=false",
        ]
    )
    run = runs / "image_folder_natural" / "1"
    files = listed(run / "splits.csv")
    everything = [file for split in files.values() for file in split]
    assert sorted(everything) == sorted(f"{path.parent.name}/{path.name}" for path in folder.glob("*/*.png"))
    assert min(len(split) for split in files.values()) >= 3
    curves = pd.read_csv(run / "csv" / "metrics.csv")
    key = "robustness/integrated_gradients/top_k/lens_precision"
    assert 0 < curves[key].dropna().item() <= 1
    # Those that validate and are classified correctly are attacked, the others counted.
    count = curves[f"{key}_count"].dropna().item()
    excluded = curves["robustness/integrated_gradients/top_k/excluded"].dropna().item()
    assert count + excluded == len(files["val"])
    assert count == pytest.approx(curves["val/accuracy"].dropna().item() * len(files["val"]))
    output = tmp_path / "evaluation"
    checkpoint = run / "checkpoints" / "last.ckpt"
    evaluate_cli(
        [
            *("-c", "configs/evaluate/quick.yaml", "--checkpoints", str(checkpoint), f"--output={output}"),
            "--max_samples=3",
        ]
    )
    # The data are those that the checkpoint names.
    again = listed(output / "splits.csv")
    assert again == {**files, "val": []}
    results = pd.read_csv(output / "results.csv")
    accuracy = results[(results.metric == "accuracy") & (results.attack == "unattacked")]
    assert accuracy["count"].item() == len(files["test"])
    # Without a file, positions mean other pictures: the run does not go on.
    (folder / files["train"][0]).unlink()
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        train_cli(["fit", "--resume", str(run), "--trainer.max_epochs=2"])
    assert ended.value.code == 2
    words = f"{run} was trained on, but got 1 missing and 0 new, such as {files['train'][0]}."
    assert words in capsys.readouterr().err
    assert listed(run / "splits.csv") == files
