"""What the cells of a grid share on one network."""

import torch
from torch import Tensor

from lit_xai.attributions.base import Attribution
from lit_xai.evaluation.remembering import remembering


class Memory:
    """Maps that are made once, for as long as the network is frozen and the grid's parts are the same.

    The maps of the images as they are, which every attack and metric starts from, are kept on the CPU, one
    for each attribution and sample. Other maps that several attacks ask for are found again as `remembering`
    does. Neither changes a number.

    Args:
        share: Whether anything is remembered. Without it the passes of a sample do not depend on what was
            measured before.
        all_clean: Whether the maps of the images as they are stay when another attribution is asked for.
    """

    def __init__(self, *, share: bool = True, all_clean: bool = True) -> None:
        self._share = share
        self._all_clean = all_clean
        self._clean: dict[str, dict[int, Tensor]] = {}
        self._name = ""
        self._method: Attribution | None = None

    def method(self, name: str, attribution: Attribution) -> Attribution:
        """Return an attribution that finds its maps again, until another one is asked for."""
        if not self._share:
            return attribution
        if self._method is None or self._name != name:
            self._name, self._method = name, remembering(attribution)
            if not self._all_clean:
                self._clean.clear()
        return self._method

    def clean(self, name: str, sample_id: Tensor) -> Tensor | None:
        """Return the maps of N samples as they are, (N, C, H, W), on the CPU; None unless all are known."""
        known = self._clean.get(name, {})
        ids = sample_id.tolist()
        if not ids or any(index not in known for index in ids):
            return None
        return torch.stack([known[index] for index in ids])

    def keep_clean(self, name: str, sample_id: Tensor, maps: Tensor) -> None:
        """Remember the maps of N samples as they are."""
        if self._share:
            known = self._clean.setdefault(name, {})
            known.update(zip(sample_id.tolist(), maps.detach().cpu().clone(), strict=True))
