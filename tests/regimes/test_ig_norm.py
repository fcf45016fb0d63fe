from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from lit_xai.gate import evaluating
from lit_xai.noise import Noise
from lit_xai.regimes import ig_norm
from lit_xai.regimes.base import Regime
from lit_xai.regimes.ig_norm import IGNorm, loss_attribution_norm
from lit_xai.regimes.natural import Natural
from lit_xai.types import Batch
from tests.contracts import assert_every_field_matters, assert_regime_contract, curved
from tests.regimes.checking import (
    Modes,
    assert_moves_the_gradient,
    assert_one_update_of_statistics,
    assert_parameter_gradient,
    climbed_by_hand,
    cross_entropies,
    flat_gradient,
    gradient_of,
    held,
    neighbours,
    totals_in_each_grad_mode,
)

SMALL = IGNorm(eps=0.1, step_size=0.03, steps=3, path_steps=4, inner_path_steps=2)


def norms_by_hand(model: nn.Module, image: Tensor, image_adv: Tensor, label: Tensor, m: int) -> Tensor:
    """Return sum_i |IG_i| of section 1.1 of the specification, one sample and one point at a time, (N,)."""
    norms = []
    for start, end, own in zip(image, image_adv, label, strict=True):
        total = torch.zeros_like(end)
        for k in range(1, m + 1):
            point = start + k / m * (end - start)
            point = point if point.requires_grad else point.clone().requires_grad_()
            loss = cross_entropies(model, point[None], own[None])[0]
            total = total + torch.autograd.grad(loss, point, create_graph=True)[0]
        norms.append(((end - start) * total / m).abs().sum())
    return torch.stack(norms)


def norms_to(
    model: nn.Module, batch: Batch, image_adv: Tensor, path_steps: int, max_batch: int = 512
) -> Tensor:
    return loss_attribution_norm(
        model, batch.image, image_adv, batch.label, path_steps=path_steps, max_batch=max_batch
    )


def detached_norm(*arguments: object, **options: object) -> Tensor:
    return loss_attribution_norm(*arguments, **options).detach()


def loss_and_size(regime: Regime, model: nn.Module, batch: Batch) -> Tensor:
    """Return the loss, and whether any forward pass held more images than the batch."""
    sizes = []
    handle = model.register_forward_pre_hook(lambda _, arguments: sizes.append(len(arguments[0])))
    total = regime.loss(model, batch.image, batch.label, Noise(0, batch.sample_id)).total.detach()
    handle.remove()
    return torch.stack([total, torch.tensor(max(sizes) > len(batch.image), dtype=total.dtype)])


def test_contract(model, batch):
    assert_regime_contract(SMALL, model, batch)


@pytest.mark.parametrize("path_steps", [1, 5])
@pytest.mark.parametrize("max_batch", [1, 4, 512])
def test_the_norm_equals_a_loop_over_the_path(model, batch, path_steps, max_batch):
    image_adv = neighbours(batch)
    sizes = []
    model.register_forward_pre_hook(lambda _, arguments: sizes.append(len(arguments[0])))
    found = norms_to(model, batch, image_adv, path_steps, max_batch)
    assert max(sizes) == min(max_batch, 6 * path_steps)
    expected = norms_by_hand(model, batch.image, image_adv, batch.label, path_steps)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


def test_the_norm_is_differentiable_in_the_end_point(model, batch):
    smooth = curved(model)
    leaf = neighbours(batch).requires_grad_()
    (found,) = torch.autograd.grad(norms_to(smooth, batch, leaf, 4).sum(), leaf)
    (expected,) = torch.autograd.grad(norms_by_hand(smooth, batch.image, leaf, batch.label, 4).sum(), leaf)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
    assert expected.abs().min() > 0


def test_the_norm_has_no_gradient_at_the_image_itself(model, batch):
    for point, zero in ((batch.image.clone(), True), (neighbours(batch), False)):
        leaf = point.requires_grad_()
        (gradient,) = torch.autograd.grad(norms_to(model, batch, leaf, 4).sum(), leaf)
        assert (gradient.abs().max().item() == 0) == zero


def test_the_norm_of_no_distance_is_zero_and_of_a_long_path_at_least_the_rise_of_the_loss(model, batch):
    assert norms_to(model, batch, batch.image, 3).tolist() == [0.0] * 6
    image_adv = neighbours(batch)
    rise = cross_entropies(model, image_adv, batch.label) - cross_entropies(model, batch.image, batch.label)
    assert (norms_to(model, batch, image_adv, 1000) >= rise.abs() - 1e-3 * rise.abs().max()).all()


def test_minimises_clean_cross_entropy_plus_the_norm(model, batch):
    noise = Noise(0, batch.sample_id)
    regime = replace(SMALL, weight=0.7)
    loss = regime.loss(model, batch.image, batch.label, noise)
    image_adv = regime.attack(model, batch.image, batch.label, noise)
    cross_entropy = cross_entropies(model, batch.image, batch.label).sum() / 6
    norm = norms_by_hand(model, batch.image, image_adv, batch.label, 4).sum() / 6
    torch.testing.assert_close(loss.total, cross_entropy + 0.7 * norm, rtol=0, atol=1e-12)
    torch.testing.assert_close(loss.parts["cross_entropy"], cross_entropy.detach(), rtol=0, atol=1e-12)
    torch.testing.assert_close(loss.parts["attribution_norm"], norm.detach(), rtol=0, atol=1e-12)
    assert torch.equal(loss.logits, model(batch.image))


def test_the_search_climbs_the_norm_alone_on_the_short_path(model, batch):
    found = SMALL.attack(model, batch.image, batch.label, Noise(0, batch.sample_id))

    def climbed(path_steps: int, share: float) -> Tensor:
        def objective(point: Tensor) -> Tensor:
            norms = norms_by_hand(model, batch.image, point, batch.label, path_steps)
            return norms + share * cross_entropies(model, point, batch.label)

        return climbed_by_hand(batch, objective, eps=0.1, step_size=0.03, steps=3)

    torch.testing.assert_close(found, climbed(2, 0.0), rtol=0, atol=1e-12)
    # Otherwise the comparison would not tell the right objective from these.
    assert not torch.allclose(found, climbed(4, 0.0))
    assert not torch.allclose(found, climbed(2, 1.0))


def test_the_parameter_gradient_equals_finite_differences(model, batch, monkeypatch):
    held(monkeypatch, IGNorm, neighbours(batch))
    assert_parameter_gradient(IGNorm(path_steps=4), model, batch)


def test_a_detached_regulariser_would_be_noticed(model, batch, monkeypatch):
    held(monkeypatch, IGNorm, neighbours(batch))
    monkeypatch.setattr(ig_norm, "loss_attribution_norm", detached_norm)
    with pytest.raises(AssertionError, match="Tensor-likes are not close"):
        assert_parameter_gradient(IGNorm(path_steps=4), model, batch)


def test_the_regulariser_moves_the_gradient(trained, fashion_batch):
    regime = IGNorm(steps=5, path_steps=5, inner_path_steps=2)
    assert_moves_the_gradient(regime, Natural(), trained, fashion_batch)


def test_the_weight_moves_the_gradient_linearly(model, batch, monkeypatch):
    held(monkeypatch, IGNorm, neighbours(batch))
    plain = flat_gradient(cross_entropies(model, batch.image, batch.label).mean(), model)
    once, twice = (gradient_of(replace(SMALL, weight=weight), model, batch) - plain for weight in (0.3, 0.6))
    torch.testing.assert_close(twice, 2 * once, rtol=0, atol=1e-12)
    assert once.norm() > 0.01 * plain.norm()


def test_beats_its_random_start(trained, fashion_batch):
    image, label, sample_id = fashion_batch
    noise = Noise(0, sample_id)
    regime = IGNorm(steps=10, inner_path_steps=3)
    found = regime.attack(trained, image, label, noise)
    start = (image + noise.child("start").uniform(image, -0.1, 0.1)).clamp(0, 1)
    scores = [norms_to(trained, fashion_batch, point, 3) for point in (start, found)]
    assert (scores[1] > scores[0]).double().mean() >= 0.9


def test_stays_in_the_ball_and_reaches_its_corners(trained, fashion_batch):
    image, label, sample_id = fashion_batch
    found = IGNorm(inner_path_steps=2).attack(trained, image, label, Noise(0, sample_id))
    assert (found - image).abs().max() <= 0.1 + 1e-6
    assert found.min() >= 0
    assert found.max() <= 1
    inner = (image > 0.1) & (image < 0.9)
    assert ((found - image).abs()[inner] > 0.0999).double().mean() > 0.5


def test_nothing_flows_through_the_search(model, batch):
    found = SMALL.attack(model, batch.image.clone().requires_grad_(), batch.label, Noise(0, batch.sample_id))
    assert not found.requires_grad


def test_only_the_cross_entropy_sees_training_mode(model, batch):
    network = Modes(model).train()
    SMALL.loss(network, batch.image, batch.label, Noise(0, batch.sample_id))
    assert network.seen == [False] * 3 + [True, False]


def test_batch_norm_remembers_the_classified_images_once(model, batch):
    assert_one_update_of_statistics(SMALL, model, batch, batch.image)


def test_works_in_any_grad_mode(model, batch):
    first, *others = totals_in_each_grad_mode(SMALL, model, batch)
    for other in others:
        torch.testing.assert_close(other, first, rtol=0, atol=1e-12)


def test_every_field_matters(model, batch):
    changes = {
        "eps": 0.2,
        "step_size": 0.05,
        "steps": 5,
        "path_steps": 6,
        "inner_path_steps": 3,
        "weight": 0.5,
        "max_batch": 6,
    }
    assert_every_field_matters(SMALL, changes, lambda method: loss_and_size(method, model, batch))


def test_max_batch_changes_memory_only(model, batch):
    losses = [loss_and_size(replace(SMALL, max_batch=size), model, batch)[0] for size in (1, 4, 6, 512)]
    torch.testing.assert_close(torch.stack(losses), losses[0].expand(4), rtol=0, atol=1e-12)


def test_the_defaults_are_those_for_fashion_mnist():
    assert IGNorm() == IGNorm(
        eps=0.1, step_size=0.01, steps=20, path_steps=50, inner_path_steps=10, weight=1.0
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"eps": 8}, r"Expected `eps` in \(0, 1\], but got 8\. Write 8/255 as 0\.0314\."),
        ({"step_size": 2}, r"Expected `step_size` in \(0, 1\], but got 2\."),
        ({"steps": 0}, "Expected `steps` of at least 1, but got 0."),
        ({"path_steps": 0}, "Expected `path_steps` of at least 1, but got 0."),
        ({"inner_path_steps": 0}, "Expected `inner_path_steps` of at least 1, but got 0."),
        ({"max_batch": 0}, "Expected `max_batch` of at least 1, but got 0."),
        ({"weight": 0.0}, "Expected `weight` above 0, but got 0. Use Natural or PGD for no regulariser."),
    ],
)
def test_refuses_options_out_of_range(options, message):
    with pytest.raises(ValueError, match=message):
        IGNorm(**options)


def test_the_search_keeps_the_graph_of_one_chunk_only(model, batch):
    leaf = neighbours(batch).requires_grad_()
    with evaluating(model):
        searched = replace(SMALL, inner_path_steps=8, max_batch=6).searched(model, batch.image, batch.label)
        found, whole = searched(leaf), norms_to(model, batch, leaf, path_steps=8, max_batch=6)
    assert graph_size(found) < 20 < 100 < graph_size(whole)
    slopes = [torch.autograd.grad(value.sum(), leaf)[0] for value in (found, whole)]
    torch.testing.assert_close(*slopes, rtol=0, atol=1e-12)


def graph_size(value: Tensor) -> int:
    seen, waiting = set(), [value.grad_fn]
    while waiting:
        node = waiting.pop()
        if node is not None and node not in seen:
            seen.add(node)
            waiting.extend(following for following, _ in node.next_functions)
    return len(seen)


def test_chunks_of_the_path_give_the_parameter_gradient_of_the_whole(model, batch):
    whole = gradient_of(SMALL, model, batch)
    for size in (1, 6, 12):
        found = gradient_of(replace(SMALL, max_batch=size), model, batch)
        torch.testing.assert_close(found, whole, rtol=0, atol=1e-12)
