import re
from pathlib import Path

import numpy as np
import pytest
import torch
from jsonargparse import ArgumentParser
from PIL import Image

from lit_xai.data.base import ImageDataModule
from lit_xai.data.cifar10 import CIFAR10
from lit_xai.data.fashion_mnist import FashionMNIST
from lit_xai.data.flowers102 import Flowers102
from lit_xai.data.gtsrb import GTSRB
from lit_xai.data.mnist import MNIST
from lit_xai.data.stored import (
    StoredData,
    check_numbers,
    classes_in_turn,
    first_directory_with,
    read_pictures,
)

SHARED = {
    "data_dir": Path("mine"),
    "download": True,
    "batch_size": 3,
    "eval_batch_size": 4,
    "max_train": 5,
    "max_val": 6,
    "max_test": 7,
    "num_workers": 1,
    "donor_split": "val",
    "seed": 8,
}
SETS = {
    FashionMNIST: {},
    MNIST: {},
    CIFAR10: {"augment": True},
    GTSRB: {"equalize": True, "per_class": 3},
    Flowers102: {"size": 9, "per_class": 2},
}
KINDS = pytest.mark.parametrize("kind", SETS, ids=lambda kind: kind.__name__)


def parser() -> ArgumentParser:
    found = ArgumentParser(exit_on_error=False)
    found.add_subclass_arguments(ImageDataModule, "data")
    return found


@KINDS
def test_every_option_is_kept_and_used(kind):
    data = kind(**SHARED, **SETS[kind])
    assert dict(data.hparams) == {**SHARED, **SETS[kind]}
    assert data.limits == {"train": 5, "val": 6, "test": 7}
    assert {name: getattr(data, name) for name in dict(data.hparams)} == dict(data.hparams)


@KINDS
def test_the_command_line_knows_every_option_and_rebuilds_the_data(kind):
    options = {**SHARED, **SETS[kind]}
    path = f"{kind.__module__}.{kind.__name__}"
    arguments = [f"--data.{name}={value}" for name, value in options.items()]
    data = parser().instantiate(parser().parse_args([f"--data={path}", *arguments])).data
    assert type(data) is kind
    assert dict(data.hparams) == options
    config = {"data": {"class_path": path, "init_args": dict(data.hparams)}}
    assert dict(parser().instantiate(parser().parse_object(config)).data.hparams) == options


@KINDS
def test_every_option_is_described(kind, capsys):
    with pytest.raises(SystemExit):
        parser().parse_args([f"--data.help={kind.__module__}.{kind.__name__}"])
    text = " ".join(capsys.readouterr().out.split())
    for name in {**SHARED, **SETS[kind]}:
        described = re.search(rf"--data\.{name} (?:\S+) ([A-Z].*?\. )\(type", text)
        assert described, name
    assert "Images of a training batch, over all processes." in text


@KINDS
def test_nothing_is_fetched_unless_asked_for(kind, monkeypatch):
    calls = []
    monkeypatch.setattr(kind, "fetch", lambda data: calls.append(data.root))
    kind().prepare_data()
    assert calls == []
    kind(download=True).prepare_data()
    assert calls == [Path("data")]


def test_defaults():
    batches = {FashionMNIST: 50, MNIST: 50, CIFAR10: 128, GTSRB: 64, Flowers102: 16}
    classes = {FashionMNIST: 10, MNIST: 10, CIFAR10: 10, GTSRB: 43, Flowers102: 102}
    for kind in SETS:
        assert kind().batch_size == batches[kind]
        assert kind().num_classes == classes[kind]
        assert kind().root == Path("data")
        assert kind(data_dir=Path("mine")).root == Path("mine")
        assert kind().donor_split == "train"
    assert issubclass(MNIST, StoredData)
    assert not CIFAR10().augment
    assert Flowers102().size == 128


@KINDS
@pytest.mark.parametrize("options", [{"batch_size": 0}, {"max_test": 0}, {"donor_split": "valid"}])
def test_refuses_options_out_of_range(kind, options):
    ((name, value),) = options.items()
    with pytest.raises(ValueError, match=rf"Expected `{name}` .*, but got {value}\."):
        kind(**options)


def test_classes_come_in_turn():
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 5, 200).tolist()
    order = classes_in_turn(labels)
    assert sorted(order) == list(range(200))
    smallest = min(np.bincount(labels))
    assert [labels[place] for place in order[: 5 * smallest]] == list(range(5)) * smallest
    for label in range(5):
        places = [place for place in order if labels[place] == label]
        assert places == sorted(places)
    assert classes_in_turn([]) == []


def test_pictures_are_read_as_colours(tmp_path):
    gray = np.arange(6, dtype=np.uint8).reshape(2, 3)
    colour = np.arange(18, dtype=np.uint8).reshape(2, 3, 3)
    for name, array in {"gray.png": gray, "colour.png": colour, "colour.ppm": colour}.items():
        Image.fromarray(array).save(tmp_path / name)
    found = read_pictures([tmp_path / name for name in ("gray.png", "colour.png", "colour.ppm")], lambda p: p)
    assert found.dtype == torch.uint8
    expected = [np.stack([gray] * 3), *[colour.transpose(2, 0, 1)] * 2]
    assert np.array_equal(found.numpy(), np.stack(expected))


@pytest.mark.parametrize("content", [b"", b"<html>", b"P6\n9 9\n255\n12", b"\x89PNG\r\n\x1a\n1234"])
def test_what_is_no_picture_is_refused_by_name(tmp_path, content):
    path = tmp_path / "a.ppm"
    path.write_bytes(content)
    with pytest.raises(
        ValueError, match=r"^Expected a picture, but got .*\. Fetch the data again\.$"
    ) as found:
        read_pictures([path], lambda picture: picture)
    assert str(path) in str(found.value)
    assert "\n" not in str(found.value)


def test_a_missing_picture_is_named(tmp_path):
    message = f"Expected a picture, but got {tmp_path / 'a.ppm'}, which does not exist. Fetch the data again."
    with pytest.raises(FileNotFoundError, match=re.escape(message)):
        read_pictures([tmp_path / "a.ppm"], lambda picture: picture)


def test_numbers_are_checked():
    check_numbers("labels", [1, 4], range(1, 5), Path("file"))
    with pytest.raises(ValueError, match=r"^Expected labels in file, but got none\. Fetch it again\.$"):
        check_numbers("labels", [], range(1, 5), Path("file"))
    for wrong in (5, 0):
        message = rf"^Expected labels in \[1, 4\] in file, but got {wrong}\. Fetch it again\.$"
        with pytest.raises(ValueError, match=message):
            check_numbers("labels", [1, wrong], range(1, 5), Path("file"))


@pytest.mark.parametrize("mode", ["RGBA", "CMYK", "LA"])
def test_a_picture_of_other_channels_is_refused_by_name(tmp_path, mode):
    path = tmp_path / "mine.tif"
    Image.new(mode, (4, 4)).save(path)
    with pytest.raises(
        ValueError, match=rf"^Expected a picture in RGB or gray, but got {mode} in {path}\. Conv"
    ):
        read_pictures([path], lambda picture: picture)


def test_what_is_to_be_fetched_is_not_read_ahead(tmp_path):
    data = FashionMNIST(data_dir=tmp_path, download=True)
    data.read_ahead("fit")
    with pytest.raises(FileNotFoundError):
        FashionMNIST(data_dir=tmp_path).read_ahead("fit")


def test_the_first_directory_that_holds_the_file_is_taken(tmp_path):
    empty, plain, zipped = (tmp_path / name for name in ("empty", "plain", "zipped"))
    for directory in (empty, plain, zipped):
        directory.mkdir()
    (plain / "images").touch()
    (zipped / "images.gz").touch()
    (empty / "images").mkdir()
    missing = tmp_path / "missing"
    assert first_directory_with("images", [missing, empty, plain, zipped], "") == plain
    assert first_directory_with("images", (path for path in [empty, zipped, plain]), "") == zipped
    with pytest.raises(FileNotFoundError) as found:
        first_directory_with("images", [missing, empty], "Fetch it.")
    assert str(found.value) == f"Expected images in {missing} or {empty}, but got no such file. Fetch it."
