"""The interface of explanations, and the input gradient they are made of."""

import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterator
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

    def coarse(self, points: int) -> "Attribution":
        """Return a cheaper version; by default, itself.

        Args:
            points: Most points of a path integral, or noise draws; a method made of others has so many for
                each of them.
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

    def coarse(self, points: int) -> "Explain":
        """Return a cheaper version of the method on the same network, as in `Attribution.coarse`."""
        return replace(self, attribution=self.attribution.coarse(points))

    def select(self, rows: Tensor) -> "Explain":
        """Return the same for some of the samples, with the draws that are theirs; rows: (n,), int64."""
        return replace(self, noise=self.noise.select(rows))


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


def check_counts(method: object, *names: str, least: int = 1) -> None:
    """Refuse an option of a method that is below `least`.

    Raises:
        ValueError: If one is.
    """
    for name in names:
        value = getattr(method, name)
        if not value >= least:
            raise ValueError(f"Expected `{name}` of at least {least}, but got {value:g}.")


def check_baseline(baseline: float) -> None:
    """Refuse a baseline that is not a pixel in [0, 1].

    Raises:
        ValueError: If it is not.
    """
    if not 0 <= baseline <= 1:
        raise ValueError(f"Expected `baseline` in [0, 1], but got {baseline:g}. Write a grey of 128 as 0.5.")


def in_flight(copies: int, images: int, max_batch: int) -> Iterator[range]:
    """Yield ranges that make up `range(copies)`, each of one copy or of at most `max_batch` images.

    Example:
        >>> list(in_flight(5, images=2, max_batch=4))
        [range(0, 2), range(2, 4), range(4, 5)]
    """
    together = max(1, max_batch // max(images, 1))
    for first in range(0, copies, together):
        yield range(first, min(first + together, copies))


def leaf_of(image: Tensor, *, keep_graph: bool) -> Tensor:
    """Return what to differentiate in: the image, if its graph is to be kept, or a copy that is a leaf."""
    return image if keep_graph and image.requires_grad else image.detach().clone().requires_grad_()


def safe_root(values: Tensor) -> Tensor:
    """Return the square root of values of at least 0, with a derivative of zero at zero."""
    positive = values > 0
    return torch.where(positive, torch.where(positive, values, 1.0).sqrt(), 0.0)


def warn_of_zeros(values: Tensor, expected: str = "a gradient", effect: str = "Their maps are zero.") -> None:
    """Warn, once, of the images whose values are all zero; for the body of `attribute`.

    Args:
        values: (N, ...), of any type; false is zero.
        expected: What should have been there.
        effect: A sentence on what comes of it.
    """
    zero = int((~values.detach().bool()[:, None].flatten(1).any(dim=1)).sum())
    if zero:
        message = f"Expected {expected}, but got only zeros for {zero} of {len(values)} images. {effect}"
        warnings.warn(message, UserWarning, stacklevel=3)


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
        source = leaf_of(image, keep_graph=keep_graph)
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
    source = leaf_of(image, keep_graph=False)
    logits = model(source)
    totals = [class_score(logits, target, score).sum() for target in classes]
    gradients = [torch.autograd.grad(total, source, retain_graph=True)[0] for total in totals]
    return torch.stack(gradients), logits.detach()
