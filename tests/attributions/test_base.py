import pytest
import torch
from torch import nn

from lit_xai.attributions.base import check_score, class_score, input_gradient
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
