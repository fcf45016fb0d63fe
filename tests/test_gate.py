import contextlib
import copy

import pytest
import torch
from torch import nn
from torch.nn import functional

from lit_xai.gate import evaluating, explaining, keeping_statistics, measuring


def mixed_network() -> nn.Module:
    """Return a network in which some modules evaluate and some parameters are frozen."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.Dropout(), nn.Sequential(nn.BatchNorm1d(4), nn.Linear(4, 2)))
    model.train()
    model[2][0].eval()
    model[0].bias.requires_grad_(False)
    return model


def state(model: nn.Module) -> tuple[list[bool], list[bool]]:
    return (
        [module.training for module in model.modules()],
        [parameter.requires_grad for parameter in model.parameters()],
    )


@pytest.mark.parametrize("fails", [False, True])
def test_modes_and_requirements_are_set_and_restored(fails):
    model = mixed_network()
    before = state(model)
    assert before == ([True, True, True, True, False, True], [True, False, True, True, True, True])
    with contextlib.suppress(KeyError), evaluating(model) as inside:
        assert inside is model
        assert state(model) == ([False] * 6, [False] * 6)
        if fails:
            raise KeyError
    assert state(model) == before


def test_nesting_restores_step_by_step():
    model = mixed_network()
    before = state(model)
    with evaluating(model):
        with evaluating(model):
            pass
        assert state(model) == ([False] * 6, [False] * 6)
    assert state(model) == before


def test_a_pass_inside_neither_drops_nor_learns():
    model = nn.Sequential(nn.BatchNorm1d(3), nn.Dropout(0.5)).train()
    image = torch.randn(8, 3, generator=torch.Generator().manual_seed(0))
    with evaluating(model):
        torch.testing.assert_close(model(image), image / (1 + 1e-5) ** 0.5)
    assert torch.equal(model[0].running_mean, torch.zeros(3))
    assert not torch.equal(model(image), image / (1 + 1e-5) ** 0.5)


@pytest.mark.parametrize("fails", [False, True])
def test_autocast_is_off_inside(fails):
    model, image = nn.Linear(64, 64), torch.randn(2, 64, generator=torch.Generator().manual_seed(0))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        with contextlib.suppress(KeyError), evaluating(model):
            assert not torch.is_autocast_enabled("cpu")
            assert model(image).dtype == torch.float32
            assert torch.equal(model(image), functional.linear(image, model.weight, model.bias))
            if fails:
                raise KeyError
        assert torch.is_autocast_enabled("cpu")
        assert model(image).dtype == torch.bfloat16


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.project = nn.Linear(4, 12).double()

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        query, key, value = self.project(tokens).chunk(3, dim=-1)
        return functional.scaled_dot_product_attention(query, key, value).sum(dim=(1, 2, 3))


def hessian_times(model: nn.Module, tokens: torch.Tensor, direction: torch.Tensor) -> torch.Tensor:
    point = tokens.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(model(point).sum(), point, create_graph=True)
    return torch.autograd.grad((gradient * direction).sum(), point)[0]


def test_explaining_leaves_the_parameters_trainable():
    model = mixed_network()
    before = state(model)
    with explaining(model):
        assert state(model) == ([False] * 6, before[1])
    assert state(model) == before


class Squares(nn.Module):
    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return image.pow(3).sum(dim=1)


def test_a_compiled_network_has_a_second_derivative_only_inside():
    image = torch.tensor([[2.0, 3.0]])
    for model in (torch.compile(Squares(), backend="aot_eager"), Squares()):
        if not hasattr(model, "_orig_mod"):
            model.compile(backend="aot_eager")
        with explaining(model):
            assert hessian_times(model, image, torch.ones(1, 2)).tolist() == [[12.0, 18.0]]
        with pytest.raises(RuntimeError, match="does not currently support double backward"):
            hessian_times(model, image, torch.ones(1, 2))


def test_synchronised_batch_norm_has_a_second_derivative_inside():
    torch.manual_seed(0)
    plain = nn.Sequential(nn.BatchNorm1d(3), nn.Softplus(), nn.Linear(3, 2)).double()
    plain(torch.randn(8, 3, dtype=torch.float64))
    synchronised = nn.SyncBatchNorm.convert_sync_batchnorm(copy.deepcopy(plain))
    assert isinstance(synchronised[0], nn.SyncBatchNorm)
    image, direction = torch.randn(2, 4, 3, dtype=torch.float64)
    values = []
    for model in (plain, synchronised):
        with explaining(model):
            values.append(hessian_times(model, image, direction))
    assert values[0].abs().min() > 1e-3
    torch.testing.assert_close(values[1], values[0], rtol=0, atol=1e-12)


@pytest.mark.parametrize("momentum", [0.1, None])
def test_statistics_are_used_but_not_kept(momentum):
    model = nn.Sequential(
        nn.BatchNorm1d(3, momentum=momentum),
        nn.BatchNorm1d(3, momentum=momentum).eval(),
        nn.BatchNorm1d(3, track_running_stats=False),
    )
    first, second = torch.randn(2, 8, 3, generator=torch.Generator().manual_seed(0))
    model(first)
    before = copy.deepcopy(model.state_dict())
    expected = copy.deepcopy(model)(second)
    with contextlib.suppress(KeyError), keeping_statistics(model):
        assert torch.equal(model(second), expected)
        raise KeyError
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]), name
    assert (model[0].momentum, model[1].momentum) == (momentum, momentum)
    model(second)
    assert model[0].num_batches_tracked == 2
    assert not torch.equal(model[0].running_mean, before["0.running_mean"])


def test_attention_has_a_second_derivative_only_inside():
    model = Attention()
    tokens, direction = torch.randn(
        2, 1, 2, 5, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1)
    )

    def gradient(step: float) -> torch.Tensor:
        point = (tokens + step * direction).requires_grad_()
        return torch.autograd.grad(model(point).sum(), point)[0]

    with evaluating(model):
        found = hessian_times(model, tokens, direction)
        expected = (gradient(1e-5) - gradient(-1e-5)) / 2e-5
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-8)
    for _ in range(2):
        with pytest.raises(RuntimeError, match=r"derivative for .* is not implemented"):
            hessian_times(model, tokens, direction)
        with contextlib.suppress(KeyError), evaluating(model):
            raise KeyError


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode, torch.enable_grad])
def test_gradients_can_be_measured_in_any_mode(mode):
    cube = torch.tensor([2.0])
    with mode():
        before = torch.is_grad_enabled(), torch.is_inference_mode_enabled()
        made_inside = cube.clone()
        with measuring():
            point = made_inside.clone().requires_grad_()
            (first,) = torch.autograd.grad(point**3, point, create_graph=True)
            (second,) = torch.autograd.grad(first, point)
        assert (torch.is_grad_enabled(), torch.is_inference_mode_enabled()) == before
    assert (first.item(), second.item()) == (12.0, 12.0)
    assert not first.is_inference()


def test_the_mode_returns_after_an_error():
    with torch.inference_mode():
        with contextlib.suppress(KeyError), measuring():
            raise KeyError
        assert torch.is_inference_mode_enabled()
        assert not torch.is_grad_enabled()


def test_half_precision_networks_are_refused():
    words = r"Expected parameters in single precision or more, but got torch\.bfloat16\. Use bf16-mixed\."
    with pytest.raises(TypeError, match=words), evaluating(nn.Linear(2, 2).bfloat16()):
        pass


def test_tensor_float_is_off_inside_and_back_outside():
    backends = (torch.backends.cudnn.conv, torch.backends.cuda.matmul)
    before = [backend.fp32_precision for backend in backends]
    assert before[0] == "tf32"
    with evaluating(nn.Linear(2, 2)):
        assert [backend.fp32_precision for backend in backends] == ["ieee", "ieee"]
    assert [backend.fp32_precision for backend in backends] == before
