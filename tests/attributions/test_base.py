from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch
from torch import nn

from lit_xai.attributions.base import (
    Attribution,
    check_score,
    class_gradients,
    class_score,
    input_gradient,
)
from lit_xai.attributions.saliency import Saliency
from lit_xai.attributions.smooth_grad import SmoothGrad
from lit_xai.noise import Noise


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
