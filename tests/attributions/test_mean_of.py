import numpy as np
import pytest
import torch
import yaml
from jsonargparse import ArgumentParser

from lit_xai.attributions.base import Attribution
from lit_xai.attributions.input_x_gradient import InputXGradient
from lit_xai.attributions.integrated_gradients import IntegratedGradients
from lit_xai.attributions.mean_of import MeanOf, VarianceWeightedMean, shares, variance_weighted
from lit_xai.attributions.saliency import Saliency
from lit_xai.attributions.smooth_grad import SmoothGrad
from lit_xai.noise import Noise
from lit_xai.types import Batch
from tests.attributions.test_softened import Blind
from tests.conftest import tiny_network
from tests.contracts import assert_attribution_contract, assert_every_field_matters

MEMBERS = (Saliency(), InputXGradient(), IntegratedGradients(3))
KINDS = [MeanOf, VarianceWeightedMean]


class Zero(Attribution):
    """A map of zeros for some samples."""

    differentiable = True

    def __init__(self, *rows: int) -> None:
        self.rows = rows

    def attribute(self, model, image, target, noise):
        zero = torch.ones(len(image), 1, 1, 1).to(image)
        zero[list(self.rows)] = 0
        return zero * image


def attribute(method, model, batch):
    return method.attribute(model, batch.image, batch.label, Noise(0, batch.sample_id)).detach()


def reference(maps, spread=None):
    """Return one image's aggregate from maps of (C, H, W), in NumPy; the paper's without its constants."""
    members = []
    for one in maps:
        magnitude = np.abs(one.numpy()).sum(axis=0)
        members.append(magnitude / magnitude.sum())
    mean = np.mean(members, axis=0)
    if spread is None:
        return mean
    deviation = np.std(members, axis=0)
    weighted = mean / (deviation + spread * deviation.mean())
    return weighted / weighted.sum()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("members", [MEMBERS, (Saliency(), SmoothGrad(2), SmoothGrad(2))])
def test_contract(model, batch, kind, members):
    found = assert_attribution_contract(kind(members), model, batch)
    assert found.shape == (6, 1, 8, 8)
    assert found.min() >= 0
    torch.testing.assert_close(found.sum(dim=(1, 2, 3)), found.new_ones(6), rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_contract_of_a_method_that_is_not_differentiable(model, batch, kind):
    method = kind((Saliency(), Blind()))
    assert not method.differentiable
    assert_attribution_contract(method, model, batch)
    noise = Noise(0, batch.sample_id)
    assert not method.attribute(model, batch.image.requires_grad_(), batch.label, noise).requires_grad


@pytest.mark.parametrize("spread", [None, 10.0, 0.3])
@pytest.mark.parametrize("size", [(8, 8), (7, 12)])
def test_equals_the_formula(spread, size):
    image = torch.rand(5, 2, *size, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    batch = Batch(image, torch.tensor([0, 3, 1, 2, 2]), torch.arange(5))
    network = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(8), tiny_network())
    method = MeanOf(MEMBERS) if spread is None else VarianceWeightedMean(MEMBERS, spread)
    found = attribute(method, network, batch)
    maps = [attribute(member, network, batch) for member in MEMBERS]
    for row in range(5):
        expected = reference([one[row] for one in maps], spread)
        # The floor under the divisor is the square root of the precision.
        scale = expected.max() * (1e-12 if spread is None else 1e-6)
        np.testing.assert_allclose(found[row, 0].numpy(), expected, rtol=0, atol=scale)


def test_the_squared_error_is_that_of_the_members_less_their_variance(model, batch):
    """The ambiguity decomposition: exact, so the mean is never worse than its members are on average."""
    generator = torch.Generator().manual_seed(0)
    mean = attribute(MeanOf(MEMBERS), model, batch)
    members = torch.stack([shares(attribute(member, model, batch)) for member in MEMBERS])
    for _ in range(5):
        target = torch.rand(mean.shape, generator=generator, dtype=torch.float64) / 32
        error = (mean - target).square().mean(dim=(1, 2, 3))
        members_error = (members - target).square().mean(dim=(2, 3, 4)).mean(dim=0)
        ambiguity = (members - mean).square().mean(dim=(2, 3, 4)).mean(dim=0)
        torch.testing.assert_close(error, members_error - ambiguity, rtol=1e-10, atol=0)
        assert (error < members_error).all()
        assert (ambiguity > 0.01 * error).all()


def test_members_draw_independently_of_each_other(model, batch):
    member = SmoothGrad(2)
    noise = Noise(0, batch.sample_id)
    own = [
        shares(member.attribute(model, batch.image, batch.label, noise.child(str(index))))
        for index in range(2)
    ]
    found = attribute(MeanOf((member, member)), model, batch)
    torch.testing.assert_close(found, (own[0] + own[1]).detach() / 2, rtol=0, atol=1e-12)
    assert (own[0] - own[1]).abs().max() > 1e-3


@pytest.mark.parametrize("precision", [torch.float32, torch.float64])
def test_equal_members_give_their_mean(model, batch, precision):
    image, model = batch.image.to(precision), model.to(precision)
    batch = batch._replace(image=image)
    method = VarianceWeightedMean((Saliency(), Saliency(absolute=False), Saliency()))
    expected = shares(attribute(Saliency(), model, batch))
    torch.testing.assert_close(attribute(method, model, batch), expected, rtol=1e-5, atol=0)
    image.requires_grad_()
    found = method.attribute(model, image, batch.label, Noise(0, batch.sample_id))
    (gradient,) = torch.autograd.grad(found.square().sum(), image, allow_unused=True, materialize_grads=True)
    assert gradient.isfinite().all()


def test_members_that_differ_by_rounding_give_their_mean():
    generator = torch.Generator().manual_seed(0)
    one = shares(torch.rand(3, 1, 5, 7, generator=generator, dtype=torch.float64))
    rounding = 1e-15 * torch.rand(one.shape, generator=generator, dtype=torch.float64)
    members = torch.stack([one, one * (1 + rounding), one])
    assert not torch.equal(members[1], one)
    torch.testing.assert_close(variance_weighted(members, 1.0), one, rtol=1e-6, atol=0)


def test_pixels_that_members_dispute_weigh_less():
    agreed, high, low = 0.5, 0.5, 0.0
    members = torch.tensor([[agreed, high, low], [agreed, low, high]], dtype=torch.float64).view(
        2, 1, 1, 1, 3
    )
    # Deviations are 0, 1/4, 1/4, so the constant is 1/6 of the spread.
    weight = torch.tensor(
        [0.5 / (1 / 6), 0.25 / (1 / 4 + 1 / 6), 0.25 / (1 / 4 + 1 / 6)], dtype=torch.float64
    )
    found = variance_weighted(members, spread=1.0).flatten()
    torch.testing.assert_close(found, weight / weight.sum(), rtol=1e-6, atol=0)


def test_a_large_spread_is_the_mean(model, batch):
    found = attribute(VarianceWeightedMean(MEMBERS, 1e6), model, batch)
    torch.testing.assert_close(found, attribute(MeanOf(MEMBERS), model, batch), rtol=1e-5, atol=0)


@pytest.mark.parametrize("kind", KINDS)
def test_a_member_without_a_map_adds_nothing_and_is_counted_once(model, batch, kind):
    method = kind((Saliency(), Zero(0, 4), Zero(4, 5)))
    with pytest.warns(UserWarning, match="got only zeros for 3 of 6 images. Such") as caught:
        found = attribute(method, model, batch)
    assert len(caught) == 1
    saliency, image = shares(attribute(Saliency(), model, batch)), shares(batch.image)
    weight = torch.tensor([0, 1, 1, 1, 0, 1.0]), torch.tensor([1, 1, 1, 1, 0, 0.0])
    members = torch.stack([saliency, *(image * one.double().view(6, 1, 1, 1) for one in weight)])
    expected = members.mean(dim=0) if kind is MeanOf else variance_weighted(members, 10.0)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_no_map_at_all_is_a_zero_map(model, batch, kind):
    batch.image.requires_grad_()
    method = kind((Zero(0, 1, 2, 3, 4, 5), Zero(0, 1, 2, 3, 4, 5)))
    with pytest.warns(UserWarning, match="for 6 of 6 images"):
        found = method.attribute(model, batch.image, batch.label, Noise(0, batch.sample_id))
    assert found.eq(0).all()
    assert torch.autograd.grad(found.sum(), batch.image)[0].isfinite().all()


@pytest.mark.parametrize("kind", KINDS)
def test_no_images(model, batch, kind):
    empty = type(batch)(*(tensor[:0] for tensor in batch))
    assert attribute(kind(MEMBERS), model, empty).shape == (0, 1, 8, 8)


@pytest.mark.parametrize("kind", KINDS)
def test_prepares_every_member(model, kind):
    method = kind((Blind(), Saliency(), Blind()))
    prepared = method.prepare(model, list)
    assert prepared == method
    assert type(prepared) is kind
    assert [prepared.members[index].prepared for index in (0, 2)] == [(model, list)] * 2


@pytest.mark.parametrize("kind", KINDS)
def test_differentiable_is_what_all_members_are(kind):
    assert kind(MEMBERS).differentiable is True
    assert kind((*MEMBERS, Blind())).differentiable is False


def test_every_field_matters(model, batch):
    changes = {"members": MEMBERS[:2]}
    for method, changed in (
        (MeanOf(MEMBERS), changes),
        (VarianceWeightedMean(MEMBERS), {**changes, "spread": 1.0}),
    ):
        assert_every_field_matters(method, changed, lambda one: attribute(one, model, batch))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("count", [0, 1])
def test_refuses_fewer_than_two_members(kind, count):
    with pytest.raises(
        ValueError, match=f"Expected at least 2 `members`, but got {count}. Use the method it"
    ):
        kind(MEMBERS[:count])


@pytest.mark.parametrize("spread", [0.0, -1.0])
def test_refuses_a_spread_that_is_not_above_zero(spread):
    with pytest.raises(ValueError, match=f"Expected `spread` above 0, but got {spread:g}"):
        VarianceWeightedMean(MEMBERS, spread)


@pytest.mark.parametrize("kind", KINDS)
def test_a_written_list_of_members_reads_as_it_was(kind):
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(Attribution, "method")
    members = [{"class_path": f"{type(member).__module__}.{type(member).__name__}"} for member in MEMBERS]
    given = {"class_path": f"{kind.__module__}.{kind.__name__}", "init_args": {"members": members}}
    config = parser.parse_object({"method": given})
    method = parser.instantiate(config).method
    assert method == kind((Saliency(), InputXGradient(), IntegratedGradients()))
    written = parser.dump(config)
    assert "!!" not in written
    plain = yaml.safe_load(written)
    assert isinstance(plain["method"]["init_args"]["members"], list)
    assert parser.instantiate(parser.parse_object(plain)).method == method


@pytest.mark.parametrize("kind", KINDS)
def test_a_coarse_aggregate_has_coarse_members(kind):
    method = kind((SmoothGrad(samples=8), IntegratedGradients(9), Saliency()))
    assert method.coarse(3) == kind((SmoothGrad(samples=3), IntegratedGradients(3), Saliency()))
