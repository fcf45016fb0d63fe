"""Perturb an image towards noisy black and record how the score and a map respond."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lit_xai.attributions.base import Score, check_score, class_score
from lit_xai.domain import clamp_pixels
from lit_xai.gate import evaluating
from lit_xai.metrics.maps import check_finite, top_k_mask
from lit_xai.noise import Noise


@dataclass(frozen=True)
class NoisyBaseline:
    """Perturbations of an image towards noisy black, and what they do to a class's score.

    Args:
        samples: Perturbations of each image.
        std: Standard deviation of the noise on black, in pixel units of [0, 1].
        share: Share of the C x H x W features that a perturbation replaces, in (0, 1]; 1 / C if None.
        score: What the perturbations change: `logit`, `probability` or `loss`.
        max_batch: Images in flight in one forward pass.

    Raises:
        ValueError: If an option is out of its range.
    """

    samples: int = 100
    std: float = 0.2
    share: float | None = None
    score: Score = "logit"
    max_batch: int = 512

    def __post_init__(self) -> None:
        for name, value in {"samples": self.samples, "max_batch": self.max_batch}.items():
            if value < 1:
                raise ValueError(f"Expected `{name}` of at least 1, but got {value}.")
        if not self.std >= 0:
            raise ValueError(f"Expected `std` of at least 0, but got {self.std}.")
        if self.share is not None and not 0 < self.share <= 1:
            raise ValueError(f"Expected `share` in (0, 1], but got {self.share}.")
        check_score(self.score)

    def draw(self, image: Tensor, noise: Noise) -> Tensor:
        """Return images (N, C, H, W) in which features at random places are noise on black, cut to [0, 1]."""
        channels, height, width = image.shape[1:]
        share = 1 / channels if self.share is None else self.share
        size = max(1, round(share * channels * height * width))
        places = top_k_mask(noise.child("places").uniform(image).flatten(1)[:, None], size).view_as(image)
        return torch.where(places, clamp_pixels(self.std * noise.child("values").normal(image)), image)

    @torch.no_grad()
    def responses(
        self, model: nn.Module, image: Tensor, attribution: Tensor, target: Tensor, noise: Noise
    ) -> tuple[Tensor, Tensor]:
        """Return the score's change under each perturbation and the map's forecast, (N, samples), float64.

        Raises:
            ValueError: If a score is not finite.
        """
        with evaluating(model):
            parts = [
                self._responses(model, *rows)
                for rows in zip(
                    image.split(self.max_batch),
                    attribution.split(self.max_batch),
                    target.split(self.max_batch),
                    (Noise(noise.seed, ids) for ids in noise.sample_id.split(self.max_batch)),
                    strict=True,
                )
            ]
        changes, forecasts = (torch.cat(part) for part in zip(*parts, strict=True))
        check_finite(changes, what="scores")
        return changes, forecasts

    def _responses(
        self, model: nn.Module, image: Tensor, attribution: Tensor, target: Tensor, noise: Noise
    ) -> tuple[Tensor, Tensor]:
        clean = class_score(model(image), target, self.score).double()
        changes, forecasts = [], []
        at_once = max(1, self.max_batch // max(1, len(image)))
        for begin in range(0, self.samples, at_once):
            draws = range(begin, min(begin + at_once, self.samples))
            perturbed = torch.cat([self.draw(image, noise.child(draw)) for draw in draws])
            score = class_score(model(perturbed), target.repeat(len(draws)), self.score)
            changes.append(clean - score.double().view(len(draws), -1))
            removed = image - perturbed.view(len(draws), *image.shape)
            forecasts.append((removed * attribution).flatten(2).sum(dim=2, dtype=torch.float64))
        return torch.cat(changes).T, torch.cat(forecasts).T
