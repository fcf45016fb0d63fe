import hashlib
import json
import math
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import pandas as pd
import pytest
import torch
from lightning.fabric import Fabric

from lit_xai.attacks.exiaa import EXIAA
from lit_xai.attacks.unattacked import Unattacked
from lit_xai.data.embedded_fashion import EmbeddedFashion
from lit_xai.evaluation import card
from lit_xai.evaluation.cost import Passes
from lit_xai.evaluation.sweep import Sweep, expand
from tests.evaluation.small import SETTINGS, small_grid, small_plan

OPTIONS = {
    "attributions": {"saliency": {"class_path": "Saliency", "init_args": {"score": "logit"}}},
    "attacks": {
        "random_sign": {"class_path": "RandomSign", "init_args": {"eps": 0.1}},
        "top_k": {
            "init_args": {"eps": 0.1, "step_size": 0.03, "steps": 3, "recover": False, "criterion": None}
        },
    },
    "metrics": {"top_k": {"init_args": {"k": 10}}},
}


def test_versions_are_those_that_are_installed():
    found = card.versions()
    assert found["torch"] == version("torch")
    assert found["lit_xai"] == version("lit_xai")
    assert set(found) > {"python", "captum", "timm", "torchmetrics", "numpy"}


def test_data_are_described_with_what_they_hold():
    data = EmbeddedFashion(max_train=100, max_test=40)
    grid = small_grid().with_attacks({"exiaa": EXIAA()})
    found = card.described_data(data, card.checksums(data, grid))
    assert found["class_path"] == "lit_xai.data.embedded_fashion.EmbeddedFashion"
    assert found["init_args"]["max_test"] == 40
    assert found["sha256"] == {"test": data.checksum("test"), "donors": data.checksum("train")}
    other = card.checksums(EmbeddedFashion(max_train=100, max_test=40, donor_split="val"), grid)
    assert other["test"] == found["sha256"]["test"]
    assert other["donors"] != found["sha256"]["donors"]


def test_donors_that_nothing_looks_at_are_not_read(monkeypatch):
    data = EmbeddedFashion(max_test=40)
    read = []
    monkeypatch.setattr(data, "read", lambda split: read.append(split) or EmbeddedFashion().read(split))
    assert card.checksums(data, small_grid()) == {"test": EmbeddedFashion(max_test=40).checksum("test")}
    assert read == ["test"]


def test_attributions_and_metrics_are_described_with_all_their_options():
    grid = small_grid()
    found = card.described_attributions(grid, OPTIONS)
    assert found["saliency"] == {
        "class_path": "lit_xai.attributions.saliency.Saliency",
        "init_args": {"score": "logit"},
    }
    assert found["input_x_gradient"]["init_args"] == {}
    metrics = card.described_metrics(grid, OPTIONS)
    assert list(metrics) == ["top_k", "change"]
    assert metrics["top_k"]["init_args"] == {"k": 10}
    assert metrics["top_k"]["higher_is_better"] is True
    assert metrics["change"]["higher_is_better"] is False
    assert metrics["top_k"]["description"].endswith(".")


def test_versions_of_an_attack_say_what_they_are():
    grid = small_grid()
    sweep = Sweep({"eps": [0.05, 0.1]}, scaled=["step_size"])
    attacks, families = expand(grid.attacks, {"top_k": sweep})
    found = card.described_attacks(grid.with_attacks(attacks), OPTIONS, families)
    assert list(found) == ["random_sign", "top_k_eps_0_05", "top_k_eps_0_1"]
    assert found["random_sign"] == {
        "class_path": "lit_xai.attacks.random_sign.RandomSign",
        "init_args": {"eps": 0.1},
        "radius": 0.1,
        "needs_gradient": False,
        "sweep": None,
        "values": {},
    }
    swept = found["top_k_eps_0_05"]
    assert swept["init_args"] == {
        "eps": 0.05,
        "step_size": pytest.approx(0.015),
        "steps": 3,
        "recover": False,
        "criterion": None,
    }
    assert (swept["radius"], swept["sweep"], swept["values"]) == (0.05, "top_k", {"eps": 0.05})
    assert swept["needs_gradient"]


def test_a_file_that_an_option_names_is_known_by_its_content(tmp_path):
    path = tmp_path / "baseline.png"
    options = {"saliency": {"init_args": {"inner": [{"baseline": str(path)}], "score": "logit" * 1000}}}
    found = []
    for content in (b"one", b"two"):
        path.write_bytes(content)
        found.append(card.described_attributions(small_grid(), {"attributions": options})["saliency"])
    assert found[0]["init_args"] == found[1]["init_args"]
    assert found[0]["files"] == {str(path): hashlib.sha256(b"one").hexdigest()}
    assert found[1]["files"] == {str(path): hashlib.sha256(b"two").hexdigest()}


def test_a_radius_is_what_an_attack_promises():
    grid = small_grid().with_attacks({"unattacked": Unattacked(), "exiaa": EXIAA()})
    found = card.described_attacks(grid, {}, {})
    assert (found["unattacked"]["radius"], found["exiaa"]["radius"]) == (0.0, None)


def test_a_card_says_all_but_the_times():
    plan = small_plan()
    settings = replace(SETTINGS, data={"class_path": "Noisy", "init_args": {}, "sha256": {"test": "ab"}})
    cell = {"checkpoint": "natural", "attribution": "saliency", "attack": "top_k", "metric": "top_k"}
    table = pd.DataFrame([{**cell, "value": 0.4, "stderr": 0.01, "count": 6}])
    config = {"claims": {"natural": {"saliency/top_k/top_k": 0.41}}, "seed": 0}
    found = card.content(config, [plan], settings, table, Passes(forward=5, backward=3))
    assert json.loads(json.dumps(found)) == found
    assert found["format"] == 1
    assert (found["code"], found["device"]) == ("ef", {"type": "cpu", "processes": 1})
    assert found["samples"] == {"split": "test", "count": 12, "accuracy_count": 30, "batch_size": 5}
    assert found["seeds"] == {"grid": 0, "subset": 0}
    assert found["checkpoints"] == {"natural": plan.subject.card}
    assert found["passes"] == {"forward": 5, "backward": 3}
    claim = {**cell, "claimed": 0.41, "measured": 0.4, "stderr": 0.01, "count": 6}
    assert found["claims"] == [claim]
    assert not {"created", "command", "seconds"} & found.keys()
    undefined = card.content(config, [plan], settings, table.assign(value=math.nan), Passes())
    assert undefined["claims"][0]["measured"] is None


def test_a_device_is_described_with_what_it_can():
    found = card.described_device(Fabric(accelerator="cpu", devices=1))
    assert (found["type"], found["processes"]) == ("cpu", 1)
    assert found["name"].endswith(torch.backends.cpu.get_cpu_capability())


def test_what_is_not_plain_is_described_by_its_text():
    class Odd(EmbeddedFashion):
        def __init__(self) -> None:
            super().__init__(max_train=100, max_test=40)
            self.hparams.update({"paths": [Path("a"), (1.5, math.inf)], "kind": {"of": Path("b")}})

    found = card.described_data(Odd(), {})["init_args"]
    assert found["paths"] == ["a", [1.5, None]]
    assert found["kind"] == {"of": "b"}


def test_the_code_of_a_users_own_class_is_known_by_its_content(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    options = {"top_k": {"init_args": {"inner": {"class_path": "my_own_steps.Steps"}}}}
    found = []
    for text in ("class Steps: ...", "class Steps: pass"):
        (tmp_path / "my_own_steps.py").write_text(text)
        found.append(card.described_attacks(small_grid(), {"attacks": options}, {})["top_k"]["code"])
    assert [list(code) for code in found] == [["my_own_steps"]] * 2
    assert found[0] != found[1]
