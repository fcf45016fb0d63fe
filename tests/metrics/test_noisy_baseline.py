import numpy as np
import pytest
import scipy.stats
import torch

from lit_xai.metrics.noisy_baseline import NoisyBaseline
from lit_xai.noise import Noise
from tests.conftest import tiny_batch
from tests.contracts import Untouched, assert_every_field_matters, select


def white(samples: int, *shape: int) -> torch.Tensor:
    """Return images that no draw leaves as they are: a feature is replaced where it is not 1."""
    return torch.ones(samples, *shape, dtype=torch.float64)


def replaced(image: torch.Tensor, perturbed: torch.Tensor) -> np.ndarray:
    """Return the replaced features of all images."""
    return perturbed[perturbed != image].numpy()


def softmax(logits: torch.Tensor) -> np.ndarray:
    powers = np.exp(logits.detach().numpy() - logits.max().item())
    return powers / powers.sum()


SCORES = {
    "logit": lambda logits, target: logits[target].item(),
    "probability": lambda logits, target: softmax(logits)[target],
    "loss": lambda logits, target: -np.log(softmax(logits)[target]),
}


@pytest.mark.parametrize("channels", [1, 2, 3])
@pytest.mark.parametrize(
    ("share", "size"), [(None, 35), (0.1, None), (0.5, None), (1.0, None), (0.02, None), (1e-9, 1)]
)
def test_exactly_that_share_of_features_is_replaced(channels, share, size):
    image = white(6, channels, 5, 7)
    changed = NoisyBaseline(share=share).draw(image, Noise(0, torch.arange(6))) != image
    expected = size or round(share * channels * 35)
    assert changed.flatten(1).sum(dim=1).tolist() == [expected] * 6


def test_by_default_as_many_features_as_the_image_has_pixels_in_any_channel():
    image = white(200, 3, 8, 8)
    changed = (NoisyBaseline().draw(image, Noise(0, torch.arange(200))) != image).double()
    assert changed.sum(dim=(1, 2, 3)).tolist() == [64] * 200
    by_channel = changed.sum(dim=(2, 3))
    # Drawn without replacement, 64 of 192: the variance of a channel's share.
    error = (64 * (1 / 3) * (2 / 3) * (128 / 191) / 200) ** 0.5
    assert (by_channel.mean(dim=0) - 64 / 3).abs().max() < 4 * error
    assert by_channel.std(dim=0).min() > 2


def test_other_features_stay_as_they_were(batch):
    perturbed = NoisyBaseline(share=0.3).draw(batch.image, Noise(0, batch.sample_id))
    kept = perturbed == batch.image
    assert kept.flatten(1).sum(dim=1).tolist() == [128 - 38] * 6
    assert perturbed.shape == batch.image.shape
    assert perturbed.min() == 0
    assert perturbed.max() <= 1


@pytest.mark.parametrize("std", [0.05, 0.2])
def test_half_of_the_values_are_black_and_the_others_half_normal(std):
    image = white(4, 2, 64, 64)
    values = replaced(image, NoisyBaseline(std=std, share=0.5).draw(image, Noise(0, torch.arange(4))))
    assert len(values) == 4 * 64 * 64
    assert abs((values == 0).mean() - 0.5) < 4 * 0.5 / 128
    bright = values[values > 0]
    assert scipy.stats.kstest(bright, scipy.stats.halfnorm(scale=std).cdf).pvalue > 1e-3
    assert np.sqrt(np.mean(bright**2)) == pytest.approx(std, rel=4 / np.sqrt(2 * len(bright)))


def test_bright_values_are_cut_at_white():
    image = torch.full((4, 1, 64, 64), 0.5, dtype=torch.float64)
    perturbed = NoisyBaseline(std=2.0).draw(image, Noise(0, torch.arange(4)))
    assert perturbed.min() == 0
    assert perturbed.max() == 1
    assert abs((perturbed == 1).double().mean() - scipy.stats.norm.sf(0.5)) < 4 * 0.5 / 128


def test_without_noise_the_features_are_black(batch):
    perturbed = NoisyBaseline(std=0.0, share=0.3).draw(batch.image, Noise(0, batch.sample_id))
    assert not replaced(batch.image, perturbed).any()


def test_every_feature_is_as_likely_to_be_replaced():
    image = white(4000, 2, 3, 4)
    changed = (NoisyBaseline(share=0.25).draw(image, Noise(0, torch.arange(4000))) != image).flatten(1)
    counts = changed.double().sum(dim=0)
    # 6 of 24 without replacement: the counts vary a little less than independent ones.
    statistic = ((counts - 1000).square() / (1000 * 0.75)).sum().item() * 23 / 24
    assert 0.001 < scipy.stats.chi2(23).sf(statistic) < 0.999
    together = changed.double().T @ changed.double()
    pairs = together[~torch.eye(24, dtype=torch.bool)]
    chance = 6 * 5 / (24 * 23)
    assert (pairs - 4000 * chance).abs().max() < 4.5 * (4000 * chance * (1 - chance)) ** 0.5


def test_children_samples_and_seeds_draw_differently():
    image = white(5, 2, 8, 8)
    draws = torch.cat(
        [
            NoisyBaseline().draw(image, Noise(seed, torch.arange(5)).child(draw))
            for seed in (0, 1)
            for draw in range(10)
        ]
    ).flatten(1)
    assert len((draws != 1).unique(dim=0)) == 100
    assert len(np.unique(replaced(white(100, 128), draws))) > 0.49 * 100 * 64
    again = NoisyBaseline().draw(image, Noise(0, torch.arange(5)).child(0)).flatten(1)
    assert torch.equal(again, draws[:5])


def test_a_draw_belongs_to_the_sample(batch):
    whole = NoisyBaseline(share=0.3).draw(batch.image, Noise(0, batch.sample_id))
    for row in range(6):
        alone = select(batch, slice(row, row + 1))
        found = NoisyBaseline(share=0.3).draw(alone.image, Noise(0, alone.sample_id))
        assert torch.equal(found, whole[[row]])


def test_single_precision_stays_so(batch):
    image = batch.image.float()
    assert NoisyBaseline().draw(image, Noise(0, batch.sample_id)).dtype == torch.float32


@pytest.mark.parametrize("score", SCORES)
def test_responses_equal_the_loop(model, batch, score):
    perturbation = NoisyBaseline(samples=5, share=0.3, score=score, max_batch=4)
    values = torch.randn(6, 2, 8, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    noise = Noise(0, batch.sample_id)
    with Untouched(model, *batch, values):
        change, forecast = perturbation.responses(model, batch.image, values, batch.label, noise)
    assert change.shape == forecast.shape == (6, 5)
    assert change.dtype == forecast.dtype == torch.float64
    for row, target in enumerate(batch.label.tolist()):
        image, own = batch.image[[row]], Noise(0, batch.sample_id[[row]])
        before = SCORES[score](model(image)[0], target)
        for draw in range(5):
            perturbed = perturbation.draw(image, own.child(draw))
            removed = (image - perturbed)[0].numpy()
            after = SCORES[score](model(perturbed)[0], target)
            assert change[row, draw].item() == pytest.approx(before - after, rel=0, abs=1e-12)
            expected = np.sum(removed * values[row].numpy())
            assert forecast[row, draw].item() == pytest.approx(expected, rel=0, abs=1e-12)


def test_single_precision_responds_in_double(model, batch):
    single, image = model.float(), batch.image.float()
    noise = Noise(0, batch.sample_id)
    found = NoisyBaseline(samples=3).responses(single, image, image, batch.label, noise)
    assert [part.dtype for part in found] == [torch.float64] * 2
    double = NoisyBaseline(samples=3).responses(
        model.double(), image.double(), image.double(), batch.label, noise
    )
    for first, second in zip(found, double, strict=True):
        torch.testing.assert_close(first, second, rtol=0, atol=1e-4)


@pytest.mark.parametrize(("max_batch", "passes"), [(1, 48), (4, 13), (13, 5), (48, 2)])
def test_max_batch_limits_the_forward_pass_and_changes_no_response(model, batch, max_batch, passes):
    sizes = []
    noise, values = Noise(0, batch.sample_id), batch.image - 0.5
    expected = NoisyBaseline(samples=7).responses(model, batch.image, values, batch.label, noise)
    with model.register_forward_pre_hook(lambda module, inputs: sizes.append(len(inputs[0]))):
        found = NoisyBaseline(samples=7, max_batch=max_batch).responses(
            model, batch.image, values, batch.label, noise
        )
    assert max(sizes) <= max_batch
    assert (len(sizes), sum(sizes)) == (passes, 6 + 6 * 7)
    for first, second in zip(found, expected, strict=True):
        torch.testing.assert_close(first, second, rtol=0, atol=1e-12)


def test_every_option_has_its_effect(model):
    batch = tiny_batch()

    def effect(method):
        sizes = []
        with model.register_forward_pre_hook(lambda module, inputs: sizes.append(len(inputs[0]))):
            parts = method.responses(model, batch.image, batch.image, batch.label, Noise(0, batch.sample_id))
        return torch.cat([*(part.flatten() for part in parts), torch.tensor([len(sizes)])])

    changes = {"samples": 4, "std": 0.3, "share": 0.4, "score": "loss", "max_batch": 5}
    assert_every_field_matters(NoisyBaseline(samples=3), changes, effect)


def test_defaults_are_those_of_the_later_library():
    assert NoisyBaseline() == NoisyBaseline(samples=100, std=0.2, share=None, score="logit", max_batch=512)


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("samples", 0, "of at least 1, but got 0"),
        ("samples", -3, "of at least 1, but got -3"),
        ("max_batch", 0, "of at least 1, but got 0"),
        ("std", -0.1, r"of at least 0, but got -0\.1"),
        ("share", 0.0, r"in \(0, 1\], but got 0\.0"),
        ("share", 1.5, r"in \(0, 1\], but got 1\.5"),
        ("share", float("nan"), r"in \(0, 1\], but got nan"),
        ("score", "odds", "as logit, probability or loss, but got odds"),
    ],
)
def test_refuses_options_out_of_range(name, value, expected):
    with pytest.raises(ValueError, match=rf"Expected `{name}` {expected}\."):
        NoisyBaseline(**{name: value})


def test_refuses_a_standard_deviation_that_is_no_number():
    with pytest.raises(ValueError, match=r"Expected `std` of at least 0, but got nan\."):
        NoisyBaseline(std=float("nan"))


def test_refuses_scores_that_are_not_finite(model, batch):
    with torch.no_grad():
        next(model.parameters()).fill_(float("nan"))
    noise = Noise(0, batch.sample_id)
    with pytest.raises(ValueError, match=r"Expected finite scores, but got NaN or infinity for sample 0 of"):
        NoisyBaseline(2).responses(model, batch.image, batch.image, batch.label, noise)
