import captum.attr
import pytest
import torch

from lit_xai.attributions.input_x_gradient import InputXGradient
from lit_xai.noise import Noise
from tests.contracts import assert_attribution_contract, assert_every_field_matters


@pytest.mark.parametrize("score", ["logit", "probability", "loss"])
def test_contract(model, batch, score):
    assert_attribution_contract(InputXGradient(score=score), model, batch)


def test_equals_captum(model, batch):
    expected = captum.attr.InputXGradient(model).attribute(batch.image, batch.label)
    found = assert_attribution_contract(InputXGradient(), model, batch)
    torch.testing.assert_close(found, expected.detach(), rtol=0, atol=1e-12)


def test_every_field_matters(model, batch):
    assert_every_field_matters(
        InputXGradient(),
        {"score": "loss"},
        lambda method: method.attribute(model, batch.image, batch.label, Noise(0, batch.sample_id)),
    )


def test_refuses_an_unknown_score():
    with pytest.raises(ValueError, match="Expected `score` as logit, probability or loss, but got margin"):
        InputXGradient(score="margin")
