import logging
import statistics
from types import SimpleNamespace

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from lightning.pytorch.loggers import Logger, WandbLogger

from lit_xai.attacks.base import run_attack
from lit_xai.attacks.random_sign import RandomSign
from lit_xai.attacks.top_k import TopK
from lit_xai.attacks.unattacked import Unattacked
from lit_xai.attributions.integrated_gradients import IntegratedGradients
from lit_xai.attributions.saliency import Saliency
from lit_xai.callbacks import explanation_robustness
from lit_xai.callbacks.explanation_robustness import ExplanationRobustness
from lit_xai.evaluation.grid import Grid
from lit_xai.metrics.top_k import TopKIntersection
from lit_xai.types import Batch
from tests.data.test_base import TinyData, tiny_images
from tests.test_module import classifier, learned, sgd, trainer

STRONG = TopK(eps=0.05, step_size=0.02, steps=4, k=8, beta=10.0)


class Watched(Grid):
    """A grid that remembers the samples of each evaluation."""

    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        self.evaluations = []
        self.batches = []

    def prepare(self, model, donors):
        super().prepare(model, donors)
        self.batches = []

    def update(self, model, batch, *, cells=None, memory=None, observe=None):
        self.batches.append(batch)
        super().update(model, batch, cells=cells, memory=memory, observe=observe)

    def rows(self):
        self.evaluations.append([batch.sample_id.tolist() for batch in self.batches])
        return super().rows()


def watched(attacks=None, k: int = 8, attributions=None) -> Watched:
    return Watched(
        attributions or {"saliency": Saliency()},
        attacks or {"clean": Unattacked(), "top": STRONG},
        {"top_k": TopKIntersection(k)},
    )


def flat(evaluation: list[list[int]]) -> list[int]:
    return [sample_id for batch in evaluation for sample_id in batch]


def metrics(run: pl.Trainer) -> dict[str, float]:
    return {key: value.item() for key, value in run.callback_metrics.items() if key.startswith("robustness/")}


def by_hand(model, split: str, sample_ids: list[int], attack) -> dict[str, float]:
    """Attack one sample after the other and average what the eight largest pixels of both maps share."""
    shares, succeeded, excluded = [], [], 0
    images = tiny_images(split)
    for sample_id in sample_ids:
        image, label = images.pixels[[sample_id]].float() / 255, images.labels[[sample_id]]
        if model(image).argmax(dim=1) != label:
            excluded += 1
            continue
        result = run_attack(model, Saliency(), attack, Batch(image, label, torch.tensor([sample_id])), seed=0)
        first, second = (
            set(maps.abs().sum(dim=1).flatten().sort(descending=True).indices[:8].tolist())
            for maps in (result.attribution, result.attribution_adv)
        )
        shares.append(len(first & second) / 8)
        succeeded.append(
            bool((result.image_adv != image).any() and model(result.image_adv).argmax(dim=1) == label)
        )
    kept = [share for share, success in zip(shares, succeeded, strict=True) if success]
    return {
        "top_k": sum(shares) / len(shares),
        "top_k_count": len(shares),
        "top_k_stderr": statistics.stdev(shares) / len(shares) ** 0.5,
        "top_k_kept": sum(kept) / len(kept) if kept else float("nan"),
        "failed": succeeded.count(False),
        "excluded": excluded,
    }


@pytest.mark.parametrize("split", ["val", "test"])
def test_every_key_equals_a_computation_by_hand(tmp_path, split):
    grid = watched()
    run = trainer(tmp_path, callbacks=[ExplanationRobustness(grid, max_samples=12, batch_size=5)])
    module = classifier(adversary=None)
    (run.validate if split == "val" else run.test)(module, TinyData(), verbose=False)
    found = metrics(run)
    found.pop("robustness/time_share")
    chosen = flat(grid.evaluations[-1])
    expected = {
        f"robustness/saliency/{name}/{key}": value
        for name, attack in {"clean": Unattacked(), "top": STRONG}.items()
        for key, value in by_hand(module.model, split, chosen, attack).items()
    }
    assert found == pytest.approx(expected, abs=1e-6, nan_ok=True)
    assert found["robustness/saliency/clean/top_k"] == 1
    assert found["robustness/saliency/clean/failed"] == found["robustness/saliency/clean/top_k_count"]
    assert found["robustness/saliency/top/top_k"] < 0.9
    assert found["robustness/saliency/top/excluded"] > 0


def test_every_cell_has_its_keys(tmp_path):
    attributions = {"saliency": Saliency(), "ig": IntegratedGradients(path_steps=3)}
    grid = watched({"clean": Unattacked(), "sign": RandomSign()}, attributions=attributions)
    run = trainer(tmp_path, callbacks=[ExplanationRobustness(grid, max_samples=4)])
    run.validate(classifier(adversary=None), TinyData(), verbose=False)
    assert set(metrics(run)) == {"robustness/time_share"} | {
        f"robustness/{attribution}/{attack}/{key}"
        for attribution in attributions
        for attack in ("clean", "sign")
        for key in ("top_k", "top_k_count", "top_k_stderr", "top_k_kept", "failed", "excluded")
    }


def test_validate_then_fit_then_test_with_one_module_and_one_callback(tmp_path):
    grid = watched()
    robustness, module = ExplanationRobustness(grid, max_samples=12), classifier(optimizer=sgd(0.1))
    runs = []
    for stage, epochs in (("validate", 1), ("fit", 2), ("test", 1)):
        run = trainer(tmp_path, epochs, callbacks=[robustness])
        getattr(run, stage)(module, TinyData())
        runs.append(metrics(run))
    trained = classifier(optimizer=sgd(0.1))
    trainer(tmp_path, 2).fit(trained, TinyData())
    validated, tested = flat(grid.evaluations[0]), flat(grid.evaluations[-1])
    for found, model, split, chosen in (
        (runs[0], learned(), "val", validated),
        (runs[1], trained.model, "val", validated),
        (runs[2], trained.model, "test", tested),
    ):
        expected = by_hand(model, split, chosen, STRONG)
        assert {key: found[f"robustness/saliency/top/{key}"] for key in expected} == pytest.approx(
            expected, abs=1e-6, nan_ok=True
        )
    assert runs[0]["robustness/saliency/top/top_k"] != runs[1]["robustness/saliency/top/top_k"]


def test_the_subset_is_stratified_and_the_same_in_every_epoch(tmp_path):
    grid = watched({"clean": Unattacked()})
    robustness = ExplanationRobustness(grid, max_samples=8, batch_size=3)
    trainer(tmp_path, 3, callbacks=[robustness]).fit(classifier(adversary=None), TinyData())
    assert len(grid.evaluations) == 3
    assert grid.evaluations[0] == grid.evaluations[1] == grid.evaluations[2]
    assert [len(batch) for batch in grid.evaluations[0]] == [3, 3, 2]
    chosen = flat(grid.evaluations[0])
    assert tiny_images("val").labels[chosen].bincount().tolist() == [2, 2, 2, 2]


def test_the_seed_chooses_the_subset(tmp_path):
    chosen = []
    for seed in (0, 0, 1):
        grid = watched({"clean": Unattacked()})
        robustness = ExplanationRobustness(grid, max_samples=8, seed=seed)
        trainer(tmp_path, callbacks=[robustness]).validate(
            classifier(adversary=None), TinyData(), verbose=False
        )
        chosen.append(grid.evaluations)
    assert chosen[0] == chosen[1] != chosen[2]


@pytest.mark.parametrize(("every", "evaluated"), [(1, [1, 2, 3, 4, 5]), (2, [2, 4]), (5, [5]), (6, [])])
def test_an_evaluation_after_every_nth_epoch(tmp_path, every, evaluated):
    grid, epochs = watched({"clean": Unattacked()}), []

    class Count(Callback):
        def on_validation_end(self, trainer, pl_module):
            if len(grid.evaluations) > len(epochs):
                epochs.append(trainer.current_epoch + 1)

    callbacks = [ExplanationRobustness(grid, max_samples=4, every_n_epochs=every), Count()]
    trainer(tmp_path, 5, callbacks=callbacks).fit(classifier(adversary=None), TinyData())
    assert epochs == evaluated


def test_validate_evaluates_whatever_the_interval(tmp_path):
    grid = watched({"clean": Unattacked()})
    run = trainer(tmp_path, callbacks=[ExplanationRobustness(grid, max_samples=4, every_n_epochs=9)])
    run.validate(classifier(adversary=None), TinyData(), verbose=False)
    assert len(grid.evaluations) == 1


def test_a_grid_that_cannot_run_fails_before_training(tmp_path):
    module = classifier(optimizer=sgd(0.1))
    run = trainer(tmp_path, callbacks=[ExplanationRobustness(watched(k=65), max_samples=4)])
    with pytest.raises(ValueError, match=r"Expected `k` in \[1, 64\], but got 65"):
        run.fit(module, TinyData())
    assert run.global_step == 0
    for found, before in zip(module.model.parameters(), learned().parameters(), strict=True):
        assert torch.equal(found, before)


@pytest.mark.parametrize("stage", ["fit", "validate", "test"])
def test_the_cost_is_printed_first(tmp_path, caplog, stage):
    robustness = ExplanationRobustness(watched({"clean": Unattacked()}), max_samples=6, every_n_epochs=3)
    run = trainer(tmp_path, callbacks=[robustness], limit_train_batches=1)
    with caplog.at_level(logging.INFO, logger="lightning.pytorch.utilities.rank_zero"):
        getattr(run, stage)(classifier(adversary=None), TinyData())
    when = "after every 3 epoch(s)" if stage == "fit" else "once"
    # Five passes of one image forward and two backward: see test_cost.
    expected = (
        f"Explanation robustness {when}: 6 images, at most 30 forward and 12 backward passes of one image."
    )
    assert caplog.messages.count(expected) == 1


def test_the_share_of_time_is_that_since_the_start(tmp_path, monkeypatch):
    clock = SimpleNamespace(now=100.0)
    monkeypatch.setattr(explanation_robustness, "time", SimpleNamespace(monotonic=lambda: clock.now))

    class Slow(Watched):
        def rows(self):
            clock.now += 3.0
            return super().rows()

    class Train(Callback):
        def on_train_epoch_start(self, trainer, pl_module):
            clock.now += 9.0

    shares = []

    class Collect(Callback):
        def on_validation_end(self, trainer, pl_module):
            shares.append(trainer.callback_metrics.get("robustness/time_share"))

    grid = Slow({"saliency": Saliency()}, {"clean": Unattacked()}, {"top_k": TopKIntersection(8)})
    robustness = ExplanationRobustness(grid, max_samples=4, every_n_epochs=2)
    run = trainer(tmp_path, 4, callbacks=[robustness, Train(), Collect()], num_sanity_val_steps=0)
    # The callback was made long before the start.
    clock.now += 1000
    run.fit(classifier(adversary=None), TinyData())
    assert shares[0] is None
    # Two evaluations of 3 seconds in four epochs of 9 seconds.
    assert [share.item() for share in shares[1:]] == pytest.approx([3 / 21, 3 / 21, 6 / 42])


def test_a_checkpoint_can_monitor_a_key(tmp_path):
    key = "robustness/saliency/top/top_k"
    values = {}

    class Collect(Callback):
        def on_validation_end(self, trainer, pl_module):
            values[trainer.current_epoch] = trainer.callback_metrics[key].item()

    checkpoint = ModelCheckpoint(tmp_path, monitor=key, mode="min", filename="{epoch}")
    run = pl.Trainer(
        accelerator="cpu",
        max_epochs=4,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        default_root_dir=tmp_path,
        callbacks=[ExplanationRobustness(watched(), max_samples=12), Collect(), checkpoint],
    )
    run.fit(classifier(adversary=None, optimizer=sgd(0.1)), TinyData())
    best = min(values, key=values.get)
    assert sorted(values.values())[1] > values[best]
    assert checkpoint.best_model_score.item() == pytest.approx(values[best])
    assert checkpoint.best_model_path.endswith(f"epoch={best}.ckpt")


class Memory(Logger):
    name, version = "memory", 0

    def __init__(self):
        super().__init__()
        self.metrics = []

    def log_hyperparams(self, *args, **options):
        pass

    def log_metrics(self, metrics, step=None):
        self.metrics.append(metrics)


def test_every_logger_gets_the_keys(tmp_path):
    loggers = [Memory(), Memory()]
    run = pl.Trainer(
        accelerator="cpu",
        logger=loggers,
        enable_progress_bar=False,
        enable_checkpointing=False,
        default_root_dir=tmp_path,
        callbacks=[ExplanationRobustness(watched({"clean": Unattacked()}), max_samples=4)],
    )
    run.validate(classifier(adversary=None), TinyData(), verbose=False)
    for logger in loggers:
        (found,) = [metrics for metrics in logger.metrics if "robustness/saliency/clean/top_k" in metrics]
        assert found["robustness/saliency/clean/top_k"] == 1
        assert set(metrics(run)) <= set(found)


class Defined(Memory, WandbLogger):
    """A W&B logger whose run only remembers what was defined."""

    def __init__(self):
        super().__init__()
        self.defined = {}

    @property
    def experiment(self):
        return self

    def define_metric(self, name, step_metric):
        self.defined[name] = step_metric


def test_wandb_draws_every_key_against_the_epoch(tmp_path):
    logger = Defined()
    run = pl.Trainer(
        accelerator="cpu",
        max_epochs=1,
        limit_train_batches=1,
        log_every_n_steps=1,
        logger=[Memory(), logger],
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        default_root_dir=tmp_path,
        callbacks=[ExplanationRobustness(watched(), max_samples=4)],
    )
    run.fit(classifier(adversary=None), TinyData())
    assert logger.defined == dict.fromkeys(metrics(run), "epoch")
    (logged,) = [metrics for metrics in logger.metrics if "robustness/time_share" in metrics]
    assert logged["epoch"] == 0


def test_nothing_is_evaluated_while_sanity_checking(tmp_path):
    grid = watched({"clean": Unattacked()})
    run = trainer(tmp_path, callbacks=[ExplanationRobustness(grid, max_samples=4)], num_sanity_val_steps=2)
    run.fit(classifier(adversary=None), TinyData())
    assert len(grid.evaluations) == 1


def test_training_is_the_same_with_and_without_it(tmp_path):
    weights = []
    for callbacks in ([], [ExplanationRobustness(watched(), max_samples=8)]):
        module = classifier()
        trainer(tmp_path, 2, callbacks=callbacks).fit(module, TinyData())
        weights.append(torch.nn.utils.parameters_to_vector(module.model.parameters()))
    assert torch.equal(*weights)


def test_refuses_another_module(tmp_path):
    run = trainer(tmp_path, callbacks=[ExplanationRobustness(watched(), max_samples=4)])
    with pytest.raises(TypeError, match="Expected a LitClassifier, but got BoringModel"):
        run.fit(BoringModel(), TinyData())


class BoringModel(pl.LightningModule):
    def training_step(self, batch, batch_idx):
        return None

    def configure_optimizers(self):
        return None


def test_refuses_other_data(tmp_path):
    run = trainer(tmp_path, callbacks=[ExplanationRobustness(watched(), max_samples=4)])
    data = pl.LightningDataModule.from_datasets(val_dataset=tiny_images("val"))
    with pytest.raises(
        TypeError, match=r"Expected an ImageDataModule, but got LightningDataModule\. Its batches"
    ):
        run.validate(classifier(), data)


@pytest.mark.parametrize("option", ["max_samples", "every_n_epochs", "batch_size"])
def test_refuses_options_below_one(option):
    with pytest.raises(ValueError, match=f"Expected `{option}` of at least 1, but got 0"):
        ExplanationRobustness(watched(), **{option: 0})
