import warnings
from dataclasses import dataclass
from types import SimpleNamespace
from typing import ClassVar

import pytest
import torch
from torch import nn

from lit_xai.attributions.base import (
    Attribution,
    check_baseline,
    check_counts,
    check_score,
    class_gradients,
    class_score,
    in_flight,
    input_gradient,
    leaf_of,
    safe_root,
    warn_of_zeros,
)
from lit_xai.attributions.saliency import Saliency
from lit_xai.attributions.smooth_grad import SmoothGrad
from lit_xai.noise import Noise


def threshold_network():
    """Return a float64 network for images of 2 x 8 x 8 that is flat where no pixel is above 0.5."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, 4)).double()
    nn.init.eye_(network[1].weight)
    nn.init.constant_(network[1].bias, -0.5)
    return network


def test_class_scores_by_hand():
    logits = torch.tensor([[0.0, 0.0], [0.0, 2.0]]).double()
    target = torch.tensor([1, 0])
    assert class_score(logits, target, "logit").tolist() == [0.0, 0.0]
    odds = torch.tensor(2.0).double().exp().item()
    assert class_score(logits, target, "probability").tolist() == pytest.approx([0.5, 1 / (1 + odds)])
    assert class_score(logits, target, "loss").exp().tolist() == pytest.approx([2.0, 1 + odds])


def test_unknown_scores_are_refused():
    with pytest.raises(ValueError, match="Expected `score` as logit, probability or loss, but got margin"):
        check_score("margin")


def test_counts_are_refused_below_the_least():
    check_counts(SmoothGrad(samples=1), "samples", "max_batch")
    check_counts(SmoothGrad(samples=2), "samples", least=2)
    with pytest.raises(ValueError, match=r"^Expected `samples` of at least 3, but got 2\.$"):
        check_counts(SmoothGrad(samples=2), "max_batch", "samples", least=3)
    with pytest.raises(ValueError, match=r"^Expected `sigma` of at least 1, but got 0\.25\.$"):
        check_counts(SmoothGrad(sigma=0.25), "sigma")
    with pytest.raises(ValueError, match=r"^Expected `momentum` of at least 0, but got nan\.$"):
        check_counts(SimpleNamespace(momentum=float("nan")), "momentum", least=0)


def test_baselines_are_pixels():
    check_baseline(0.0)
    check_baseline(1.0)
    message = r"^Expected `baseline` in \[0, 1\], but got %s\. Write a grey of 128 as 0\.5\.$"
    for value, shown in ((128.0, "128"), (-0.25, r"-0\.25"), (float("nan"), "nan")):
        with pytest.raises(ValueError, match=message % shown):
            check_baseline(value)


@pytest.mark.parametrize(
    ("copies", "images", "max_batch", "expected"),
    [
        (5, 2, 4, [2, 2, 1]),
        (3, 8, 4, [1, 1, 1]),
        (3, 1, 512, [3]),
        (2, 5, 12, [2]),
        (7, 0, 4, [4, 3]),
        (0, 2, 4, []),
    ],
)
def test_copies_in_flight(copies, images, max_batch, expected):
    ranges = list(in_flight(copies, images, max_batch))
    assert [len(part) for part in ranges] == expected
    assert [copy for part in ranges for copy in part] == list(range(copies))


def test_an_image_is_its_own_leaf_only_if_its_graph_is_kept(batch):
    image = batch.image.clone().requires_grad_()
    assert leaf_of(image, keep_graph=True) is image
    for source, keep_graph in ((image, False), (batch.image, True), (batch.image, False)):
        leaf = leaf_of(source, keep_graph=keep_graph)
        assert torch.equal(leaf, source)
        assert leaf.is_leaf
        assert leaf.requires_grad
        assert leaf.data_ptr() != source.data_ptr()
    assert not batch.image.requires_grad


def test_the_root_has_a_derivative_of_zero_at_zero():
    values = torch.tensor([0.0, 4.0, 0.25], dtype=torch.float64, requires_grad=True)
    roots = safe_root(values)
    assert roots.tolist() == [0.0, 2.0, 0.5]
    assert roots.dtype == torch.float64
    (slope,) = torch.autograd.grad(roots.sum(), values, create_graph=True)
    assert slope.tolist() == [0.0, 0.25, 1.0]
    (bend,) = torch.autograd.grad(slope.sum(), values)
    assert bend.tolist() == [0.0, -0.25 / 8, -2.0]


def explain_nothing(values, *texts):
    """Stand in for the body of `attribute`."""
    warn_of_zeros(values, *texts)


@pytest.mark.parametrize(
    ("values", "zero"),
    [
        (torch.tensor([True, False, False]), 2),
        (torch.tensor([[0.0, 0.0], [0.0, -1e-300], [0.0, float("nan")]], dtype=torch.float64), 1),
        (torch.zeros(3, 2, 4, 5, requires_grad=True), 3),
    ],
)
def test_images_of_zeros_are_counted_in_one_warning(values, zero):
    with pytest.warns(UserWarning, match="Expected a gradient") as caught:
        explain_nothing(values)
    (warning,) = caught
    message = f"Expected a gradient, but got only zeros for {zero} of 3 images. Their maps are zero."
    assert str(warning.message) == message
    # Named is the code that asks for the map.
    assert warning.filename == __file__
    with pytest.warns(
        UserWarning, match=rf"^Expected a map, but got only zeros for {zero} of 3 images\. So\.$"
    ):
        explain_nothing(values, "a map", "So.")


def test_without_zeros_there_is_no_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        explain_nothing(torch.tensor([True, True]))
        explain_nothing(torch.zeros(0, 2, 8, 8))


@pytest.mark.parametrize("max_batch", [1, 4, None])
def test_gradient_by_hand_in_chunks(max_batch):
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 3, bias=False))
    image, target = torch.rand(5, 1, 2, 2), torch.tensor([0, 1, 2, 0, 1])
    found = input_gradient(model, image, target, max_batch=max_batch)
    assert torch.equal(found.detach().flatten(1), model[1].weight.detach()[target])


def test_chunks_bound_the_images_in_flight():
    sizes = []
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 3))
    model.register_forward_pre_hook(lambda _, arguments: sizes.append(len(arguments[0])))
    input_gradient(model, torch.rand(5, 1, 2, 2), torch.zeros(5, dtype=torch.long), max_batch=2)
    assert sizes == [2, 2, 1]


def test_an_empty_batch_gives_an_empty_map(model):
    image = torch.rand(0, 2, 8, 8).double()
    assert input_gradient(model, image, torch.zeros(0, dtype=torch.long)).shape == (0, 2, 8, 8)


def test_the_graph_follows_grad_mode(model, batch):
    image = batch.image.clone().requires_grad_()
    assert input_gradient(model, image, batch.label, "loss").requires_grad
    with torch.no_grad():
        assert not input_gradient(model, image, batch.label, "loss").requires_grad


def test_explain_uses_the_same_draws_on_another_network(model, batch):
    explain = SmoothGrad(samples=2).bind(model, Noise(0, batch.sample_id))
    twin = explain.on(nn.Identity())
    assert twin.noise is explain.noise
    assert twin.attribution == explain.attribution
    assert not isinstance(explain.model, nn.Identity)
    assert torch.equal(explain(batch.image, batch.label), explain(batch.image, batch.label))


def test_methods_are_values():
    assert Saliency() == Saliency(absolute=True)
    assert Saliency() != Saliency(score="loss")
    assert repr(Saliency()) == "Saliency(absolute=True, score='logit')"
    with pytest.raises(AttributeError):
        Saliency().score = "loss"


def test_by_default_nothing_is_prepared(model):
    method = Saliency()
    assert method.prepare(model, list) is method


@dataclass(frozen=True)
class Silent(Attribution):
    def attribute(self, model, image, target, noise):
        return image


@dataclass(frozen=True)
class Pair(Silent):
    first: Attribution
    second: Attribution

    @property
    def differentiable(self):
        return self.first.differentiable and self.second.differentiable


@dataclass(frozen=True)
class Rigid(Silent):
    differentiable: ClassVar[bool] = False


def test_a_method_says_whether_it_is_differentiable_as_a_constant_or_by_its_settings():
    assert Saliency.differentiable is True
    assert Pair(Saliency(), SmoothGrad()).differentiable
    assert not Pair(Saliency(), Rigid()).differentiable
    with pytest.raises(TypeError, match="abstract"):
        Silent()


@pytest.mark.parametrize("max_batch", [1, 4, 512])
@pytest.mark.parametrize("score", ["logit", "probability", "loss"])
@pytest.mark.parametrize("keep_graph", [False, True])
def test_several_classes_share_a_pass(model, batch, max_batch, score, keep_graph):
    sizes = []
    hook = model.register_forward_pre_hook(lambda _, arguments: sizes.append(len(arguments[0])))
    classes = torch.stack([batch.label, (batch.label + 1) % 4, torch.zeros_like(batch.label)])
    with torch.set_grad_enabled(keep_graph):
        gradients, logits = class_gradients(model, batch.image, classes, score, max_batch)
    assert sum(sizes) == 6
    assert max(sizes) == min(max_batch, 6)
    hook.remove()
    assert not gradients.requires_grad
    assert not logits.requires_grad
    torch.testing.assert_close(logits, model(batch.image).detach(), rtol=0, atol=1e-12)
    for found, target in zip(gradients, classes, strict=True):
        expected = input_gradient(model, batch.image, target, score).detach()
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


def test_a_bound_explanation_of_some_samples_uses_their_draws(model, batch):
    explain = SmoothGrad(samples=3).bind(model, Noise(0, batch.sample_id))
    rows = torch.tensor([4, 1])
    found = explain.select(rows)(batch.image[rows], batch.label[rows])
    torch.testing.assert_close(found, explain(batch.image, batch.label)[rows], rtol=0, atol=1e-12)
    other = explain(batch.image[[0, 1]].repeat(3, 1, 1, 1), batch.label)
    assert not torch.equal(other[:2], other[2:4])


def test_a_bound_explanation_is_made_coarse_on_the_same_network_with_the_same_draws(model, batch):
    noise = Noise(0, batch.sample_id)
    found = SmoothGrad(samples=9).bind(model, noise).coarse(2)
    assert found.attribution == SmoothGrad(samples=2)
    assert found.model is model
    assert found.noise is noise


def test_an_explanation_without_points_is_as_coarse_as_it_gets():
    method = Saliency()
    assert method.coarse(1) is method
