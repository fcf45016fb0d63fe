import copy
from dataclasses import dataclass, field, replace
from functools import cache, partial

import lightning.pytorch as pl
import pytest
import torch
from torch import nn
from torch.nn import functional

from lit_xai.models.small import SmallCNN
from lit_xai.module import LitClassifier
from lit_xai.noise import Noise
from lit_xai.regimes.base import Regime
from lit_xai.regimes.ig_norm import IGNorm
from lit_xai.regimes.natural import Natural
from lit_xai.regimes.pgd import PGD
from lit_xai.types import RegimeLoss
from tests.conftest import tiny_network
from tests.data.test_base import SIZES, TinyData, tiny_images

ADVERSARY = PGD(eps=0.05, step_size=0.025, steps=3)


@cache
def _learned() -> nn.Module:
    model = tiny_network(channels=3).float()
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    image, label, _ = whole("train")
    for _ in range(40):
        optimizer.zero_grad()
        functional.cross_entropy(model(image), label).backward()
        optimizer.step()
    optimizer.zero_grad()
    return model


def learned() -> nn.Module:
    """Return a network that knows most validation images and that small perturbations fool."""
    return copy.deepcopy(_learned())


def sgd(lr: float) -> partial[torch.optim.SGD]:
    return partial(torch.optim.SGD, lr=lr)


def classifier(**options) -> LitClassifier:
    settings = {"regime": Natural(), "num_classes": 4, "optimizer": sgd(0.05), "adversary": ADVERSARY}
    return LitClassifier(**{"model": learned(), **settings, **options})


def trainer(tmp_path, epochs: int = 1, **options) -> pl.Trainer:
    return pl.Trainer(
        accelerator="cpu",
        devices=1,
        max_epochs=epochs,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        default_root_dir=tmp_path,
        **options,
    )


def whole(split: str) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    images = tiny_images(split)
    return images.pixels.float() / 255, images.labels, torch.arange(len(images))


def accuracy(model: nn.Module, image: torch.Tensor, label: torch.Tensor) -> float:
    with torch.no_grad():
        return (model(image).argmax(dim=1) == label).double().mean().item()


def attacked(model: nn.Module, split: str, seed: int = 0) -> torch.Tensor:
    """Return what projected gradient descent, written out, finds with the draws of validation."""
    image, label, sample_id = whole(split)
    start = Noise(seed, sample_id).child("adversary").child("start").uniform(image, -0.05, 0.05)
    point = image + start
    for _ in range(3):
        point = point.detach().requires_grad_()
        functional.cross_entropy(model(point), label).backward()
        point = torch.clamp(point + 0.025 * point.grad.sign(), image - 0.05, image + 0.05).clamp(0, 1)
    model.zero_grad()
    return point.detach()


@dataclass(frozen=True)
class Recorder(Regime):
    """Natural training that remembers what it was given."""

    prepared: list = field(default_factory=list)
    progress: list = field(default_factory=list)
    calls: list = field(default_factory=list)
    ready: bool = False

    def prepare(self, model, donors):
        self.prepared.append((model, sum(len(batch.label) for batch in donors())))
        return replace(self, ready=True)

    def at(self, progress):
        self.progress.append(progress)
        return self

    def loss(self, model, image, label, noise):
        assert self.ready
        draws = noise.uniform(torch.zeros(len(label), dtype=torch.float64))
        self.calls.append(dict(zip(noise.sample_id.tolist(), draws.tolist(), strict=True)))
        return Natural().loss(model, image, label, noise)


@dataclass(frozen=True)
class Shrink(Regime):
    """Minimise half the squared norm of the weights."""

    def loss(self, model, image, label, noise):
        norm = sum(parameter.square().sum() for parameter in model.parameters()) / 2
        return RegimeLoss(norm, model(image), {"norm": norm.detach()})


def recorded(
    tmp_path, epochs: int = 2, data: TinyData | None = None, **options
) -> tuple[Recorder, LitClassifier]:
    regime = Recorder()
    module = classifier(regime=regime, **options)
    trainer(tmp_path, epochs, limit_val_batches=0).fit(module, data or TinyData())
    return regime, module


@pytest.mark.parametrize("split", ["val", "test"])
def test_accuracies_equal_a_direct_computation(tmp_path, split):
    module = classifier(noise_seed=5)
    run = trainer(tmp_path)
    (found,) = (run.validate if split == "val" else run.test)(module, TinyData(), verbose=False)
    image, label, _ = whole(split)
    adversarial = accuracy(module.model, attacked(module.model, split, seed=5), label)
    assert found == pytest.approx(
        {f"{split}/accuracy": accuracy(module.model, image, label), f"{split}/pgd_accuracy": adversarial},
        abs=1e-6,
    )
    assert adversarial < found[f"{split}/accuracy"]


@pytest.mark.parametrize("eval_batch_size", [1, 21])
def test_accuracies_do_not_depend_on_the_batch_size(tmp_path, eval_batch_size):
    expected = trainer(tmp_path).validate(classifier(), TinyData(eval_batch_size=8), verbose=False)
    found = trainer(tmp_path).validate(classifier(), TinyData(eval_batch_size=eval_batch_size), verbose=False)
    assert found == expected


@pytest.mark.parametrize("stage", ["validate", "test"])
def test_without_an_adversary_its_accuracy_is_left_out(tmp_path, stage):
    run = trainer(tmp_path)
    (found,) = getattr(run, stage)(classifier(adversary=None), TinyData(), verbose=False)
    assert list(found) == [{"validate": "val/accuracy", "test": "test/accuracy"}[stage]]


@dataclass(frozen=True)
class Starts(PGD):
    """Remember the numbers that the attack may draw."""

    drawn: dict = field(default_factory=dict)

    def attack(self, model, image, label, noise):
        draws = noise.uniform(torch.zeros(len(label), dtype=torch.float64))
        self.drawn.update(zip(noise.sample_id.tolist(), draws.tolist(), strict=True))
        return super().attack(model, image, label, noise)


@pytest.mark.parametrize("seed", [0, 5])
def test_the_adversary_starts_by_seed_and_sample(tmp_path, seed):
    module = classifier(adversary=Starts(steps=1), noise_seed=seed)
    for stage in ("validate", "test"):
        module.adversary.drawn.clear()
        getattr(trainer(tmp_path), stage)(module, TinyData(), verbose=False)
        size = SIZES[{"validate": "val", "test": "test"}[stage]]
        noise = Noise(seed, torch.arange(size)).child("adversary")
        expected = noise.uniform(torch.zeros(size, dtype=torch.float64)).tolist()
        assert module.adversary.drawn == dict(enumerate(expected))


def test_the_default_adversary_is_the_published_one():
    module = LitClassifier(tiny_network(channels=3), Natural(), num_classes=4)
    assert module.adversary == PGD(eps=0.1, step_size=0.01, steps=20)


def test_a_step_descends_the_mean_cross_entropy(tmp_path):
    module = classifier(model=tiny_network(channels=3).float())
    expected = tiny_network(channels=3).float()
    image, label, _ = whole("train")
    functional.cross_entropy(expected(image), label).backward()
    with torch.no_grad():
        for parameter in expected.parameters():
            parameter.sub_(0.05 * parameter.grad)
    trainer(tmp_path).fit(module, TinyData(batch_size=SIZES["train"]))
    for found, wanted, before in zip(
        module.model.parameters(),
        expected.parameters(),
        tiny_network(channels=3).float().parameters(),
        strict=True,
    ):
        torch.testing.assert_close(found, wanted, rtol=0, atol=1e-6)
        assert (found - before).abs().max() > 1e-4


def test_training_logs_loss_parts_and_accuracy(tmp_path):
    module = classifier(optimizer=sgd(0.0))
    run = trainer(tmp_path)
    run.fit(module, TinyData(batch_size=SIZES["train"], max_train=None))
    image, label, _ = whole("train")
    with torch.no_grad():
        loss = functional.cross_entropy(module.model(image), label).item()
    found = {name: value.item() for name, value in run.callback_metrics.items() if name.startswith("train/")}
    assert found == pytest.approx(
        {
            "train/loss": loss,
            "train/cross_entropy": loss,
            "train/accuracy": accuracy(module.model, image, label),
        },
        abs=1e-5,
    )


def test_training_accuracy_is_that_of_the_regimes_logits_over_the_epoch(tmp_path):
    # Uneven batches of adversarial images: neither the clean images nor a mean of means will do.
    module = classifier(optimizer=sgd(0.0), regime=ADVERSARY)
    run = trainer(tmp_path)
    run.fit(module, TinyData(batch_size=10))
    image, label, sample_id = whole("train")
    noise = Noise(0, sample_id).child("train").child(0)
    expected = accuracy(module.model, ADVERSARY.attack(module.model, image, label, noise), label)
    assert run.callback_metrics["train/accuracy"].item() == pytest.approx(expected, abs=1e-6)
    assert expected < accuracy(module.model, image, label)


def test_accuracies_start_afresh_in_every_epoch(tmp_path):
    module = classifier(adversary=None, optimizer=sgd(0.1))
    run = trainer(tmp_path, epochs=4)
    run.fit(module, TinyData())
    image, label, _ = whole("val")
    assert run.callback_metrics["val/accuracy"].item() == pytest.approx(accuracy(module.model, image, label))
    assert accuracy(learned(), image, label) != accuracy(module.model, image, label)


def test_validate_then_fit_then_test_with_one_module(tmp_path):
    module, data = classifier(), TinyData()
    image, label, _ = whole("val")
    before = accuracy(module.model, image, label)
    (found,) = trainer(tmp_path).validate(module, data, verbose=False)
    assert found["val/accuracy"] == pytest.approx(before)
    run = trainer(tmp_path, epochs=2)
    run.fit(module, data)
    (tested,) = trainer(tmp_path).test(module, data, verbose=False)
    fresh = classifier()
    other = trainer(tmp_path, epochs=2)
    other.fit(fresh, TinyData())
    assert run.callback_metrics == other.callback_metrics
    image, label, _ = whole("test")
    assert tested["test/accuracy"] == pytest.approx(accuracy(fresh.model, image, label))
    assert tested["test/pgd_accuracy"] == pytest.approx(
        accuracy(fresh.model, attacked(fresh.model, "test"), label)
    )


def test_noise_belongs_to_sample_and_epoch(tmp_path):
    regime, _ = recorded(tmp_path, noise_seed=3)
    epochs = [{}, {}]
    for number, call in enumerate(regime.calls):
        epochs[number // 3].update(call)
    assert [len(epoch) for epoch in epochs] == [24, 24]
    like = torch.zeros(24, dtype=torch.float64)
    for number, epoch in enumerate(epochs):
        expected = Noise(3, torch.arange(24)).child("train").child(number).uniform(like).tolist()
        assert [epoch[sample] for sample in range(24)] == expected
    assert not set(epochs[0].values()) & set(epochs[1].values())


def test_the_order_changes_with_the_epoch(tmp_path):
    regime, _ = recorded(tmp_path)
    orders = [[sample for call in regime.calls[3 * epoch :][:3] for sample in call] for epoch in range(2)]
    assert sorted(orders[0]) == sorted(orders[1]) == list(range(24))
    assert orders[0] != orders[1]


def test_the_regime_is_prepared_once_with_network_and_donors(tmp_path):
    regime, module = recorded(tmp_path, data=TinyData(donor_split="test"))
    assert regime.prepared == [(module.model, 13)]


def test_a_compiled_network_learns_what_a_plain_one_does(tmp_path):
    regime = IGNorm(eps=0.1, step_size=0.05, steps=2, path_steps=3, inner_path_steps=2, max_batch=24)
    weights = []
    for compiled in (False, True):
        module = classifier(regime=regime)
        if compiled:
            module.model.compile(backend="aot_eager")
        trainer(tmp_path, limit_val_batches=0).fit(module, TinyData())
        weights.append(vector_of(module.model))
    torch.testing.assert_close(*weights, rtol=0, atol=1e-6)
    assert (weights[0] - vector_of(learned())).norm() > 1e-2


def test_a_classifier_that_is_compiled_as_a_whole_is_refused(tmp_path):
    module = torch.compile(classifier(), backend="eager")
    with pytest.raises(
        TypeError, match=r"Expected a LitClassifier that is not compiled.* Compile its `model`"
    ):
        trainer(tmp_path).fit(module, TinyData())


@dataclass(frozen=True)
class Witness(Natural):
    """Natural training that remembers the sum of the weights that it was prepared with."""

    seen: list = field(default_factory=list)

    def prepare(self, model, donors):
        self.seen.append(vector_of(model))
        return self


def vector_of(model: nn.Module) -> torch.Tensor:
    return nn.utils.parameters_to_vector(model.parameters()).detach().clone()


def test_a_warm_start_is_where_training_and_its_regime_begin(tmp_path):
    torch.save(learned().state_dict(), tmp_path / "natural.pt")
    fresh = tiny_network(channels=3).float()
    module = classifier(
        model=fresh, regime=Witness(), warm_start=tmp_path / "natural.pt", optimizer=sgd(1e-9)
    )
    trainer(tmp_path).fit(module, TinyData())
    assert torch.equal(module.regime.seen[0], vector_of(learned()))
    torch.testing.assert_close(vector_of(module.model), vector_of(learned()), rtol=0, atol=1e-6)


def test_a_resumed_run_goes_on_with_its_own_weights_and_prepares_with_the_first(tmp_path):
    torch.save(learned().state_dict(), tmp_path / "natural.pt")
    options = {"warm_start": tmp_path / "natural.pt", "optimizer": sgd(1e-9)}
    first = trainer(tmp_path)
    first.fit(classifier(**options), TinyData())
    checkpoint = first.strategy.lightning_module.model
    with torch.no_grad():
        checkpoint.head[2].bias.add_(1.0)
    first.save_checkpoint(tmp_path / "last.ckpt")
    module = classifier(model=tiny_network(channels=3).float(), regime=Witness(), **options)
    trainer(tmp_path, epochs=2).fit(module, TinyData(), ckpt_path=tmp_path / "last.ckpt", weights_only=False)
    assert torch.equal(module.regime.seen[0], vector_of(learned()))
    torch.testing.assert_close(vector_of(module.model), vector_of(checkpoint), rtol=0, atol=1e-6)


def test_a_classifier_that_is_read_back_goes_on_from_its_own_weights(tmp_path):
    torch.save(tiny_network(channels=3).float().state_dict(), tmp_path / "start.pt")
    run = trainer(tmp_path)
    run.fit(classifier(optimizer=sgd(1e-9)), TinyData())
    run.save_checkpoint(tmp_path / "a.ckpt")
    options = {"model": learned(), "regime": Witness(), "warm_start": tmp_path / "start.pt"}
    module = LitClassifier.load_from_checkpoint(tmp_path / "a.ckpt", weights_only=False, **options)
    before = vector_of(module.model)
    trainer(tmp_path).fit(module, TinyData())
    # Its regime compares with what it began with, as that of a run that goes on.
    assert torch.equal(module.regime.seen[0], vector_of(tiny_network(channels=3).float()))
    torch.testing.assert_close(vector_of(module.model), before, rtol=0, atol=1e-6)


class Refusing(Witness):
    """It cannot be prepared."""

    def prepare(self, model, donors):
        raise ValueError("no donors")


def test_a_training_that_cannot_begin_leaves_a_classifier_its_own_weights(tmp_path):
    torch.save(tiny_network(channels=3).float().state_dict(), tmp_path / "start.pt")
    run = trainer(tmp_path)
    run.fit(classifier(optimizer=sgd(1e-9)), TinyData())
    run.save_checkpoint(tmp_path / "a.ckpt")
    options = {"model": learned(), "regime": Refusing(), "warm_start": tmp_path / "start.pt"}
    module = LitClassifier.load_from_checkpoint(tmp_path / "a.ckpt", weights_only=False, **options)
    before = vector_of(module.model)
    with pytest.raises(ValueError, match="no donors"):
        trainer(tmp_path).fit(module, TinyData())
    assert torch.equal(vector_of(module.model), before)


def test_only_training_needs_the_warm_start(tmp_path):
    module = classifier(warm_start=tmp_path / "missing.pt")
    trainer(tmp_path).validate(module, TinyData(), verbose=False)
    with pytest.raises(FileNotFoundError, match=r"Expected a file of weights, but got .*missing\.pt, which"):
        trainer(tmp_path).fit(module, TinyData())


def test_mixed_precision_is_for_the_cross_entropy_only(tmp_path):
    regime = IGNorm(eps=0.1, step_size=0.05, steps=2, path_steps=3, inner_path_steps=2, max_batch=24)
    logged = []
    for precision in ("32-true", "bf16-mixed"):
        run = trainer(tmp_path, precision=precision, limit_val_batches=0)
        run.fit(classifier(regime=regime, optimizer=sgd(1e-9)), TinyData(batch_size=SIZES["train"]))
        logged.append({name: value.item() for name, value in run.callback_metrics.items()})
    assert logged[1]["train/attribution_norm"] == pytest.approx(logged[0]["train/attribution_norm"], rel=1e-6)
    assert logged[1]["train/cross_entropy"] == pytest.approx(logged[0]["train/cross_entropy"], rel=0.05)
    assert logged[1]["train/cross_entropy"] != pytest.approx(logged[0]["train/cross_entropy"], rel=1e-5)


def test_chunks_do_not_change_what_mixed_precision_learns(tmp_path):
    weights = []
    for max_batch in (24, 1000):
        regime = IGNorm(
            eps=0.1, step_size=0.05, steps=2, path_steps=3, inner_path_steps=2, max_batch=max_batch
        )
        module = classifier(regime=regime)
        trainer(tmp_path, precision="bf16-mixed", limit_val_batches=0).fit(module, TinyData(batch_size=24))
        weights.append(vector_of(module.model))
    torch.testing.assert_close(*weights, rtol=0, atol=1e-6)
    assert (weights[0] - vector_of(learned())).norm() > 1e-3


def test_a_second_fit_goes_on_from_the_first(tmp_path):
    torch.save(learned().state_dict(), tmp_path / "natural.pt")
    module = classifier(regime=Witness(), warm_start=tmp_path / "natural.pt")
    trainer(tmp_path).fit(module, TinyData())
    first = vector_of(module.model)
    module.optimizer = sgd(0.0)
    trainer(tmp_path).fit(module, TinyData())
    assert torch.equal(vector_of(module.model), first)
    assert len(module.regime.seen) == 1


def test_gradients_are_clipped_regulariser_included(tmp_path):
    regime = IGNorm(eps=0.1, step_size=0.05, steps=2, path_steps=3, inner_path_steps=2, weight=100.0)
    moved = []
    for clip in (None, 0.5):
        module = classifier(regime=regime, optimizer=sgd(1.0))
        before = vector_of(module.model)
        run = trainer(tmp_path, gradient_clip_val=clip, limit_val_batches=0)
        run.fit(module, TinyData(batch_size=SIZES["train"]))
        moved.append((vector_of(module.model) - before).norm().item())
    assert moved[0] > 5
    assert moved[1] == pytest.approx(0.5, rel=1e-3)


def test_the_regime_learns_the_share_of_the_training_that_is_done(tmp_path):
    regime, _ = recorded(tmp_path, epochs=2)
    assert regime.progress == pytest.approx([step / 6 for step in range(6)])


def test_training_leaves_no_number_to_the_global_generator(tmp_path):
    weights = []
    for seed in (0, 1):
        module = classifier(regime=ADVERSARY)
        torch.manual_seed(seed)
        trainer(tmp_path, epochs=2).fit(module, TinyData())
        weights.append(nn.utils.parameters_to_vector(module.model.parameters()))
    assert torch.equal(*weights)


def test_the_noise_seed_decides_what_is_drawn(tmp_path):
    weights = []
    for seed in (0, 1):
        module = classifier(regime=ADVERSARY, noise_seed=seed)
        trainer(tmp_path).fit(module, TinyData())
        weights.append(nn.utils.parameters_to_vector(module.model.parameters()))
    assert (weights[0] - weights[1]).abs().max() > 1e-5


def test_the_schedule_steps_after_every_epoch(tmp_path):
    module = classifier(scheduler=partial(torch.optim.lr_scheduler.StepLR, step_size=1, gamma=0.1))
    run = trainer(tmp_path, epochs=2)
    run.fit(module, TinyData())
    assert run.optimizers[0].param_groups[0]["lr"] == pytest.approx(0.05 * 0.1**2)
    assert run.global_step == 6


def test_a_schedule_can_step_after_every_step(tmp_path):
    schedule = partial(torch.optim.lr_scheduler.StepLR, step_size=1, gamma=0.5)
    run = trainer(tmp_path, epochs=2)
    run.fit(classifier(scheduler=schedule, scheduler_interval="step"), TinyData())
    assert run.optimizers[0].param_groups[0]["lr"] == pytest.approx(0.05 * 0.5**6)


def test_an_interval_without_a_schedule_is_refused():
    with pytest.raises(
        ValueError, match="Expected a `scheduler` for `scheduler_interval` step, but got none"
    ):
        classifier(scheduler_interval="step")


def test_without_a_schedule_the_rate_stays(tmp_path):
    run = trainer(tmp_path, epochs=2)
    run.fit(classifier(), TinyData())
    assert run.optimizers[0].param_groups[0]["lr"] == 0.05


def test_the_default_optimiser_is_adamw_over_all_parameters():
    module = LitClassifier(tiny_network(channels=3), Natural(), num_classes=4)
    optimizer = module.configure_optimizers()
    assert type(optimizer) is torch.optim.AdamW
    assert [id(p) for p in optimizer.param_groups[0]["params"]] == [id(p) for p in module.model.parameters()]


def test_a_checkpoint_rebuilds_the_classifier(tmp_path):
    module = classifier(regime=PGD(eps=0.15), noise_seed=9)
    run = trainer(tmp_path)
    run.fit(module, TinyData())
    run.save_checkpoint(tmp_path / "last.ckpt")
    rebuilt = LitClassifier.load_from_checkpoint(tmp_path / "last.ckpt", weights_only=False)
    image, _, _ = whole("val")
    assert torch.equal(rebuilt(image), module(image))
    assert (rebuilt.regime, rebuilt.adversary, rebuilt.noise_seed) == (PGD(eps=0.15), ADVERSARY, 9)


def test_the_classifier_is_its_network():
    module = classifier()
    image, _, _ = whole("val")
    assert torch.equal(module(image), module.model(image))


def test_a_regimes_total_is_what_is_minimised(tmp_path):
    module = classifier(regime=Shrink())
    before = nn.utils.parameters_to_vector(module.model.parameters()).clone()
    trainer(tmp_path, limit_train_batches=2, limit_val_batches=0).fit(module, TinyData())
    after = nn.utils.parameters_to_vector(module.model.parameters())
    torch.testing.assert_close(after, before * 0.95**2, rtol=1e-5, atol=1e-7)


def stored_seed(path) -> int | None:
    return torch.load(path, weights_only=False)["lit_xai_seed"]


@pytest.mark.parametrize("seed", [None, 0, 7])
def test_a_checkpoint_holds_the_seed_that_training_began_with(tmp_path, monkeypatch, seed):
    monkeypatch.delenv("PL_GLOBAL_SEED", raising=False)
    module = classifier()
    if seed is not None:
        monkeypatch.setenv("PL_GLOBAL_SEED", "1")
        pl.seed_everything(seed, verbose=False)
    run = trainer(tmp_path)
    run.fit(module, TinyData())
    monkeypatch.setenv("PL_GLOBAL_SEED", "5")
    run.save_checkpoint(tmp_path / "last.ckpt")
    assert stored_seed(tmp_path / "last.ckpt") == seed


def test_a_checkpoint_holds_the_trainers_options_that_change_the_weights(tmp_path):
    options = {"gradient_clip_val": 0.5, "accumulate_grad_batches": 2, "precision": "bf16-mixed"}
    run = trainer(tmp_path, **options)
    run.fit(classifier(), TinyData())
    run.save_checkpoint(tmp_path / "last.ckpt")
    stored = torch.load(tmp_path / "last.ckpt", weights_only=False)["lit_xai_trainer"]
    assert stored == {**options, "gradient_clip_algorithm": "None"}


def test_a_resumed_run_keeps_its_seed(tmp_path, monkeypatch):
    monkeypatch.setenv("PL_GLOBAL_SEED", "7")
    first = trainer(tmp_path)
    first.fit(classifier(), TinyData())
    first.save_checkpoint(tmp_path / "first.ckpt")
    monkeypatch.setenv("PL_GLOBAL_SEED", "8")
    second = trainer(tmp_path, epochs=2)
    second.fit(classifier(), TinyData(), ckpt_path=tmp_path / "first.ckpt", weights_only=False)
    second.save_checkpoint(tmp_path / "second.ckpt")
    assert stored_seed(tmp_path / "second.ckpt") == 7


def test_a_run_resumed_from_an_older_checkpoint_knows_no_seed(tmp_path, monkeypatch):
    first = trainer(tmp_path)
    first.fit(classifier(), TinyData())
    first.save_checkpoint(tmp_path / "first.ckpt")
    content = torch.load(tmp_path / "first.ckpt", weights_only=False)
    del content["lit_xai_seed"]
    torch.save(content, tmp_path / "first.ckpt")
    monkeypatch.setenv("PL_GLOBAL_SEED", "8")
    second = trainer(tmp_path, epochs=2)
    second.fit(classifier(), TinyData(), ckpt_path=tmp_path / "first.ckpt", weights_only=False)
    second.save_checkpoint(tmp_path / "second.ckpt")
    assert stored_seed(tmp_path / "second.ckpt") is None


def test_a_new_run_from_a_loaded_classifier_has_a_seed_of_its_own(tmp_path, monkeypatch):
    monkeypatch.setenv("PL_GLOBAL_SEED", "7")
    first = trainer(tmp_path)
    first.fit(classifier(), TinyData())
    first.save_checkpoint(tmp_path / "first.ckpt")
    loaded = LitClassifier.load_from_checkpoint(tmp_path / "first.ckpt", weights_only=False)
    monkeypatch.setenv("PL_GLOBAL_SEED", "8")
    second = trainer(tmp_path)
    second.fit(loaded, TinyData())
    second.save_checkpoint(tmp_path / "second.ckpt")
    assert stored_seed(tmp_path / "second.ckpt") == 8


class Dropping(nn.Module):
    """A network that drops activations and remembers which."""

    def __init__(self) -> None:
        super().__init__()
        self.network = learned()
        self.dropout = nn.Dropout(0.5)
        self.masks: list[tuple[float, ...]] = []

    def forward(self, image):
        logits = self.network(image)
        if self.training:
            kept = self.dropout(torch.ones(len(image), 8, dtype=torch.float64, device=image.device))
            self.masks.append(tuple(kept.flatten().tolist()))
            logits = logits * kept.mean(dim=1, keepdim=True).to(logits)
        return logits


class Disturbed(pl.Callback):
    """Draw from the global generator between steps, and remember that no step drew from it."""

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        torch.rand(3)
        self.before = torch.get_rng_state()

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        assert torch.equal(torch.get_rng_state(), self.before)


def dropped(tmp_path, epochs, noise_seed=0, callbacks=(), **options) -> LitClassifier:
    module = classifier(model=Dropping(), noise_seed=noise_seed, adversary=None)
    trainer(tmp_path, epochs, limit_val_batches=0, callbacks=list(callbacks)).fit(
        module, TinyData(), **options
    )
    return module


def test_what_a_network_draws_follows_from_seed_epoch_and_batch(tmp_path):
    masks = dropped(tmp_path, 2, callbacks=[Disturbed()]).model.masks
    # Three batches in each of two epochs.
    assert len(masks) == len(set(masks)) == 6
    torch.manual_seed(99)
    assert dropped(tmp_path, 2).model.masks == masks
    assert not set(dropped(tmp_path, 2, noise_seed=1).model.masks) & set(masks)


def test_processes_draw_for_themselves(tmp_path, monkeypatch):
    first = dropped(tmp_path, 1).model.masks
    monkeypatch.setattr(LitClassifier, "global_rank", 1)
    assert not set(dropped(tmp_path, 1).model.masks) & set(first)


def test_a_resumed_run_draws_as_one_that_was_not_interrupted(tmp_path):
    whole_run = dropped(tmp_path / "whole", 2)
    module = classifier(model=Dropping(), adversary=None)
    run = trainer(tmp_path / "first", 1, limit_val_batches=0)
    run.fit(module, TinyData())
    run.save_checkpoint(tmp_path / "first.ckpt")
    torch.manual_seed(4)
    resumed = dropped(tmp_path / "second", 2, ckpt_path=tmp_path / "first.ckpt", weights_only=False)
    assert module.model.masks + resumed.model.masks == whole_run.model.masks
    for name, value in whole_run.model.state_dict().items():
        assert torch.equal(resumed.model.state_dict()[name], value), name


@dataclass(frozen=True)
class Exploding(Regime):
    """Natural training whose loss is not finite from some step on."""

    after: int
    value: float = float("nan")
    steps: list = field(default_factory=list)

    def loss(self, model, image, label, noise):
        found = Natural().loss(model, image, label, noise)
        self.steps.append(None)
        if len(self.steps) <= self.after:
            return found
        return RegimeLoss(found.total * self.value, found.logits, {"cross_entropy": found.total * self.value})


@pytest.mark.parametrize(("value", "words"), [(float("nan"), "nan"), (float("inf"), "inf")])
def test_a_loss_that_is_not_finite_stops_training_before_the_step(tmp_path, value, words):
    module = classifier(regime=Exploding(4, value), adversary=None)
    last = pl.callbacks.ModelCheckpoint(tmp_path, save_last=True)
    run = trainer(tmp_path, 3, limit_val_batches=0)
    run.callbacks.append(last)
    weights: list[torch.Tensor] = []
    module.on_train_batch_end = lambda *_: weights.append(next(module.model.parameters()).detach().clone())
    with pytest.raises(ValueError, match=r"^Expected ") as found:
        run.fit(module, TinyData())
    assert str(found.value) == (
        f"Expected a finite loss, but got {words} in epoch 2, step 5 (cross_entropy {words}). Lower the "
        f"learning rate. The last good checkpoint is {tmp_path / 'last.ckpt'}."
    )
    assert len(weights) == 4
    assert torch.equal(next(module.model.parameters()), weights[-1])
    saved = torch.load(tmp_path / "last.ckpt", weights_only=False)
    assert saved["global_step"] == 3


def broken(value: float = float("nan")) -> nn.Module:
    network = learned()
    list(network.parameters())[-1].data[0] = value
    return network


@pytest.mark.parametrize("stage", ["fit", "validate", "test"])
def test_weights_that_are_not_finite_are_refused_by_name(tmp_path, stage):
    name = list(dict(learned().named_parameters()))[-1]
    with pytest.raises(
        ValueError, match=rf"^Expected finite weights in the network, but got inf in `{name}`\.$"
    ):
        getattr(trainer(tmp_path), stage)(classifier(model=broken(float("inf"))), TinyData())


def test_a_warm_start_that_is_not_finite_is_refused_with_its_file(tmp_path):
    torch.save(broken().state_dict(), tmp_path / "nan.pt")
    with pytest.raises(ValueError, match=rf"^Expected finite weights in {tmp_path}/nan.pt, but got nan in `"):
        trainer(tmp_path).fit(classifier(warm_start=tmp_path / "nan.pt"), TinyData())


def test_a_checkpoint_that_is_not_finite_is_refused_with_its_file(tmp_path):
    run = trainer(tmp_path, limit_val_batches=0)
    run.fit(classifier(), TinyData())
    run.save_checkpoint(tmp_path / "a.ckpt")
    content = torch.load(tmp_path / "a.ckpt", weights_only=False)
    name = next(name for name in content["state_dict"] if name.startswith("model."))
    content["state_dict"][name].fill_(torch.nan)
    torch.save(content, tmp_path / "a.ckpt")
    with pytest.raises(ValueError, match=rf"finite weights in {tmp_path}/a.ckpt, but got nan in `{name}`"):
        trainer(tmp_path, 2).fit(classifier(), TinyData(), ckpt_path=tmp_path / "a.ckpt", weights_only=False)


def test_weights_that_are_not_finite_are_not_saved(tmp_path):
    run = trainer(tmp_path, limit_val_batches=0)
    module = classifier()
    run.fit(module, TinyData())
    next(iter(module.model.parameters())).data.fill_(torch.inf)
    with pytest.raises(
        ValueError, match=r"finite weights after epoch \d, but got inf in `model\..*No checkpoint"
    ):
        run.save_checkpoint(tmp_path / "a.ckpt")
    assert not (tmp_path / "a.ckpt").exists()


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (SmallCNN(num_classes=4, channels=1, size=8, width=2), r"images \(3, 8, 8\), but got SmallCNN: "),
        (SmallCNN(num_classes=3, channels=3, size=8, width=2), r"of 4 classes, but got SmallCNN, whose"),
        (SmallCNN(num_classes=5, channels=3, size=8, width=2), r"\(5,\)\. Set its `num_classes` to 4\."),
    ],
)
@pytest.mark.parametrize("stage", ["fit", "validate", "test"])
def test_a_network_that_does_not_fit_is_refused_before_anything_is_trained(tmp_path, model, message, stage):
    with pytest.raises(ValueError, match=message):
        getattr(trainer(tmp_path), stage)(classifier(model=copy.deepcopy(model)), TinyData())


def test_a_strategy_that_splits_the_network_is_refused(tmp_path, monkeypatch):
    run = trainer(tmp_path)
    monkeypatch.setattr(run.strategy, "__class__", pl.strategies.FSDPStrategy)
    module = classifier()
    module.trainer = run
    with pytest.raises(ValueError, match="keeps the network whole, but got FSDPStrategy"):
        module.setup("validate")
