from dataclasses import dataclass, field, replace
from typing import ClassVar

import pytest
import scipy.stats
import skimage.metrics
import torch
from torch import Tensor, nn

from lit_xai.attacks.base import Attack, run_attack
from lit_xai.attacks.exiaa import EXIAA
from lit_xai.attacks.gaussian import GaussianInjection, MatchedGaussian
from lit_xai.attacks.random_sign import RandomSign
from lit_xai.attacks.top_k import TopK
from lit_xai.attacks.unattacked import Unattacked
from lit_xai.attributions.base import Explain
from lit_xai.attributions.integrated_gradients import IntegratedGradients
from lit_xai.attributions.saliency import Saliency
from lit_xai.attributions.smooth_grad import SmoothGrad
from lit_xai.noise import Noise
from lit_xai.types import Batch, Donors
from tests.conftest import tiny_batch
from tests.contracts import assert_attack_contract, assert_every_field_matters

EXPLANATIONS = [Saliency(), IntegratedGradients(path_steps=3), SmoothGrad(samples=3)]


def injected(attack: GaussianInjection, image: Tensor, seed: int = 0) -> Tensor:
    """Return attacked images without a network, which the attack does not need."""
    noise = Noise(seed, torch.arange(len(image)) + 3)
    explain = Explain(Saliency(), torch.nn.Identity(), noise)
    return attack.perturb(explain.model, explain, image, torch.zeros(len(image)).long(), noise)


@pytest.mark.parametrize("attribution", EXPLANATIONS)
@pytest.mark.parametrize("attack", [GaussianInjection(), GaussianInjection(alpha=0.9, k=1.0, sigma=3.0)])
def test_contract(model, batch, attack, attribution):
    result = assert_attack_contract(attack, attribution, model, batch)
    assert result.applied.all()


@pytest.mark.parametrize(("k", "count"), [(0.2, 26), (0.5, 64), (1.0, 128), (0.0001, 1)])
def test_changes_the_share_of_the_features_of_every_sample(model, batch, k, count):
    image = 0.3 + 0.4 * batch.image
    result = run_attack(
        model, Saliency(), GaussianInjection(alpha=0.1, k=k, sigma=0.1), batch._replace(image=image), 0
    )
    assert (result.image_adv != image).flatten(1).sum(dim=1).tolist() == [count] * 6


def test_chosen_features_are_blended_with_normal_noise():
    generator = torch.Generator().manual_seed(0)
    image = 0.4 + 0.2 * torch.rand(16, 3, 32, 32, generator=generator, dtype=torch.float64)
    found = injected(GaussianInjection(alpha=0.3, k=0.5, sigma=0.2), image)
    chosen = found != image
    noise = (found - 0.7 * image)[chosen] / 0.3
    assert scipy.stats.kstest(noise.numpy(), "norm", args=(0.0, 0.2)).pvalue > 0.01
    assert abs(torch.corrcoef(torch.stack([noise, image[chosen]]))[0, 1].item()) < 0.02


def test_places_are_uniform_over_channels_and_pixels():
    found = injected(GaussianInjection(k=0.25), torch.full((1000, 2, 4, 4), 0.5, dtype=torch.float64))
    counts = (found != 0.5).flatten(1).sum(dim=0)
    assert counts.sum() == 8000
    # Each place is drawn 250 times, with a standard deviation of 13.7.
    assert (counts - 250).abs().max() < 4 * 13.7


def test_pixels_outside_the_domain_are_cut():
    found = injected(GaussianInjection(alpha=1.0, k=1.0, sigma=1.0), torch.full((4, 3, 32, 32), 0.5))
    # The whole image is noise: half of it below black, and 15.9 % beyond white.
    assert abs((found == 0).double().mean().item() - 0.5) < 0.02
    assert abs((found == 1).double().mean().item() - scipy.stats.norm.sf(1)) < 0.02


def test_the_seed_and_the_sample_decide_the_draw(model, batch):
    first, again, other = (
        run_attack(model, Saliency(), GaussianInjection(), batch, seed=seed).image_adv for seed in (0, 0, 1)
    )
    assert torch.equal(first, again)
    assert (first != other).flatten(1).any(dim=1).all()
    places = injected(GaussianInjection(), torch.full((2, 2, 8, 8), 0.5)) != 0.5
    assert (places[0] != places[1]).any()


def test_the_explanation_plays_no_part(model, batch):
    first, second = (
        run_attack(model, attribution, GaussianInjection(), batch, seed=0).image_adv
        for attribution in (Saliency(), SmoothGrad(samples=2))
    )
    assert torch.equal(first, second)


def test_every_field_matters(model, batch):
    assert_every_field_matters(
        GaussianInjection(),
        {"alpha": 0.1, "k": 0.3, "sigma": 0.5},
        lambda method: run_attack(model, Saliency(), method, batch, seed=0).image_adv,
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"alpha": 0.0}, r"Expected `alpha` in \(0, 1\], but got 0\."),
        ({"k": 1.2}, r"Expected `k` in \(0, 1\], but got 1\.2\."),
        ({"sigma": 0.0}, "Expected `sigma` above 0, but got 0."),
    ],
)
def test_refuses_options_out_of_range(options, message):
    with pytest.raises(ValueError, match=message):
        GaussianInjection(**options)


@dataclass(frozen=True)
class Shift(Attack):
    """Add a constant to the first `rows` rows; only bright images are eligible."""

    by: float = 0.1
    rows: int = 3
    prepared: bool = False
    seen: list[Tensor] = field(default_factory=list, compare=False)
    needs_gradient: ClassVar[bool] = False

    def prepare(self, model: nn.Module, donors: Donors) -> "Shift":
        return replace(self, prepared=True)

    def eligible(self, image: Tensor, logits: Tensor) -> Tensor:
        return image.mean(dim=(1, 2, 3)) > 0.5

    def perturb(self, model, explain, image: Tensor, target: Tensor, noise: Noise) -> Tensor:
        self.seen.append(noise.uniform(image))
        moved = image.clone()
        moved[:, :, : self.rows] = (moved[:, :, : self.rows] + self.by).clamp(0, 1)
        return moved


@dataclass(frozen=True)
class Negative(Attack):
    """Turn black into white."""

    needs_gradient: ClassVar[bool] = False

    def perturb(self, model, explain, image: Tensor, target: Tensor, noise: Noise) -> Tensor:
        return 1 - image


def grey(samples: int = 6, size: int = 16) -> Batch:
    """Return images away from black and white."""
    batch = tiny_batch(samples=samples, size=size)
    return batch._replace(image=0.3 + 0.4 * batch.image)


def matched(attack: MatchedGaussian, batch: Batch, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Return what the reference and the matched noise make of images, without a network."""
    noise = Noise(seed, batch.sample_id)
    explain = Explain(Saliency(), nn.Identity(), noise)
    arguments = (explain.model, explain, batch.image, batch.label, noise)
    return attack.reference.perturb(*arguments), attack.perturb(*arguments)


def l2(batch: Batch, image: Tensor) -> Tensor:
    return (image - batch.image).square().sum(dim=(1, 2, 3)).sqrt()


def similarity(batch: Batch, image: Tensor) -> Tensor:
    """Return the similarity to the clean images as scikit-image measures it inside a mirrored border."""
    options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 1.0}
    pairs = (torch.nn.functional.pad(one, [5] * 4, mode="reflect").numpy() for one in (batch.image, image))
    values = [
        skimage.metrics.structural_similarity(first, second, channel_axis=0, **options)
        for first, second in zip(*pairs, strict=True)
    ]
    return torch.tensor(values, dtype=torch.float64)


@pytest.mark.parametrize("equal", ["l2", "ssim"])
@pytest.mark.parametrize("attribution", EXPLANATIONS)
def test_contract_of_matched_noise(model, batch, attribution, equal):
    donors = [tiny_batch(samples=40, seed=9)]
    attack = MatchedGaussian(EXIAA(alpha=0.3), equal=equal).prepare(model, lambda: donors)
    result = assert_attack_contract(attack, attribution, model, batch)
    assert result.applied.sum() >= 4
    reference = run_attack(model, attribution, attack.reference, batch, seed=0)
    assert torch.equal(result.applied, reference.applied)
    measure = {"l2": l2, "ssim": similarity}[equal]
    expected = measure(batch, reference.image_adv)
    torch.testing.assert_close(measure(batch, result.image_adv), expected, rtol=0, atol=1e-8)


@pytest.mark.parametrize("by", [1e-4, 0.03, 0.3])
@pytest.mark.parametrize("equal", ["l2", "ssim"])
def test_the_distance_is_that_of_the_reference(equal, by):
    batch = grey()
    reference, found = matched(MatchedGaussian(Shift(by), equal=equal), batch)
    measure = {"l2": l2, "ssim": lambda *images: 1 - similarity(*images)}[equal]
    torch.testing.assert_close(measure(batch, found), measure(batch, reference), rtol=1e-8, atol=1e-12)
    assert ((found != batch.image).flatten(1).sum(dim=1) == 2 * 3 * 16).all()


def test_the_distance_is_equal_after_clipping():
    batch = tiny_batch(size=16)
    batch.image[:3] = (batch.image[:3] > 0.5).double()
    reference, found = matched(MatchedGaussian(Shift(0.4, rows=16)), batch)
    clipped = (found == 0) | (found == 1)
    assert (clipped & (found != batch.image)).flatten(1).any(dim=1)[3:].all()
    assert found.min() >= 0
    assert found.max() <= 1
    torch.testing.assert_close(l2(batch, found), l2(batch, reference), rtol=1e-9, atol=0)


def test_as_many_features_as_the_reference_changes_at_places_of_its_own():
    batch = grey()
    batch.image[0, 0, :, :4] = 1.0
    reference, found = matched(MatchedGaussian(Shift(0.1)), batch)
    counts = (reference != batch.image).flatten(1).sum(dim=1)
    assert counts.tolist() == [2 * 3 * 16 - 3 * 4] + [2 * 3 * 16] * 5
    changed = found != batch.image
    # A white feature that is pushed up stays white.
    assert (counts - changed.flatten(1).sum(dim=1)).tolist()[1:] == [0] * 5
    assert 0 < changed[1:, :, :3].sum() < 0.5 * counts[1:].sum()
    assert (changed[1] != changed[2]).any()


def test_the_noise_is_normal():
    batch = grey(samples=4, size=32)
    _, found = matched(MatchedGaussian(Shift(0.02, rows=32)), batch)
    for own in (found - batch.image).flatten(1):
        # At this size only the scale is fixed: by the reference's 0.02 in every feature.
        assert scipy.stats.kstest(own.numpy(), "norm", args=(0.0, 0.02)).pvalue > 0.01


def test_a_reference_that_draws_places_shares_none_with_the_noise():
    batch = grey(samples=2, size=16)
    attack = MatchedGaussian(GaussianInjection(k=0.25))
    reference, found = matched(attack, batch)
    both = ((reference != batch.image) & (found != batch.image)).double().mean()
    assert abs(both.item() - 0.25**2) < 0.02


def test_the_reference_gets_the_noise_that_it_would_get_alone(model, batch):
    shift = Shift()
    run_attack(model, Saliency(), shift, batch, seed=3)
    run_attack(model, Saliency(), MatchedGaussian(shift), batch, seed=3)
    assert len(shift.seen) == 2
    assert torch.equal(*shift.seen)


def test_a_sample_that_the_reference_leaves_alone_is_left_alone():
    batch = grey()
    batch.image[2] = 1.0
    for equal in ("l2", "ssim"):
        _, found = matched(MatchedGaussian(Shift(), equal=equal), batch)
        assert (found != batch.image).flatten(1).any(dim=1).tolist() == [True, True, False, True, True, True]
        _, found = matched(MatchedGaussian(Unattacked(), equal=equal), batch)
        assert torch.equal(found, batch.image)


@pytest.mark.parametrize("equal", ["l2", "ssim"])
def test_an_amplitude_out_of_reach_gets_the_largest_with_a_warning(equal):
    batch = grey(samples=3)
    batch.image[:2] = (batch.image[:2] > 0.5).double()
    batch.image[2] = 0.45
    message = r"but clipping leaves 2 of 3 samples nearer\. Lower the reference's amplitude\."
    with pytest.warns(UserWarning, match=message):
        reference, found = matched(MatchedGaussian(Negative(), equal=equal), batch)
    # All noise reaches black or white; where it points beyond, the pixel stays.
    assert ((found[:2] == 0) | (found[:2] == 1)).all()
    assert abs((found != batch.image)[:2].double().mean().item() - 0.5) < 0.05
    assert (l2(batch, found) < l2(batch, reference))[:2].all()


def test_prepares_and_asks_the_reference(model, batch):
    attack = MatchedGaussian(Shift()).prepare(model, list)
    assert attack == MatchedGaussian(Shift(prepared=True))
    eligible = attack.eligible(batch.image, model(batch.image))
    assert eligible.tolist() == (batch.image.mean(dim=(1, 2, 3)) > 0.5).tolist()
    assert 1 <= eligible.sum() <= 5


def test_the_seed_decides_the_matched_noise():
    first, again, other = (matched(MatchedGaussian(Shift()), grey(), seed)[1] for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert (first != other).flatten(1).any(dim=1).all()


def test_an_empty_batch_stays_empty():
    for equal in ("l2", "ssim"):
        _, found = matched(MatchedGaussian(Shift(), equal=equal), grey(samples=0))
        assert found.shape == (0, 2, 16, 16)


def test_single_precision_stays_single():
    batch = grey()
    single = batch._replace(image=batch.image.float())
    reference, found = matched(MatchedGaussian(Shift(0.02)), single)
    assert found.dtype == torch.float32
    torch.testing.assert_close(l2(single, found), l2(single, reference), rtol=1e-5, atol=0)


def test_every_field_of_matched_noise_matters():
    batch = grey()
    assert_every_field_matters(
        MatchedGaussian(Shift()),
        {"reference": RandomSign(eps=0.1), "equal": "ssim"},
        lambda method: matched(method, batch)[1],
    )


def test_refuses_a_reference_that_climbs():
    with pytest.raises(TypeError, match=r"Expected a `reference` that needs no gradient, but got TopK\."):
        MatchedGaussian(TopK())


def test_refuses_an_unknown_equality():
    with pytest.raises(ValueError, match=r"Expected `equal` as l2 or ssim, but got linf\."):
        MatchedGaussian(Unattacked(), equal="linf")
