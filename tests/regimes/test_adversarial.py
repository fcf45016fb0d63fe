from dataclasses import dataclass, field, replace

import pytest
import torch
from torch import Tensor, nn

from lit_xai.noise import Noise
from lit_xai.regimes.adversarial import Adversarial
from lit_xai.types import RegimeLoss
from tests.conftest import tiny_batch
from tests.contracts import Untouched, assert_every_field_matters, assert_regime_contract
from tests.regimes.checking import Modes, totals_in_each_grad_mode


@dataclass(frozen=True)
class Brighter(Adversarial):
    """Climb the first logit plus the brightness; minimise the mean logit of the neighbours."""

    brightness: float = 0.0
    seen: list = field(default_factory=list, init=False, compare=False)

    def searched(self, model, image, label):
        def height(point: Tensor) -> Tensor:
            self.seen.append([parameter.requires_grad for parameter in model.parameters()])
            return model(point)[:, 0] + self.brightness * point.flatten(1).sum(dim=1)

        return height

    def objective(self, model, image, image_adv, label):
        logits = model(image_adv)
        total = (logits[:, 0] * (1 + label)).mean()
        return RegimeLoss(total, logits, {"first": total.detach()})


@dataclass(frozen=True)
class Outside(Brighter):
    """The same from a start above white."""

    def start(self, image, noise):
        return image + 5.0


class Nothing(nn.Module):
    """A network whose logits are zero, with one weight."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))

    def forward(self, image: Tensor) -> Tensor:
        return self.weight * image.flatten(1)[:, :2]


SMALL = Brighter(eps=0.1, step_size=0.03, steps=3)


def attacked(regime: Adversarial, model: nn.Module, image: Tensor, seed: int = 0) -> Tensor:
    number = torch.arange(len(image))
    return regime.attack(model, image, torch.zeros_like(number), Noise(seed, number))


def test_contract(model, batch):
    assert_regime_contract(SMALL, model, batch)


def test_the_start_is_uniform_in_the_ball_and_cut_with_the_first_step_only():
    black = torch.zeros(4, 3, 40, 40, dtype=torch.float64)
    found = attacked(Brighter(eps=0.2, step_size=0.05, steps=1, brightness=1.0), Nothing(), black)
    # U(-0.2, 0.2) + 0.05: below 0 for 3/8, above 0.2 for 1/8; cut at once, half would be at 0.05.
    shares = [(found == 0), (found == 0.2), (found < 0.1)]
    assert [share.double().mean().item() for share in shares] == pytest.approx(
        [3 / 8, 1 / 8, 5 / 8], abs=0.02
    )
    inside = found[(found > 0) & (found < 0.2)]
    assert inside.mean().item() == pytest.approx(0.1, abs=0.003)


@pytest.mark.parametrize("value", [0.0, 0.04, 0.5, 1.0])
def test_every_step_goes_one_length_towards_the_objective(value):
    image = torch.full((2, 1, 4, 4), value, dtype=torch.float64)
    noise = Noise(0, torch.arange(2))
    for brightness in (1.0, -2.0):
        regime = Brighter(eps=0.1, step_size=0.02, steps=2, brightness=brightness)
        by = 0.02 if brightness > 0 else -0.02
        expected = image + noise.child("start").uniform(image, -0.1, 0.1)
        for _ in range(2):
            expected = (expected + by).clamp(value - 0.1, value + 0.1).clamp(0, 1)
        torch.testing.assert_close(attacked(regime, Nothing(), image), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind", [Brighter, Outside])
@pytest.mark.parametrize("steps", [1, 3])
def test_stays_in_the_ball_from_any_start(model, batch, kind, steps):
    found = attacked(kind(eps=0.1, step_size=0.03, steps=steps), model, batch.image)
    assert (found - batch.image).abs().max() <= 0.1 + 1e-12
    assert found.min() >= 0
    assert found.max() <= 1
    if kind == Outside and steps == 1:
        torch.testing.assert_close(found, (batch.image + 0.1).clamp(max=1), rtol=0, atol=1e-12)


def test_without_a_gradient_the_start_is_projected(batch):
    noise = Noise(0, torch.arange(6))
    start = batch.image + noise.child("start").uniform(batch.image, -0.1, 0.1)
    found = attacked(SMALL, Nothing(), batch.image)
    torch.testing.assert_close(found, start.clamp(0, 1), rtol=0, atol=1e-12)


def test_leaves_everything_as_it_was_and_returns_no_graph(model, batch):
    with Untouched(model, *batch):
        found = SMALL.attack(model, batch.image, batch.label, Noise(0, batch.sample_id))
    assert not found.requires_grad
    leaf = batch.image.clone().requires_grad_()
    assert torch.equal(SMALL.attack(model, leaf, batch.label, Noise(0, batch.sample_id)), found)
    assert leaf.grad is None


def test_searches_in_evaluation_mode_with_frozen_weights(model, batch):
    network = Modes(model).train()
    regime = replace(SMALL, brightness=1.0)
    regime.loss(network, batch.image, batch.label, Noise(0, batch.sample_id))
    assert network.seen == [False] * 3 + [True]
    assert len(regime.seen) == 3
    assert not any(wanted for call in regime.seen for wanted in call)


def test_the_last_iterate_and_not_the_best_is_returned():
    # Steps of 0.1 overshoot the top at 0.5 and come back: iterates 0.55, 0.45, 0.55.
    class Hill(Nothing):
        def forward(self, image: Tensor) -> Tensor:
            return -(image - 0.5).square().flatten(1)[:, :1] - self.weight

    @dataclass(frozen=True)
    class Still(Brighter):
        def start(self, image, noise):
            return image

    image = torch.full((1, 1, 1, 1), 0.45, dtype=torch.float64)
    for steps, value in ((1, 0.55), (2, 0.45), (3, 0.55)):
        found = attacked(Still(eps=0.3, step_size=0.1, steps=steps), Hill(), image)
        assert found.item() == pytest.approx(value, abs=1e-12)


def test_works_in_any_grad_mode(model, batch):
    first, *others = totals_in_each_grad_mode(SMALL, model, batch)
    for other in others:
        torch.testing.assert_close(other, first, rtol=0, atol=1e-12)
    for context in (torch.no_grad, torch.inference_mode):
        with context():
            image, label = batch.image.clone(), batch.label.clone()
            found = SMALL.attack(model, image, label, Noise(0, batch.sample_id.clone()))
        # What was found can be trained on, whatever the mode it was found in.
        torch.autograd.grad(model(found).sum(), list(model.parameters()))


def test_draws_by_seed_and_sample(model):
    batch = tiny_batch()
    noise = Noise(0, batch.sample_id)
    found = SMALL.attack(model, batch.image, batch.label, noise)
    alone = SMALL.attack(model, batch.image[[4]], batch.label[[4]], noise.select(torch.tensor([4])))
    torch.testing.assert_close(alone, found[[4]], rtol=0, atol=1e-12)
    assert not torch.allclose(
        SMALL.attack(model, batch.image, batch.label, Noise(1, batch.sample_id)), found, atol=0.01
    )


def test_every_field_matters(model, batch):
    changes = {"eps": 0.2, "step_size": 0.05, "steps": 5, "brightness": 3.0}
    assert_every_field_matters(SMALL, changes, lambda method: attacked(method, model, batch.image))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"eps": 0.0}, r"Expected `eps` in \(0, 1\], but got 0\."),
        ({"step_size": 8}, r"Expected `step_size` in \(0, 1\], but got 8\. Write 8/255 as 0\.0314\."),
        ({"steps": 0}, "Expected `steps` of at least 1, but got 0."),
    ],
)
def test_any_regime_of_the_kind_refuses_options_out_of_range(options, message):
    with pytest.raises(ValueError, match=message):
        Brighter(**options)
