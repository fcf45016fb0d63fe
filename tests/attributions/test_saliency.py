import captum.attr
import pytest
import torch

from lit_xai.attributions.saliency import Saliency
from lit_xai.noise import Noise
from tests.contracts import assert_attribution_contract, assert_every_field_matters


@pytest.mark.parametrize("score", ["logit", "probability", "loss"])
def test_contract(model, batch, score):
    assert_attribution_contract(Saliency(absolute=False, score=score), model, batch)


def test_equals_captum(model, batch):
    expected = captum.attr.Saliency(model).attribute(batch.image, batch.label)
    found = assert_attribution_contract(Saliency(), model, batch)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


def test_the_score_decides_what_is_differentiated(model, batch):
    image = batch.image.clone().requires_grad_()
    loss = torch.nn.functional.cross_entropy(model(image), batch.label, reduction="sum")
    probability = model(image).softmax(dim=1).gather(1, batch.label[:, None]).sum()
    for score, value in {"loss": loss, "probability": probability}.items():
        (expected,) = torch.autograd.grad(value, image)
        found = Saliency(absolute=False, score=score).attribute(
            model, batch.image, batch.label, Noise(0, batch.sample_id)
        )
        torch.testing.assert_close(found.detach(), expected, rtol=0, atol=1e-12)


def test_every_field_matters(model, batch):
    assert_every_field_matters(
        Saliency(),
        {"absolute": False, "score": "loss"},
        lambda method: method.attribute(model, batch.image, batch.label, Noise(0, batch.sample_id)),
    )


def test_refuses_an_unknown_score():
    with pytest.raises(ValueError, match="Expected `score` as logit, probability or loss, but got margin"):
        Saliency(score="margin")
