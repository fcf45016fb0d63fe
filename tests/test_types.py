import dataclasses

import pytest
import torch

from lit_xai.types import AttackResult, Batch, RegimeLoss


def result(applied: list[bool], kept: list[bool]) -> AttackResult:
    rows = len(applied)
    image, maps, logits = torch.zeros(rows, 1, 2, 2), torch.ones(rows, 1, 2, 2), torch.zeros(rows, 3)
    label = torch.zeros(rows, dtype=torch.long)
    return AttackResult(
        image=image,
        image_adv=image,
        label=label,
        target=label,
        sample_id=torch.arange(rows),
        logits=logits,
        logits_adv=logits,
        attribution=maps,
        attribution_adv=maps,
        applied=torch.tensor(applied),
        kept=torch.tensor(kept),
    )


def test_an_attack_succeeds_only_if_it_was_applied_and_kept_the_prediction():
    found = result(applied=[True, True, False, False], kept=[True, False, True, False]).failed
    assert found.dtype == torch.bool
    assert found.tolist() == [False, True, True, True]


def test_a_result_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        result([True], [True]).kept = torch.tensor([False])


def test_a_batch_unpacks_as_image_label_sample():
    image, label, sample_id = Batch(sample_id=torch.tensor([7]), image=torch.ones(1), label=torch.tensor([3]))
    assert (image.item(), label.item(), sample_id.item()) == (1.0, 3, 7)


def test_a_regime_loss_unpacks_as_total_logits_parts():
    total, logits, parts = RegimeLoss(
        parts={"a": torch.ones(1)}, logits=torch.eye(2), total=torch.tensor(5.0)
    )
    assert total.item() == 5
    assert logits.shape == (2, 2)
    assert parts.keys() == {"a"}
