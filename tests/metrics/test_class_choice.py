from dataclasses import replace

import pytest
import torch

from lit_xai.attacks.base import run_attack
from lit_xai.attacks.random_sign import RandomSign
from lit_xai.attributions.saliency import Saliency
from lit_xai.metrics.class_choice import check_class_choice, chosen_class


def test_the_classes_of_the_clean_images_or_the_labels(model, batch):
    result = run_attack(model, Saliency(), RandomSign(eps=0.3), batch, seed=0)
    result = replace(result, logits_adv=result.logits_adv.roll(1, dims=1))
    for watched in (result.label, result.logits_adv.argmax(dim=1)):
        assert not torch.equal(watched, result.logits.argmax(dim=1))
    assert torch.equal(chosen_class(result, "prediction"), result.logits.argmax(dim=1))
    assert torch.equal(chosen_class(result, "label"), batch.label)


def test_both_choices_are_known():
    for choice in ("prediction", "label"):
        check_class_choice(choice)


@pytest.mark.parametrize("choice", ["truth", "Label", "labels", "pred", ""])
def test_refuses_any_other_choice(choice):
    with pytest.raises(ValueError, match=rf"Expected `target` as prediction or label, but got {choice}\."):
        check_class_choice(choice)
