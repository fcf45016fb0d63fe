"""Which class a faithfulness metric watches."""

from typing import Literal, get_args

from torch import Tensor

from lit_xai.types import AttackResult

ClassChoice = Literal["prediction", "label"]


def check_class_choice(target: str) -> None:
    """Refuse an unknown choice.

    Raises:
        ValueError: If `target` is neither prediction nor label.
    """
    if target not in get_args(ClassChoice):
        raise ValueError(f"Expected `target` as prediction or label, but got {target}.")


def chosen_class(result: AttackResult, target: ClassChoice) -> Tensor:
    """Return the classes predicted for the clean images, or their labels, (N,), int64."""
    return result.target if target == "prediction" else result.label
