import torch

from lit_xai.evaluation.accuracy import accuracy_scores
from lit_xai.noise import Noise
from lit_xai.regimes.pgd import PGD
from lit_xai.types import Batch


def test_each_image_is_right_or_wrong(model, batch):
    predicted = model(batch.image).argmax(dim=1)
    label = predicted.clone()
    label[[1, 4]] = (label[[1, 4]] + 1) % 4
    adversary = PGD(eps=1.0, step_size=0.3, steps=10)
    model.train()
    table = accuracy_scores(model, Batch(batch.image, label, batch.sample_id), adversary, noise_seed=3)
    assert model.training
    assert table.attack.tolist() == ["unattacked"] * 6 + ["pgd"] * 6
    assert table.metric.tolist() == ["accuracy"] * 12
    assert table.sample_id.tolist() == batch.sample_id.tolist() * 2
    assert table.value[:6].tolist() == [1, 0, 1, 1, 0, 1]
    noise = Noise(3, batch.sample_id).child("adversary")
    attacked = adversary.attack(model.eval(), batch.image, label, noise)
    expected = (model(attacked).argmax(dim=1) == label).double().tolist()
    assert table.value[6:].tolist() == expected
    assert sum(expected) < 4


def test_without_an_adversary_there_is_one_accuracy(model, batch):
    with torch.inference_mode():
        table = accuracy_scores(model, batch, None, noise_seed=0)
    assert table.attack.unique().tolist() == ["unattacked"]
    assert table.value.tolist() == (model(batch.image).argmax(dim=1) == batch.label).double().tolist()
