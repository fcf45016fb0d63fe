import dataclasses
from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch
from torch import Tensor, nn

from lit_xai.attacks.base import Attack, run_attack
from lit_xai.attacks.criteria import Intersection
from lit_xai.attacks.exiaa import EXIAA
from lit_xai.attacks.gaussian import GaussianInjection
from lit_xai.attacks.mass_center import MassCenter
from lit_xai.attacks.random_sign import RandomSign
from lit_xai.attacks.top_k import TopK
from lit_xai.attacks.unattacked import Unattacked
from lit_xai.attributions.base import Attribution, Explain
from lit_xai.attributions.saliency import Saliency
from lit_xai.attributions.smooth_grad import SmoothGrad
from lit_xai.noise import Noise
from lit_xai.types import Batch
from tests.contracts import select


@dataclass(frozen=True)
class Shift(Attack):
    """Add a number to the pixels of some samples, and cut nothing."""

    by: float
    eps: float = 1.0
    rows: tuple[int, ...] = (0, 1, 2, 3, 4, 5)
    needs_gradient: ClassVar[bool] = False

    def perturb(
        self, model: nn.Module, explain: Explain, image: Tensor, target: Tensor, noise: Noise
    ) -> Tensor:
        moved = torch.zeros(len(image), dtype=torch.bool)
        moved[list(self.rows)] = True
        return torch.where(moved.view(-1, 1, 1, 1), image + self.by, image)


@dataclass(frozen=True)
class Swap(Attack):
    """Replace the images, and declare no radius."""

    other: Tensor
    needs_gradient: ClassVar[bool] = False

    def perturb(
        self, model: nn.Module, explain: Explain, image: Tensor, target: Tensor, noise: Noise
    ) -> Tensor:
        return self.other


@dataclass(frozen=True)
class Broken(Attribution):
    """Explain by the image itself, with one value replaced where a pixel is brighter than a threshold."""

    value: float
    threshold: float
    differentiable: ClassVar[bool] = False

    def attribute(self, model: nn.Module, image: Tensor, target: Tensor, noise: Noise) -> Tensor:
        return image.masked_fill(image > self.threshold, self.value)


@dataclass(frozen=True, eq=False)
class Counted(Saliency):
    """Saliency that writes down what it explained."""

    seen: list[tuple[Tensor, Tensor]] = dataclasses.field(default_factory=list)

    def attribute(self, model: nn.Module, image: Tensor, target: Tensor, noise: Noise) -> Tensor:
        self.seen.append((image, target))
        return super().attribute(model, image, target, noise)


def grey(batch: Batch) -> Batch:
    """Bring pixels to [0.3, 0.5]."""
    return batch._replace(image=0.3 + 0.2 * batch.image)


def undecided(model: nn.Module, batch: Batch) -> nn.Module:
    """Centre the logits over a batch, so that predictions differ and small steps change them."""
    with torch.no_grad():
        model.head[-1].bias -= model(batch.image).mean(dim=0)
    assert len(model(batch.image).argmax(dim=1).unique()) >= 3
    return model


def other_class(model: nn.Module, batch: Batch) -> Tensor:
    """For each image, return another one of the batch that gets another prediction."""
    prediction = model(batch.image).argmax(dim=1).tolist()
    choice = [next(row for row, other in enumerate(prediction) if other != own) for own in prediction]
    return batch.image[choice].clone()


def test_an_attack_that_leaves_its_radius_is_refused(model, batch):
    with pytest.raises(ValueError, match=r"Expected Shift within `eps` 0\.1, but got a distance of 0\.2\."):
        run_attack(model, Saliency(), Shift(by=-0.2, eps=0.1), grey(batch), seed=0)


def test_one_sample_outside_the_radius_is_enough(model, batch):
    with pytest.raises(ValueError, match=r"within `eps` 0\.1, but got a distance of 0\.1001\."):
        run_attack(model, Saliency(), Shift(by=0.1001, eps=0.1, rows=(4,)), grey(batch), seed=0)


def test_the_radius_itself_is_allowed(model, batch):
    result = run_attack(model, Saliency(), Shift(by=0.1, eps=0.1), grey(batch), seed=0)
    torch.testing.assert_close(
        result.image_adv - result.image, torch.full_like(batch.image, 0.1), rtol=0, atol=1e-15
    )


@pytest.mark.parametrize(
    ("by", "range_"), [(0.6, r"\[0\.9\d*, 1\.(1|09)\d*\]"), (-0.4, r"\[-0\.(1|09)\d*, ")]
)
def test_an_attack_that_leaves_the_pixel_domain_is_refused(model, batch, by, range_):
    with pytest.raises(ValueError, match=r"Expected pixels in \[0, 1\], but got values in " + range_):
        run_attack(model, Saliency(), Shift(by=by), grey(batch), seed=0)


def test_an_attack_that_returns_nan_is_refused(model, batch):
    with pytest.raises(ValueError, match=r"Expected pixels in \[0, 1\], but got values in \[nan"):
        run_attack(model, Saliency(), Shift(by=float("nan"), rows=(2,)), batch, seed=0)


def test_an_attack_that_changes_the_shape_is_refused(model, batch):
    with pytest.raises(
        ValueError, match=r"Expected attacked images \(6, 2, 8, 8\), but got \(5, 2, 8, 8\)\."
    ):
        run_attack(model, Saliency(), Swap(batch.image[:5]), batch, seed=0)


def test_clean_pixels_are_checked(model, batch):
    with pytest.raises(
        ValueError, match=r"Expected pixels in \[0, 1\], but got values in .*Normalise inside"
    ):
        run_attack(model, Saliency(), Unattacked(), batch._replace(image=batch.image * 255), seed=0)
    with pytest.raises(TypeError, match=r"Expected floating pixels in \[0, 1\], but got torch\.uint8"):
        run_attack(model, Saliency(), Unattacked(), batch._replace(image=batch.image.byte()), seed=0)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_clean_map_that_is_not_finite_is_refused_by_the_name_of_its_sample(model, batch, value):
    image = grey(batch).image
    image[4, 1, 2, 3] = 0.9
    message = f"Expected finite maps, but got NaN or infinity for sample {batch.sample_id[4]}."
    with pytest.raises(ValueError, match=message):
        run_attack(model, Broken(value, 0.8), Unattacked(), batch._replace(image=image), seed=0)


def test_an_attacked_map_that_is_not_finite_is_refused_by_the_name_of_its_sample(model, batch):
    message = f"Expected finite maps, but got NaN or infinity for sample {batch.sample_id[3]}."
    with pytest.raises(ValueError, match=message):
        run_attack(model, Broken(float("nan"), 0.55), Shift(by=0.3, rows=(3, 5)), grey(batch), seed=0)


def test_a_given_clean_map_that_is_not_finite_is_refused(model, batch):
    clean = torch.zeros_like(batch.image)
    clean[1, 0, 0, 0] = float("nan")
    with pytest.raises(ValueError, match=f"for sample {batch.sample_id[1]}\\."):
        run_attack(model, Saliency(), Unattacked(), batch, seed=0, clean=clean)


def test_a_given_clean_map_is_taken_and_not_computed_again(model, batch):
    counted = Counted()
    clean = torch.rand(batch.image.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    result = run_attack(model, counted, Shift(by=0.1), grey(batch), seed=0, clean=clean)
    assert torch.equal(result.attribution, clean)
    assert result.attribution.data_ptr() != clean.data_ptr()
    assert len(counted.seen) == 1
    assert torch.equal(counted.seen[0][0], result.image_adv)


def test_both_maps_explain_the_class_predicted_for_the_clean_image(model, batch):
    undecided(model, batch)
    counted = Counted(absolute=False)
    wrong = batch._replace(label=(model(batch.image).argmax(dim=1) + 1) % 4)
    result = run_attack(model, counted, Swap(other_class(model, batch)), wrong, seed=0)
    expected = model(batch.image).argmax(dim=1)
    assert [target.tolist() for _, target in counted.seen] == [expected.tolist()] * 2
    for maps, image in ((result.attribution, batch.image), (result.attribution_adv, result.image_adv)):
        leaf = image.clone().requires_grad_()
        score = model(leaf).gather(1, expected[:, None]).sum()
        (gradient,) = torch.autograd.grad(score, leaf)
        torch.testing.assert_close(maps, gradient, rtol=0, atol=1e-12)
    assert torch.equal(result.label, wrong.label)


def test_both_maps_share_their_noise(model, batch):
    undecided(model, batch)
    result = run_attack(model, SmoothGrad(samples=2), Unattacked(), batch, seed=5)
    assert torch.equal(result.attribution, result.attribution_adv)
    target = model(batch.image).argmax(dim=1)
    noise = Noise(5, batch.sample_id).child("attribution")
    expected = SmoothGrad(samples=2).attribute(model, batch.image, target, noise).detach()
    torch.testing.assert_close(result.attribution, expected, rtol=0, atol=1e-12)


def test_the_seed_changes_the_noise_of_the_map_and_of_the_attack(model, batch):
    first, second = (
        run_attack(model, SmoothGrad(samples=2), RandomSign(eps=0.1), batch, seed=seed) for seed in (0, 1)
    )
    assert (first.attribution != second.attribution).flatten(1).any(dim=1).all()
    assert (first.image_adv != second.image_adv).flatten(1).any(dim=1).all()


def test_applied_kept_and_failed_tell_the_samples_apart(model, batch):
    undecided(model, batch)
    other = batch.image.clone()
    other[:2] = other_class(model, batch)[:2]
    other[2:4] = (other[2:4] + 1e-9).clamp(max=1)
    result = run_attack(model, Saliency(), Swap(other), batch, seed=0)
    assert result.applied.tolist() == [True, True, True, True, False, False]
    assert result.kept.tolist() == [False, False, True, True, True, True]
    assert result.failed.tolist() == [True, True, False, False, True, True]


def test_an_attack_without_a_radius_may_go_anywhere_in_the_pixel_domain(model, batch):
    black = batch._replace(image=torch.zeros_like(batch.image))
    result = run_attack(model, Saliency(), Swap(torch.ones_like(batch.image)), black, seed=0)
    assert torch.equal(result.image_adv - result.image, torch.ones_like(batch.image))


@pytest.mark.parametrize("attack", [TopK(eps=0.1, k=5, steps=1), MassCenter(eps=0.1, steps=1)])
def test_a_gradient_attack_refuses_an_attribution_without_a_derivative(model, batch, attack):
    name = type(attack).__name__
    with pytest.raises(
        TypeError, match=f"Expected a differentiable attribution for {name}, but got Broken. Use an attack"
    ):
        run_attack(model, Broken(0.0, 2.0), attack, batch, seed=0)


def test_other_attacks_take_an_attribution_without_a_derivative(model, batch):
    attack = RandomSign(eps=0.1, steps=3, step_size=0.05, criterion=Intersection(5))
    result = run_attack(model, Broken(0.0, 2.0), attack, batch, seed=0)
    assert torch.equal(result.attribution_adv, result.image_adv)
    assert result.applied.any()


@pytest.mark.parametrize(
    "attack",
    [
        RandomSign(eps=0.1, steps=2, criterion=Intersection(5)),
        GaussianInjection(),
        EXIAA(),
        Unattacked(),
    ],
)
def test_an_empty_batch_stays_empty(model, batch, attack):
    prepared = attack.prepare(model, lambda: [batch])
    result = run_attack(model, Saliency(), prepared, select(batch, slice(0, 0)), seed=0)
    assert result.image_adv.shape == result.attribution_adv.shape == (0, 2, 8, 8)
    assert result.failed.shape == (0,)


def test_by_default_every_sample_is_eligible_and_nothing_is_prepared(model, batch):
    attack = Shift(by=0.1)
    assert attack.eligible(batch.image, model(batch.image)).tolist() == [True] * 6
    assert attack.prepare(model, list) is attack
