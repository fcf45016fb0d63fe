import torch

from lit_xai.attacks.recovery import margin, recovered
from tests.contracts import curved


def test_margin_is_the_lead_over_the_largest_other_logit():
    logits = torch.tensor([[3.0, 1.0, 2.5], [3.0, 1.0, 2.5], [2.0, 2.0, 0.0]])
    assert torch.equal(margin(logits, torch.tensor([0, 1, 0])), torch.tensor([0.5, -2.0, 0.0]))


def test_only_lost_iterates_follow_the_margin(model, batch):
    value, gradient = torch.arange(6.0).double(), torch.ones_like(batch.image)
    predicted = model(batch.image).argmax(dim=1)
    target = predicted.clone()
    target[[1, 4]] = (predicted[[1, 4]] + 1) % 4
    found, back = recovered(model, batch.image, target, value, gradient)
    kept = torch.tensor([0, 2, 3, 5])
    assert torch.equal(found[kept], value[kept])
    assert torch.equal(back[kept], gradient[kept])
    assert torch.equal(found[[1, 4]], torch.full((2,), -torch.inf, dtype=torch.float64))
    assert torch.equal(value, torch.arange(6.0).double())
    assert torch.equal(gradient, torch.ones_like(batch.image))


def test_the_margins_gradient_equals_a_central_difference(model, batch):
    smooth = curved(model)
    target = (smooth(batch.image).argmax(dim=1) + 1) % 4
    _, back = recovered(smooth, batch.image, target, torch.zeros(6).double(), torch.zeros_like(batch.image))
    generator = torch.Generator().manual_seed(0)
    direction = torch.randn(batch.image.shape, generator=generator, dtype=torch.float64)
    above, below = (margin(smooth(batch.image + step * direction), target) for step in (1e-5, -1e-5))
    numeric = (above - below).detach() / 2e-5
    torch.testing.assert_close((back * direction).flatten(1).sum(dim=1), numeric, rtol=1e-6, atol=1e-9)


def test_nothing_changes_where_nothing_is_lost(model, batch):
    value, gradient = torch.zeros(6).double(), torch.ones_like(batch.image)
    found, back = recovered(model, batch.image, model(batch.image).argmax(dim=1), value, gradient)
    assert found is value
    assert back is gradient
