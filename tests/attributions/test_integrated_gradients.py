import captum.attr
import pytest
import torch
from matplotlib.image import imsave

from lit_xai.attributions.base import class_score
from lit_xai.attributions.integrated_gradients import IntegratedGradients, read_baseline
from lit_xai.noise import Noise
from tests.contracts import assert_attribution_contract, assert_every_field_matters, curved

CAPTUM = {"right": "riemann_right", "midpoint": "riemann_middle", "gauss_legendre": "gausslegendre"}


def attribute(method, model, batch):
    return method.attribute(model, batch.image, batch.label, Noise(0, batch.sample_id)).detach()


@pytest.mark.parametrize("rule", ["right", "midpoint", "trapezoid", "gauss_legendre"])
def test_contract(model, batch, rule):
    assert_attribution_contract(IntegratedGradients(path_steps=3, rule=rule), model, batch)


@pytest.mark.parametrize("baseline", [0.0, 0.4])
@pytest.mark.parametrize("rule", CAPTUM)
def test_equals_captum(model, batch, rule, baseline):
    method = captum.attr.IntegratedGradients(model)
    expected = method.attribute(batch.image, baseline, batch.label, n_steps=13, method=CAPTUM[rule])
    found = attribute(IntegratedGradients(path_steps=13, rule=rule, baseline=baseline), model, batch)
    # captum keeps its nodes in single precision.
    torch.testing.assert_close(found, expected.detach(), rtol=0, atol=1e-6 * found.abs().max().item())


@pytest.mark.parametrize("score", ["logit", "probability", "loss"])
@pytest.mark.parametrize(
    ("rule", "tolerance"), [("gauss_legendre", 1e-6), ("trapezoid", 1e-3), ("midpoint", 1e-3)]
)
def test_the_map_sums_to_the_change_of_the_score(model, batch, score, rule, tolerance):
    smooth = curved(model)
    change = class_score(smooth(batch.image), batch.label, score) - class_score(
        smooth(torch.full_like(batch.image, 0.2)), batch.label, score
    )
    found = attribute(IntegratedGradients(40, rule, 0.2, score), smooth, batch).flatten(1).sum(dim=1)
    torch.testing.assert_close(found, change.detach(), rtol=0, atol=tolerance)
    assert change.abs().max() > 10 * tolerance


def test_the_default_rule_beats_the_papers_sum_at_equal_passes(trained, fashion_batch):
    logit = trained(fashion_batch.image).gather(1, fashion_batch.label[:, None]).squeeze(1)
    black = trained(torch.zeros_like(fashion_batch.image)).gather(1, fashion_batch.label[:, None]).squeeze(1)
    gaps = {}
    for rule in ("gauss_legendre", "right"):
        found = attribute(IntegratedGradients(20, rule), trained, fashion_batch).flatten(1).sum(dim=1)
        gaps[rule] = (found - (logit - black)).abs().mean().item()
    assert gaps["gauss_legendre"] < 0.5 * gaps["right"]


def test_an_image_file_is_a_baseline(model, batch, tmp_path):
    imsave(tmp_path / "half.png", torch.full((8, 8, 3), 0.6).numpy())
    one = type(batch)(batch.image[:, :1].expand(-1, 3, -1, -1), batch.label, batch.sample_id)
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 2, 1).double(), model)
    found = attribute(IntegratedGradients(5, baseline=tmp_path / "half.png"), network, one)
    pixel = read_baseline(tmp_path / "half.png", 3).unique().item()
    assert pixel == pytest.approx(0.6, abs=1 / 255)
    expected = attribute(IntegratedGradients(5, baseline=pixel), network, one)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-9)


def test_a_baseline_of_another_size_is_refused(model, batch, tmp_path):
    imsave(tmp_path / "small.png", torch.full((4, 4, 3), 0.5).numpy())
    single = type(batch)(batch.image[:, :1], batch.label, batch.sample_id)
    with pytest.raises(ValueError, match=r"Expected a `baseline` of shape \(1, 8, 8\), but got \(1, 4, 4\)"):
        attribute(IntegratedGradients(5, baseline=tmp_path / "small.png"), model, single)


def test_every_field_matters(model, batch):
    changes = {"path_steps": 4, "rule": "right", "baseline": 0.5, "score": "loss"}
    sizes = []
    model.register_forward_pre_hook(lambda _, arguments: sizes.append(len(arguments[0])))

    def effect(method):
        sizes.clear()
        found = attribute(method, model, batch)
        return torch.cat([found.flatten(), torch.tensor([max(sizes)])])

    assert_every_field_matters(IntegratedGradients(path_steps=3), {**changes, "max_batch": 2}, effect)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"path_steps": 0}, "Expected `path_steps` of at least 1 for the gauss_legendre rule, but got 0"),
        ({"rule": "left"}, "Expected `rule` as right, midpoint, trapezoid or gauss_legendre, but got left"),
        (
            {"baseline": 128.0},
            r"Expected `baseline` in \[0, 1\], but got 128\. Write a grey of 128 as 0\.5\.",
        ),
        ({"score": "margin"}, "Expected `score` as logit, probability or loss, but got margin"),
        ({"max_batch": 0}, "Expected `max_batch` of at least 1, but got 0"),
    ],
)
def test_refuses(options, message):
    with pytest.raises(ValueError, match=message):
        IntegratedGradients(**options)


def test_a_missing_baseline_file_is_refused(tmp_path):
    with pytest.raises(
        FileNotFoundError, match=r"Expected `baseline` as an image file, but got .*nowhere\.png"
    ):
        IntegratedGradients(baseline=tmp_path / "nowhere.png")


def test_a_coarse_integral_has_few_nodes_of_gauss_and_legendre():
    method = IntegratedGradients(path_steps=100, rule="right", baseline=0.2, score="loss", max_batch=7)
    expected = IntegratedGradients(
        path_steps=5, rule="gauss_legendre", baseline=0.2, score="loss", max_batch=7
    )
    assert method.coarse(5) == expected


@pytest.mark.parametrize("points", [4, 9])
def test_an_integral_is_not_made_finer(points):
    method = IntegratedGradients(path_steps=4, rule="right")
    assert method.coarse(points) is method


def test_few_nodes_stand_for_many_right_ends(model, batch):
    method = IntegratedGradients(path_steps=200, rule="right")
    whole, coarse, right = (
        attribute(one, curved(model), batch)
        for one in (method, method.coarse(5), IntegratedGradients(path_steps=5, rule="right"))
    )
    assert (coarse - whole).abs().max() < 0.2 * (right - whole).abs().max()
