from dataclasses import replace

import captum.metrics
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torch import nn

from lit_xai.attacks.base import run_attack
from lit_xai.attacks.random_sign import RandomSign
from lit_xai.attributions.input_x_gradient import InputXGradient
from lit_xai.metrics.infidelity import ConstantMapInfidelity, Infidelity, ZeroMapInfidelity, infidelity
from lit_xai.metrics.noisy_baseline import NoisyBaseline
from lit_xai.noise import Noise
from tests.conftest import tiny_batch, tiny_network
from tests.contracts import Untouched, assert_metric_contract
from tests.metrics.test_noisy_baseline import SCORES

METRICS = [Infidelity, ConstantMapInfidelity, ZeroMapInfidelity]
BOTH = pytest.mark.parametrize("scaled", [True, False])
FEW = NoisyBaseline(samples=7, std=0.3, share=0.4)
EXAMPLES = settings(deadline=None, max_examples=50, derandomize=True)


def responses(model, image, values, target, noise, perturbation):
    """Return what the score and the map (C, H, W) say of one image's (1, C, H, W) draws, one at a time."""
    changes, forecasts = [], []
    for draw in range(perturbation.samples):
        perturbed = perturbation.draw(image, noise.child(draw))
        before, after = (SCORES[perturbation.score](model(x)[0], target) for x in (image, perturbed))
        changes.append(before - after)
        forecasts.append(np.sum((image - perturbed)[0].numpy() * values))
    return np.array(changes), np.array(forecasts)


def written_out(model, image, values, target, noise, perturbation, scaled=True):
    """Return the infidelity of each map (N, C, H, W), the scale found by least squares."""
    errors = []
    for row, label in enumerate(target.tolist()):
        own = Noise(noise.seed, noise.sample_id[[row]])
        change, forecast = responses(model, image[[row]], values[row].numpy(), label, own, perturbation)
        factor = np.linalg.lstsq(forecast[:, None], change)[0] if scaled else 1.0
        errors.append(np.mean((factor * forecast - change) ** 2))
    return errors


def signed(batch, channels=2, seed=2):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(len(batch.label), channels, 8, 8, generator=generator, dtype=torch.float64)


def linear():
    """Return a linear network of 2 x 8 x 8 features, and the gradients of its classes."""
    torch.manual_seed(0)
    layer = nn.Linear(128, 4).double()
    return nn.Sequential(nn.Flatten(), layer), layer.weight.detach().view(4, 2, 8, 8)


def captums(model, batch, values, noise, perturbation, scaled):
    """Return captum's infidelity under the draws of the package."""
    draws = [perturbation.draw(batch.image, noise.child(draw)) for draw in range(perturbation.samples)]
    perturbed = torch.stack(draws, dim=1).flatten(0, 1)

    def perturb(expanded):
        assert torch.equal(expanded, batch.image.repeat_interleave(perturbation.samples, dim=0))
        return expanded - perturbed, perturbed

    forward = {
        "logit": model,
        "probability": lambda image: model(image).softmax(dim=1),
        "loss": lambda image: -model(image).log_softmax(dim=1),
    }[perturbation.score]
    return captum.metrics.infidelity(
        forward,
        perturb,
        batch.image,
        values.expand_as(batch.image),
        target=batch.label,
        n_perturb_samples=perturbation.samples,
        normalize=scaled,
    )


@pytest.fixture
def model(batch):
    """A network that predicts each of its classes for some images."""
    network = tiny_network()
    with torch.no_grad():
        network.head[-1].bias -= network(batch.image).mean(dim=0)
    return network


@pytest.fixture
def result(model, batch):
    found = run_attack(model, InputXGradient(), RandomSign(eps=0.5), batch, seed=0)
    assert not found.kept.all()
    assert (found.label != found.target).any()
    return found


@BOTH
@pytest.mark.parametrize("score", ["logit", "probability", "loss"])
@pytest.mark.parametrize(("channels", "share"), [(2, 0.4), (1, 0.4), (2, None), (2, 1.0)])
def test_equals_the_loop_and_captum(model, batch, scaled, score, channels, share):
    perturbation = NoisyBaseline(samples=20, std=0.3, share=share, score=score)
    noise, values = Noise(0, batch.sample_id), signed(batch, channels)
    found = infidelity(
        model, batch.image, values, batch.label, noise=noise, perturbation=perturbation, scaled=scaled
    )
    assert found.shape == (6,)
    assert found.dtype == torch.float64
    expected = written_out(model, batch.image, values, batch.label, noise, perturbation, scaled)
    assert found.tolist() == pytest.approx(expected, rel=1e-9)
    torch.testing.assert_close(
        found, captums(model, batch, values, noise, perturbation, scaled), rtol=1e-7, atol=0
    )


def test_by_default_it_is_scaled_and_perturbs_as_the_later_library(model, batch):
    noise, values = Noise(0, batch.sample_id), signed(batch)
    found = infidelity(model, batch.image, values, batch.label, noise=noise)
    expected = captums(model, batch, values, noise, NoisyBaseline(), True)
    torch.testing.assert_close(found, expected, rtol=1e-7, atol=0)


def test_the_scale_of_a_map_matters_only_unless_scaled(model, batch):
    noise, values = Noise(0, batch.sample_id), signed(batch)
    factor = torch.tensor([1e-6, -3.0, 1e6, 0.1, -1.0, 2.0]).double().view(-1, 1, 1, 1)

    def error(maps, scaled):
        return infidelity(model, batch.image, maps, batch.label, noise=noise, perturbation=FEW, scaled=scaled)

    torch.testing.assert_close(error(factor * values, True), error(values, True), rtol=1e-9, atol=0)
    ratio = error(factor * values, False) / error(values, False)
    assert ((ratio - 1).abs() > 0.01).all()


@BOTH
@pytest.mark.parametrize("score", ["logit", "probability", "loss"])
def test_a_map_of_zeros_has_the_mean_square_of_the_change(model, batch, scaled, score):
    noise, perturbation = Noise(0, batch.sample_id), replace(FEW, score=score)
    zeros = torch.zeros_like(batch.image)
    found = infidelity(
        model, batch.image, zeros, batch.label, noise=noise, perturbation=perturbation, scaled=scaled
    )
    assert found.tolist() == pytest.approx(
        [
            np.mean(responses(model, image[None], 0.0, target, noise_of(sample), perturbation)[0] ** 2)
            for image, target, sample in zip(
                batch.image, batch.label.tolist(), batch.sample_id.tolist(), strict=True
            )
        ],
        rel=1e-9,
    )
    assert found.min() > 0


def noise_of(sample):
    return Noise(0, torch.tensor([sample]))


@EXAMPLES
@given(values=arrays(np.float64, (1, 2, 8, 8), elements=st.floats(-1e3, 1e3, width=32)))
def test_scaled_it_is_never_more_than_of_a_map_of_zeros(values):
    network, image = tiny_network(), tiny_batch(samples=1).image

    def error(maps):
        return infidelity(network, image, maps, torch.tensor([1]), noise=noise_of(4), perturbation=FEW).item()

    assert 0 <= error(torch.from_numpy(values)) <= error(torch.zeros_like(image)) * (1 + 1e-12)


@BOTH
def test_the_gradient_of_a_linear_network_is_without_error(batch, scaled):
    network, gradients = linear()
    noise, values = Noise(0, batch.sample_id), gradients[batch.label]

    def error(maps):
        return infidelity(
            network, batch.image, maps, batch.label, noise=noise, perturbation=FEW, scaled=scaled
        )

    bound = error(torch.zeros_like(values))
    assert (error(values) < 1e-25 * bound).all()
    # Twice too much, which only a scale can mend, is as wrong as nothing at all.
    torch.testing.assert_close(error(2 * values), (0 if scaled else 1) * bound, rtol=1e-9, atol=1e-20)


@BOTH
def test_hand_computed_on_two_black_pixels(scaled):
    network = nn.Sequential(nn.Flatten(), nn.Linear(2, 2, bias=False)).double()
    network[1].weight.data = torch.tensor([[3.0, 1.0], [0.0, 0.0]]).double()
    image, noise = torch.ones(1, 1, 1, 2).double(), noise_of(0)
    perturbation = NoisyBaseline(samples=40, std=0.0, share=0.5)
    first = sum(perturbation.draw(image, noise.child(draw))[0, 0, 0, 0].item() == 0 for draw in range(40))
    assert 10 < first < 30
    # The score falls by 3 or by 1, and the map says 1 either way.
    factor = (3 * first + (40 - first)) / 40 if scaled else 1.0
    expected = (first * (3 - factor) ** 2 + (40 - first) * (1 - factor) ** 2) / 40
    found = infidelity(
        network,
        image,
        torch.ones_like(image),
        torch.tensor([0]),
        noise=noise,
        perturbation=perturbation,
        scaled=scaled,
    )
    assert found.item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("max_batch", [1, 4, 13])
def test_batches_and_order_change_nothing(model, batch, max_batch):
    values, turned = signed(batch), torch.tensor([4, 0, 5, 2, 1, 3])
    whole = infidelity(
        model, batch.image, values, batch.label, noise=Noise(0, batch.sample_id), perturbation=FEW
    )
    sizes = []
    with model.register_forward_pre_hook(lambda module, inputs: sizes.append(len(inputs[0]))):
        found = infidelity(
            model,
            batch.image[turned],
            values[turned],
            batch.label[turned],
            noise=Noise(0, batch.sample_id[turned]),
            perturbation=replace(FEW, max_batch=max_batch),
        )
    assert max(sizes) <= max_batch
    torch.testing.assert_close(found, whole[turned], rtol=1e-9, atol=0)


def test_the_seed_decides_every_draw(model, batch):
    def error(seed):
        return infidelity(
            model,
            batch.image,
            signed(batch),
            batch.label,
            noise=Noise(seed, batch.sample_id),
            perturbation=FEW,
        )

    assert torch.equal(error(0), error(0))
    assert (error(0) != error(1)).all()


def test_the_network_is_evaluated_without_dropout_and_left_as_it_was(model, batch):
    network = nn.Sequential(nn.Dropout(0.5), model)
    values, noise = signed(batch), Noise(0, batch.sample_id)
    expected = infidelity(model, batch.image, values, batch.label, noise=noise, perturbation=FEW)
    with Untouched(nn.Sequential(nn.Identity(), network), *batch, values):
        found = infidelity(network, batch.image, values, batch.label, noise=noise, perturbation=FEW)
    assert torch.equal(found, expected)


def test_no_samples_give_no_errors(model):
    image, none = torch.zeros(0, 2, 8, 8).double(), torch.zeros(0, dtype=torch.int64)
    assert infidelity(model, image, image, none, noise=Noise(0, none)).shape == (0,)


@pytest.mark.parametrize("shape", [(6, 8, 8), (6, 3, 8, 8), (6, 2, 8, 4), (5, 2, 8, 8), (1, 2, 8, 8)])
def test_refuses_a_map_that_does_not_fit(model, batch, shape):
    match = rf"an attribution for images \(6, 2, 8, 8\), but got \({', '.join(map(str, shape))}\)\."
    with pytest.raises(ValueError, match=match):
        infidelity(
            model, batch.image, torch.ones(shape).double(), batch.label, noise=Noise(0, batch.sample_id)
        )


def test_refuses_a_map_that_is_not_finite(model, batch):
    values = signed(batch)
    values[3, 0, 2, 2] = float("nan")
    with pytest.raises(ValueError, match="finite maps, but got NaN or infinity for sample 3 of the batch"):
        infidelity(model, batch.image, values, batch.label, noise=Noise(0, batch.sample_id))


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("target", ["prediction", "label"])
@pytest.mark.parametrize(
    ("metric", "values"),
    [
        (Infidelity, lambda result: result.attribution_adv),
        (ConstantMapInfidelity, lambda result: torch.full_like(result.attribution_adv, -0.7)),
        (ZeroMapInfidelity, lambda result: torch.zeros_like(result.attribution_adv)),
    ],
)
def test_metric_scores_the_attacked_image_and_the_class_watched(
    model, result, channels, target, metric, values
):
    result = replace(
        result,
        attribution=result.attribution[:, :channels],
        attribution_adv=result.attribution_adv[:, :channels],
    )
    scores = assert_metric_contract(
        metric(7, std=0.3, share=0.4, score="probability", target=target), model, result
    )
    expected = written_out(
        model,
        result.image_adv,
        values(result),
        result.target if target == "prediction" else result.label,
        Noise(0, result.sample_id).child("infidelity"),
        replace(FEW, score="probability"),
    )
    assert scores.tolist() == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(("control", "value"), [(ConstantMapInfidelity, -2.0), (ZeroMapInfidelity, 0.0)])
def test_a_control_is_the_infidelity_of_its_map(model, result, control, value):
    noise, flat = Noise(0, result.sample_id), torch.full_like(result.attribution_adv, value)
    expected = Infidelity(7).scores(model, replace(result, attribution_adv=flat), noise)
    torch.testing.assert_close(control(7).scores(model, result, noise), expected, rtol=1e-12, atol=0)


def test_the_controls_bound_and_separate(model, result):
    noise = Noise(0, result.sample_id)
    own, constant, zero = (metric(7).scores(model, result, noise) for metric in METRICS)
    assert (own <= zero).all()
    assert (constant <= zero).all()
    assert (own != constant).all()
    literal = Infidelity(7, scaled=False).scores(model, result, noise)
    assert (own < literal).all()


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize(
    "change", [{"samples": 6}, {"std": 0.3}, {"share": 0.3}, {"score": "loss"}, {"target": "label"}]
)
def test_every_option_changes_the_score(model, result, metric, change):
    noise = Noise(0, result.sample_id)
    before = metric(7).scores(model, result, noise)
    after = metric(**{"samples": 7, **change}).scores(model, result, noise)
    expected = result.label != result.target if "target" in change else torch.ones(6, dtype=torch.bool)
    assert torch.equal(before != after, expected)


@pytest.mark.parametrize("metric", METRICS)
def test_max_batch_limits_the_forward_pass(model, result, metric):
    sizes, noise = [], Noise(0, result.sample_id)
    with model.register_forward_pre_hook(lambda module, inputs: sizes.append(len(inputs[0]))):
        found = metric(7, max_batch=13).scores(model, result, noise)
    assert sizes == [6, 12, 12, 12, 6]
    torch.testing.assert_close(found, metric(7).scores(model, result, noise), rtol=1e-9, atol=0)


@pytest.mark.parametrize("metric", METRICS)
def test_defaults(metric):
    assert metric().perturbation == NoisyBaseline()
    assert metric().target == "prediction"
    assert metric.higher_is_better is False
    assert metric().explanation is None
    assert Infidelity().scaled is True


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"samples": 0}, r"Expected `samples` of at least 1, but got 0\."),
        ({"max_batch": 0}, r"Expected `max_batch` of at least 1, but got 0\."),
        ({"std": -1.0}, r"Expected `std` of at least 0, but got -1\.0\."),
        ({"share": 0.0}, r"Expected `share` in \(0, 1\], but got 0\.0\."),
        ({"score": "odds"}, r"Expected `score` as logit, probability or loss, but got odds\."),
        ({"target": "other"}, r"Expected `target` as prediction or label, but got other\."),
    ],
)
def test_refuses_options_out_of_range(metric, change, match):
    with pytest.raises(ValueError, match=match):
        metric(**change)
