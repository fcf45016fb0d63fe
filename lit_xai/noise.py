"""Random numbers that belong to a sample, not to the moment they are drawn."""

import hashlib
import math
from dataclasses import dataclass

import torch
from torch import Tensor

_GOLDEN = 0x9E3779B97F4A7C15 - 2**64
_FIRST_FACTOR = 0xBF58476D1CE4E5B9 - 2**64
_SECOND_FACTOR = 0x94D049BB133111EB - 2**64


def _shift(bits: Tensor, by: int) -> Tensor:
    return (bits >> by) & ((1 << (64 - by)) - 1)


def _mix(bits: Tensor) -> Tensor:
    bits = (bits ^ _shift(bits, 30)) * _FIRST_FACTOR
    bits = (bits ^ _shift(bits, 27)) * _SECOND_FACTOR
    return bits ^ _shift(bits, 31)


@dataclass(frozen=True, eq=False)
class Noise:
    """Draws keyed by (seed, stream, sample), the same for any batch size, order and number of processes.

    Every sample owns a SplitMix64 generator (Steele et al., 2014) whose state is a hash of the seed and of
    the sample's position, so a draw is a pure function: calling a method twice gives the same values.
    Independent draws come from different children.

    Args:
        seed: Any integer.
        sample_id: Positions in the data set, (N,), int64. Draws are made on their device.

    Example:
        >>> noise, image = Noise(0, torch.tensor([3, 7])), torch.zeros(2, 1, 2, 2)
        >>> alone = Noise(0, torch.tensor([7])).child("start").uniform(image[1:])
        >>> torch.equal(noise.child("start").uniform(image)[1:], alone)
        True
    """

    seed: int
    sample_id: Tensor

    def child(self, stream: str | int) -> "Noise":
        """Return the noise of a named stream, independent of this one and of its other children."""
        digest = hashlib.blake2b(f"{self.seed}:{stream!r}".encode(), digest_size=8).digest()
        return Noise(int.from_bytes(digest, "little"), self.sample_id)

    def select(self, rows: Tensor) -> "Noise":
        """Return the noise of some of the samples, the same draws for each; rows: (n,), int64."""
        return Noise(self.seed, self.sample_id[rows])

    def uniform(self, like: Tensor, low: float = 0.0, high: float = 1.0) -> Tensor:
        """Return uniform draws.

        Args:
            like: Gives shape and type, (N, ...).
            low: Smallest value.
            high: Largest value, left out but for rounding.

        Returns:
            Values in [low, high), (N, ...).

        Raises:
            ValueError: If `like` does not have a row for each sample.
        """
        return (low + (high - low) * self._unit(like)).to(like.dtype)

    def normal(self, like: Tensor) -> Tensor:
        """Return standard normal draws (Box and Muller, 1958), shaped as `like`, (N, ...)."""
        radius = (-2.0 * torch.log1p(-self.child("radius")._unit(like))).sqrt()
        angle = 2.0 * math.pi * self.child("angle")._unit(like)
        return (radius * angle.cos()).to(like.dtype)

    def signs(self, like: Tensor) -> Tensor:
        """Return -1 or 1 with equal probability, shaped as `like`, (N, ...)."""
        return 1.0 - 2.0 * _shift(self._bits(like.shape), 63).to(like.dtype)

    def integers(self, high: int, size: tuple[int, ...] = ()) -> Tensor:
        """Return integers in [0, high), (N, *size), int64."""
        return _shift(self._bits(torch.Size((len(self.sample_id), *size))), 1) % high

    def _unit(self, like: Tensor) -> Tensor:
        bits = self._bits(like.shape)
        if like.dtype == torch.float64:
            return _shift(bits, 11).double() * 2.0**-53
        return _shift(bits, 40).float() * 2.0**-24

    def _bits(self, shape: torch.Size) -> Tensor:
        if not shape or shape[0] != len(self.sample_id):
            raise ValueError(
                f"Expected a row for each of {len(self.sample_id)} samples, but got shape {tuple(shape)}."
            )
        seed = (self.seed + 2**63) % 2**64 - 2**63
        state = _mix(_mix(self.sample_id * _GOLDEN) + seed)
        counter = torch.arange(1, math.prod(shape[1:]) + 1, device=self.sample_id.device)
        return _mix(state[:, None] + counter * _GOLDEN).view(shape)
