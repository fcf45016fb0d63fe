import os

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from lit_xai.models.operations import Kind
from lit_xai.models.softplus import SoftplusTwin
from lit_xai.models.tracing import called, overwritten, trace
from tests.contracts import Untouched

os.environ["HF_HUB_OFFLINE"] = "1"

IMAGE = torch.rand(3, 2, 7, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(2))


def randomised(network: nn.Module, seed: int = 0) -> nn.Module:
    """Give a network random biases and statistics, so that no two methods agree by accident."""
    generator = torch.Generator().manual_seed(seed)
    network = network.double().eval()
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.normal_(0, 0.2, generator=generator)
                for positive in (module.running_var, module.weight):
                    positive.uniform_(0.6, 1.4, generator=generator)
                module.bias.normal_(0, 0.3, generator=generator)
            elif isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(module.weight, generator=generator)
                if module.bias is not None:
                    module.bias.normal_(0, 0.3, generator=generator)
    return network


class Evaluated(nn.BatchNorm2d):
    """A batch norm that stays in evaluation mode."""

    def train(self, mode=True):
        return super().train(False)


class Written(nn.Module):
    """A residual network of one block, its pass written in one of many ways."""

    def __init__(self, way) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(2, 10, 3, padding=1), nn.Conv2d(10, 10, 3, padding=1)
        self.norm = nn.BatchNorm2d(10)
        self.rectifier, self.in_place = nn.ReLU(), nn.ReLU(inplace=True)
        self.dense = nn.Linear(10, 4)
        self.way = way

    def forward(self, image: Tensor) -> Tensor:
        return self.way(self, image)


def of_modules(net, x):
    x = net.rectifier(net.first(x))
    x = net.rectifier(net.norm(net.second(x)) + x)
    return net.dense(x.mean((2, 3)))


def of_functions(net, x):
    x = functional.relu(net.first(x))
    x = torch.relu(torch.add(net.norm(net.second(x)), x))
    x = functional.adaptive_avg_pool2d(x, 1).flatten(1)
    return functional.linear(x, net.dense.weight, net.dense.bias)


def of_methods(net, x):
    x = net.first(x).relu()
    x = net.norm(net.second(x)).add(x).relu()
    return net.dense(x.mean(dim=(2, 3)))


def in_place(net, x):
    x = net.in_place(net.first(x))
    y = net.norm(net.second(x))
    y += x
    return net.dense(net.in_place(y).mean((2, 3)))


def by_methods_in_place(net, x):
    x = net.first(x)
    x.relu_()
    y = net.norm(net.second(x))
    y.add_(x).relu_()
    return net.dense(torch.mean(y, (2, 3)))


def by_named_arguments_in_place(net, x):
    x = functional.relu(input=net.first(x), inplace=True)
    y = net.norm(net.second(x)).add_(x)
    functional.relu_(y)
    return net.dense(y.mean((2, 3)))


def in_parts(net, x):
    x = net.rectifier(net.first(x))
    left, right = x.chunk(2, dim=1)
    swapped = torch.cat([right, left[:, :1], left[:, 1:]], dim=1)
    x = net.rectifier(net.norm(net.second(swapped)) + x)
    pooled = functional.adaptive_avg_pool2d(x, 1)
    return net.dense(pooled.view(pooled.size(0), -1))


def densely(net, x):
    x = net.rectifier(net.first(x))
    x = torch.cat([x[:, :2], net.norm(net.second(x))[:, 2:]], dim=1)
    return net.dense(net.rectifier(x).mean((2, 3)))


def normalised(net, x):
    shift, scale = torch.tensor([0.5, 0.3]).view(1, 2, 1, 1).to(x), torch.full((2, 1, 1), 0.25).to(x)
    x = net.rectifier(net.first((x - shift) / scale))
    x = functional.max_pool2d(functional.dropout(x, 0.5, training=False), 3, 2, 1).contiguous()
    x = functional.relu6(net.norm(net.second(x)) * 3 + 1)
    return net.dense(functional.avg_pool2d(x, 2).mean((2, 3)))


def over_and_over(net, x):
    x = net.first(x)
    for _ in range(3):
        x = net.in_place(net.second(x).relu_() - 0.1)
        x = x * 1.5
        x += 0.2
    functional.hardtanh(x, 0.0, 2.0, inplace=True)
    return net.dense(functional.leaky_relu_(x - 0.5, 0.2).mean((2, 3)))


def flattened(net, x):
    x = net.rectifier(net.first(x))
    x = net.norm(net.second(x)) + x
    x = functional.dropout(x.flatten(1), 0.5, training=False, inplace=True).relu_()
    return net.dense(x.unflatten(1, (-1, x.shape[1] // net.dense.in_features)).mean(2))


def copied(net, x):
    x = net.first(x)
    x.copy_(x.relu() + 0.1)
    return net.dense(net.norm(net.second(x)).mean((2, 3)))


SAME = [of_functions, of_methods, in_place, by_methods_in_place, by_named_arguments_in_place]
WAYS = [of_modules, *SAME, flattened, copied, in_parts, densely, normalised, over_and_over]


def written(way):
    return randomised(Written(way))


def library_network(name: str) -> nn.Module:
    if name == "tf_efficientnet_lite0":
        import timm

        return randomised(timm.create_model(name, pretrained=False, num_classes=10))
    from torchvision import models

    if name == "vgg11":
        with torch.device("meta"):
            network = models.vgg11(num_classes=10)
            network.classifier[0], network.classifier[3] = nn.Linear(512 * 49, 16), nn.Linear(16, 16)
            network.classifier[6] = nn.Linear(16, 10)
        return randomised(network.to_empty(device="cpu"))
    return randomised(getattr(models, name)(num_classes=10))


def pulled(passed, cotangent):
    """Chain the operations' products from the logits to the image."""
    found = {passed.logits: cotangent}
    for operation in reversed(passed.operations):
        given = [found.get(slot) for slot in operation.outputs]
        if any(part is not None for part in given):
            for slot, part in zip(operation.inputs, passed.pull(operation, given), strict=True):
                found[slot] = found[slot] + part if slot in found else part
    return found[0]


def assert_traced(model, image):
    expected = model(image.clone())
    passed = trace(model, image.clone())
    assert torch.equal(passed.values[passed.logits], expected)
    assert torch.equal(passed.values[0], image)
    assert torch.equal(model(image.clone()), expected)
    source = image.clone().requires_grad_()
    cotangent = torch.randn(expected.shape, generator=torch.Generator().manual_seed(4)).double()
    (gradient,) = torch.autograd.grad(model(source), source, cotangent)
    torch.testing.assert_close(
        pulled(passed, cotangent), gradient, rtol=0, atol=1e-12 * gradient.abs().max().item()
    )
    assert gradient.abs().max() > 0
    return passed


@pytest.mark.parametrize("beta", [None, 2.0])
@pytest.mark.parametrize("way", WAYS)
def test_the_operations_chain_to_the_gradient(way, beta):
    model = written(way)
    assert_traced(model if beta is None else SoftplusTwin(model, beta), IMAGE)


@pytest.mark.parametrize("name", ["resnet18", "squeezenet1_1", "vgg11", "tf_efficientnet_lite0"])
def test_library_networks_chain_to_the_gradient(name):
    image = torch.rand(1, 3, 64 if name == "squeezenet1_1" else 32, 32, dtype=torch.float64)
    passed = assert_traced(library_network(name), image)
    assert not [operation.name for operation in passed.operations if operation.kind is Kind.OTHER]


def test_a_twins_rectifier_is_one_operation():
    names = [operation.name for operation in trace(written(over_and_over), IMAGE).operations]
    passed = trace(SoftplusTwin(written(over_and_over), 2.0), IMAGE)
    assert [operation.name for operation in passed.operations] == names
    hardtanh = next(operation for operation in passed.operations if operation.name == "hardtanh")
    before, after = (passed.values[slot] for slot in (*hardtanh.inputs, *hardtanh.outputs))
    bent = functional.softplus(before, 2.0) - functional.softplus(before - 2, 2.0)
    torch.testing.assert_close(after, bent, rtol=0, atol=1e-12)


def test_the_sharpness_of_twins_in_each_other_is_the_inner_ones():
    twice = SoftplusTwin(SoftplusTwin(written(in_place), 3.0), 50.0)
    passed = trace(twice, IMAGE)
    assert torch.equal(passed.values[passed.logits], SoftplusTwin(written(in_place), 3.0)(IMAGE))


@pytest.mark.parametrize("way", SAME)
def test_values_that_are_written_over_are_kept(way):
    """Whatever a pass writes over, the values are those of the pass that writes over nothing."""
    expected = trace(written(of_modules), IMAGE)
    found = trace(written(way), IMAGE)
    for name in ("conv2d", "relu", "add", "batch_norm"):
        both = ([one for one in passed.operations if one.name == name] for passed in (expected, found))
        for first, second in zip(*both, strict=True):
            for mine, other in zip(
                (*first.inputs, *first.outputs), (*second.inputs, *second.outputs), strict=True
            ):
                assert torch.equal(expected.values[mine], found.values[other]), name


def test_every_call_is_recorded_in_order():
    names = [operation.name for operation in trace(written(in_place), IMAGE).operations]
    assert names == ["conv2d", "relu", "conv2d", "batch_norm", "add", "relu", "mean", "linear"]
    kinds = [operation.kind.name for operation in trace(written(in_place), IMAGE).operations]
    assert kinds == ["LINEAR", "UNIT", "LINEAR", "NORM", "SUM", "UNIT", "MEAN", "LINEAR"]


def test_what_does_not_depend_on_the_image_is_not_recorded():
    model = nn.Sequential(nn.Flatten(), nn.Linear(84, 4)).double()
    model.register_forward_hook(lambda _, arguments, out: out + torch.relu(model[1].weight).sum() * len(out))
    passed = trace(model, IMAGE)
    assert [operation.name for operation in passed.operations] == ["flatten", "linear", "add"]
    assert [operation.kind for operation in passed.operations][-1] is Kind.UNIT


def test_leaves_network_and_image_as_they_were():
    model = randomised(nn.Sequential(nn.Conv2d(2, 3, 1), nn.ReLU(inplace=True), nn.Flatten()))
    image = IMAGE.clone()
    with Untouched(model, image), torch.no_grad():
        passed = trace(model, image)
    assert passed.values[passed.logits].requires_grad


def test_the_image_may_be_written_over():
    model = written(lambda net, x: of_modules(net, x.sub_(0.3).mul_(2.0)))
    image = IMAGE.clone()
    passed = trace(model, image)
    assert torch.equal(image, IMAGE)
    assert torch.equal(passed.values[0], IMAGE)
    assert torch.equal(passed.values[passed.logits], model(IMAGE.clone()))


def test_products_carry_a_graph_in_grad_mode_only():
    passed = trace(SoftplusTwin(written(in_place), 2.0), IMAGE)
    last = passed.operations[-3]
    cotangent = torch.ones_like(passed.values[last.outputs[0]])
    assert last.name == "relu"
    assert passed.pull(last, [cotangent])[0].requires_grad
    with torch.no_grad():
        assert not passed.pull(last, [cotangent])[0].requires_grad


def test_the_graph_goes_on_to_an_image_that_requires_a_gradient():
    image = IMAGE.clone().requires_grad_()
    model = written(of_modules)
    passed = trace(model, image)
    (found,) = torch.autograd.grad(passed.values[passed.logits].sum(), image, retain_graph=True)
    (expected,) = torch.autograd.grad(model(image).sum(), image)
    assert torch.equal(found, expected)


def test_a_missing_cotangent_stands_for_zeros():
    passed = trace(written(in_parts), IMAGE)
    chunk = next(operation for operation in passed.operations if operation.name == "chunk")
    one = torch.ones_like(passed.values[chunk.outputs[1]])
    (found,) = passed.pull(chunk, [None, one])
    assert torch.equal(found, torch.cat([torch.zeros_like(one), one], dim=1))


def part(net, x):
    x = net.first(x)
    x[:, :1] += 1
    return net.dense(x.mean((2, 3)))


def assigned_part(net, x):
    x = net.first(x)
    x[:, 0] = x[:, 1]
    return net.dense(x.mean((2, 3)))


def part_of_a_constant(net, x):
    x = net.first(x)
    filled = torch.zeros_like(x)
    filled[:, 1:] = x[:, 1:]
    return net.dense((x + filled).mean((2, 3)))


def through_a_view(net, x):
    x = net.first(x)
    x[:, :1].relu_()
    return net.dense(x.mean((2, 3)))


def part_of_what_was_written_over(net, x):
    x = net.first(x)
    x.relu_()
    x[:, :1].add_(5)
    return net.dense(x.mean((2, 3)))


def through_an_earlier_view(net, x):
    x = net.first(x)
    x.relu_()
    view = x[:, :1]
    x.add_(1)
    return net.dense((x + view).mean((2, 3)))


@pytest.mark.parametrize(
    "way",
    [
        part_of_what_was_written_over,
        through_an_earlier_view,
        part,
        assigned_part,
        part_of_a_constant,
        through_a_view,
    ],
)
def test_refuses_a_network_that_writes_over_a_part(way):
    message = (
        r"^Expected a network that writes over whole tensors only, but it writes over a part of one\. "
        r"Use a copy there, or an attribution that needs no rules, such as IntegratedGradients\.$"
    )
    with pytest.raises(ValueError, match=message):
        trace(written(way), IMAGE)


@pytest.mark.parametrize("way", [lambda net, x: net.dense.weight, lambda net, x: net.first(x.detach())])
def test_refuses_logits_that_do_not_depend_on_the_image(way):
    with pytest.raises(ValueError, match=r"^Expected logits that depend on the image, but got a constant\.$"):
        trace(written(way), IMAGE)


class Custom(torch.autograd.Function):
    @staticmethod
    def forward(ctx, values):
        ctx.save_for_backward(values)
        return values.clamp(min=0)

    @staticmethod
    def backward(ctx, gradient):
        return gradient * (ctx.saved_tensors[0] > 0)


@torch.jit.script
def scripted(values):
    return values.relu()


@pytest.mark.parametrize("rectifier", [Custom.apply, scripted])
def test_refuses_what_cannot_be_recorded(rectifier):
    def branch(net, x):
        x = net.first(x)
        return net.dense((x + rectifier(net.second(x))).mean((2, 3)))

    with pytest.raises(
        ValueError, match=r"^Expected operations that PyTorch can record, but got .*\. Use Int"
    ):
        trace(written(branch), IMAGE)
    with pytest.raises(
        ValueError, match=r"^Expected operations that PyTorch can record, but got .*\. Use Int"
    ):
        trace(written(lambda net, x: rectifier(net.dense(net.first(x).mean((2, 3))))), IMAGE)


@pytest.mark.parametrize(
    ("way", "name"),
    [
        (of_modules, "batch_norm"),
        (lambda net, x: net.dense(nn.Dropout()(net.first(x)).mean((2, 3))), "dropout"),
    ],
)
def test_refuses_training_mode_before_it_changes_anything(way, name):
    model = written(way).train()
    before = model.norm.running_mean.clone(), model.norm.running_var.clone()
    message = rf"^Expected a network in evaluation mode, but got {name} in training mode\. Call `model\.eval"
    with pytest.raises(ValueError, match=message):
        trace(model, IMAGE)
    assert torch.equal(model.norm.running_mean, before[0])
    assert torch.equal(model.norm.running_var, before[1])


def test_refuses_results_that_are_no_logits():
    with pytest.raises(
        ValueError, match=r"^Expected a network that returns logits, but got a dict\. Wrap it\.$"
    ):
        trace(written(lambda net, x: {"logits": of_modules(net, x)}), IMAGE)


def test_a_value_times_itself_is_no_unit():
    def squared(net, x):
        x = net.first(x)
        return net.dense((x * x * 2).mean((2, 3)))

    passed = trace(written(squared), IMAGE)
    assert [one.kind.name for one in passed.operations if one.name == "mul"] == ["OTHER", "UNIT"]


def test_the_name_is_that_of_the_form_that_writes_over_nothing():
    functions = [functional.relu, torch.relu, torch.relu_, Tensor.relu_, functional.relu_]
    assert {called(function) for function in functions} == {"relu"}
    assert called(Tensor.add_) == called(torch.add) == "add"
    assert called(Tensor.__getitem__) == "__getitem__"
    assert called(functional.max_pool2d) == "max_pool2d"


def test_what_is_written_over():
    x, y = torch.ones(2), torch.ones(2)
    assert overwritten(Tensor.add_, (x, y), {}) is x
    assert overwritten(torch.add, (x, y), {}) is None
    assert overwritten(functional.relu, (x,), {}) is None
    assert overwritten(functional.relu, (x,), {"inplace": True}) is x
    assert overwritten(functional.relu, (x, True), {}) is x
    assert overwritten(functional.relu, (), {"input": x, "inplace": True}) is x
    assert overwritten(functional.hardtanh, (x, -1.0, 1.0, False), {}) is None
    assert overwritten(functional.hardtanh, (x, -1.0, 1.0, True), {}) is x
    assert overwritten(functional.relu_, (x,), {}) is x
    assert overwritten(Tensor.__getitem__, (x, 0), {}) is None
