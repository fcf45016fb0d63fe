from dataclasses import replace

import pytest
import torch

from lit_xai.attacks.base import run_attack
from lit_xai.attacks.criteria import CenterDistance, Intersection, KendallTau
from lit_xai.attacks.random_sign import RandomSign
from lit_xai.attributions.base import Explain
from lit_xai.attributions.integrated_gradients import IntegratedGradients
from lit_xai.attributions.saliency import Saliency
from lit_xai.attributions.smooth_grad import SmoothGrad
from lit_xai.metrics.maps import pixel_map
from lit_xai.noise import Noise
from lit_xai.types import Batch
from tests.attacks.test_base import undecided
from tests.contracts import assert_attack_contract, assert_every_field_matters

EXPLANATIONS = [Saliency(), IntegratedGradients(path_steps=3), SmoothGrad(samples=3)]


def walked(attack: RandomSign, image: torch.Tensor, seed: int = 0) -> torch.Tensor:
    """Return attacked images without a network, which an attack without a criterion does not need."""
    noise = Noise(seed, torch.arange(len(image)) + 3)
    explain = Explain(Saliency(), torch.nn.Identity(), noise)
    return attack.perturb(explain.model, explain, image, torch.zeros(len(image)).long(), noise)


@pytest.mark.parametrize("attribution", EXPLANATIONS)
@pytest.mark.parametrize(
    "attack",
    [
        RandomSign(eps=0.1),
        RandomSign(eps=0.1, steps=4, step_size=0.05),
        RandomSign(eps=0.1, steps=3, step_size=0.05, restarts=2, criterion=Intersection(5)),
    ],
)
def test_contract(model, batch, attack, attribution):
    result = assert_attack_contract(attack, attribution, undecided(model, batch), batch, eps=0.1)
    assert result.applied.any()


def test_one_step_moves_every_value_by_the_radius_before_clipping():
    generator = torch.Generator().manual_seed(0)
    image = torch.rand(8, 3, 16, 16, generator=generator, dtype=torch.float64)
    found = walked(RandomSign(eps=0.2), image)
    up, down = (image + 0.2).clamp(max=1), (image - 0.2).clamp(min=0)
    assert torch.equal(torch.where(found > image, up, down), found)
    inner = (image > 0.2) & (image < 0.8)
    torch.testing.assert_close(
        (found - image).abs()[inner], torch.full_like(image, 0.2)[inner], rtol=0, atol=1e-15
    )


def test_signs_are_fair_and_differ_by_sample_channel_and_pixel():
    signs = (walked(RandomSign(eps=0.2), torch.full((8, 3, 32, 32), 0.5)) - 0.5).sign()
    assert abs(signs.mean().item()) < 4 / signs.numel() ** 0.5
    for first, second in (
        (signs[:-1], signs[1:]),
        (signs[:, :-1], signs[:, 1:]),
        (signs[..., :-1], signs[..., 1:]),
        (signs[..., :-1, :], signs[..., 1:, :]),
    ):
        agreement = (first * second).mean().item()
        assert abs(agreement) < 4 / first.numel() ** 0.5


@pytest.mark.parametrize("steps", [25, 100])
def test_a_walk_reaches_the_root_of_its_steps(steps):
    image = torch.full((8, 3, 32, 32), 0.5, dtype=torch.float64)
    shift = walked(RandomSign(eps=0.5, steps=steps, step_size=0.001), image) - image
    reach = shift.square().mean().sqrt().item()
    assert abs(reach / (0.001 * steps**0.5) - 1) < 0.03


def test_a_walk_is_cut_at_the_ball():
    image = torch.full((8, 3, 32, 32), 0.5, dtype=torch.float64)
    shift = walked(RandomSign(eps=0.02, steps=100, step_size=0.01), image) - image
    assert shift.abs().max() <= 0.02 + 1e-12
    # A walk of five places with reflecting ends spends a fifth of its time at each of them.
    shares = [((shift / 0.01).round() == place).double().mean().item() for place in range(-2, 3)]
    assert max(abs(share - 0.2) for share in shares) < 0.01


def test_a_criterion_keeps_the_best_accepted_step(model, batch):
    undecided(model, batch)
    attack = RandomSign(eps=0.1, steps=5, step_size=0.06, criterion=Intersection(9))
    found = run_attack(model, Saliency(), attack, batch, seed=0)
    free = [replace(attack, criterion=None, steps=steps) for steps in range(1, 6)]
    walks = [run_attack(model, Saliency(), one, batch, seed=0) for one in free]
    assert not all(walk.kept.all() for walk in walks)
    for row in range(6):
        best, expected = 1.0, batch.image[row]
        for walk in walks:
            clean, attacked = (pixel_map(maps)[[row]] for maps in (walk.attribution, walk.attribution_adv))
            score = Intersection(9).score(clean, attacked).item()
            if walk.kept[row] and score < best:
                best, expected = score, walk.image_adv[row]
        assert torch.equal(found.image_adv[row], expected)


def test_without_a_criterion_the_last_step_counts_though_the_prediction_changed(model, batch):
    undecided(model, batch)
    result = run_attack(model, Saliency(), RandomSign(eps=0.3), batch, seed=0)
    assert result.applied.all()
    assert 1 <= (~result.kept).sum() <= 5


def test_further_restarts_never_make_it_worse(model, batch):
    scores = []
    for restarts in (1, 2, 4):
        attack = RandomSign(eps=0.1, restarts=restarts, criterion=KendallTau())
        result = run_attack(model, Saliency(), attack, batch, seed=0)
        scores.append(KendallTau().score(pixel_map(result.attribution), pixel_map(result.attribution_adv)))
    assert (scores[1] <= scores[0]).all()
    assert (scores[2] <= scores[1]).all()
    assert (scores[2] < scores[0]).sum() >= 3


def test_a_sample_keeps_its_signs_in_any_company(model, batch):
    image = torch.full_like(batch.image, 0.5)
    attack = RandomSign(eps=0.1, steps=2, step_size=0.05)
    found = run_attack(model, Saliency(), attack, batch._replace(image=image), seed=0).image_adv
    turned = Batch(image, batch.label, batch.sample_id.flip(0))
    assert torch.equal(run_attack(model, Saliency(), attack, turned, seed=0).image_adv.flip(0), found)


def test_every_field_matters(model, batch):
    attack = RandomSign(eps=0.1, steps=3, step_size=0.05, restarts=2, criterion=CenterDistance())
    assert_every_field_matters(
        attack,
        {"eps": 0.06, "steps": 5, "step_size": None, "restarts": 4, "criterion": Intersection(3)},
        lambda method: run_attack(model, Saliency(), method, batch, seed=0).image_adv,
    )


def test_refuses_restarts_without_a_choice():
    with pytest.raises(ValueError, match="Expected a `criterion` to choose among 3 `restarts`, but got None"):
        RandomSign(restarts=3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"eps": 8}, r"Expected `eps` in \(0, 1\], but got 8\. Write 8/255 as 0\.0314\."),
        ({"step_size": 1.5}, r"Expected `step_size` in \(0, 1\], but got 1\.5\."),
        ({"steps": 0}, "Expected `steps` of at least 1, but got 0."),
        ({"restarts": 0}, "Expected `restarts` of at least 1, but got 0."),
    ],
)
def test_refuses_options_out_of_range(options, message):
    with pytest.raises(ValueError, match=message):
        RandomSign(**options)
