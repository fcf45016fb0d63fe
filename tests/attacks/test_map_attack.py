from dataclasses import dataclass, field, replace
from typing import ClassVar

import pytest
import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_pre_hook

from lit_xai.attacks.adam_steps import AdamSteps
from lit_xai.attacks.adaptive_steps import AdaptiveSteps
from lit_xai.attacks.base import Criterion, run_attack
from lit_xai.attacks.iterative import BestIterates
from lit_xai.attacks.map_attack import MapAttack, MapObjective, Subject
from lit_xai.attacks.random_sign import RandomSign
from lit_xai.attacks.stepping import Ball, Path, SignSteps
from lit_xai.attacks.top_k import TopK
from lit_xai.attributions.integrated_gradients import IntegratedGradients
from lit_xai.attributions.saliency import Saliency
from lit_xai.metrics.maps import pixel_map
from lit_xai.models.softplus import SoftplusTwin
from lit_xai.noise import Noise
from lit_xai.types import AttackResult, Batch
from tests.attacks.test_adaptive_steps import apgd
from tests.attacks.test_base import undecided
from tests.attacks.test_iterative import integrated_by_hand, largest, normalised, softplus_copy
from tests.contracts import assert_attack_contract, select

IG = IntegratedGradients(path_steps=4)


@dataclass(frozen=True)
class Centre(Criterion):
    """The share of a map in its middle."""

    lowest: ClassVar[float] = 0.0

    def score(self, clean_map: Tensor, attacked_map: Tensor) -> Tensor:
        middle = attacked_map[:, 2:-2, 2:-2].sum(dim=(1, 2))
        return middle / attacked_map.sum(dim=(1, 2))


@dataclass(frozen=True)
class Emptied(MapAttack):
    """Push the map out of the middle of the image, and remember how far each step was said to be."""

    asked: list[float] = field(default_factory=list, compare=False)

    def objective(self, subject: Subject, noise: Noise) -> MapObjective:
        def objective(maps: Tensor, rows: Tensor, progress: float) -> Tensor:
            self.asked.append(progress)
            return -maps[:, 2:-2, 2:-2].sum(dim=(1, 2))

        return objective

    def own_criterion(self) -> Criterion:
        return Centre()


class Undefined(Emptied):
    """The same, with an objective that is NaN for the first sample."""

    def objective(self, subject: Subject, noise: Noise) -> MapObjective:
        emptied = super().objective(subject, noise)
        factor = torch.ones(len(subject.image), dtype=subject.image.dtype)
        factor[0] = float("nan")
        return lambda maps, rows, progress: factor[rows] * emptied(maps, rows, progress)


@dataclass(frozen=True)
class Low(Criterion):
    """As `Centre`, with every score below one that is as low as can be; told so or not.

    Args:
        told: Whether that score is said to be the lowest.
    """

    told: bool = True
    floor: float = 0.1

    @property
    def lowest(self) -> float:
        return self.floor if self.told else -1.0

    def score(self, clean_map: Tensor, attacked_map: Tensor) -> Tensor:
        return Centre().score(clean_map, attacked_map).clamp_min(self.floor)


@dataclass(frozen=True)
class Frozen(SignSteps):
    """Steps of one length that stop where the first pixel has gone far enough; told so or not.

    Args:
        told: Whether samples that no longer move are said to be settled.
    """

    told: bool = True

    def move(self, path: Path, value: Tensor, gradient: Tensor, ball: Ball, *, step: int, steps: int) -> Path:
        moved = super().move(path, value, gradient, ball, step=step, steps=steps)
        return replace(moved, point=torch.where(self._still(path, ball), path.point, moved.point))

    def settled(self, path: Path, ball: Ball) -> Tensor:
        return self._still(path, ball).flatten() & self.told

    def _still(self, path: Path, ball: Ball) -> Tensor:
        return (path.point - ball.center).abs().flatten(1).mean(dim=1).view(-1, 1, 1, 1) > 0.03


class Backwards(SignSteps):
    """Steps of one length downhill."""

    def move(self, path: Path, value: Tensor, gradient: Tensor, ball: Ball, *, step: int, steps: int) -> Path:
        return super().move(path, value, -gradient, ball, step=step, steps=steps)


@dataclass(frozen=True)
class Recorded(SignSteps):
    """Steps of one length that remember the values and gradients they were given."""

    seen: list[tuple[Tensor, Tensor, Tensor]] = field(default_factory=list, compare=False)

    def move(self, path: Path, value: Tensor, gradient: Tensor, ball: Ball, *, step: int, steps: int) -> Path:
        self.seen.append((path.point, value, gradient))
        return super().move(path, value, gradient, ball, step=step, steps=steps)


class Counter:
    """Count the images that go through a network's twin, and through the network alone."""

    def __init__(self, network: nn.Module) -> None:
        self.network, self.twin, self.alone = network, 0, 0

    def __enter__(self) -> "Counter":
        self.hook = register_module_forward_pre_hook(self._count)
        return self

    def __exit__(self, *_: object) -> None:
        self.hook.remove()

    def _count(self, module: nn.Module, given: tuple[Tensor]) -> None:
        if isinstance(module, SoftplusTwin):
            self.twin, self.alone = self.twin + len(given[0]), self.alone - len(given[0])
        if module is self.network:
            self.alone += len(given[0])


def attacked(model: nn.Module, batch: Batch, attack: MapAttack, attribution=IG) -> AttackResult:
    return run_attack(model, attribution, attack, batch, seed=0)


def centre(result: AttackResult) -> Tensor:
    return Centre().score(pixel_map(result.attribution), pixel_map(result.attribution_adv))


@pytest.fixture
def offers(monkeypatch) -> list[tuple[Tensor, Tensor]]:
    """Record the iterates that are judged, and whose they are."""
    found = []
    offer = BestIterates.offer

    def recording(self, iterate, rows):
        if len(rows):
            found.append((iterate.clone(), rows.clone()))
        offer(self, iterate, rows)

    monkeypatch.setattr(BestIterates, "offer", recording)
    return found


@pytest.mark.parametrize("recover", [False, True])
@pytest.mark.parametrize("stepping", [SignSteps(), AdaptiveSteps(), AdamSteps()])
def test_contract(model, batch, stepping, recover):
    attack = Emptied(
        eps=0.1, steps=5, restarts=2, path_steps=2, judge_every=2, recover=recover, stepping=stepping
    )
    result = assert_attack_contract(attack, IG, undecided(model, batch), batch, eps=0.1)
    assert result.kept.all()
    assert result.applied.sum() >= 4


@pytest.mark.parametrize("judge_every", [1, 3])
def test_adaptive_steps_equal_the_published_algorithm(model, batch, judge_every):
    undecided(model, batch)
    explanation = IntegratedGradients(path_steps=3, rule="right")
    attack = TopK(eps=0.1, steps=24, k=12, beta=8.0, judge_every=judge_every, stepping=AdaptiveSteps())
    found = attacked(model, batch, attack, explanation).image_adv
    twin, ends = softplus_copy(model, 8.0), set()
    for image, image_adv in zip(batch.image, found, strict=True):
        target = int(model(image[None]).argmax())
        places = largest(integrated_by_hand(model, image, target), 12)

        def objective(point: Tensor, target: int = target, places: list[int] = places) -> Tensor:
            return -normalised(integrated_by_hand(twin, point, target)).flatten()[places].sum()

        def kept(point: Tensor, target: int = target, places: list[int] = places) -> float:
            if int(model(point[None]).argmax()) != target:
                return 1.0
            return len(set(places) & set(largest(integrated_by_hand(model, point, target), 12))) / 12

        points, values, length, _ = apgd(objective, image, steps=24)
        judged = [
            max(range(last - judge_every + 1, last + 1), key=values.__getitem__)
            for last in range(judge_every, 24, judge_every)
        ]
        candidates = [image, *(points[place] for place in [*judged, 24])]
        expected = min(candidates, key=kept)
        torch.testing.assert_close(image_adv, expected, rtol=0, atol=1e-12)
        ends.add(length)
    assert len(ends) >= 2


@pytest.mark.parametrize("stepping", [SignSteps(), Backwards()])
def test_judges_the_highest_of_every_few_iterates_and_the_last(model, batch, offers, stepping):
    attack = Emptied(eps=0.1, steps=8, step_size=0.03, stepping=stepping)
    attacked(model, batch, attack)
    points = [iterate for iterate, _ in offers]
    assert len(points) == 8
    assert (points[0] != batch.image).flatten(1).any(dim=1).all()
    twin = SoftplusTwin(model)
    target = model(batch.image).argmax(dim=1)
    noise = Noise(0, batch.sample_id).child("attribution")
    values = torch.stack(
        [-Centre().score(None, pixel_map(IG.attribute(twin, point, target, noise))) for point in points]
    )
    offers.clear()
    attacked(model, batch, replace(attack, judge_every=3))
    expected = [range(3), range(3, 6)]
    for (found, rows), places in zip(offers, expected, strict=False):
        chosen = values[list(places)].argmax(dim=0) + places[0]
        assert torch.equal(rows, torch.arange(6))
        torch.testing.assert_close(found, torch.stack(points)[chosen, torch.arange(6)], rtol=0, atol=1e-12)
    assert len(offers) == 4
    torch.testing.assert_close(offers[-2][0], points[-2], rtol=0, atol=1e-12)
    torch.testing.assert_close(offers[-1][0], points[-1], rtol=0, atol=1e-12)


@pytest.mark.parametrize(("judge_every", "judgements"), [(1, 7), (3, 3), (4, 3), (6, 2), (7, 2), (50, 2)])
def test_steps_follow_the_coarse_explanation_and_judgements_the_whole_one(
    model, batch, judge_every, judgements
):
    attack = Emptied(eps=0.02, steps=7, path_steps=2, judge_every=judge_every)
    with Counter(model) as rows:
        attacked(model, batch, attack)
    assert rows.twin == 6 * 7 * 2
    # Predictions and maps before and after and the clean map of the attack; a prediction and a map each time.
    assert rows.alone == 6 * (2 + 3 * 4) + 6 * (1 + 4) * judgements


def test_without_coarse_steps_the_whole_explanation_is_followed(model, batch):
    with Counter(model) as rows:
        whole = attacked(model, batch, Emptied(eps=0.1, steps=3))
    assert rows.twin == 6 * 3 * 4
    same = attacked(model, batch, Emptied(eps=0.1, steps=3, path_steps=4))
    coarse = attacked(model, batch, Emptied(eps=0.1, steps=3, path_steps=1))
    assert torch.equal(whole.image_adv, same.image_adv)
    assert not torch.equal(whole.image_adv, coarse.image_adv)
    with Counter(model) as rows:
        attacked(model, batch, Emptied(eps=0.1, steps=3, path_steps=2), Saliency())
    assert rows.twin == 6 * 3


def test_finished_samples_take_no_more_passes_and_lose_nothing(model, batch):
    rows, images = {}, {}
    for told in (False, True):
        attack = Emptied(eps=0.3, step_size=0.05, steps=12, restarts=2, criterion=Low(told, floor=0.2))
        with Counter(model) as counter:
            images[told] = attacked(model, batch, attack).image_adv
        rows[told] = counter.twin, counter.alone
    assert torch.equal(images[True], images[False])
    assert rows[False][0] == 6 * 2 * 12 * 4
    assert rows[True][0] < 0.8 * rows[False][0]
    assert rows[True][1] < 0.8 * rows[False][1]


def test_a_batch_that_is_finished_ends_early(model, batch):
    attack = Emptied(eps=0.3, step_size=0.05, steps=12, criterion=Low(floor=1.0))
    with Counter(model) as rows:
        result = attacked(model, batch, attack)
    assert torch.equal(result.image_adv, batch.image)
    assert rows.twin == 0


@pytest.mark.parametrize("judge_every", [1, 2])
def test_settled_samples_take_no_more_passes(model, batch, judge_every):
    rows, images = {}, {}
    for told in (False, True):
        attack = Emptied(
            eps=0.1, step_size=0.01, steps=12, judge_every=judge_every, stepping=Frozen(told=told)
        )
        with Counter(model) as counter:
            images[told] = attacked(model, batch, attack).image_adv
        rows[told] = counter.twin
    assert rows[False] == 6 * 12 * 4
    assert rows[True] < 0.7 * rows[False]
    assert (images[True] - images[False]).abs().max() <= 0.01 + 1e-12


def test_a_sample_that_finishes_first_is_attacked_as_alone(model, batch):
    attack = Emptied(eps=0.3, step_size=0.05, steps=10, judge_every=2, criterion=Low(floor=0.22))
    together = attacked(model, batch, attack)
    passes = []
    for row in range(6):
        with Counter(model) as rows:
            alone = attacked(model, select(batch, slice(row, row + 1)), attack)
        passes.append(rows.twin)
        torch.testing.assert_close(alone.image_adv, together.image_adv[[row]], rtol=0, atol=1e-12)
    assert len(set(passes)) >= 2


def test_restarts_begin_at_random_and_the_best_of_all_is_kept(model, batch, offers):
    runs = {}
    for restarts in (1, 4):
        offers.clear()
        attack = Emptied(eps=0.1, step_size=0.05, steps=3, restarts=restarts)
        runs[restarts] = centre(attacked(model, batch, attack))
        assert len(offers) == 3 * restarts
    assert (runs[4] <= runs[1]).all()
    assert (runs[4] < runs[1]).any()
    assert all(point.min() >= 0 and point.max() <= 1 for point, _ in offers)


def test_a_climb_begins_inside_the_pixel_domain(model, batch):
    seen = []
    watched = model.register_forward_pre_hook(lambda _, given: seen.append(given[0].detach()))
    dark = batch._replace(image=batch.image.round())
    attacked(model, dark, Emptied(eps=0.3, steps=1, restarts=3), Saliency())
    watched.remove()
    assert min(image.min() for image in seen) >= 0
    assert max(image.max() for image in seen) <= 1


@pytest.mark.parametrize("stepping", [SignSteps(), AdaptiveSteps(), AdamSteps()])
def test_an_undefined_objective_moves_nothing(model, batch, stepping):
    options = {"eps": 0.1, "steps": 6, "stepping": stepping}
    found, defined = (attacked(model, batch, kind(**options)).image_adv for kind in (Undefined, Emptied))
    assert torch.equal(found[0], batch.image[0])
    assert not torch.equal(defined[0], batch.image[0])
    torch.testing.assert_close(found[1:], defined[1:], rtol=0, atol=1e-12)


def test_a_sample_moves_on_after_an_undefined_step(model, batch):
    class Late(Undefined):
        def objective(self, subject: Subject, noise: Noise) -> MapObjective:
            defined, undefined = Emptied.objective(self, subject, noise), super().objective(subject, noise)
            return lambda maps, rows, progress: (defined if progress else undefined)(maps, rows, progress)

    stepping = Recorded()
    attack = Late(eps=0.1, step_size=0.02, steps=4, stepping=stepping)
    moved = attacked(model, batch, attack).image_adv != batch.image
    assert moved[0].any()
    assert all(gradient.isfinite().all() for _, _, gradient in stepping.seen)


def test_the_share_of_the_steps_is_told(model, batch):
    attack = Emptied(eps=0.1, steps=4, restarts=2)
    attacked(model, batch, attack)
    assert attack.asked == [0.0, 0.25, 0.5, 0.75] * 2


def test_the_sharpness_of_each_step_is_used(model, batch, monkeypatch):
    seen = []

    class Sharper(Emptied):
        def sharpness(self, progress: float) -> float:
            seen.append(progress)
            return self.beta * (1 + progress)

    constant, sharper = Emptied(eps=0.1, steps=4, beta=4.0), Sharper(eps=0.1, steps=4, beta=4.0)
    assert not torch.equal(
        attacked(model, batch, constant).image_adv, attacked(model, batch, sharper).image_adv
    )
    assert seen == [0.0, 0.0, 0.25, 0.5, 0.75]


def test_recovering_accepts_more_iterates(trained, fashion_batch):
    batch = select(fashion_batch, slice(0, 12))
    attack = Emptied(eps=0.1, steps=8, judge_every=4, stepping=AdaptiveSteps(), path_steps=1)
    found = {recover: attacked(trained, batch, replace(attack, recover=recover)) for recover in (False, True)}
    assert found[True].failed.sum() < found[False].failed.sum()
    assert centre(found[True]).mean() < centre(found[False]).mean() - 0.003


def test_recovering_climbs_the_margin_where_the_prediction_is_lost(model, batch, offers):
    undecided(model, batch)
    target = model(batch.image).argmax(dim=1)
    runs = {recover: Recorded() for recover in (False, True)}
    for recover, stepping in runs.items():
        attack = Emptied(eps=0.2, step_size=0.05, steps=6, recover=recover, stepping=stepping)
        attacked(model, batch, attack)
    lost_ones = 0
    for point, value, gradient in runs[True].seen:
        leaf = point.clone().requires_grad_()
        logits = model(leaf)
        lost = logits.argmax(dim=1) != target
        others = logits.masked_fill(nn.functional.one_hot(target, 4).bool(), -torch.inf).amax(dim=1)
        (back,) = torch.autograd.grad((logits.gather(1, target[:, None]).squeeze(1) - others).sum(), leaf)
        assert (value == -torch.inf).tolist() == lost.tolist()
        torch.testing.assert_close(gradient[lost], back[lost], rtol=0, atol=1e-12)
        lost_ones += int(lost.sum())
    assert lost_ones >= 3
    # Without it the values are those of the map, whatever the prediction.
    assert all(value.isfinite().all() for _, value, _ in runs[False].seen)
    # Iterates that are known to be lost are not judged, but the last ones may be.
    judged = [(iterate, rows) for iterate, rows in offers[6:-1]]
    assert all((model(iterate).argmax(dim=1) == target[rows]).all() for iterate, rows in judged)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("stepping", [SignSteps(), AdaptiveSteps(), AdamSteps()])
def test_keeps_the_type_of_the_network(model, batch, stepping, dtype):
    network = model.to(dtype)
    attack = Emptied(eps=0.1, steps=5, stepping=stepping, recover=True, judge_every=2)
    result = attacked(network, batch._replace(image=batch.image.to(dtype)), attack)
    assert result.image_adv.dtype == dtype
    assert (result.image_adv - result.image).abs().max() <= 0.1 + 1e-6
    assert result.applied.all()


@pytest.mark.parametrize("stepping", [SignSteps(), AdaptiveSteps(), AdamSteps()])
def test_no_samples_are_attacked_without_complaint(model, batch, stepping):
    none = select(batch, slice(0, 0))
    attack = Emptied(eps=0.1, steps=3, restarts=2, stepping=stepping, recover=True)
    assert attacked(model, none, attack).image_adv.shape == (0, 2, 8, 8)


def test_without_curvature_nothing_moves(model, batch, monkeypatch):
    monkeypatch.setattr("lit_xai.attacks.map_attack.SoftplusTwin", lambda network, beta: network)
    result = attacked(model, batch, Emptied(eps=0.1, steps=3), Saliency())
    assert torch.equal(result.image_adv, batch.image)


def test_beats_random_signs(trained, fashion_batch):
    attack = Emptied(eps=0.1, steps=8, judge_every=4, recover=True, stepping=AdaptiveSteps(), beta=8.0)
    found = centre(attacked(trained, fashion_batch, attack, Saliency()))
    for control in (RandomSign(eps=0.1), RandomSign(eps=0.1, criterion=Centre())):
        random = centre(run_attack(trained, Saliency(), control, fashion_batch, seed=0))
        assert (found < random).double().mean() >= 0.9


def test_an_attack_that_names_no_step_takes_the_one_of_its_steps(model, batch):
    for stepping, size in ((SignSteps(), 0.1 / 16), (AdamSteps(), 0.1 / 16), (AdaptiveSteps(), 0.2)):
        attack = Emptied(eps=0.1, steps=4, stepping=stepping)
        named = attacked(model, batch, replace(attack, step_size=size)).image_adv
        other = attacked(model, batch, replace(attack, step_size=size / 2)).image_adv
        assert torch.equal(attacked(model, batch, attack).image_adv, named)
        assert not torch.equal(named, other)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"eps": 8}, r"Expected `eps` in \(0, 1\], but got 8\. Write 8/255 as 0\.0314\."),
        ({"step_size": 0.0}, r"Expected `step_size` in \(0, 1\], but got 0\."),
        ({"steps": 0}, "Expected `steps` of at least 1, but got 0."),
        ({"restarts": 0}, "Expected `restarts` of at least 1, but got 0."),
        ({"path_steps": 0}, "Expected `path_steps` of at least 1, but got 0."),
        ({"judge_every": 0}, "Expected `judge_every` of at least 1, but got 0."),
        ({"beta": -1.0}, "Expected `beta` above 0, but got -1."),
    ],
)
def test_refuses_options_out_of_range(options, message):
    with pytest.raises(ValueError, match=message):
        Emptied(**options)
