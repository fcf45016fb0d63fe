import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

from lit_xai.shipped import CONFIGS, evaluation_file, shipped, shipped_beside, similar_file, with_shipped


def test_a_file_that_is_not_here_is_the_packages(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    name = "configs/evaluate/quick.yaml"
    inside = str(CONFIGS / "evaluate" / "quick.yaml")
    given = ["-c", name, f"--grid={name}", "configs/none.yaml"]
    assert with_shipped(given) == ["-c", inside, f"--grid={inside}", "configs/none.yaml"]
    (tmp_path / "configs" / "evaluate").mkdir(parents=True)
    (tmp_path / name).touch()
    assert with_shipped(["-c", name]) == ["-c", name]


def test_every_folder_of_modules_is_a_package():
    listed = tomllib.loads((CONFIGS.parent / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    modules = [path.relative_to(CONFIGS.parent) for path in (CONFIGS.parent / "lit_xai").rglob("*.py")]
    assert sorted(listed) == sorted({".".join(path.parts[:-1]) for path in modules} | {"lit_xai.configs"})


# Of a copy: what an earlier build left in the checkout is no part of this one.
@pytest.mark.slow
def test_a_built_package_holds_every_module_and_every_configuration(tmp_path):
    source = tmp_path / "source"
    for name in ("lit_xai", "configs"):
        shutil.copytree(
            CONFIGS.parent / name, source / name, ignore=shutil.ignore_patterns("__pycache__", "*.pyc")
        )
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(CONFIGS.parent / name, source)
    sources = [str(path.relative_to(source)) for path in source.rglob("*") if path.is_file()]
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*build, "--wheel-dir", str(tmp_path), str(source)], check=True)
    with zipfile.ZipFile(next(tmp_path.glob("*.whl"))) as wheel:
        inside = {name for name in wheel.namelist() if ".dist-info/" not in name}
        wheel.extractall(tmp_path / "installed")
    modules = {name for name in sources if name.startswith("lit_xai/")}
    configurations = {f"lit_xai/{name}" for name in sources if name.startswith("configs/")}
    assert len(configurations) > 100
    assert inside == modules | configurations
    code = "from lit_xai.shipped import with_shipped\nprint(*with_shipped(['configs/evaluate/quick.yaml']))"
    environment = os.environ | {"PYTHONPATH": str(tmp_path / "installed")}
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=environment,
        check=True,
        capture_output=True,
        text=True,
    )
    assert done.stdout.strip() == str(tmp_path / "installed/lit_xai/configs/evaluate/quick.yaml")


def test_a_similar_file_is_found(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yaml").touch()
    assert str(similar_file(tmp_path / "mien.yaml")) == str(tmp_path / "mine.yaml")
    assert similar_file(tmp_path / "zzzz.yaml") is None
    # Of the same kind only.
    assert similar_file(tmp_path / "mien.json") is None
    # The package's own, where there is no such folder.
    assert similar_file(Path("configs/evaluate/quikc.yaml")) == Path("configs/evaluate/quick.yaml")


@pytest.mark.parametrize(("folder", "first"), [("evaluate", "quick"), ("experiments", "embedded_natural")])
def test_every_file_is_named_the_one_for_beginners_first(folder, first):
    words = shipped(folder)
    assert words.startswith(f"Take configs/{folder}/{first}.yaml, or beside it: ")
    named = re.findall(r"(?<=[ ,])(\w+\*?)(?: \((\d+)\))?(?=[,.])", words.partition(": ")[2])
    left = {path.stem for path in (CONFIGS / folder).glob("*.yaml")} - {first}
    for name, count in [(words.partition(": ")[2].partition(",")[0], ""), *named]:
        begin = name.partition(" ")[0]
        own = {
            each for each in left if each == begin or (begin.endswith("*") and each.startswith(begin[:-1]))
        }
        assert not count or len(own) == int(count)
        left -= own
    assert not left
    assert len(words) < 300


def test_what_is_few_is_named_whole():
    assert ", standard," in shipped("evaluate")
    assert ", color," in shipped("evaluate")
    assert ", image_folder_ig_norm, image_folder_natural," in shipped("experiments")


def test_files_that_begin_alike_are_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("lit_xai.shipped.CONFIGS", tmp_path / "inside")
    (tmp_path / "inside" / "own").mkdir(parents=True)
    for name in ("b_c_at", "b_c_attack", "b_c_x", "d", "d_e", "d_f", "g_h", "g_i"):
        (tmp_path / "inside" / "own" / f"{name}.yaml").touch()
    words = "In configs/own are: b_c_* (3), d* (3), g_h, g_i."
    assert shipped("own") == f"{words} They lie in {tmp_path / 'inside' / 'own'}."
    (tmp_path / "configs" / "own").mkdir(parents=True)
    assert shipped("own") == words
    assert shipped_beside(Path("configs/own/z.yaml")) == words
    assert shipped_beside(Path("configs/other/z.yaml")) is None
    assert shipped_beside(Path("own/z.yaml")) is None


def test_colour_has_an_evaluation_of_its_own():
    assert evaluation_file(color=True) == "configs/evaluate/color.yaml"
    assert evaluation_file(color=False) == "configs/evaluate/quick.yaml"
