import captum.attr
import pytest
import torch
from torch import nn

from lit_xai.attributions.fast_ig import FastIG
from lit_xai.attributions.integrated_gradients import IntegratedGradients
from lit_xai.noise import Noise
from tests.contracts import assert_attribution_contract, assert_every_field_matters


def attribute(method, model, batch):
    return method.attribute(model, batch.image, batch.label, Noise(0, batch.sample_id)).detach()


@pytest.mark.parametrize("baseline", [0.0, 0.4])
def test_contract(model, batch, baseline):
    assert_attribution_contract(FastIG(baseline), model, batch)


@pytest.mark.parametrize("baseline", [0.0, 0.3])
def test_equals_captum(model, batch, baseline):
    method = captum.attr.InputXGradient(lambda difference: model(difference + baseline))
    expected = method.attribute((batch.image - baseline).requires_grad_(), batch.label)
    found = attribute(FastIG(baseline), model, batch)
    torch.testing.assert_close(found, expected.detach(), rtol=0, atol=1e-12)


def test_equals_integrated_gradients_without_biases(model, batch):
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.zeros_(module.bias)
    found = attribute(FastIG(), model, batch)
    expected = attribute(IntegratedGradients(10), model, batch)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-9)
    logit = model(batch.image).gather(1, batch.label[:, None]).squeeze(1).detach()
    torch.testing.assert_close(found.flatten(1).sum(dim=1), logit, rtol=0, atol=1e-9)


def test_the_loss_turns_the_sign(model, batch):
    image, label = batch.image.clone().requires_grad_(), batch.label
    loss = nn.functional.cross_entropy(model(image), label, reduction="sum")
    (gradient,) = torch.autograd.grad(loss, image)
    found = attribute(FastIG(score="loss"), model, batch)
    torch.testing.assert_close(found, (image * gradient).detach(), rtol=0, atol=1e-12)


def test_no_gradient_gives_an_empty_map(model, batch):
    nn.init.zeros_(model.head[-1].weight)
    assert attribute(FastIG(), model, batch).abs().max() == 0


def test_any_shape():
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    image, target = torch.rand(2, 3, 5, 7), torch.tensor([1, 3])
    found = FastIG(0.5).attribute(model, image, target, Noise(0, torch.arange(2))).detach()
    expected = (image - 0.5) * model[0].weight.detach()[target].expand(-1, -1, 5, 7) / 35
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-7)


def test_every_field_matters(model, batch):
    changes = {"baseline": 0.5, "score": "loss"}
    assert_every_field_matters(FastIG(), changes, lambda method: attribute(method, model, batch))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"baseline": 128.0}, r"Expected `baseline` in \[0, 1\], but got 128\. Write a grey of 128 as 0\.5"),
        ({"score": "margin"}, "Expected `score` as logit, probability or loss, but got margin"),
    ],
)
def test_refuses(options, message):
    with pytest.raises(ValueError, match=message):
        FastIG(**options)
