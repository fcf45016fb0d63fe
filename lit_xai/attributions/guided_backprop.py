"""The input gradient without what lowers a unit."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode
from torch.utils.hooks import RemovableHandle

from lit_xai.attributions.base import Attribution, Score, check_score, class_score, leaf_of
from lit_xai.gate import measuring
from lit_xai.models.softplus import network_of, sharpness_of, smooth_version
from lit_xai.noise import Noise


class _Guiding(TorchFunctionMode):
    """Let only positive gradients into every rectifier that is called, while the handles live."""

    def __init__(self, beta: float | None) -> None:
        super().__init__()
        self.beta = beta
        self.handles: list[RemovableHandle] = []

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        smooth = smooth_version(func, self.beta or 1.0)
        result = (smooth if smooth and self.beta else func)(*args, **(kwargs or {}))
        if smooth and result.requires_grad:
            self.handles.append(result.register_hook(self._positive))
        return result

    def _positive(self, gradient: Tensor) -> Tensor:
        return functional.relu(gradient) if self.beta is None else functional.softplus(gradient, self.beta)


@contextmanager
def _guided_logits(model: nn.Module, image: Tensor) -> Iterator[Tensor]:
    """Yield logits through which a gradient flows guided, as long as the context lasts."""
    guiding = _Guiding(sharpness_of(model))
    try:
        with guiding:
            logits = network_of(model)(image)
        if not guiding.handles:
            raise ValueError(
                f"Expected a network with rectifiers, but got {type(network_of(model)).__name__}: guided "
                "backpropagation would be its plain gradient. Use Saliency."
            )
        yield logits
    finally:
        for handle in guiding.handles:
            handle.remove()


@dataclass(frozen=True)
class GuidedBackprop(Attribution):
    """Explain by the gradient that positive gradients carry (Springenberg et al., 2015, arXiv 1412.6806).

    Before a gradient enters a rectifier (ReLU, ReLU6, hard tanh, leaky ReLU, PReLU, whether a module, a
    function or a method, in place or used twice), its negative part is dropped. Under a `SoftplusTwin` of
    sharpness beta both the rectifiers and the drop are softplus functions (Dombrowski et al., 2019, arXiv
    1906.07983). The change of the gradient belongs to this one backward pass, so the second derivative is the
    true one. Other units pass their own gradient; a network without rectifiers is refused.

    Args:
        score: What is differentiated: `logit`, `probability` or `loss`.

    Raises:
        ValueError: If `score` is unknown; on the first image, if the network calls no rectifier.
    """

    score: Score = "logit"
    differentiable: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_score(self.score)

    def attribute(self, model: nn.Module, image: Tensor, target: Tensor, noise: Noise) -> Tensor:
        keep_graph = torch.is_grad_enabled()
        with measuring():
            source = leaf_of(image, keep_graph=keep_graph)
            with _guided_logits(model, source) as logits:
                scores = class_score(logits, target.clone(), self.score)
                (gradient,) = torch.autograd.grad(scores.sum(), source, create_graph=keep_graph)
        return gradient
