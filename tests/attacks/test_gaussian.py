import pytest
import scipy.stats
import torch
from torch import Tensor

from lit_xai.attacks.base import run_attack
from lit_xai.attacks.gaussian import GaussianInjection
from lit_xai.attributions.base import Explain
from lit_xai.attributions.integrated_gradients import IntegratedGradients
from lit_xai.attributions.saliency import Saliency
from lit_xai.attributions.smooth_grad import SmoothGrad
from lit_xai.noise import Noise
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
