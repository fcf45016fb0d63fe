"""The interface of explanations, and the input gradient they are made of."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from lit_xai.gate import measuring
from lit_xai.noise import Noise
from lit_xai.types import Donors

Score = Literal["logit", "probability", "loss"]


class Attribution(ABC):
    """An explanation method: frozen settings and one method.

    Attributes:
        differentiable: Whether the map is correct to second order in image and weights. It then carries a
            graph exactly when grad mode is on, like any torch operation. A constant of the class, or a
            property where its settings decide.
    """

    @property
    @abstractmethod
    def differentiable(self) -> bool: ...

    def prepare(self, model: nn.Module, donors: Donors) -> "Attribution":
        """Return a copy that knows what it needs of other images; by default, itself.

        Args:
            model: Maps pixels in [0, 1] to logits.
            donors: Returns the images that may be referred to, batch by batch, the same in every process.
        """
        return self

    @abstractmethod
    def attribute(self, model: nn.Module, image: Tensor, target: Tensor, noise: Noise) -> Tensor:
        """Explain the class `target` of each image.

        Args:
            model: Maps pixels in [0, 1] to logits. Its mode is the caller's: see `lit_xai.gate.evaluating`.
            image: Pixels in [0, 1], (N, C, H, W).
            target: Class indices, (N,), int64.
            noise: The randomness, keyed by sample.

        Returns:
            Signed map, (N, C, H, W) or (N, 1, H, W); detached under `no_grad` and in inference mode.
        """

    def bind(self, model: nn.Module, noise: Noise) -> "Explain":
        """Fix the network and the randomness, and return a function of images and classes."""
        return Explain(self, model, noise)


@dataclass(frozen=True, eq=False)
class Explain:
    """An explanation method bound to a network and to its random draws.

    Args:
        attribution: The method.
        model: Maps pixels in [0, 1] to logits.
        noise: The randomness. Every call uses the same draws, so two images are explained under the same
            noise.
    """

    attribution: Attribution
    model: nn.Module
    noise: Noise

    def __call__(self, image: Tensor, target: Tensor) -> Tensor:
        """Return the signed map of `target` for pixels in [0, 1], (N, C, H, W) or (N, 1, H, W)."""
        return self.attribution.attribute(self.model, image, target, self.noise)

    def on(self, model: nn.Module) -> "Explain":
        """Return the same method with the same draws on another network."""
        return replace(self, model=model)


def class_score(logits: Tensor, target: Tensor, score: Score) -> Tensor:
    """Return the scalar that is explained, for each sample.

    Args:
        logits: (N, K).
        target: Class indices, (N,), int64.
        score: The class's logit, its probability, or its cross-entropy.

    Returns:
        Scores, (N,).
    """
    if score == "loss":
        return functional.cross_entropy(logits, target, reduction="none")
    values = logits.softmax(dim=1) if score == "probability" else logits
    return values.gather(1, target[:, None]).squeeze(1)


def check_score(score: str) -> None:
    """Refuse a score that `class_score` does not know.

    Raises:
        ValueError: If `score` is not `logit`, `probability` or `loss`.
    """
    if score not in ("logit", "probability", "loss"):
        raise ValueError(f"Expected `score` as logit, probability or loss, but got {score}.")


def input_gradient(
    model: nn.Module, image: Tensor, target: Tensor, score: Score = "logit", max_batch: int | None = None
) -> Tensor:
    """Return the gradient of a class's score with respect to each pixel.

    With grad mode on the result carries a graph to the image, if that requires a gradient, and to the
    weights.

    Args:
        model: Maps pixels in [0, 1] to logits.
        image: Pixels, (N, C, H, W).
        target: Class indices, (N,), int64.
        score: What is differentiated.
        max_batch: Images in flight in one forward pass; all of them if None.

    Returns:
        Gradients, (N, C, H, W).
    """
    keep_graph = torch.is_grad_enabled()
    with measuring():
        source = image if keep_graph and image.requires_grad else image.detach().clone().requires_grad_()
        classes = target.clone()
        size = max_batch or max(len(image), 1)
        gradients = []
        for chunk, chosen in zip(source.split(size), classes.split(size), strict=True):
            scores = class_score(model(chunk), chosen, score)
            gradients.extend(torch.autograd.grad(scores.sum(), chunk, create_graph=keep_graph))
        return torch.cat(gradients) if gradients else torch.zeros_like(source)


def class_gradients(
    model: nn.Module, image: Tensor, classes: Tensor, score: Score, max_batch: int
) -> tuple[Tensor, Tensor]:
    """Return the gradients of several classes' scores and the logits, all from one forward pass.

    Args:
        model: Maps pixels in [0, 1] to logits.
        image: Pixels, (N, C, H, W), at least one image.
        classes: Class indices, (M, N), int64: M for each image.
        score: What is differentiated.
        max_batch: Images in flight in one forward pass.

    Returns:
        Detached gradients, (M, N, C, H, W), and logits, (N, K).
    """
    gradients, outputs = [], []
    with measuring():
        for chunk, chosen in zip(image.split(max_batch), classes.split(max_batch, dim=1), strict=True):
            gradient, logits = _gradients_and_logits(model, chunk, chosen.clone(), score)
            gradients.append(gradient)
            outputs.append(logits)
    return torch.cat(gradients, dim=1), torch.cat(outputs)


def _gradients_and_logits(
    model: nn.Module, image: Tensor, classes: Tensor, score: Score
) -> tuple[Tensor, Tensor]:
    source = image.detach().clone().requires_grad_()
    logits = model(source)
    totals = [class_score(logits, target, score).sum() for target in classes]
    gradients = [torch.autograd.grad(total, source, retain_graph=True)[0] for total in totals]
    return torch.stack(gradients), logits.detach()
