from pathlib import Path

import pytest

from lit_xai.evaluation.naming import named_checkpoints, named_models


def touch(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return path


@pytest.mark.parametrize(
    ("place", "name"),
    [
        ("runs/natural/3/checkpoints/last.ckpt", "natural/3"),
        ("runs/natural/3/checkpoints/best.ckpt", "natural/3/best"),
        ("runs/natural/3/checkpoints/epoch=2-step=120.ckpt", "natural/3/epoch=2-step=120"),
        ("weights/natural.ckpt", "natural"),
        ("weights/last.ckpt", "last"),
        ("weights/natural.v2.ckpt", "natural.v2"),
        ("weights/epoch=2.ckpt", "epoch=2"),
    ],
)
def test_a_file_is_named_after_its_place(tmp_path, place, name):
    path = touch(tmp_path / place)
    assert named_checkpoints([str(path)]) == {name: path}


def test_a_relative_file_is_named_after_its_place(tmp_path, monkeypatch):
    touch(tmp_path / "runs/natural/3/checkpoints/last.ckpt")
    monkeypatch.chdir(tmp_path / "runs/natural/3/checkpoints")
    assert named_checkpoints(["last.ckpt"]) == {"natural/3": Path("last.ckpt")}


def test_a_given_name_stands_before_any_other(tmp_path):
    paths = [touch(tmp_path / "runs/natural/1/checkpoints" / name) for name in ("last.ckpt", "step=9.ckpt")]
    found = named_checkpoints([f"b={paths[0]}", f"a={paths[1]}"])
    assert list(found.items()) == [("b", paths[0]), ("a", paths[1])]


def test_refuses_two_of_one_name(tmp_path):
    first, second = touch(tmp_path / "a/net.ckpt"), touch(tmp_path / "b/net.ckpt")
    with pytest.raises(
        ValueError, match=r"one checkpoint for each name, but got two for net\. Write name=path"
    ):
        named_checkpoints([str(first), str(second)])
    assert named_checkpoints([str(first), f"other={second}"]) == {"net": first, "other": second}


@pytest.mark.parametrize("text", ["gone.ckpt", "name=gone.ckpt"])
def test_refuses_a_file_that_does_not_exist(tmp_path, monkeypatch, text):
    monkeypatch.chdir(tmp_path)
    match = r"Expected a checkpoint file, but got gone\.ckpt, which does not exist"
    with pytest.raises(FileNotFoundError, match=match):
        named_checkpoints([text])


def test_refuses_a_directory(tmp_path):
    with pytest.raises(FileNotFoundError, match="which does not exist"):
        named_checkpoints([str(tmp_path)])


def test_a_description_is_named_after_its_stem_or_as_it_is_given(monkeypatch, tmp_path):
    first, second, odd = (touch(tmp_path / name) for name in ("a/net.yaml", "b/net.v2.yaml", "x=net.yaml"))
    assert named_models([str(first), str(second)]) == {"net": first, "net.v2": second}
    assert list(named_models([f"模型 <b>={second}", str(odd), f"a={first}"]).items()) == [
        ("模型 <b>", second),
        ("x=net", odd),
        ("a", first),
    ]
    with pytest.raises(
        ValueError, match=r"Expected one model for each name, but got two for net\. Write name"
    ):
        named_models([str(first), f"net={second}"])
    monkeypatch.chdir(tmp_path)
    assert named_models(["a/net.yaml"]) == {"net": Path("a/net.yaml")}
    for text in ("gone.yaml", "name=gone.yaml"):
        match = r"Expected a description of a network, but got gone\.yaml, which does not exist"
        with pytest.raises(FileNotFoundError, match=match):
            named_models([text])


@pytest.mark.parametrize("name", [named_checkpoints, named_models])
def test_refuses_an_empty_name(tmp_path, name):
    with pytest.raises(ValueError, match=r"Expected a name before the equals sign, but got =net\.ckpt"):
        name(["=net.ckpt"])
