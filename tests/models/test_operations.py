import pytest
import torch
from torch import Tensor
from torch.nn import functional

from lit_xai.models.operations import Kind, Operation, Slot


def operation(function, *arguments, name=None, **options):
    return Operation(name or function.__name__, function, arguments, options, (9,))


@pytest.mark.parametrize("name", ["linear", "conv1d", "conv2d", "conv3d"])
def test_weights_make_a_linear_operation(name):
    function = getattr(functional, name)
    assert operation(function, Slot(0), torch.ones(1)).kind is Kind.LINEAR
    assert operation(function, Slot(0), Slot(1)).kind is Kind.OTHER


@pytest.mark.parametrize(
    ("function", "kind"),
    [
        (functional.batch_norm, Kind.NORM),
        (functional.relu, Kind.UNIT),
        (functional.relu6, Kind.UNIT),
        (functional.gelu, Kind.UNIT),
        (functional.dropout, Kind.UNIT),
        (Tensor.add, Kind.UNIT),
        (Tensor.sub, Kind.UNIT),
        (Tensor.mul, Kind.UNIT),
        (Tensor.div, Kind.UNIT),
        (Tensor.neg, Kind.UNIT),
        (Tensor.__rsub__, Kind.UNIT),
        (Tensor.sum, Kind.MEAN),
        (Tensor.flip, Kind.MOVE),
        (functional.avg_pool2d, Kind.MEAN),
        (functional.adaptive_avg_pool2d, Kind.MEAN),
        (Tensor.mean, Kind.MEAN),
        (functional.max_pool2d, Kind.MOVE),
        (torch.flatten, Kind.MOVE),
        (Tensor.view, Kind.MOVE),
        (Tensor.chunk, Kind.MOVE),
        (Tensor.__getitem__, Kind.MOVE),
        (functional.layer_norm, Kind.OTHER),
        (functional.scaled_dot_product_attention, Kind.OTHER),
        (torch.softmax, Kind.OTHER),
        (torch.matmul, Kind.OTHER),
    ],
)
def test_the_kind_is_told_by_the_name(function, kind):
    assert operation(function, Slot(0), 2).kind is kind


@pytest.mark.parametrize(
    ("function", "options", "kind"),
    [
        (torch.add, {}, Kind.SUM),
        (torch.add, {"alpha": 2}, Kind.OTHER),
        (torch.sub, {}, Kind.OTHER),
        (torch.mul, {}, Kind.OTHER),
        (torch.div, {}, Kind.OTHER),
    ],
)
def test_two_tensors_that_depend_on_the_image(function, options, kind):
    assert operation(function, Slot(0), Slot(1), **options).kind is kind
    assert operation(function, Slot(0), torch.ones(1), **options).kind is Kind.UNIT
    assert operation(function, Slot(0), Slot(0), **options).kind is Kind.OTHER


def test_moving_takes_any_number_of_tensors():
    assert operation(torch.cat, [Slot(0), Slot(3), Slot(0)], dim=1).kind is Kind.MOVE


def test_inputs_are_listed_once_wherever_they_are():
    found = operation(torch.cat, [Slot(5), 1, Slot(3)], Slot(5), dim=1, more={"deep": (Slot(2), Slot(3))})
    assert found.inputs == (5, 3, 2)


def test_an_argument_is_found_by_position_or_by_name():
    pooling = operation(functional.max_pool2d, Slot(0), 3, padding=1)
    assert pooling.argument(1, "kernel_size") == 3
    assert pooling.argument(3, "padding") == 1
    assert pooling.argument(2, "stride") is None


def test_runs_on_other_values():
    values = {0: torch.tensor([1.0]), 4: torch.tensor([3.0])}
    assert operation(torch.sub, Slot(4), Slot(0), alpha=2).run(values.__getitem__) == 1
    assert operation(torch.cat, [Slot(0), Slot(4)], dim=0).run(values.__getitem__).tolist() == [1, 3]
