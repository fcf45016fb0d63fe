"""Several attacks as one."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from lit_xai.attacks.base import Attack, Criterion, check_attacked
from lit_xai.attacks.iterative import BestIterates
from lit_xai.attributions.base import Explain
from lit_xai.domain import check_eps
from lit_xai.noise import Noise
from lit_xai.types import Donors


@dataclass(frozen=True)
class WorstOf(Attack):
    """Try several attacks on each sample and keep the worst accepted outcome.

    The idea of AutoAttack (Croce and Hein, 2020, arXiv 2003.01690), with a criterion on the explanation in
    the place of the prediction. Outcomes are judged as `BestIterates` judges iterates: accepted if the true
    network predicts the same class and the score is below the clean map's, the lowest kept, of equal ones the
    first, and the clean image where there is none. A sample whose score can fall no further is left out of
    the members to come. A member is tried on the samples that are eligible for it.

    Each member draws from the child of the noise that bears its name, so no member changes what another
    finds, and the whole is at least as strong on every sample as each member with those draws, for any order.
    A member whose field `criterion` is None takes that of the whole, so that its iterates are chosen by it; a
    criterion of its own stays. Restarts are the members' own. The whole promises the largest of the members'
    radii, and none if a member promises none.

    Args:
        attacks: The members, by name, not yet prepared; another `WorstOf` may be one of them.
        criterion: What decides which outcome is the worst.
        eps: L-infinity radius of every member that has one, in pixel units of [0, 1]; their own if None.

    Raises:
        ValueError: If there is no member, `eps` is out of its range or concerns no member.
    """

    attacks: Mapping[str, Attack] = field(hash=False)
    criterion: Criterion
    eps: float | None = None
    _members: Mapping[str, Attack] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not self.attacks:
            raise ValueError("Expected at least one of `attacks`, but got none.")
        if self.eps is not None:
            check_eps(self.eps)
            if not _has_radius(self):
                raise ValueError(
                    f"Expected an attack that has a radius for `eps` {self.eps:g}, but got none."
                )
        self._set_members({name: self._equipped(attack) for name, attack in self.attacks.items()})

    @property
    def needs_gradient(self) -> bool:
        return any(member.needs_gradient for member in self._members.values())

    @property
    def radius(self) -> float:
        return max(member.radius for member in self._members.values())

    def prepare(self, model: nn.Module, donors: Donors) -> "WorstOf":
        prepared = copy.copy(self)
        prepared._set_members({name: member.prepare(model, donors) for name, member in self._members.items()})
        return prepared

    def eligible(self, image: Tensor, logits: Tensor) -> Tensor:
        members = [member.eligible(image, logits) for member in self._members.values()]
        return torch.stack(members).any(dim=0)

    def perturb(
        self, model: nn.Module, explain: Explain, image: Tensor, target: Tensor, noise: Noise
    ) -> Tensor:
        with torch.no_grad():
            logits = model(image)
        best = BestIterates(explain, image, target, self.criterion)
        for name, member in self._members.items():
            rows = (member.eligible(image, logits) & ~best.finished).nonzero().squeeze(1)
            if len(rows):
                draws = noise.child(name).select(rows)
                found = member.perturb(model, explain.select(rows), image[rows], target[rows], draws)
                check_attacked(member, image[rows], found)
                best.offer(found, rows)
        return best.image

    def _set_members(self, members: Mapping[str, Attack]) -> None:
        object.__setattr__(self, "_members", members)

    def _equipped(self, attack: Attack) -> Attack:
        changes: dict[str, object] = {}
        if self.eps is not None and _has_radius(attack):
            changes["eps"] = self.eps
        if getattr(attack, "criterion", self.criterion) is None:
            changes["criterion"] = self.criterion
        if not changes:
            return attack
        settings: Any = attack
        equipped: Attack = replace(settings, **changes)
        return equipped


def _has_radius(attack: Attack) -> bool:
    if isinstance(attack, WorstOf):
        return any(_has_radius(member) for member in attack.attacks.values())
    return hasattr(attack, "eps")
