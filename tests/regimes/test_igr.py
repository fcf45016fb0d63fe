from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
import torch
from jsonargparse import ArgumentParser
from torch import Tensor, nn

from lit_xai.noise import Noise
from lit_xai.regimes.base import Regime
from lit_xai.regimes.ig_sum_norm import IGSumNorm
from lit_xai.regimes.igr import IGR
from lit_xai.regimes.pgd import PGD
from lit_xai.regimes.similarity import Cosine, Pearson, Similarity, SoftKendall, SoftSpearman
from lit_xai.regimes.trades import TRADES
from lit_xai.types import Batch
from tests.contracts import assert_every_field_matters, assert_regime_contract, curved, select
from tests.regimes.checking import (
    Modes,
    assert_moves_the_gradient,
    assert_one_update_of_statistics,
    assert_parameter_gradient,
    cross_entropies,
    gradient_of,
    held,
    neighbours,
    normalised,
    totals_in_each_grad_mode,
)

SEARCH = PGD(eps=0.1, step_size=0.03, steps=3)
SMALL = IGR(SEARCH, path_steps=4)
# Nodes and weights of Gauss and Legendre on [0, 1], for three points.
NODES = [0.5 - 0.15**0.5, 0.5, 0.5 + 0.15**0.5]
WEIGHTS = [5 / 18, 8 / 18, 5 / 18]


def explained_by_hand(
    model: nn.Module, image: Tensor, value: Callable[[Tensor], Tensor], start: float
) -> Tensor:
    """Return integrated gradients of one image, (C, H, W), one of three points at a time."""
    total = torch.zeros_like(image)
    for node, weight in zip(NODES, WEIGHTS, strict=True):
        point = (start + node * (image - start)).requires_grad_()
        total = (
            total + weight * torch.autograd.grad(value(model(point[None])[0]), point, create_graph=True)[0]
        )
    return (image - start) * total


def dissimilarity_by_hand(
    model: nn.Module, batch: Batch, image_adv: Tensor, score: str = "logit", start: float = 0.0
) -> Tensor:
    values = {
        "logit": lambda logits, label: logits[label],
        "probability": lambda logits, label: logits.exp()[label] / logits.exp().sum(),
        "loss": lambda logits, label: logits.exp().sum().log() - logits[label],
    }
    total = torch.tensor(0.0, dtype=torch.float64)
    for image, moved, label in zip(batch.image, image_adv, batch.label, strict=True):
        first, second = (
            explained_by_hand(model, point, lambda logits, own=label: values[score](logits, own), start)
            for point in (image, moved)
        )
        total = total + 1 - (first * second).sum() / (first.norm() * second.norm())
    return total / len(batch.label)


def loss_and_size(regime: Regime, model: nn.Module, batch: Batch) -> Tensor:
    """Return the loss, and the most images that any forward pass held."""
    sizes = []
    handle = model.register_forward_pre_hook(lambda _, arguments: sizes.append(len(arguments[0])))
    total = regime.loss(model, batch.image, batch.label, Noise(0, batch.sample_id)).total.detach()
    handle.remove()
    return torch.stack([total, torch.tensor(max(sizes), dtype=total.dtype)])


@pytest.mark.parametrize("robust", [SEARCH, TRADES(step_size=0.03, steps=3)])
def test_contract(model, batch, robust):
    assert_regime_contract(replace(SMALL, robust=robust), model, batch)


@pytest.mark.parametrize("similarity", [Pearson(), SoftKendall(samples=30), SoftSpearman(samples=30)])
def test_contract_with_each_similarity(model, batch, similarity):
    assert_regime_contract(replace(SMALL, similarity=similarity), model, batch)


@pytest.mark.parametrize(("score", "baseline"), [("logit", 0.0), ("probability", 0.3), ("loss", 1.0)])
def test_adds_the_dissimilarity_of_a_loop_to_the_robust_objective(model, batch, score, baseline):
    noise = Noise(0, batch.sample_id)
    regime = IGR(SEARCH, weight=0.7, path_steps=3, score=score, baseline=baseline)
    loss = regime.loss(model, batch.image, batch.label, noise)
    image_adv = SEARCH.attack(model, batch.image, batch.label, noise)
    cross_entropy = cross_entropies(model, image_adv, batch.label).mean()
    expected = dissimilarity_by_hand(model, batch, image_adv, score, baseline)
    torch.testing.assert_close(loss.total, cross_entropy + 0.7 * expected, rtol=0, atol=1e-12)
    torch.testing.assert_close(loss.parts["dissimilarity"], expected.detach(), rtol=0, atol=1e-12)
    torch.testing.assert_close(loss.parts["cross_entropy"], cross_entropy.detach(), rtol=0, atol=1e-12)
    assert torch.equal(loss.logits, model(image_adv))
    assert expected > 0.01


@pytest.mark.parametrize(
    "robust",
    [SEARCH, TRADES(steps=2), IGSumNorm(steps=2, path_steps=2, inner_path_steps=1)],
    ids=lambda robust: type(robust).__name__,
)
def test_what_is_not_the_regulariser_is_the_robust_regime(model, batch, robust):
    noise = Noise(0, batch.sample_id)
    found = IGR(robust, weight=2.0).loss(model, batch.image, batch.label, noise)
    plain = robust.loss(model, batch.image, batch.label, noise)
    assert found.parts.keys() == {*plain.parts, "dissimilarity"}
    for name, part in plain.parts.items():
        torch.testing.assert_close(found.parts[name], part, rtol=0, atol=0)
    assert torch.equal(found.logits, plain.logits)
    expected = plain.total + 2.0 * found.parts["dissimilarity"]
    torch.testing.assert_close(found.total, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("similarity", [Cosine(), SoftSpearman(samples=30)])
def test_the_parameter_gradient_equals_finite_differences(model, batch, monkeypatch, similarity):
    held(monkeypatch, PGD, neighbours(batch))
    assert_parameter_gradient(replace(SMALL, similarity=similarity), model, batch)


@dataclass(frozen=True)
class Detached(Similarity):
    """A cosine through which one of the maps learns nothing."""

    first: bool
    second: bool

    def similarity(self, first, second, noise):
        maps = (first.detach() if self.first else first), (second.detach() if self.second else second)
        return Cosine().similarity(*maps, noise)


@pytest.mark.parametrize(("first", "second"), [(True, False), (False, True)])
def test_a_detached_map_would_be_noticed(model, batch, monkeypatch, first, second):
    held(monkeypatch, PGD, neighbours(batch))
    with pytest.raises(AssertionError, match="Tensor-likes are not close"):
        assert_parameter_gradient(replace(SMALL, similarity=Detached(first, second)), model, batch)


@pytest.mark.parametrize("kind", [PGD, TRADES])
def test_the_regulariser_moves_the_gradient(trained, fashion_batch, kind):
    robust = kind(steps=3, step_size=0.03)
    assert_moves_the_gradient(IGR(robust), robust, trained, select(fashion_batch, slice(0, 16)))


def test_the_weight_moves_the_gradient_linearly(model, batch, monkeypatch):
    held(monkeypatch, PGD, neighbours(batch))
    plain = gradient_of(SEARCH, model, batch)
    once, twice = (gradient_of(replace(SMALL, weight=weight), model, batch) - plain for weight in (0.3, 0.6))
    torch.testing.assert_close(twice, 2 * once, rtol=0, atol=1e-12)
    assert once.norm() > 0.01 * plain.norm()


def test_the_neighbour_is_that_of_the_robust_regime_alone(model, batch):
    noise = Noise(0, batch.sample_id)
    image_adv = SEARCH.attack(model, batch.image, batch.label, noise)
    network = Modes(model)
    seen = []
    network.register_forward_pre_hook(lambda _, arguments: seen.append(arguments[0].detach()))
    SMALL.loss(network.train(), batch.image, batch.label, noise)
    # Three steps of the search, the cross-entropy, two maps.
    assert network.seen == [False] * 3 + [True] + [False] * 2
    assert torch.equal(seen[3], image_adv)
    for points, end in zip(seen[4:], (batch.image, image_adv), strict=True):
        assert points.shape == (24, 2, 8, 8)
        nodes = points.unflatten(0, (4, 6)) / end
        torch.testing.assert_close(nodes.nanmean(dim=(1, 2, 3, 4)), _four_nodes(), rtol=0, atol=1e-12)


def _four_nodes() -> Tensor:
    near, far = ((3 / 7 + sign * 2 / 7 * 1.2**0.5) ** 0.5 / 2 for sign in (-1, 1))
    return torch.tensor([0.5 - far, 0.5 - near, 0.5 + near, 0.5 + far], dtype=torch.float64)


@pytest.mark.parametrize("clean", [False, True])
def test_batch_norm_remembers_what_the_robust_regime_does_once(model, batch, clean):
    robust = TRADES(steps=2) if clean else SEARCH
    image_adv = robust.attack(normalised(model), batch.image, batch.label, Noise(0, batch.sample_id))
    assert_one_update_of_statistics(
        replace(SMALL, robust=robust), model, batch, batch.image if clean else image_adv
    )


def test_works_in_any_grad_mode(model, batch):
    first, *others = totals_in_each_grad_mode(SMALL, model, batch)
    for other in others:
        torch.testing.assert_close(other, first, rtol=0, atol=1e-12)


def test_every_field_matters(model, batch):
    changes = {
        "robust": replace(SEARCH, eps=0.2),
        "similarity": Pearson(),
        "weight": 0.5,
        "path_steps": 6,
        "baseline": 0.5,
        "score": "probability",
        "max_batch": 6,
    }
    assert_every_field_matters(SMALL, changes, lambda method: loss_and_size(method, model, batch))


@pytest.mark.parametrize("similarity", [Cosine(), SoftKendall(samples=30)])
def test_max_batch_changes_memory_only(model, batch, similarity):
    smooth, regime = curved(model), replace(SMALL, similarity=similarity)
    loss, most = loss_and_size(regime, smooth, batch)
    gradient = gradient_of(regime, smooth, batch)
    assert most == 24
    for size in (4, 6, 12):
        chunked = replace(regime, max_batch=size)
        found = loss_and_size(chunked, smooth, batch)
        torch.testing.assert_close(found[0], loss, rtol=0, atol=1e-12)
        assert found[1] == max(6, size)
        torch.testing.assert_close(gradient_of(chunked, smooth, batch), gradient, rtol=0, atol=1e-12)


@pytest.mark.parametrize("similarity", [Cosine(), Pearson(), SoftKendall(), SoftSpearman()])
def test_a_network_without_gradients_learns_from_the_robust_objective_alone(model, batch, similarity):
    dead = model.float()
    nn.init.zeros_(list(dead.parameters())[-2])
    image = batch.image.float()
    loss = IGR(SEARCH, similarity).loss(dead, image, batch.label, Noise(0, batch.sample_id))
    assert loss.parts["dissimilarity"].item() == 1.0
    plain = SEARCH.loss(dead, image, batch.label, Noise(0, batch.sample_id))
    found, expected = (
        torch.autograd.grad(total, list(dead.parameters())) for total in (loss.total, plain.total)
    )
    for one, other in zip(found, expected, strict=True):
        assert one.isfinite().all()
        torch.testing.assert_close(one, other, rtol=0, atol=0)


@dataclass(frozen=True)
class Prepared(PGD):
    """Projected gradient descent that has to be prepared."""

    ready: bool = field(default=False, compare=False)
    radius: float = 1.0

    def prepare(self, model, donors):
        return replace(self, ready=len(list(donors())) == 2)

    def at(self, progress):
        return replace(self, radius=progress)


def test_the_robust_regime_is_prepared_and_ramped(model):
    regime = IGR(Prepared()).prepare(model, lambda: [None, None])
    assert regime.robust.ready
    assert regime.at(0.25).robust == Prepared(radius=0.25)
    assert regime.at(0.25).robust.ready


def test_the_defaults():
    assert IGR() == IGR(
        PGD(eps=0.1, step_size=0.01, steps=20),
        Cosine(),
        weight=1.0,
        path_steps=5,
        baseline=0.0,
        score="logit",
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"weight": 0.0}, "Expected `weight` above 0, but got 0. Use PGD for no regulariser."),
        ({"weight": -1, "robust": TRADES()}, "but got -1. Use TRADES for no regulariser."),
        ({"path_steps": 0}, "Expected `path_steps` of at least 1 for the gauss_legendre rule, but got 0."),
        ({"baseline": 128}, r"Expected `baseline` in \[0, 1\], but got 128."),
        ({"score": "log"}, "Expected `score` as logit, probability or loss, but got log."),
        ({"max_batch": 0}, "Expected `max_batch` of at least 1, but got 0."),
    ],
)
def test_refuses_options_out_of_range(options, message):
    with pytest.raises(ValueError, match=message):
        IGR(**options)


def test_the_parts_are_chosen_by_class_in_a_file(tmp_path):
    (tmp_path / "igr.yaml").write_text(
        "class_path: lit_xai.regimes.igr.IGR\n"
        "init_args:\n"
        f"  robust: {Path(__file__).parents[2] / 'configs' / 'regimes' / 'trades.yaml'}\n"
        "  similarity:\n"
        "    class_path: lit_xai.regimes.similarity.SoftKendall\n"
        "    init_args: {sharpness: 3.0}\n"
        "  score: probability\n"
    )
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(Regime, "regime")
    built = parser.instantiate(parser.parse_args([f"--regime={tmp_path / 'igr.yaml'}"])).regime
    assert built == IGR(TRADES(), SoftKendall(sharpness=3.0), score="probability")
