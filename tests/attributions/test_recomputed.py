import copy

import pytest
import torch
from torch import Tensor, nn

from lit_xai.attributions.integrated_gradients import IntegratedGradients
from lit_xai.attributions.path import path_gradient
from lit_xai.attributions.recomputed import is_trained
from lit_xai.attributions.softened import Softened
from lit_xai.gate import evaluating
from lit_xai.types import Batch
from tests.contracts import curved
from tests.regimes.checking import neighbours


def gradients(model: nn.Module, batch, max_batch: int, *, ends: bool = True) -> list[Tensor]:
    """Return the mean gradient of seven points, and its derivatives in both ends and in the weights."""
    start, end = (image.clone().requires_grad_(ends) for image in (batch.image, neighbours(batch)))
    mean = path_gradient(
        model, start, end, batch.label, score="loss", rule="right", path_steps=7, max_batch=max_batch
    )
    weight = torch.randn(mean.shape, generator=torch.Generator().manual_seed(0), dtype=mean.dtype).to(mean)
    inputs = [start, end, *model.parameters()] if ends else list(model.parameters())
    return [mean, *torch.autograd.grad((weight * mean.square()).sum(), inputs)]


def is_recomputed(mean: Tensor) -> bool:
    return type(mean.grad_fn).__name__.startswith("_RecomputedSum")


@pytest.mark.parametrize("ends", [True, False])
@pytest.mark.parametrize("max_batch", [1, 6, 13])
def test_derivatives_are_those_of_the_plain_sum(model, batch, max_batch, ends):
    network = curved(model).eval()
    plain = gradients(network, batch, 42, ends=ends)
    found = gradients(network, batch, max_batch, ends=ends)
    assert is_recomputed(found[0])
    assert not is_recomputed(plain[0])
    for one, other in zip(found, plain, strict=True):
        assert other.abs().max() > 0
        torch.testing.assert_close(one, other, rtol=0, atol=1e-12)


def test_only_weights_that_are_trained_get_derivatives(model, batch):
    network = copy.deepcopy(model).eval()
    network.head[0].weight.requires_grad_(False)
    rest = [parameter for parameter in network.parameters() if parameter.requires_grad]
    image_adv = neighbours(batch)
    results = []
    for max_batch in (6, 42):
        mean = path_gradient(
            network, batch.image, image_adv, batch.label,
            score="loss", rule="right", path_steps=7, max_batch=max_batch,
        )  # fmt: skip
        mean.square().sum().backward()
        results.append([parameter.grad.clone() for parameter in rest])
        assert network.head[0].weight.grad is None
        network.zero_grad()
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-12)


def test_weights_that_were_changed_meanwhile_are_an_error(model, batch):
    network = model.eval()
    mean = path_gradient(
        network, batch.image, neighbours(batch), batch.label,
        score="loss", rule="right", path_steps=7, max_batch=6,
    )  # fmt: skip
    with torch.no_grad():
        network.head[0].weight.mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        mean.sum().backward()


def test_a_tensor_hook_sees_the_whole_gradient(model, batch):
    network, found = model.eval(), []
    for max_batch in (6, 42):
        handle = network.head[0].weight.register_hook(lambda gradient: 2 * gradient)
        found.append(gradients(network, batch, max_batch, ends=False))
        handle.remove()
    assert not is_recomputed(found[0][0])
    plain = gradients(network, batch, 42, ends=False)
    for one, other, once in zip(*found, plain, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-12)
        twice = once.shape == network.head[0].weight.shape
        torch.testing.assert_close(one, 2 * once if twice else once, rtol=0, atol=1e-12)


def test_a_smooth_twin_is_recomputed_too(model, batch):
    maps = []
    for max_batch in (6, 600):
        method = Softened(IntegratedGradients(path_steps=7, max_batch=max_batch))
        maps.append(method.attribute(model.eval(), batch.image, batch.label, None))
    names = [type(node[0]).__name__ for node in maps[0].grad_fn.next_functions if node[0]]
    assert any(name.startswith("_RecomputedSum") for name in names)
    inputs = list(model.parameters())
    values = [torch.autograd.grad(found.square().sum(), inputs, materialize_grads=True) for found in maps]
    for one, other in zip(*values, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-12)


def test_an_attack_is_recomputed_only_when_asked(model, batch):
    leaf, slopes = neighbours(batch).requires_grad_(), []
    with evaluating(model):
        for recompute in (None, True):
            mean = path_gradient(
                curved(model).requires_grad_(False).eval(), batch.image, leaf, batch.label,
                score="loss", rule="right", path_steps=7, max_batch=6, recompute=recompute,
            )  # fmt: skip
            assert is_recomputed(mean) == bool(recompute)
            slopes.append(torch.autograd.grad(mean.square().sum(), leaf)[0])
    torch.testing.assert_close(*slopes, rtol=0, atol=1e-12)


@pytest.mark.gpu
def test_derivatives_on_a_gpu_are_those_of_the_plain_sum(model, batch):
    network = curved(model).eval().cuda()
    moved = Batch(*(tensor.cuda() for tensor in batch))
    for one, other in zip(gradients(network, moved, 6), gradients(network, moved, 42), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-12)


def test_every_parameter_gets_its_gradient_once(model, batch):
    calls = []
    network = model.eval()
    for parameter in network.parameters():
        parameter.register_post_accumulate_grad_hook(lambda _: calls.append(1))
    maps = IntegratedGradients(path_steps=9, max_batch=6).attribute(network, batch.image, batch.label, None)
    (maps.square().sum() + network(batch.image).square().sum()).backward()
    assert len(calls) == len(list(network.parameters()))


def test_gradients_accumulate(model, batch):
    network = model.eval()
    gradients_of_one = gradients(network, batch, 6, ends=False)[1:]
    for share in (0.25, 0.75):
        mean = path_gradient(
            network, batch.image, neighbours(batch), batch.label,
            score="loss", rule="right", path_steps=7, max_batch=6,
        )  # fmt: skip
        weight = torch.randn(mean.shape, generator=torch.Generator().manual_seed(0), dtype=mean.dtype)
        (share * (weight * mean.square()).sum()).backward()
    for parameter, expected in zip(network.parameters(), gradients_of_one, strict=True):
        torch.testing.assert_close(parameter.grad, expected, rtol=0, atol=1e-12)


def test_the_backward_pass_sees_the_state_of_the_forward_pass(model, batch):
    network = nn.Sequential(curved(model), nn.BatchNorm1d(4).double())
    network(batch.image)
    results = []
    for max_batch in (6, 42):
        network.eval()
        mean = path_gradient(
            network, batch.image, neighbours(batch), batch.label,
            score="loss", rule="right", path_steps=7, max_batch=max_batch,
        )  # fmt: skip
        network.train()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            results.append(torch.autograd.grad(mean.square().sum(), list(network.parameters())))
        assert network.training
    assert network[1].num_batches_tracked == 1
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-12)


def test_a_third_derivative_is_refused(model, batch):
    network = curved(model).eval()
    leaf = neighbours(batch).requires_grad_()
    mean = path_gradient(
        network, batch.image, leaf, batch.label, score="loss", rule="right", path_steps=7, max_batch=6
    )
    with pytest.raises(RuntimeError, match=r"Expected one derivative .* but got `create_graph`\. Raise"):
        torch.autograd.grad(mean.sum(), leaf, create_graph=True)


def test_a_network_is_trained_in_evaluation_mode_with_gradients_on(model):
    assert is_trained(model.eval())
    with torch.no_grad():
        assert not is_trained(model)
    with evaluating(model):
        assert not is_trained(model)
    model.head[0].train()
    assert not is_trained(model)
