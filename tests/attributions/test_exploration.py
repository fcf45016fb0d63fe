import warnings
from dataclasses import dataclass
from typing import ClassVar

import pytest
import scipy.ndimage
import scipy.stats
import torch

from lit_xai.attributions.exploration import (
    Direction,
    Exploration,
    check_choice,
    check_kernel,
    gradient_of,
    score_gradient,
    smoothed,
    squashed,
)
from lit_xai.noise import Noise
from tests.conftest import tiny_batch


@dataclass(frozen=True)
class Given(Exploration):
    """A walk that follows one number after the other, the same in every pixel."""

    follows: tuple[float, ...] = (1.0, 2.0, -3.0, 1.0)
    decay: float | None = None
    accumulate: bool = False
    squared: bool = False
    jump: float = 0.0
    blocks: ClassVar[list] = []

    def walk(self, model, image, target, noise):
        self.blocks.append((len(image), target.tolist(), noise.sample_id.tolist()))

        def gradient(point, followed, step):
            assert step > 0 or not followed.any()
            return torch.full_like(point, self.follows[step]) * target[:, None, None, None]

        return self.explore(
            image,
            image + self.jump,
            gradient,
            momentum=self.decay,
            accumulate=self.accumulate,
            map_gradient=torch.square if self.squared else None,
        )


def explained(method, value=0.5, target=(1,)):
    image = torch.full((len(target), 1, 2, 3), value, dtype=torch.float64)
    classes = torch.tensor(target)
    found = method.attribute(torch.nn.Identity(), image, classes, Noise(0, torch.arange(len(target))))
    assert (found == found[:, :, :1, :1]).all()
    return found[:, 0, 0, 0].tolist()


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        # Steps of 0.1 down, down, up, down; each adds 0.1 times the magnitude of what it follows.
        ({}, 0.1 * (1 + 2 + 3 + 1)),
        ({"direction": "ascend"}, 0.1 * (1 + 2 + 3 + 1)),
        # The sums are 1, 3, 0 and 1: no step for the third.
        ({"accumulate": True}, 0.1 * (1 + 3 + 0 + 1)),
        # The signs are 1, 1, -1 and 1; with half of what came before 1, 1.5, -0.25 and 0.875.
        ({"decay": 0.5}, 0.1 * (1 + 1.5 + 0.25 + 0.875)),
        ({"decay": 0.0}, 0.1 * 4),
        # The walk is at 0.5, 0.4, 0.3 and 0.4; down counts against the square and up for it.
        ({"squared": True}, 0.1 * (0.25 + 0.16 - 0.09 + 0.16)),
        # The first step goes from 0.5 over 0.6 to 0.5, and adds nothing.
        ({"jump": 0.1}, 0.1 * (0 + 2 + 3 + 1)),
        # The first step goes from 0.5 over 0.9 to the edge of the ball at 0.7: it goes up for a step down.
        ({"jump": 0.4, "eps": 0.2, "steps": 2}, -0.2 * 1 + 0.1 * 2),
        ({"eps": 0.2, "steps": 2}, 0.1 * (1 + 2)),
    ],
)
def test_equals_a_walk_by_hand(options, expected):
    method = Given(**({"eps": 0.4, "steps": 4} | options))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert explained(method) == pytest.approx([expected], abs=1e-12)


def test_a_pixel_that_cannot_move_gets_zero():
    assert explained(Given(0.4, 2, follows=(1.0, 2.0)), value=0.0) == [0.0]
    assert explained(Given(0.4, 2, follows=(1.0, 2.0)), value=0.25) == pytest.approx([0.2 + 2 * 0.05])
    assert explained(Given(0.4, 2, direction="ascend"), value=1.0) == [0.0]


def test_zeros_are_counted_once_and_give_no_step():
    method = Given(0.4, 4, follows=(0.0, 1.0, 0.0, 0.0), decay=1.0, max_batch=2)
    message = (
        r"^Expected a gradient at every step, but got only zeros for %d of 5 images\. "
        r"Such a gradient adds nothing\.$"
    )
    with pytest.warns(UserWarning, match=message % 5) as caught:
        found = explained(method, target=(0, 1, 1, 0, 1))
    assert len(caught) == 1
    assert found == pytest.approx([0, 0.3, 0.3, 0, 0.3])
    with pytest.warns(UserWarning, match=message % 2):
        found = explained(Given(0.4, 4, decay=0.0), target=(0, 1, 1, 0, 1))
    assert found == pytest.approx([0, 0.4, 0.4, 0, 0.4])


def test_blocks_keep_images_classes_and_noise_together():
    Given.blocks.clear()
    found = explained(Given(0.4, 2, max_batch=2), target=(1, 2, 3, 4, 5))
    assert Given.blocks == [(2, [1, 2], [0, 1]), (2, [3, 4], [2, 3]), (1, [5], [4])]
    assert found == pytest.approx([0.6, 1.2, 1.8, 2.4, 3.0])
    assert explained(Given(0.4, 2), target=()) == []


def test_gradients_are_each_images_own(model, batch):
    found = gradient_of(lambda leaf: leaf.square().sum(dim=(1, 2, 3)) * batch.label, batch.image)
    assert torch.equal(found, 2 * batch.image * batch.label[:, None, None, None])
    assert not found.requires_grad
    assert not batch.image.requires_grad


@pytest.mark.parametrize("objective", ["logit", "probability", "double_softmax"])
def test_the_score_is_the_entry_after_so_many_softmaxes(model, batch, objective):
    logits = model(batch.image)
    expected = {
        "logit": logits,
        "probability": logits.softmax(1),
        "double_softmax": logits.softmax(1).softmax(1),
    }
    assert torch.equal(squashed(logits, objective), expected[objective])
    leaf = batch.image.clone().requires_grad_()
    values = squashed(model(leaf), objective)
    values[torch.arange(6), batch.label].sum().backward()
    found = score_gradient(model, batch.image, batch.label, objective)
    torch.testing.assert_close(found, leaf.grad, rtol=0, atol=1e-15)


@pytest.mark.parametrize(("size", "reach"), [(7, 3.0), (15, 3.0), (3, 1.5)])
def test_the_blur_equals_scipy(size, reach):
    gradient = tiny_batch(samples=2, size=9).image[..., :6] - 0.5
    line = scipy.stats.norm.pdf(torch.linspace(-reach, reach, size).numpy())
    kernel = (line[:, None] * line / line.sum() ** 2)[None, None]
    expected = scipy.ndimage.convolve(gradient.numpy(), kernel, mode="constant")
    found = smoothed(gradient, size, reach)
    torch.testing.assert_close(found, torch.from_numpy(expected), rtol=0, atol=1e-7)
    assert torch.equal(smoothed(gradient, 1, reach), gradient)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"eps": 16}, r"Expected `eps` in \(0, 1\], but got 16. Write 8/255 as 0.0314"),
        ({"steps": 0}, "Expected `steps` of at least 1, but got 0"),
        ({"max_batch": 0}, "Expected `max_batch` of at least 1, but got 0"),
        ({"direction": "up"}, "Expected `direction` as descend or ascend, but got up"),
        ({"objective": "loss"}, "Expected `objective` as double_softmax, probability or logit, but got loss"),
    ],
)
def test_refuses(options, message):
    with pytest.raises(ValueError, match=message):
        Given(**options)


def test_refuses_a_choice_and_a_kernel():
    check_choice(Given(), "direction", Direction)
    check_kernel(1, 0.5)
    with pytest.raises(ValueError, match="Expected `kernel_size` as an odd number above 0, but got 4"):
        check_kernel(4, 3.0)
    with pytest.raises(ValueError, match="Expected `kernel_size` as an odd number above 0, but got -1"):
        check_kernel(-1, 3.0)
    with pytest.raises(ValueError, match="Expected `kernel_reach` above 0, but got 0"):
        check_kernel(3, 0.0)
