import pytest
import torch

from lit_xai.attributions.saliency import Saliency
from lit_xai.attributions.smooth_grad import SmoothGrad
from lit_xai.noise import Noise
from tests.contracts import assert_attribution_contract, assert_every_field_matters


def test_contract(model, batch):
    assert_attribution_contract(SmoothGrad(samples=3), model, batch)


def test_equals_a_loop_over_draws(model, batch):
    noise = Noise(0, batch.sample_id)
    expected = torch.zeros_like(batch.image)
    for draw in range(7):
        noisy = (batch.image + 0.3 * noise.child(draw).normal(batch.image)).requires_grad_()
        logit = model(noisy).gather(1, batch.label[:, None]).sum()
        expected += torch.autograd.grad(logit, noisy)[0] / 7
    for max_batch in (1, 13, 512):
        found = SmoothGrad(7, 0.3, max_batch=max_batch).attribute(model, batch.image, batch.label, noise)
        torch.testing.assert_close(found.detach(), expected, rtol=0, atol=1e-12)


def test_the_spread_falls_with_the_root_of_the_draws(trained, fashion_batch):
    image, label = fashion_batch.image[:16], fashion_batch.label[:16]

    def distance(samples):
        first, second = (
            SmoothGrad(samples)
            .attribute(trained, image, label, Noise(seed, fashion_batch.sample_id[:16]))
            .detach()
            for seed in (0, 1)
        )
        return (first - second).flatten(1).norm(dim=1).mean().item()

    assert distance(1) / distance(64) == pytest.approx(8.0, rel=0.25)


def test_without_noise_it_would_be_the_gradient(model, batch):
    noise = Noise(0, batch.sample_id)
    found = SmoothGrad(3, sigma=1e-12).attribute(model, batch.image, batch.label, noise).detach()
    expected = Saliency(absolute=False).attribute(model, batch.image, batch.label, noise).detach()
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-9)


def test_every_field_matters(model, batch):
    sizes = []
    model.register_forward_pre_hook(lambda _, arguments: sizes.append(len(arguments[0])))

    def effect(method):
        sizes.clear()
        found = method.attribute(model, batch.image, batch.label, Noise(0, batch.sample_id)).detach()
        return torch.cat([found.flatten(), torch.tensor([max(sizes)])])

    changes = {"samples": 4, "sigma": 0.2, "score": "probability", "max_batch": 2}
    assert_every_field_matters(SmoothGrad(samples=3), changes, effect)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"samples": 0}, "Expected `samples` of at least 1, but got 0"),
        ({"sigma": 0.0}, "Expected `sigma` above 0, but got 0. Use Saliency for no noise"),
        ({"score": "margin"}, "Expected `score` as logit, probability or loss, but got margin"),
        ({"max_batch": 0}, "Expected `max_batch` of at least 1, but got 0"),
    ],
)
def test_refuses(options, message):
    with pytest.raises(ValueError, match=message):
        SmoothGrad(**options)


def test_a_coarse_mean_takes_the_first_draws():
    method = SmoothGrad(samples=9, sigma=0.3, score="loss", max_batch=5)
    assert method.coarse(2) == SmoothGrad(samples=2, sigma=0.3, score="loss", max_batch=5)
    assert method.coarse(20) == method
