"""Every fragment names a method that exists, and builds it; every method has its fragment and its test."""

import inspect
from pathlib import Path

import pytest
import torch
import yaml
from jsonargparse import ArgumentParser
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import Logger
from torch import nn

from lit_xai.attacks.base import Attack
from lit_xai.attributions.base import Attribution
from lit_xai.data.base import ImageDataModule
from lit_xai.evaluation.grid import Grid
from lit_xai.metrics.base import SampleMetric
from lit_xai.models.small import SmallCNN
from lit_xai.regimes.base import Regime

ROOT = Path(__file__).parents[1]
KINDS = {
    "attributions": Attribution,
    "attacks": Attack,
    "metrics": SampleMetric,
    "regimes": Regime,
    "models": nn.Module,
    "data": ImageDataModule,
    "grids": Grid,
    "loggers": Logger,
    "callbacks": Callback,
}
FRAGMENTS = sorted(path for kind in KINDS for path in (ROOT / "configs" / kind).glob("*.yaml"))


def relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with the weights of a network before it was taught."""
    path = tmp_path_factory.mktemp("weights")
    torch.save(SmallCNN().state_dict(), path / "reference.ckpt")
    return path


@pytest.mark.parametrize("path", FRAGMENTS, ids=relative)
def test_a_fragment_builds_what_it_names(path, folder, monkeypatch):
    monkeypatch.chdir(folder)
    kind = KINDS[path.parent.name]
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(kind, "component")
    # The user's own pictures are the one option without a default.
    given = ["--component.data_dir=pictures"] if path.stem == "image_folder" else []
    built = parser.instantiate(parser.parse_args([f"--component={path}", *given])).component
    assert isinstance(built, kind)
    content = yaml.safe_load(path.read_text())
    assert f"{type(built).__module__}.{type(built).__name__}".endswith(
        content["class_path"].rsplit(".", 1)[-1]
    )
    for name, value in content.get("init_args", {}).items():
        if isinstance(value, int | float) and hasattr(built, name):
            assert getattr(built, name) == value


def test_every_kind_of_folder_is_known():
    folders = {path.name for path in (ROOT / "configs").iterdir()}
    assert folders == {*KINDS, "experiments", "evaluate", "sweeps"}


@pytest.mark.parametrize("kind", ["attributions", "attacks", "regimes", "metrics"])
def test_every_method_has_a_fragment(kind):
    classes = {
        f"{found.__module__}.{found.__name__}"
        for found in _subclasses(KINDS[kind])
        if found.__module__.startswith("lit_xai.")
        and not (inspect.isabstract(found) or found.__name__.startswith("_"))
    }
    named = {yaml.safe_load(path.read_text())["class_path"] for path in FRAGMENTS if path.parent.name == kind}
    assert named == classes


def _subclasses(kind: type) -> set[type]:
    for path in (ROOT / "lit_xai").rglob("*.py"):
        module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        if not module.endswith("__init__"):
            __import__(module)
    found = set(kind.__subclasses__())
    return found | {below for above in found for below in _below(above)}


def _below(kind: type) -> set[type]:
    return {kind, *(below for above in kind.__subclasses__() for below in _below(above))}


@pytest.mark.parametrize("path", sorted((ROOT / "lit_xai").rglob("*.py")), ids=relative)
def test_every_source_file_has_its_test_file(path):
    inside = path.relative_to(ROOT / "lit_xai")
    if path.name != "__init__.py":
        assert (ROOT / "tests" / inside.parent / f"test_{inside.name}").is_file()
