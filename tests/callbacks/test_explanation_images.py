from dataclasses import replace
from pathlib import Path

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from lightning.pytorch.loggers import Logger
from matplotlib.image import imread

from lit_xai.attacks.base import Attack, run_attack
from lit_xai.attacks.top_k import TopK
from lit_xai.attacks.unattacked import Unattacked
from lit_xai.attributions.base import Attribution
from lit_xai.attributions.saliency import Saliency
from lit_xai.callbacks import explanation_images
from lit_xai.callbacks.explanation_images import ExplanationImages, panel
from lit_xai.types import AttackResult, Batch
from tests.data.test_base import TinyData, tiny_images
from tests.test_module import classifier, learned, sgd, trainer

STRONG = TopK(eps=0.05, step_size=0.02, steps=4, k=8, beta=10.0)


def result(rows: int = 2, channels: int = 1, size: int = 8) -> AttackResult:
    """Return images and maps of values in [0, 0.5], the attack having done nothing."""
    generator = torch.Generator().manual_seed(0)
    image, maps = torch.rand(2, rows, channels, size, size, generator=generator) / 2
    maps[:, :, 0, 0] = 0.5
    logits, label = torch.zeros(rows, 4), torch.zeros(rows, dtype=torch.long)
    flags = torch.ones(rows, dtype=torch.bool)
    return AttackResult(
        image, image, label, label, torch.arange(rows), logits, logits, maps, maps, flags, flags
    )


def column(pixels: np.ndarray, number: int) -> np.ndarray:
    """Return a column of a panel; the first one with the words beside it."""
    edges = [0, 182, 337, 491, 645, 800]
    return pixels[:, edges[number] : edges[number + 1]]


def changed_columns(first: np.ndarray, second: np.ndarray) -> list[int]:
    return [
        number for number in range(5) if not np.array_equal(column(first, number), column(second, number))
    ]


@pytest.fixture
def panels(monkeypatch) -> list[AttackResult]:
    """Collect what would be drawn; the nth picture is of the nth shade of grey."""
    drawn = []

    def draw(shown: AttackResult) -> np.ndarray:
        drawn.append(shown)
        return shade(len(drawn))

    monkeypatch.setattr(explanation_images, "panel", draw)
    return drawn


def shade(number: int) -> np.ndarray:
    return np.full((4, 6, 3), 10 * number, dtype=np.uint8)


class Pictures(Logger):
    """A logger that takes images."""

    name, version = "pictures", 0

    def __init__(self):
        super().__init__()
        self.images = []

    def log_hyperparams(self, *args, **options):
        pass

    def log_metrics(self, metrics, step=None):
        pass

    def log_image(self, key, images, step=None):
        self.images.append((key, images, step))


class Numbers(Pictures):
    """A logger that does not."""

    log_image = property()


def files(directory: Path) -> list[str]:
    return sorted(path.name for path in (directory / "explanations").iterdir())


@pytest.mark.parametrize(("rows", "channels"), [(1, 3), (2, 1), (5, 1)])
def test_a_panel_has_a_row_for_each_sample(rows, channels):
    pixels = panel(result(rows, channels))
    assert pixels.shape == (round(170 * rows + 30), 800, 3)
    assert pixels.dtype == np.uint8


def test_only_what_an_attack_changes_is_drawn_differently():
    clean = result()
    before = panel(clean)
    # The largest value is in a corner and stays, and with it the colour scale.
    maps = clean.attribution.clone()
    maps[:, :, 2:6, 2:6] /= 4
    image = clean.image.clone()
    image[:, :, 2:6, 2:6] += 0.4
    assert changed_columns(before, panel(clean)) == []
    assert changed_columns(before, panel(replace(clean, image_adv=image))) == [2]
    assert changed_columns(before, panel(replace(clean, attribution_adv=maps))) == [3, 4]
    assert changed_columns(before, panel(replace(clean, attribution=maps))) == [1, 4]


def test_the_sample_and_its_prediction_are_written_beside_it():
    clean = result()
    before = panel(clean)
    for other in ({"sample_id": clean.sample_id + 8}, {"kept": ~clean.kept}):
        assert changed_columns(before, panel(replace(clean, **other))) == [0]


def test_unchanged_maps_differ_by_nothing():
    shown = result()
    difference = column(panel(shown), 4)
    # The middle of the colour scale is grey, as is everything but titles and frames.
    assert np.ptp(difference[100, 40:120].astype(int)) <= 1
    other = replace(shown, attribution_adv=shown.attribution + 0.2)
    red, _, blue = column(panel(other), 4)[100, 40:120].mean(axis=0)
    assert red - blue > 30
    other = replace(shown, attribution_adv=(shown.attribution - 0.2).clamp_min(0))
    red, _, blue = column(panel(other), 4)[100, 40:120].mean(axis=0)
    assert blue - red > 30


def test_both_maps_of_a_row_share_a_scale_from_zero():
    shown = result(rows=1)
    flat = torch.full_like(shown.attribution, 0.5)
    half = replace(shown, attribution=flat, attribution_adv=flat / 2)
    twice = replace(shown, attribution=flat * 2, attribution_adv=flat)
    assert changed_columns(panel(half), panel(twice)) == []
    bright, dark = column(panel(half), 1)[100, 40:120], column(panel(half), 3)[100, 40:120]
    assert bright.mean() > dark.mean() + 30


def test_a_map_of_zeros_can_be_drawn():
    shown = result(rows=1)
    zeros = torch.zeros_like(shown.attribution)
    pixels = panel(replace(shown, attribution=zeros, attribution_adv=zeros))
    assert column(pixels, 1)[100, 40:120].max() < 10


def test_a_panel_shows_what_the_attack_found(tmp_path, panels):
    module = classifier(adversary=None, optimizer=sgd(0.1))
    run = trainer(tmp_path, 2, callbacks=[ExplanationImages(Saliency(), STRONG, max_samples=4, seed=3)])
    run.fit(module, TinyData())
    assert len(panels) == 2
    images, found = tiny_images("val"), panels[-1]
    ids = found.sample_id
    batch = Batch(images.pixels[ids].float() / 255, images.labels[ids], ids)
    expected = run_attack(module.model, Saliency(), STRONG, batch, seed=3)
    for name in ("image", "image_adv", "attribution", "attribution_adv", "logits_adv", "kept"):
        assert torch.equal(getattr(found, name), getattr(expected, name)), name
    assert found.applied.any()
    assert (found.attribution_adv - found.attribution).abs().max() > 0.01


def test_a_changed_map_changes_the_picture(tmp_path):
    for name, attack in {"clean": Unattacked(), "top": STRONG}.items():
        run = trainer(tmp_path / name, callbacks=[ExplanationImages(Saliency(), attack, max_samples=4)])
        run.validate(classifier(adversary=None), TinyData(), verbose=False)
    without, attacked = (
        imread(tmp_path / name / "explanations" / "epoch_001.png") for name in ("clean", "top")
    )
    assert without.shape == attacked.shape == (710, 800, 4)
    changed = [
        number
        for number in range(5)
        if np.abs(column(without, number) - column(attacked, number)).max() > 0.02
    ]
    assert {2, 3, 4} <= set(changed)


def test_the_same_stratified_images_are_shown_after_every_epoch(tmp_path, panels):
    callback = ExplanationImages(Saliency(), Unattacked(), max_samples=8)
    trainer(tmp_path, 3, callbacks=[callback]).fit(classifier(adversary=None), TinyData())
    assert len(panels) == 3
    chosen = panels[0].sample_id.tolist()
    assert [shown.sample_id.tolist() for shown in panels] == [chosen] * 3
    assert panels[0].label.bincount().tolist() == [2, 2, 2, 2]
    assert torch.equal(panels[0].label, tiny_images("val").labels[chosen])
    # Images that the network gets wrong are shown too.
    assert (panels[0].label != panels[0].target).any()


def test_the_seed_chooses_the_images(tmp_path, panels):
    for seed in (0, 0, 1):
        run = trainer(tmp_path, callbacks=[ExplanationImages(Saliency(), Unattacked(), 4, seed=seed)])
        run.validate(classifier(adversary=None), TinyData(), verbose=False)
    chosen = [shown.sample_id.tolist() for shown in panels]
    assert chosen[0] == chosen[1] != chosen[2]


def test_the_panel_becomes_a_file_for_each_epoch(tmp_path, panels):
    callback = ExplanationImages(Saliency(), STRONG, max_samples=2)
    trainer(tmp_path, 2, callbacks=[callback]).fit(classifier(adversary=None), TinyData())
    assert files(tmp_path) == ["epoch_001.png", "epoch_002.png"]
    for number, name in enumerate(files(tmp_path), start=1):
        stored = (imread(tmp_path / "explanations" / name)[..., :3] * 255).round().astype(np.uint8)
        assert np.array_equal(stored, shade(number))


@pytest.mark.parametrize(
    ("every", "expected"), [(2, ["epoch_002.png", "epoch_004.png"]), (3, ["epoch_003.png"])]
)
def test_a_panel_after_every_nth_epoch(tmp_path, panels, every, expected):
    callback = ExplanationImages(Saliency(), Unattacked(), max_samples=1, every_n_epochs=every)
    trainer(tmp_path, 5, callbacks=[callback]).fit(classifier(adversary=None), TinyData())
    assert files(tmp_path) == expected


def test_nothing_is_drawn_while_sanity_checking_or_testing(tmp_path, panels):
    callbacks = [ExplanationImages(Saliency(), Unattacked(), max_samples=1)]
    run = trainer(tmp_path, callbacks=callbacks, num_sanity_val_steps=2)
    run.fit(classifier(adversary=None), TinyData())
    trainer(tmp_path, callbacks=callbacks).test(classifier(adversary=None), TinyData(), verbose=False)
    assert len(panels) == 1


def test_every_logger_that_takes_images_gets_the_panel(tmp_path, panels):
    loggers = [Numbers(), Pictures(), Pictures()]
    run = pl.Trainer(
        accelerator="cpu",
        max_epochs=2,
        logger=loggers,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        default_root_dir=tmp_path,
        callbacks=[ExplanationImages(Saliency(), STRONG, max_samples=1)],
    )
    run.fit(classifier(adversary=None), TinyData())
    for logger in loggers[1:]:
        assert [(key, step) for key, _, step in logger.images] == [("explanations", 3), ("explanations", 6)]
        for number, (_, (pixels,), _) in enumerate(logger.images, start=1):
            assert np.array_equal(pixels, shade(number))


def test_validate_then_fit_with_one_module_and_one_callback(tmp_path, panels):
    module, callback = classifier(), ExplanationImages(Saliency(), STRONG, max_samples=4)
    trainer(tmp_path, callbacks=[callback]).validate(module, TinyData(), verbose=False)
    trainer(tmp_path, callbacks=[callback]).fit(module, TinyData())
    before, after = (learned(), module.model)
    for shown, model in zip(panels, (before, after), strict=True):
        torch.testing.assert_close(shown.logits.clone(), model(shown.image.clone()), rtol=0, atol=1e-5)
    assert not torch.equal(panels[0].logits, panels[1].logits)


def test_training_is_the_same_with_and_without_it(tmp_path):
    weights = []
    for callbacks in ([], [ExplanationImages(Saliency(), STRONG, max_samples=1)]):
        module = classifier()
        trainer(tmp_path, 2, callbacks=callbacks).fit(module, TinyData())
        weights.append(torch.nn.utils.parameters_to_vector(module.model.parameters()))
    assert torch.equal(*weights)


class Injected(Attack):
    """Blend the first donor into every image."""

    needs_gradient = False

    def __init__(self, donor=None):
        self.donor = donor

    def prepare(self, model, donors):
        return Injected(next(iter(donors())).image[:1].clone())

    def perturb(self, model, explain, image, target, noise):
        return (image + self.donor) / 2


def test_the_attack_is_prepared_with_the_donors(tmp_path, panels):
    callback = ExplanationImages(Saliency(), Injected(), max_samples=2)
    run = trainer(tmp_path, callbacks=[callback])
    run.validate(classifier(adversary=None), TinyData(donor_split="test"), verbose=False)
    (shown,) = panels
    donor = tiny_images("test").pixels[0].float() / 255
    torch.testing.assert_close(shown.image_adv, (shown.image + donor) / 2, rtol=0, atol=1e-6)


class Referred(Attribution):
    differentiable = False

    def __init__(self, reference=None):
        self.reference = reference

    def prepare(self, model, donors):
        return Referred(next(iter(donors())).image[:1].clone())

    def attribute(self, model, image, target, noise):
        return image - self.reference


def test_the_attribution_is_prepared_with_the_donors(tmp_path, panels):
    callback = ExplanationImages(Referred(), Unattacked(), max_samples=2)
    run = trainer(tmp_path, callbacks=[callback])
    run.validate(classifier(adversary=None), TinyData(donor_split="test"), verbose=False)
    (shown,) = panels
    donor = tiny_images("test").pixels[0].float() / 255
    torch.testing.assert_close(shown.attribution, shown.image - donor, rtol=0, atol=1e-6)
    assert callback.attribution.reference is None


@pytest.mark.parametrize("option", ["max_samples", "every_n_epochs"])
def test_refuses_options_below_one(option):
    with pytest.raises(ValueError, match=f"Expected `{option}` of at least 1, but got 0"):
        ExplanationImages(Saliency(), Unattacked(), **{option: 0})


class Opaque(Attribution):
    differentiable = False

    def attribute(self, model, image, target, noise):
        return image


def test_refuses_to_differentiate_what_is_not_differentiable():
    with pytest.raises(TypeError, match="Expected a differentiable `attribution`, but got Opaque"):
        ExplanationImages(Opaque(), STRONG)
    assert ExplanationImages(Opaque(), Unattacked()).attack == Unattacked()
