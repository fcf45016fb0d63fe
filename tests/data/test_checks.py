import pytest
import torch

from lit_xai.data.checks import CheckedBatch, check_classes, check_labels
from lit_xai.types import Batch


def samples(count: int = 3) -> list[Batch]:
    return [
        Batch(torch.full((1, 2, 2), 0.5), torch.tensor(place), torch.tensor(10 + place))
        for place in range(count)
    ]


def test_samples_are_stacked():
    batch = CheckedBatch(3, "val")(samples())
    assert isinstance(batch, Batch)
    assert batch.image.shape == (3, 1, 2, 2)
    assert batch.label.tolist() == [0, 1, 2]
    assert batch.sample_id.tolist() == [10, 11, 12]


def test_samples_may_be_plain_tuples():
    assert CheckedBatch(3, "val")([tuple(sample) for sample in samples()]).sample_id.tolist() == [10, 11, 12]


def test_a_sample_out_of_range_is_named():
    with pytest.raises(ValueError, match=r"labels in \[0, 1\], but got 2 in sample 12 of the val split"):
        CheckedBatch(2, "val")(samples())


def test_labels_of_a_split():
    check_labels(torch.tensor([0, 2, 1]), 3, "test")
    with pytest.raises(ValueError, match=r"^Expected images in the test split, but got none\.$"):
        check_labels(torch.tensor([], dtype=torch.long), 3, "test")


@pytest.mark.parametrize("label", [-1, 3, 255])
def test_a_label_out_of_range_is_named(label):
    message = rf"^Expected labels in \[0, 2\], but got {label} in sample 1 of the train split\. Count"
    with pytest.raises(ValueError, match=message):
        check_labels(torch.tensor([0, label, 300]), 3, "train")


def test_classes_without_images_are_named():
    check_classes(torch.tensor([2, 0, 1, 1]), 3)
    with pytest.raises(ValueError, match=r"of all 4 classes, but got none of class 1, 3\. Raise"):
        check_classes(torch.tensor([2, 0, 0]), 4)
    with pytest.raises(ValueError, match=r"but got none of class 1, 2, 3, 4, 5 and others\. Raise"):
        check_classes(torch.tensor([0]), 9)
