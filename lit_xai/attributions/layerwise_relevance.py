"""Layer-wise relevance propagation."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, get_args

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from lit_xai.attributions.base import Attribution, class_score, leaf_of
from lit_xai.attributions.relevance import Rule, away_from_zero, linear_of, redistribute, terms_of
from lit_xai.gate import measuring
from lit_xai.models.operations import Kind, Operation
from lit_xai.models.tracing import Trace, trace
from lit_xai.noise import Noise

_ONE_TO_ONE = (Kind.UNIT, Kind.NORM, Kind.MOVE)


@dataclass(frozen=True)
class LayerwiseRelevance(Attribution):
    """Explain by handing the class's logit back layer by layer (LRP; Bach et al., 2015, PLOS ONE 10(7)).

    The forward pass is recorded call by call and walked back by operations that are differentiated like any
    other, so the second derivative is the true one, unlike that of a changed backward pass (Dombrowski et
    al., 2019, arXiv 1906.07983). By default pixels follow the rule for boxes, convolutions the rule of
    positive contributions, dense layers the rule of all contributions (Montavon et al., 2017, arXiv
    1512.02479; Kohlbrenner et al., 2020, arXiv 1910.09840). Batch norm is folded into the convolution before
    it; one that stands alone hands relevance on as it is, and so does every unit; max-pooling gives it to the
    largest value; a mean and a sum of two tensors share it by magnitude. Under a `SoftplusTwin` the units are
    smooth and the rules the same.
    Deviations: positive contributions leave biases out, as Dombrowski et al. do, so the map sums to the logit
    but for what a bias alone brings about; `epsilon` is relative, since an absolute one wipes out the
    relevance of deep networks.

    Args:
        first: Rule of the layer that sees the pixels: `z_box`, or one of the others.
        convolution: Rule of convolutions: `alpha1_beta0` (positive contributions), `z_plus` (those of
            positive inputs only, the same behind rectifiers) or `epsilon` (all contributions, biases too);
            under `epsilon`, means and sums too share by contribution.
        dense: Rule of dense layers, one of the same.
        epsilon: How far an output is moved away from zero under the rule `epsilon`, as a share of the root
            mean square of the layer's outputs for that image.

    Raises:
        ValueError: If an option is out of its range; on the first image, if the network has an operation
            without a rule, adds tensors of different shapes, is in training mode or cannot be recorded, or if
            its first layer sees sums of pixels under `z_box`.
    """

    first: Rule = "z_box"
    convolution: Rule = "alpha1_beta0"
    dense: Rule = "epsilon"
    epsilon: float = 0.01
    differentiable: ClassVar[bool] = True

    def __post_init__(self) -> None:
        for name in ("first", "convolution", "dense"):
            allowed = [rule for rule in get_args(Rule) if name == "first" or rule != "z_box"]
            if getattr(self, name) not in allowed:
                raise ValueError(
                    f"Expected `{name}` as {' or '.join(allowed)}, but got {getattr(self, name)}."
                )
        if not self.epsilon >= 0:
            raise ValueError(f"Expected `epsilon` of at least 0, but got {self.epsilon:g}.")

    def attribute(self, model: nn.Module, image: Tensor, target: Tensor, noise: Noise) -> Tensor:
        keep_graph = torch.is_grad_enabled()
        with measuring():
            source = leaf_of(image, keep_graph=keep_graph)
            target = target.clone()
            passed = trace(model, source)
            check_operations(passed)
            with torch.set_grad_enabled(keep_graph):
                return _Walk(self, passed).back(target)


def check_operations(passed: Trace) -> None:
    """Refuse a network with an operation that there is no rule for.

    Raises:
        ValueError: If there is one.
    """
    for operation in passed.operations:
        if operation.kind is Kind.OTHER:
            raise ValueError(
                f"Expected a network of operations that relevance has rules for, but got {operation.name}. "
                "Use IntegratedGradients or, for attention, GradCAM."
            )


class _Walk:
    """One walk back through a recorded pass."""

    def __init__(self, rules: LayerwiseRelevance, passed: Trace) -> None:
        self.rules = rules
        self.passed = passed
        self.relevance: list[Tensor | None] = [None] * len(passed.values)
        self.users: dict[int, list[Operation]] = {}
        for operation in passed.operations:
            for slot in operation.inputs:
                self.users.setdefault(slot, []).append(operation)
        self.first = next((one for one in passed.operations if one.kind is Kind.LINEAR), None)

    def back(self, target: Tensor) -> Tensor:
        """Return the relevance of the pixels for the classes, (N,)."""
        logits = self.passed.values[self.passed.logits]
        chosen = torch.zeros_like(logits).scatter(1, target[:, None], 1.0)
        self.relevance[self.passed.logits] = chosen * class_score(logits, target, "logit")[:, None]
        for operation in reversed(self.passed.operations):
            given = [self.relevance[slot] for slot in operation.outputs]
            if any(part is not None for part in given):
                for slot, part in zip(operation.inputs, self._step(operation, given), strict=True):
                    before = self.relevance[slot]
                    self.relevance[slot] = part if before is None else before + part
        pixels = self.relevance[0]
        assert pixels is not None
        return pixels

    def _step(self, operation: Operation, given: list[Tensor | None]) -> Sequence[Tensor]:
        """Return the relevance of an operation's inputs, of which that of its outputs is given."""
        if operation.kind is Kind.MOVE:
            return self.passed.pull(operation, given)
        (relevance,) = given
        assert relevance is not None
        if operation.kind in (Kind.LINEAR, Kind.MEAN):
            return [self._linear(operation, relevance)]
        if operation.kind is Kind.SUM:
            return self._sum(operation, relevance)
        # A grey image that meets a value for each of three channels gets the relevance of all three.
        return [relevance.sum_to_size(self.passed.values[operation.inputs[0]].shape)]

    def _linear(self, operation: Operation, relevance: Tensor) -> Tensor:
        linear = linear_of(operation, self._norm(operation))
        rule = self._rule(operation)
        box = self._box(operation) if rule == "z_box" else None
        terms = terms_of(linear, self.passed.values[operation.inputs[0]], rule, box)
        return redistribute(linear, terms, relevance, self.rules.epsilon if rule == "epsilon" else 0.0)

    def _norm(self, operation: Operation) -> Operation | None:
        """Return the batch norm of a layer's own outputs, if nothing else uses them."""
        users = self.users.get(operation.outputs[0], [])
        # Batch norm counts channels along axis 1, which is not where a dense layer of tokens has its outputs.
        by_channel = operation.name != "linear" or self.passed.values[operation.outputs[0]].ndim == 2
        alone = operation.kind is Kind.LINEAR and len(users) == 1 and users[0].kind is Kind.NORM
        return users[0] if alone and by_channel else None

    def _sum(self, operation: Operation, relevance: Tensor) -> Sequence[Tensor]:
        parts = [self.passed.values[slot] for slot in operation.inputs]
        if parts[0].shape != parts[1].shape:
            shapes = " and ".join(str(tuple(part.shape)) for part in parts)
            raise ValueError(f"Expected sums of equal shapes, but got {shapes}. Use IntegratedGradients.")
        epsilon = self.rules.epsilon
        if self.rules.convolution != "epsilon":
            parts, epsilon = [part.abs() for part in parts], 0.0
        share = relevance / away_from_zero(parts[0] + parts[1], epsilon)
        return [part * share for part in parts]

    def _rule(self, operation: Operation) -> Rule:
        if operation is self.first:
            return self.rules.first
        return self.rules.dense if operation.name == "linear" else self.rules.convolution

    def _box(self, operation: Operation) -> tuple[Tensor, Tensor]:
        """Return what the first layer sees of a black and of a white image, the smaller and the larger."""
        image = self.passed.values[0]
        bounds = []
        for fill in (0.0, 1.0):
            values: dict[int, Tensor] = {0: torch.full_like(image, fill)}
            for earlier in self.passed.operations[: self.passed.operations.index(operation)]:
                if earlier.kind in _ONE_TO_ONE and values.keys() >= set(earlier.inputs):
                    results = tree_leaves(earlier.run(values.__getitem__))
                    values.update(zip(earlier.outputs, results, strict=False))
            if operation.inputs[0] not in values:
                raise ValueError(
                    "Expected a layer that sees single pixels for the rule z_box, but got sums of them. "
                    "Use alpha1_beta0 as `first`."
                )
            bounds.append(values[operation.inputs[0]])
        return torch.minimum(*bounds), torch.maximum(*bounds)
