import hashlib
import os
import re
import shutil
import sys
from pathlib import Path
from unittest import mock

import pytest
import torch
import yaml
from safetensors.torch import save_file
from torch import nn

from lit_xai.cli import train_cli
from lit_xai.data.embedded_fashion import EmbeddedFashion
from lit_xai.evaluation.subjects import (
    Subject,
    _weights_hash,
    check_network,
    from_checkpoint,
    from_model,
    independent,
)
from lit_xai.models.small import SmallCNN
from lit_xai.models.zoo import TimmClassifier, TorchvisionClassifier
from lit_xai.regimes.pgd import PGD

ROOT = Path(__file__).parents[2]
CARD = ["file", "sha256", "model", "parameters", "regime", "group", "seed", "epoch", "steps", "precision"]
SMALL = {"class_path": "lit_xai.models.small.SmallCNN", "init_args": {"width": 4}}


@pytest.fixture(scope="module")
def trained_run(tmp_path_factory):
    """Two epochs of two steps, through the command."""
    runs = tmp_path_factory.mktemp("runs")
    arguments = [
        "fit",
        f"--config={ROOT / 'configs/experiments/embedded_natural.yaml'}",
        f"--runs={runs}",
        "--seed_everything=5",
        "--model.model.width=4",
        "--model.noise_seed=7",
        "--model.adversary.steps=3",
        "--data.max_train=50",
        "--data.max_val=20",
        "--data.batch_size=25",
        "--trainer.max_epochs=2",
        f"--trainer.logger={ROOT / 'configs/loggers/csv.yaml'}",
        f"--trainer.callbacks={ROOT / 'configs/callbacks/checkpoint.yaml'}",
        "--trainer.accelerator=cpu",
        "--trainer.enable_progress_bar=false",
        "--trainer.enable_model_summary=false",
    ]
    with mock.patch.dict(os.environ):
        train_cli(arguments)
    return runs / "embedded_natural" / "1"


@pytest.fixture
def trained(trained_run, tmp_path):
    """Return the last checkpoint of a copy of the run."""
    shutil.copytree(trained_run, tmp_path / "run")
    return tmp_path / "run" / "checkpoints" / "last.ckpt"


@pytest.fixture
def changed(trained):
    """Return a copy of the checkpoint with a part of it edited."""

    def save(edit):
        content = torch.load(trained, weights_only=True)
        edit(content)
        torch.save(content, trained.with_name("changed.ckpt"))
        return trained.with_name("changed.ckpt")

    return save


@pytest.fixture
def described(tmp_path):
    """Return a function that writes a file which describes a network."""

    def write(content, place="network.yaml"):
        path = tmp_path / place
        path.parent.mkdir(exist_ok=True)
        path.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
        return path

    return write


def image(channels: int = 1, size: int = 28) -> torch.Tensor:
    return torch.rand(2, channels, size, size, generator=torch.Generator().manual_seed(0))


def test_a_checkpoint_is_its_network_and_what_is_known_of_it(trained):
    subject = from_checkpoint("natural", trained)
    state = torch.load(trained, weights_only=True)["state_dict"]
    assert subject.load().state_dict().keys() == {
        name.removeprefix("model.") for name in state if name.startswith("model.")
    }
    for name, value in subject.load().state_dict().items():
        assert torch.equal(value, state[f"model.{name}"])
    assert (subject.name, subject.noise_seed) == ("natural", 7)
    assert subject.adversary == PGD(eps=0.1, step_size=0.01, steps=3)
    digest = hashlib.sha256(trained.read_bytes()).hexdigest()
    assert subject.identity == {"sha256": digest}
    assert list(subject.card) == CARD
    group = subject.card.pop("group")
    assert subject.card == {
        "file": str(trained),
        "sha256": digest,
        "model": "lit_xai.models.small.SmallCNN",
        "parameters": sum(value.numel() for value in SmallCNN(width=4).parameters()),
        "regime": "natural",
        "seed": 5,
        "epoch": 2,
        "steps": 4,
        "precision": "32-true",
    }
    assert re.fullmatch(r"natural-[0-9a-f]{8}", group)


def test_a_checkpoint_brings_what_its_run_logged(trained):
    found = from_checkpoint("natural", trained).training
    assert list(zip(found.epoch, found.key, strict=True)) == [
        (epoch, f"val/{name}") for epoch in (1, 2) for name in ("accuracy", "pgd_accuracy")
    ]
    assert found.value.between(0, 1).all()


def test_the_file_is_called_what_the_user_called_it(trained, monkeypatch):
    monkeypatch.chdir(trained.parents[1])
    subject = from_checkpoint("natural", Path("checkpoints/last.ckpt"))
    assert subject.card["file"] == "checkpoints/last.ckpt"
    assert len(subject.training) == 4


def options(content, *names):
    """Return a part of a checkpoint's settings."""
    for name in names:
        content = content[name]
    return content


MODEL, DATA = "hyper_parameters", "datamodule_hyper_parameters"


@pytest.mark.parametrize(
    "edit",
    [
        lambda content: content[MODEL].update(noise_seed=8),
        lambda content: content[DATA].update(seed=9),
        lambda content: content.update(lit_xai_seed=3),
        lambda content: content["state_dict"]["model.head.2.bias"].add_(1),
        lambda content: content.update(optimizer_states=[]),
    ],
    ids=["noise_seed", "data_seed", "seed", "weights", "optimizer"],
)
def test_repetitions_have_one_group(trained, changed, edit):
    assert from_checkpoint("b", changed(edit)).card["group"] == from_checkpoint("a", trained).card["group"]


@pytest.mark.parametrize(
    "edit",
    [
        lambda content: options(content, MODEL, "optimizer", "init_args").update(lr=0.5),
        lambda content: options(content, MODEL, "adversary", "init_args").update(steps=4),
        lambda content: content[MODEL].update(warm_start="elsewhere/last.ckpt"),
        lambda content: content[MODEL].update(scheduler_interval="step", scheduler=_STEPS),
        lambda content: content[DATA].update(max_train=49),
        lambda content: content[DATA].update(donor_split="val"),
        lambda content: content[DATA].update(_class_path="lit_xai.data.mnist.MNIST"),
        lambda content: content.pop(DATA),
        lambda content: content.update(global_step=5),
        lambda content: options(content, "loops", "fit_loop", "epoch_progress", "current").update(
            started=3, processed=3
        ),
    ],
    ids=[
        "rate",
        "adversary",
        "warm_start",
        "schedule",
        "limit",
        "donors",
        "data",
        "no_data",
        "steps",
        "epoch",
    ],
)
def test_other_settings_are_another_group(trained, changed, edit):
    card = from_checkpoint("b", changed(edit)).card
    assert card["group"] != from_checkpoint("a", trained).card["group"]
    assert card["group"].startswith("natural-")


_STEPS = {"class_path": "torch.optim.lr_scheduler.StepLR", "init_args": {"step_size": 1}}


def with_pgd(**settings):
    regime = {"class_path": "lit_xai.regimes.pgd.PGD", "init_args": settings}
    return lambda content: content[MODEL].update(regime=regime)


def test_the_regime_and_its_settings_are_of_the_group(changed):
    groups = [from_checkpoint("b", changed(with_pgd(eps=eps))).card["group"] for eps in (0.1, 0.2, 0.1)]
    assert groups[0] == groups[2] != groups[1]
    assert all(group.startswith("pgd-") for group in groups)


def test_a_seed_of_a_part_is_a_seed(changed):
    groups = []
    for name, value in (("seed", 0), ("seed", 1), ("noise_seed", 1), ("size", 0), ("size", 1)):
        parts = [{"init_args": {name: value}}]
        groups.append(from_checkpoint("a", changed(lambda content, p=parts: content[DATA].update(parts=p))))
    found = [subject.card["group"] for subject in groups]
    assert found[0] == found[1] == found[2]
    assert len(set(found)) == 3


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("pgd.PGD", "pgd"),
        ("ig_sum_norm.IGSumNorm", "ig_sum_norm"),
        ("exiaa_training.EXIAATraining", "exiaa_training"),
        ("lens_training.LENSTraining", "lens_training"),
        ("fooling.TopKFooling", "top_k_fooling"),
        ("trades.TRADES", "trades"),
        ("igr.IGR", "igr"),
    ],
)
def test_a_regime_is_called_what_its_file_is(changed, path, name):
    regime = yaml.safe_load((ROOT / "configs" / "regimes" / f"{name}.yaml").read_text())
    assert regime["class_path"] == f"lit_xai.regimes.{path}"
    regime["init_args"] = {
        key: value for key, value in regime.get("init_args", {}).items() if not str(value).endswith("yaml")
    }
    assert (
        from_checkpoint("a", changed(lambda content: content[MODEL].update(regime=regime))).card["regime"]
        == name
    )


@pytest.mark.parametrize(
    ("config", "seed"),
    [
        ("seed_everything: 11\n", 11),
        ("seed_everything: true\n", None),
        ("{}", None),
        ("[", None),
        (None, None),
    ],
)
def test_the_seed_of_an_older_checkpoint_is_that_of_its_run(trained, changed, config, seed):
    place = trained.parents[1] / "config.yaml"
    assert yaml.safe_load(place.read_text())["seed_everything"] == 5
    place.unlink() if config is None else place.write_text(config)
    old = changed(lambda content: content.pop("lit_xai_seed"))
    assert from_checkpoint("a", old).card["seed"] == seed
    assert from_checkpoint("a", trained).card["seed"] == 5


def test_a_seed_that_is_known_to_be_none_is_not_looked_up(changed):
    assert (
        from_checkpoint("a", changed(lambda content: content.update(lit_xai_seed=None))).card["seed"] is None
    )


def test_a_checkpoint_away_from_its_run_has_the_seed_it_holds_and_no_log(trained, tmp_path):
    away = trained.rename(tmp_path / "run" / "last.ckpt")
    subject = from_checkpoint("a", away)
    assert subject.card["seed"] == 5
    assert subject.training.empty
    old = tmp_path / "run" / "old.ckpt"
    content = torch.load(away, weights_only=True)
    del content["lit_xai_seed"]
    torch.save(content, old)
    assert from_checkpoint("a", old).card["seed"] is None


def test_a_file_is_read_once(trained, monkeypatch):
    reads = []
    read_bytes = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda path: reads.append(path) or read_bytes(path))
    monkeypatch.setattr("lightning.fabric.utilities.cloud_io.get_filesystem", reads.append)
    from_checkpoint("a", trained)
    assert reads == [trained]


def test_refuses_a_file_that_is_no_checkpoint(tmp_path):
    with pytest.raises(
        FileNotFoundError, match=r"Expected a checkpoint .*, but got .*gone\.ckpt, which does"
    ):
        from_checkpoint("a", tmp_path / "gone.ckpt")
    torch.save(SmallCNN(width=4).state_dict(), tmp_path / "weights.ckpt")
    with pytest.raises(ValueError, match=r"Expected a checkpoint of the training command, but got .*weights"):
        from_checkpoint("a", tmp_path / "weights.ckpt")


def test_copies_of_one_repetition_have_no_group(trained, changed):
    first, copy = from_checkpoint("first", trained), from_checkpoint("copy", trained)
    second = from_checkpoint("second", changed(lambda content: content.update(lit_xai_seed=6)))
    group = first.card["group"]
    assert [subject.card["group"] for subject in independent([first, second])] == [group, group]
    found = independent([first, second, copy])
    assert [subject.name for subject in found] == ["first", "second", "copy"]
    assert [subject.card["group"] for subject in found] == [None, group, None]
    assert {**found[0].card, "group": group} == first.card
    assert first.card["group"] == group
    assert independent([]) == []


def test_a_description_is_a_network(described):
    subject = from_model("mine", path := described({"model": SMALL}))
    assert isinstance(subject.load(), SmallCNN)
    assert subject.load().features[0].out_channels == 4
    assert (subject.name, subject.adversary, subject.noise_seed) == ("mine", None, 0)
    assert subject.training.columns.tolist() == ["epoch", "key", "value"]
    assert subject.training.empty
    assert subject.card == {
        "file": str(path),
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "model": "lit_xai.models.small.SmallCNN",
        "parameters": sum(value.numel() for value in SmallCNN(width=4).parameters()),
        "regime": None,
        "group": None,
        "seed": None,
        "epoch": None,
        "steps": None,
        "precision": None,
        "weights_sha256": subject.identity["weights"],
    }
    assert list(subject.card)[:10] == CARD


@pytest.mark.parametrize("ending", ["pt", "safetensors"])
def test_names_of_files_are_relative_to_the_description(described, tmp_path, ending, monkeypatch):
    monkeypatch.chdir(tmp_path)
    described(SMALL, "sub/small.yaml")
    network = SmallCNN(width=4)
    weights = {f"module.{name}": value for name, value in network.state_dict().items()}
    place = tmp_path / "sub" / f"weights.{ending}"
    save_file(weights, place) if ending == "safetensors" else torch.save(weights, place)
    path = described({"model": "small.yaml", "weights": place.name}, "sub/network.yaml")
    subject = from_model("mine", path.relative_to(tmp_path))
    assert torch.equal(subject.load()(image()), network(image()))
    assert subject.card["file"] == "sub/network.yaml"
    assert Path.cwd() == tmp_path


@pytest.mark.parametrize("kind", [TimmClassifier, TorchvisionClassifier])
@pytest.mark.parametrize("inside", [False, True])
def test_a_network_of_a_library_with_its_published_weights(described, tmp_path, kind, inside):
    network = kind("resnet18", num_classes=4).eval()
    torch.save(network.network.model.state_dict(), tmp_path / "weights.pth")
    arguments = {"name": "resnet18", "num_classes": 4}
    model = {"class_path": f"lit_xai.models.zoo.{kind.__name__}", "init_args": arguments}
    if inside:
        arguments["weights"] = str(tmp_path / "weights.pth")
    content = {"model": model} if inside else {"model": model, "weights": "weights.pth"}
    subject = from_model("mine", described(content))
    assert torch.equal(subject.load().eval()(image(3, 32)), network(image(3, 32)))
    assert subject.card["model"] == f"lit_xai.models.zoo.{kind.__name__}"


def test_a_class_of_the_users_own(described, tmp_path, monkeypatch):
    (tmp_path / "own_network.py").write_text(
        "from torch import nn\n\n\nclass Own(nn.Sequential):\n"
        "    def __init__(self, width: int) -> None:\n"
        "        super().__init__(nn.Flatten(), nn.Linear(784, width))\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    own = {"class_path": "own_network.Own", "init_args": {"width": 3}}
    subject = from_model("mine", described({"model": own}))
    assert subject.load()(image()).shape == (2, 3)
    assert subject.card["model"] == "own_network.Own"
    assert subject.card["parameters"] == 784 * 3 + 3
    del sys.modules["own_network"]


def test_weights_that_no_file_gives_are_the_same_every_time(described):
    path = described({"model": SMALL})
    torch.manual_seed(1)
    first = from_model("mine", path)
    expected = torch.manual_seed(2).get_state()
    second = from_model("mine", path)
    assert torch.equal(torch.get_rng_state(), expected)
    assert torch.equal(first.load()(image()), second.load()(image()))
    assert first.identity == second.identity


def identity(path: Path) -> dict[str, str]:
    return from_model("mine", path).identity


def test_identity_is_that_of_what_is_described_and_of_all_weights(described, tmp_path):
    small = SmallCNN(width=4)
    torch.save(small.state_dict(), tmp_path / "a.pt")
    first = identity(described({"model": SMALL, "weights": "a.pt"}))
    assert set(first) == {"description", "weights"}
    (tmp_path / "b.pt").write_bytes((tmp_path / "a.pt").read_bytes())
    described(SMALL, "small.yaml")
    assert identity(described({"weights": "b.pt", "model": "small.yaml"})) == first
    defaults = {**SMALL, "init_args": {"width": 4, "channels": 1}}
    assert identity(described({"model": defaults, "weights": "a.pt"})) == first
    with torch.no_grad():
        small.head[2].bias[9] += 1e-6
    torch.save(small.state_dict(), tmp_path / "a.pt")
    other = identity(described({"model": SMALL, "weights": "a.pt"}))
    assert other["description"] == first["description"]
    assert other["weights"] != first["weights"]


def test_the_checksum_of_weights_knows_names_kinds_shapes_and_values(described):
    def module(name, value):
        holder = nn.Module()
        holder.register_buffer(name, value)
        return holder

    values = torch.arange(4, dtype=torch.int32)
    found = [
        module("a", values),
        module("b", values),
        module("a", values.view(2, 2)),
        module("a", values.view(torch.float32)),
        module("a", values.flip(0)),
        module("a", torch.tensor(3)),
        module("a", torch.tensor(3, dtype=torch.bfloat16)),
        module("a", values[:0]),
    ]
    assert len({_weights_hash(holder) for holder in found}) == len(found)
    strided = module("a", torch.arange(8, dtype=torch.int32).view(4, 2)[:, 0])
    assert _weights_hash(strided) == _weights_hash(module("a", 2 * values))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ({"model": {"class_path": "gone.Network"}}, "No module named 'gone'"),
        ({"model": {"class_path": "lit_xai.models.small.Gone"}}, "Gone"),
        ({"model": {**SMALL, "init_args": {"depth": 3}}}, "Option 'depth' is not accepted"),
        ({"model": {**SMALL, "init_args": {"width": "broad"}}}, "width"),
        ({"model": {"class_path": "torch.nn.Conv2d"}}, "arguments are required: in_channels"),
        ({"model": {"class_path": "lit_xai.regimes.pgd.PGD"}}, "does not correspond to a subclass of Module"),
        ({"model": "gone.yaml"}, r"gone\.yaml"),
        ({"weights": "a.pt"}, "required: model"),
        ({"model": SMALL, "wieghts": "a.pt"}, "Option 'wieghts' is not accepted"),
        ("model: [1, 2\n", "Problems parsing config"),
        ("", "Unexpected config"),
        (
            {"model": {"class_path": "lit_xai.models.zoo.TimmClassifier", "init_args": {"name": "resnet81"}}},
            r"Expected the `name` of a classifier in timm, but got resnet81\. Did you mean resnet18",
        ),
        (
            {"model": {"class_path": "torch.nn.Linear", "init_args": {"in_features": 2, "out_features": -1}}},
            "-1",
        ),
    ],
)
def test_refuses_in_one_line_what_describes_no_network(described, content, reason):
    path = described(content)
    with pytest.raises(
        ValueError, match=rf"Expected a description of a network, but got .*{reason}"
    ) as found:
        from_model("mine", path)
    assert "\n" not in str(found.value)


def test_refuses_bytes_that_are_no_text(tmp_path):
    (tmp_path / "network.yaml").write_bytes(b"\x80\x02\xff\x00")
    with pytest.raises(ValueError, match=r"Expected a description of a network, but got .*network\.yaml: \S"):
        from_model("mine", tmp_path / "network.yaml")


def test_refuses_the_weights_of_another_network(described, tmp_path):
    torch.save(SmallCNN(width=5).state_dict(), tmp_path / "five.pt")
    with pytest.raises(ValueError, match=r"Expected weights of SmallCNN, but got .*five\.pt.*size mismatch"):
        from_model("mine", described({"model": SMALL, "weights": "five.pt"}))
    with pytest.raises(FileNotFoundError, match=r"Expected a file of weights, but got .*gone\.pt, which"):
        from_model("mine", described({"model": SMALL, "weights": "gone.pt"}))
    with pytest.raises(FileNotFoundError, match=r"a description of a network, but got .*gone\.yaml, which"):
        from_model("mine", tmp_path / "gone.yaml")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"num_classes": 5}, r"at least 10 classes, but got mine, whose logits are \(5,\)"),
        ({"channels": 3}, r"that take images \(1, 28, 28\), but got mine: "),
    ],
)
def test_a_network_that_does_not_fit_the_data_is_refused(tmp_path, options, words):
    model = {"class_path": "lit_xai.models.small.SmallCNN", "init_args": {"width": 2, **options}}
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump({"model": model}))
    subject = from_model("mine", tmp_path / "mine.yaml")
    with pytest.raises(ValueError, match=f"Expected networks {words}|Expected networks of {words}"):
        check_network(subject, EmbeddedFashion(max_test=10))


def test_more_classes_than_the_data_have_are_welcome(tmp_path):
    model = {"class_path": "lit_xai.models.small.SmallCNN", "init_args": {"width": 2, "num_classes": 12}}
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump({"model": model}))
    check_network(from_model("mine", tmp_path / "mine.yaml"), EmbeddedFashion(max_test=10))


def test_the_code_of_a_users_own_network_is_part_of_its_identity(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    source = "from torch import nn\n\nclass Net(nn.Linear):\n    def __init__(self): super().__init__(2, 2)\n"
    (tmp_path / "own_net.py").write_text(source)
    (tmp_path / "net.yaml").write_text("model: {class_path: own_net.Net}")
    first = from_model("net", tmp_path / "net.yaml").identity
    (tmp_path / "own_net.py").write_text(source + "# changed\n")
    second = from_model("net", tmp_path / "net.yaml").identity
    assert first["own_net"] != second["own_net"]
    assert first["weights"] == second["weights"]


@pytest.mark.parametrize(("place", "value"), [(0, "nan"), (-1, "inf"), (2, "-inf")])
def test_a_network_of_weights_that_are_not_finite_is_refused(place, value):
    network = SmallCNN(width=2)
    name, weight = list(network.named_parameters())[place]
    with torch.no_grad():
        weight.view(-1)[-1] = float(value)
    card = {"file": "runs/x/1/checkpoints/last.ckpt"}
    subject = Subject("x", lambda: network, None, 0, {}, card, None)
    words = f"Expected finite weights in {card['file']}, but got {value} in `{name}`."
    with pytest.raises(ValueError, match=f"^{re.escape(words)}"):
        check_network(subject, EmbeddedFashion(max_test=1))


def test_a_network_in_double_precision_takes_the_images():
    subject = Subject("x", lambda: SmallCNN(width=2).double(), None, 0, {}, {"file": "x"}, None)
    check_network(subject, EmbeddedFashion(max_test=1))
