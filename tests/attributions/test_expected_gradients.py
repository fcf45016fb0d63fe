import captum.attr
import numpy as np
import pytest
import torch
from torch import nn

from lit_xai.attributions.base import class_score
from lit_xai.attributions.expected_gradients import ExpectedGradients
from lit_xai.attributions.integrated_gradients import IntegratedGradients
from lit_xai.attributions.references import draw_references
from lit_xai.noise import Noise
from tests.conftest import tiny_batch
from tests.contracts import assert_attribution_contract, assert_every_field_matters, curved, select

DONORS = tiny_batch(samples=12, seed=9)


def prepared(model, *options, **named):
    return ExpectedGradients(*options, **named).prepare(model, lambda: [DONORS])


def attribute(method, model, batch):
    return method.attribute(model, batch.image, batch.label, Noise(0, batch.sample_id)).detach()


def loop(model, batch, references, samples, score):
    """Average one draw after the other, one image at a time."""
    maps = torch.zeros_like(batch.image)
    for row, (image, label) in enumerate(zip(batch.image, batch.label, strict=True)):
        for draw in range(samples):
            noise = Noise(0, batch.sample_id[[row]]).child(draw)
            other = references[noise.child("reference").integers(len(references)).item()]
            share = noise.child("share").uniform(image[None, :1, 0, 0]).item()
            leaf = (other + share * (image - other))[None].requires_grad_()
            value = class_score(model(leaf), label[None], score).sum()
            maps[row] += (image - other) * torch.autograd.grad(value, leaf)[0][0] / samples
    return maps


def exact(model, batch, references):
    """Average captum's integrated gradients over the references as baselines."""
    method = captum.attr.IntegratedGradients(model)
    maps = [
        method.attribute(batch.image, reference[None], batch.label, n_steps=40, method="gausslegendre")
        for reference in references
    ]
    return torch.stack(maps).mean(dim=0).detach()


def test_contract(model, batch):
    assert_attribution_contract(prepared(model, samples=4, references=3), model, batch)


@pytest.mark.parametrize("max_batch", [1, 5, 512])
@pytest.mark.parametrize("score", ["logit", "probability", "loss"])
def test_equals_the_loop(model, batch, score, max_batch):
    references = draw_references(model, lambda: [DONORS], 4, 3)
    found = attribute(prepared(model, 7, 4, score, max_batch, 3), model, batch)
    torch.testing.assert_close(found, loop(model, batch, references, 7, score), rtol=0, atol=1e-12)


def test_approaches_captums_integrals_as_draws_are_added(model, batch):
    smooth, pair = curved(model), select(batch, slice(0, 2))
    expected = exact(smooth, pair, draw_references(model, lambda: [DONORS], 5, 0))
    errors = {
        samples: (attribute(prepared(model, samples, 5), smooth, pair) - expected).norm() / expected.norm()
        for samples in (250, 4000)
    }
    assert errors[4000] < 0.05
    # The error falls with the square root of the draws, here to a quarter.
    assert 2 < errors[250] / errors[4000] < 8


def test_captums_gradient_shap_approaches_the_same(model, batch):
    smooth, pair = curved(model), select(batch, slice(0, 2))
    references = draw_references(model, lambda: [DONORS], 5, 0)
    np.random.seed(0)  # noqa: NPY002
    torch.manual_seed(0)
    method = captum.attr.GradientShap(smooth)
    other = method.attribute(pair.image, references, 2000, 0.0, pair.label).detach()
    found = attribute(prepared(model, 2000, 5), smooth, pair)
    assert (found - other).norm() < 0.1 * other.norm()


@pytest.mark.parametrize("score", ["logit", "probability"])
def test_the_map_sums_to_the_score_above_that_of_the_references(model, batch, score):
    smooth, samples = curved(model), 400
    references = draw_references(model, lambda: [DONORS], 6, 0)
    method = prepared(model, samples, 6, score)
    sums = attribute(method, smooth, batch).flatten(1).sum(dim=1)
    for row, label in enumerate(batch.label):
        value = class_score(smooth(batch.image[[row]]), label[None], score)
        others = class_score(smooth(references), label.expand(6), score)
        error = (others.std() + (value - others.mean()).abs()) / samples**0.5
        assert abs(sums[row] - (value - others.mean())) < 4 * error
        assert (value - others.mean()).abs() > error


def test_one_reference_is_integrated_gradients_from_it(model, batch):
    smooth, pair = curved(model), select(batch, slice(0, 2))
    grey = DONORS._replace(image=torch.full_like(DONORS.image, 0.3))
    method = ExpectedGradients(3000, 1).prepare(model, lambda: [grey])
    expected = attribute(IntegratedGradients(baseline=0.3), smooth, pair)
    assert (attribute(method, smooth, pair) - expected).norm() < 0.03 * expected.norm()


@pytest.mark.parametrize("size", [1, 5, 12])
def test_donors_may_come_in_any_order_and_batches(model, batch, size):
    order = torch.randperm(12, generator=torch.Generator().manual_seed(size))
    parts = [type(DONORS)(*(tensor[rows] for tensor in DONORS)) for rows in order.split(size)]
    method = ExpectedGradients(5, 4).prepare(model, lambda: parts)
    assert torch.equal(attribute(method, model, batch), attribute(prepared(model, 5, 4), model, batch))


def test_prepare_leaves_the_method_as_it_was(model, batch):
    method = ExpectedGradients(5, 4)
    ready = method.prepare(model, lambda: [DONORS])
    assert ready == method
    assert hash(ready) == hash(method)
    assert repr(ready) == repr(method)
    assert repr(ready).endswith("seed=0)")
    again = ready.prepare(model, lambda: [tiny_batch(samples=8, seed=2)])
    assert not torch.equal(attribute(ready, model, batch), attribute(again, model, batch))
    with pytest.raises(ValueError, match="Expected ExpectedGradients with references, but got one that was"):
        attribute(method, model, batch)


def test_references_of_another_shape_are_refused(model, batch):
    ready = prepared(model, 2)
    wide = batch._replace(image=batch.image[..., :4])
    with pytest.raises(ValueError, match=r"Expected references of the images' shape \(2, 8, 4\), but got"):
        attribute(ready, model, wide)


def test_prepared_in_inference_mode_it_is_still_differentiable(model, batch):
    with torch.inference_mode():
        method = ExpectedGradients(2, 3).prepare(model, lambda: [tiny_batch(samples=12, seed=9)])
    assert_attribution_contract(method, model, batch)


def test_no_gradient_gives_an_empty_map(model, batch):
    nn.init.zeros_(model.head[-1].weight)
    assert attribute(prepared(model, 2), model, batch).abs().max() == 0


def test_any_shape():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.SiLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()).double()
    batch = tiny_batch(samples=4, channels=3, size=9)
    batch = batch._replace(image=batch.image[..., :5])
    method = ExpectedGradients(3, 2).prepare(model, lambda: [batch])
    references = draw_references(model, lambda: [batch], 2, 0)
    expected = loop(model, batch, references, 3, "logit")
    torch.testing.assert_close(attribute(method, model, batch), expected, rtol=0, atol=1e-12)


def test_an_empty_batch_gives_an_empty_map(model, batch):
    assert attribute(prepared(model, 2), model, select(batch, slice(0, 0))).shape == (0, 2, 8, 8)


def test_every_field_matters(model, batch):
    sizes = []
    model.register_forward_pre_hook(lambda _, arguments: sizes.append(len(arguments[0])))

    def effect(method):
        sizes.clear()
        found = attribute(method.prepare(model, lambda: [DONORS]), model, batch)
        return torch.cat([found.flatten(), torch.tensor([max(sizes)])])

    changes = {"samples": 4, "references": 5, "score": "loss", "max_batch": 2, "seed": 1}
    assert_every_field_matters(ExpectedGradients(samples=3, references=4), changes, effect)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"samples": 0}, "Expected `samples` of at least 1, but got 0"),
        ({"references": 0}, "Expected `references` of at least 1, but got 0"),
        ({"max_batch": 0}, "Expected `max_batch` of at least 1, but got 0"),
        ({"score": "margin"}, "Expected `score` as logit, probability or loss, but got margin"),
    ],
)
def test_refuses(options, message):
    with pytest.raises(ValueError, match=message):
        ExpectedGradients(**options)


def test_a_coarse_expectation_takes_the_first_draws_of_the_same_references(model, batch):
    method = prepared(model, samples=9, references=5)
    assert method.coarse(20).samples == 9
    found = attribute(method.coarse(2), model, batch)
    torch.testing.assert_close(
        found, attribute(prepared(model, samples=2, references=5), model, batch), rtol=0, atol=0
    )
    assert method.samples == 9
    assert not torch.equal(found, attribute(method, model, batch))
