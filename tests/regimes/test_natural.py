import torch

from lit_xai.noise import Noise
from lit_xai.regimes.natural import Natural
from tests.contracts import assert_every_field_matters, assert_regime_contract


def test_contract(model, batch):
    assert_regime_contract(Natural(), model, batch)


def test_minimises_the_mean_of_minus_log_probability(model, batch):
    loss = Natural().loss(model, batch.image, batch.label, Noise(0, batch.sample_id))
    odds = model(batch.image).exp()
    chosen = torch.stack([odds[row, label] / odds[row].sum() for row, label in enumerate(batch.label)])
    expected = -chosen.log().sum() / 6
    torch.testing.assert_close(loss.total, expected, rtol=0, atol=1e-12)
    torch.testing.assert_close(loss.parts["cross_entropy"], expected.detach(), rtol=0, atol=1e-12)
    assert torch.equal(loss.logits, model(batch.image))
    assert loss.parts.keys() == {"cross_entropy"}


def test_the_network_stays_in_the_mode_of_training(model, batch):
    modes = []
    model.head[-1].register_forward_hook(lambda module, *_: modes.append(module.training))
    for training in (True, False):
        model.train(training)
        Natural().loss(model, batch.image, batch.label, Noise(0, batch.sample_id))
    assert modes == [True, False]


def test_has_no_options(model, batch):
    noise = Noise(0, batch.sample_id)
    assert_every_field_matters(
        Natural(), {}, lambda method: method.loss(model, batch.image, batch.label, noise).total
    )
