import math
import warnings
from dataclasses import dataclass, field, replace
from typing import ClassVar

import pandas as pd
import pytest
import torch

from lit_xai.attacks.base import Attack
from lit_xai.attacks.exiaa import EXIAA
from lit_xai.attacks.random_sign import RandomSign
from lit_xai.attacks.top_k import TopK
from lit_xai.attacks.unattacked import Unattacked
from lit_xai.attributions.base import Attribution
from lit_xai.attributions.input_x_gradient import InputXGradient
from lit_xai.attributions.saliency import Saliency
from lit_xai.attributions.smooth_grad import SmoothGrad
from lit_xai.evaluation.grid import Grid
from lit_xai.evaluation.memory import Memory
from lit_xai.metrics.base import SampleMetric
from lit_xai.metrics.budget import LinfNorm
from lit_xai.metrics.change import ExplanationChange
from lit_xai.metrics.fooling import FoolingSuccessRate, UntouchedFoolingRate
from lit_xai.metrics.lens import LENSPrecision
from lit_xai.metrics.prediction import ConfidenceChange, PredictionKept
from lit_xai.metrics.rank import Kendall, Spearman
from lit_xai.metrics.top_k import TopKIntersection
from lit_xai.noise import Noise
from lit_xai.types import Batch
from tests.conftest import tiny_batch, tiny_network
from tests.contracts import Untouched

WRONG = [2, 7]
DARK = 0.1


@dataclass(frozen=True)
class Mirror(Attack):
    """Mix images with their mirror image; leave those with a dark first pixel as they are."""

    needs_gradient: ClassVar[bool] = False

    def perturb(self, model, explain, image, target, noise):
        dark = image[:, 0, 0, 0] < DARK
        return torch.where(dark.view(-1, 1, 1, 1), image, 0.8 * image + 0.2 * image.flip(3))


@dataclass(frozen=True)
class Choosy(Mirror):
    """Cannot be tried on images with a bright last pixel."""

    def eligible(self, image, logits):
        return image[:, 1, -1, -1] < 0.55


@dataclass(frozen=True)
class Donated(Attack):
    """Replace every image by the first donor."""

    donor: torch.Tensor | None = None
    needs_gradient: ClassVar[bool] = False

    def prepare(self, model, donors):
        assert not model.training
        return replace(self, donor=next(iter(donors())).image[0])

    def perturb(self, model, explain, image, target, noise):
        return self.donor.expand_as(image).clone()


@dataclass(frozen=True)
class Flat(Attribution):
    """Explain nothing for images with a bright first pixel."""

    differentiable: ClassVar[bool] = False

    def attribute(self, model, image, target, noise):
        return image.detach() * (image[:, :1, :1, :1] < 0.6)


class Drawn(SampleMetric):
    higher_is_better = True

    def scores(self, model, result, noise):
        return noise.uniform(result.logits[:, 0])


@pytest.fixture
def model():
    """A network that predicts each of its classes for some of the images."""
    network = tiny_network()
    with torch.no_grad():
        network.head[-1].bias -= network(tiny_batch(samples=12).image).mean(dim=0)
    return network


@pytest.fixture
def labelled(model):
    """Twelve images, two of which the network gets wrong."""
    batch = tiny_batch(samples=12)
    label = model.eval()(batch.image).argmax(dim=1)
    label[WRONG] = (label[WRONG] + 1) % 4
    return batch._replace(label=label)


def split(batch, size, order=None):
    order = torch.arange(len(batch.label)) if order is None else order
    return [Batch(*(tensor[rows] for tensor in batch)) for rows in order.split(size)]


def filled(grid, model, *batches):
    for batch in batches:
        grid.update(model, batch)
    return grid


def by_metric(grid):
    return {row.metric: row for row in grid.rows()}


def full_grid(seed=0):
    return Grid(
        {"input_x_gradient": InputXGradient(), "smooth_grad": SmoothGrad(samples=3)},
        {
            "unattacked": Unattacked(),
            "random_sign": RandomSign(eps=0.2),
            "choosy": Choosy(),
            "top_k": TopK(eps=0.1, step_size=0.05, steps=2, k=10),
            "exiaa": EXIAA(),
        },
        {
            "top_k_10": TopKIntersection(k=10),
            "lens": LENSPrecision(k=5, w=1),
            "kendall": Kendall(w=1),
            "change": ExplanationChange(),
            "confidence": ConfidenceChange(),
            "linf": LinfNorm(),
            "drawn": Drawn(),
        },
        seed,
    )


def by_hand(model, batch, eligible):
    """Measure `Mirror`, one sample at a time, with nothing of the package: samples, flags and scores."""
    table = {}
    for image, label, sample_id in zip(*batch, strict=True):
        pixel = image[0, 0, 0].item()
        attacked = image if pixel < DARK else 0.8 * image + 0.2 * image.flip(2)
        leaves = [image[None].clone().requires_grad_(), attacked[None].clone().requires_grad_()]
        logits = [model(leaf)[0] for leaf in leaves]
        target = logits[0].argmax().item()
        maps = [
            leaf * torch.autograd.grad(row[target], leaf)[0] for leaf, row in zip(leaves, logits, strict=True)
        ]
        first, second = (values[0].detach() for values in maps)
        table[sample_id.item()] = {
            "excluded": target != label.item() or not eligible(image),
            "failed": pixel < DARK or logits[1].argmax().item() != target,
            "linf": (attacked - image).abs().max().item(),
            "change": 100 * ((first - second).abs().sum() / first.abs().sum()).item(),
        }
    return table


@pytest.mark.parametrize("attack", [Mirror(), Choosy()], ids=["all", "some_ineligible"])
def test_rows_and_records_equal_the_loop(model, labelled, attack):
    choosy = isinstance(attack, Choosy)
    expected = by_hand(model, labelled, lambda image: not choosy or image[1, 7, 7] < 0.55)
    grid = Grid(
        {"ixg": InputXGradient()}, {"mirror": attack}, {"linf": LinfNorm(), "change": ExplanationChange()}
    )
    filled(grid, model, *split(labelled, 5))
    included = {index: entry for index, entry in expected.items() if not entry["excluded"]}
    failed = [entry for entry in included.values() if entry["failed"]]
    kept = [entry for entry in included.values() if not entry["failed"]]
    assert len(expected) - len(included) == (6 if choosy else 2)
    assert failed
    assert kept
    rows = by_metric(grid)
    records = grid.records().set_index(["metric", "sample_id"])["value"]
    assert rows.keys() == {"linf", "change"}
    for metric, row in rows.items():
        values = [entry[metric] for entry in included.values()]
        mean = sum(values) / len(values)
        variance = sum((value - mean) ** 2 for value in values) / (len(values) - 1)
        assert (row.attribution, row.attack) == ("ixg", "mirror")
        assert row.value == pytest.approx(mean, rel=1e-9)
        assert row.stderr == pytest.approx(math.sqrt(variance / len(values)), rel=1e-9)
        assert (row.count, row.failed) == (len(included), len(failed))
        assert row.excluded == len(expected) - len(included)
        assert row.kept_value == pytest.approx(sum(entry[metric] for entry in kept) / len(kept), rel=1e-9)
        assert row.kept_count == len(kept)
        assert records[metric].to_dict() == pytest.approx(
            {index: entry[metric] for index, entry in included.items()}, rel=1e-9
        )
    assert records["excluded"].to_dict() == {index: entry["excluded"] for index, entry in expected.items()}
    assert records["failed"].to_dict() == {index: entry["failed"] for index, entry in included.items()}


def test_a_changed_prediction_is_a_failure_that_is_scored(model, labelled):
    grid = filled(
        Grid({"ixg": InputXGradient()}, {"sign": RandomSign(eps=0.9)}, {"kept": PredictionKept()}),
        model,
        labelled,
    )
    row = by_metric(grid)["kept"]
    assert row.failed > 0
    assert row.value == pytest.approx(1 - row.failed / 10, abs=1e-12)
    assert (row.count, row.kept_value, row.kept_count) == (10, 1, 10 - row.failed)


def test_no_attack_fails_everywhere_and_keeps_the_clean_score(model, labelled):
    grid = Grid({"ixg": InputXGradient()}, {"unattacked": Unattacked()}, {"top_k": TopKIntersection(k=5)})
    row = by_metric(filled(grid, model, labelled))["top_k"]
    assert row[:8] == ("ixg", "unattacked", "top_k", 1, 0, 10, 10, 2)
    assert math.isnan(row.kept_value)
    assert row.kept_count == 0


def test_rows_are_in_the_grids_order_and_equal_the_means_of_its_records(model, labelled):
    grid = full_grid()
    grid.prepare(model, lambda: [labelled])
    rows = list(filled(grid, model, *split(labelled, 4)).rows())
    assert [row[:3] for row in rows] == [
        (attribution, attack, metric)
        for attribution in grid.attributions
        for attack in grid.attacks
        for metric in grid.metrics
    ]
    records = grid.records()
    assert list(records.columns) == ["attribution", "attack", "metric", "sample_id", "value"]
    for row in rows:
        cell = records[(records["attribution"] == row.attribution) & (records["attack"] == row.attack)]
        values = {name: part.set_index("sample_id")["value"] for name, part in cell.groupby("metric")}
        assert row.value == pytest.approx(values[row.metric].mean(), rel=1e-12, abs=1e-15)
        assert row.stderr == pytest.approx(values[row.metric].sem(), rel=1e-9, abs=1e-9)
        assert row.count == len(values[row.metric])
        assert row.failed == values["failed"].sum()
        assert row.excluded == values["excluded"].sum()
        kept = values[row.metric][values["failed"] == 0]
        assert row.kept_value == pytest.approx(kept.mean(), rel=1e-12, abs=1e-15, nan_ok=True)
        assert row.kept_count == len(kept)


@pytest.mark.parametrize("size", [1, 5, 12])
@pytest.mark.parametrize("turned", [False, True])
def test_results_do_not_depend_on_batch_size_and_order(model, labelled, size, turned):
    order = torch.arange(12).flip(0) if turned else torch.tensor([3, 11, 0, 7, 8, 1, 10, 2, 9, 4, 6, 5])
    grids = [full_grid(), full_grid()]
    for grid in grids:
        grid.prepare(model, lambda: [labelled])
    filled(grids[0], model, *split(labelled, 4))
    filled(grids[1], model, *split(labelled, size, order))
    first, second = (grid.records() for grid in grids)
    pd.testing.assert_frame_equal(first, second, rtol=0, atol=1e-10)
    # What does not hang on the last bit of a matrix product is the same to the last bit.
    same = ~first["metric"].isin(["confidence", "change", "kendall"])
    pd.testing.assert_frame_equal(first[same], second[same], check_exact=True)
    pd.testing.assert_frame_equal(
        pd.DataFrame(grids[0].rows()), pd.DataFrame(grids[1].rows()), rtol=0, atol=1e-9
    )


def test_records_are_sorted_by_position(model, labelled):
    grid = Grid({"ixg": InputXGradient()}, {"mirror": Mirror()}, {"linf": LinfNorm()})
    records = filled(grid, model, *split(labelled, 5)).records()
    positions = records[records["metric"] == "excluded"]["sample_id"].tolist()
    assert positions == sorted(labelled.sample_id.tolist())
    assert positions != labelled.sample_id.tolist()


@pytest.mark.parametrize("read", [lambda grid: list(grid.rows()), lambda grid: grid.records()])
def test_a_sample_that_comes_twice_is_an_error(model, labelled, read):
    grid = Grid({"ixg": InputXGradient()}, {"mirror": Mirror()}, {"linf": LinfNorm()})
    first, second, third = split(labelled, 4)
    repeated = second.sample_id[1].item()
    twice = Batch(*(torch.cat(pair) for pair in zip(third, split(second, 1)[1], strict=True)))
    filled(grid, model, first, second, twice)
    match = rf"Expected each sample once, but got sample {repeated} twice\. Use a sampler that does not pad\."
    with pytest.raises(ValueError, match=match):
        read(grid)


def test_metrics_that_agree_on_the_first_batch_are_not_merged(model, labelled):
    dark = labelled.image[:, 0, 0, 0] < DARK
    order = torch.cat([dark.nonzero(), (~dark).nonzero()]).squeeze(1)
    batches = [
        Batch(*(tensor[rows] for tensor in labelled))
        for rows in order.split([int(dark.sum()), int((~dark).sum())])
    ]
    metrics = {
        "narrow": TopKIntersection(k=3),
        "wide": TopKIntersection(k=20),
        "lens": LENSPrecision(k=3, w=1),
    }
    together = Grid({"ixg": InputXGradient()}, {"mirror": Mirror()}, metrics)
    assert {row.value for row in filled(together, model, batches[0]).rows()} == {1.0}
    filled(together, model, batches[1])
    alone = {
        name: by_metric(
            filled(Grid({"ixg": InputXGradient()}, {"mirror": Mirror()}, {name: metric}), model, *batches)
        )[name]
        for name, metric in metrics.items()
    }
    assert by_metric(together) == alone
    assert len({row.value for row in alone.values()}) == 3


def test_undefined_scores_are_not_counted(model, labelled):
    grid = Grid({"flat": Flat()}, {"mirror": Mirror()}, {"spearman": Spearman(), "linf": LinfNorm()})
    filled(grid, model, labelled)
    correct = torch.ones(12, dtype=torch.bool)
    correct[WRONG] = False
    pixel = labelled.image[:, 0, 0, 0]
    attacked = torch.where(pixel < DARK, pixel, 0.8 * pixel + 0.2 * labelled.image[:, 0, 0, -1])
    defined = int((correct & (pixel < 0.6) & (attacked < 0.6)).sum())
    rows = by_metric(grid)
    assert 2 <= defined < 10
    assert rows["spearman"].count == defined
    assert rows["linf"].count == 10
    records = grid.records()
    assert records[records["metric"] == "spearman"]["value"].isna().sum() == 10 - defined


def test_nothing_to_attack_gives_nan_and_counts_without_a_warning(model, labelled):
    wrong = labelled._replace(label=(model.eval()(labelled.image).argmax(dim=1) + 1) % 4)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        grid = full_grid()
        grid.prepare(model, lambda: [labelled])
        rows = list(filled(grid, model, wrong).rows())
    assert len(rows) == 2 * 5 * 7
    for row in rows:
        assert math.isnan(row.value)
        assert math.isnan(row.stderr)
        assert math.isnan(row.kept_value)
        assert row[5:8] == (0, 0, 12)
        assert row.kept_count == 0
    assert grid.records()["metric"].unique().tolist() == ["excluded"]


def test_only_samples_that_are_attacked_reach_the_attack(model, labelled):
    seen = []

    @dataclass(frozen=True)
    class Recorder(Choosy):
        def perturb(self, model, explain, image, target, noise):
            seen.extend(noise.sample_id.tolist())
            return super().perturb(model, explain, image, target, noise)

    grid = Grid({"ixg": InputXGradient()}, {"recorder": Recorder()}, {"linf": LinfNorm()})
    records = filled(grid, model, *split(labelled, 5)).records()
    assert sorted(seen) == records[records["metric"] == "linf"]["sample_id"].tolist()
    assert len(seen) == 6


def test_clean_maps_are_computed_once_for_all_attacks(model, labelled):
    calls = []

    @dataclass(frozen=True)
    class Counted(InputXGradient):
        def attribute(self, model, image, target, noise):
            calls.append(len(image))
            return super().attribute(model, image, target, noise)

    attacks = {"unattacked": Unattacked(), "mirror": Mirror(), "sign": RandomSign(eps=0.1)}
    grid = Grid({"ixg": Counted()}, attacks, {"linf": LinfNorm()})
    grid.update(model, labelled, memory=Memory(share=False))
    assert calls == [10] * 4
    calls.clear()
    # The map of the unattacked images is the clean one.
    grid.reset()
    grid.update(model, labelled)
    assert calls == [10] * 3


@dataclass(frozen=True)
class Recorded(Attribution):
    """Explain by gradients times noisy pixels, and note each image that is explained."""

    images: list = field(default_factory=list)
    differentiable: ClassVar[bool] = True

    def attribute(self, model, image, target, noise):
        if not torch.is_grad_enabled():
            self.images.append(image.clone())
        return InputXGradient().attribute(model, image, target, noise) * noise.uniform(image)


def sweep(ranks=(0, 1, 2), **options):
    return {
        f"alpha_{alpha}_k_{k}_rank_{rank}".replace(".", ""): EXIAA(alpha=alpha, k=k, rank=rank, **options)
        for alpha in (0.03, 0.06, 0.09, 0.12, 0.15)
        for k in (0.01, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8)
        for rank in ranks
    }


def test_a_sweep_explains_each_clean_image_and_each_donor_once(model, labelled):
    many = tiny_batch(samples=40, seed=9)
    recorded = Recorded()
    grid = Grid({"recorded": recorded}, sweep(), {"linf": LinfNorm()})
    assert len(grid.attacks) == 150
    grid.prepare(model, lambda: [many])
    grid.update(model, labelled)
    assert [row.count for row in grid.rows()] == [10] * 150
    assert [len(image) for image in recorded.images] == [10] * (1 + 3 + 150)
    donors = {tuple(image.flatten().tolist()) for image in many.image}
    injected = [
        image for image in recorded.images if all(tuple(row.flatten().tolist()) in donors for row in image)
    ]
    assert len(injected) == 3


def test_a_sweep_with_its_control_needs_no_further_map_of_a_donor(model, labelled):
    recorded = Recorded()
    attacks = {"donor": EXIAA(), "places": EXIAA(features="random"), "class_2": EXIAA(class_rank=2)}
    grid = Grid({"recorded": recorded}, attacks, {"linf": LinfNorm()})
    grid.prepare(model, lambda: [tiny_batch(samples=40, seed=9)])
    grid.update(model, labelled)
    assert len(recorded.images) == 1 + 2 + 3


def test_an_attack_with_many_iterates_does_not_push_out_what_is_shared(model, labelled):
    recorded = Recorded()
    climb = TopK(eps=0.1, step_size=0.05, steps=12, k=10)
    attacks = {"a": EXIAA(alpha=0.1), "b": EXIAA(alpha=0.2), "climb": climb, "c": EXIAA(alpha=0.3)}
    grid = Grid({"recorded": recorded}, {**attacks, "again": Unattacked()}, {"linf": LinfNorm()})
    grid.prepare(model, lambda: [tiny_batch(samples=40, seed=9)])
    grid.update(model, labelled)
    clean = [image for image in recorded.images if torch.equal(image, recorded.images[0])]
    # One clean map, one of the donors, three and one attacked; the rest are iterates.
    assert len(clean) == 1
    assert 10 <= len(recorded.images) - 6 <= 12


def test_what_is_shared_is_forgotten_with_the_batch(model, labelled):
    recorded = Recorded()
    grid = Grid({"recorded": recorded}, {"sign": RandomSign(eps=0.1)}, {"linf": LinfNorm()})
    grid.update(model, labelled)
    with torch.no_grad():
        model.head[-1].weight.mul_(1.5)
    grid.reset()
    grid.update(model, labelled)
    assert len(recorded.images) == 4


def test_sharing_changes_no_number(model, labelled):
    records = []
    for share in (True, False):
        grid = full_grid()
        grid.prepare(model, lambda: [labelled])
        grid.update(model, labelled, memory=Memory(share=share))
        records.append(grid.records())
    pd.testing.assert_frame_equal(*records, check_exact=True)


def test_donors_are_ranked_once_for_a_sweep_and_anew_for_each_preparation(model, labelled):
    reads = []

    def donors():
        reads.append(1)
        return [tiny_batch(samples=40, seed=9)]

    whole = Grid({"ixg": InputXGradient()}, sweep(), {"linf": LinfNorm()})
    whole.prepare(model, donors)
    assert len(reads) == 1
    grid = Grid({"ixg": InputXGradient()}, {"first": EXIAA(), "second": EXIAA(rank=1)}, {"linf": LinfNorm()})
    grid.prepare(model, donors)
    with torch.no_grad():
        for parameter in model.features.parameters():
            parameter.mul_(-1)
    labelled = labelled._replace(label=model(labelled.image).argmax(dim=1))
    grid.reset()
    stale = filled(grid, model, labelled).records()
    grid.prepare(model, donors)
    assert len(reads) == 3
    assert not filled(grid, model, labelled).records().equals(stale)


def test_prepare_hands_on_donors_and_forgets_earlier_samples(model, labelled):
    grid = Grid({"ixg": InputXGradient()}, {"donated": Donated()}, {"linf": LinfNorm()})
    for donor in (0, 5):
        grid.prepare(model.train(), lambda donor=donor: split(labelled, 1)[donor:])
        records = filled(grid, model, labelled).records()
        scores = records[records["metric"] == "linf"].set_index("sample_id")["value"]
        for image, sample_id in zip(labelled.image, labelled.sample_id.tolist(), strict=True):
            if sample_id in scores.index:
                assert scores[sample_id] == (labelled.image[donor] - image).abs().max().item()
        assert len(scores) == 10
    assert grid.attacks == {"donated": Donated()}


@dataclass(frozen=True)
class Referred(Attribution):
    """Explain by the difference from the first donor."""

    reference: torch.Tensor | None = None
    differentiable: ClassVar[bool] = False

    def prepare(self, model, donors):
        assert not model.training
        return replace(self, reference=next(iter(donors())).image[0])

    def attribute(self, model, image, target, noise):
        return image.detach() - self.reference


class MapsSum(SampleMetric):
    higher_is_better = True

    def scores(self, model, result, noise):
        return (result.attribution + 10 * result.attribution_adv).flatten(1).sum(dim=1)


def test_prepare_hands_donors_to_attributions_and_their_copies_explain(model, labelled):
    grid = Grid({"referred": Referred()}, {"mirror": Mirror()}, {"sum": MapsSum()})
    for donor in (0, 5):
        grid.prepare(model.train(), lambda donor=donor: split(labelled, 1)[donor:])
        records = filled(grid, model, labelled).records()
        scores = records[records["metric"] == "sum"].set_index("sample_id")["value"]
        assert len(scores) == 10
        for image, sample_id in zip(labelled.image, labelled.sample_id.tolist(), strict=True):
            if sample_id in scores.index:
                # Mirroring keeps the sum of the pixels.
                expected = 11 * (image.sum() - labelled.image[donor].sum()).item()
                assert scores[sample_id] == pytest.approx(expected, rel=1e-9)
    assert grid.attributions == {"referred": Referred()}


def test_an_attack_without_donors_for_a_class_excludes_its_samples(model, labelled):
    logits = model.eval()(labelled.image)
    runner_up = logits.topk(2).indices[:, 1]
    donors = tiny_batch(samples=8, seed=5)
    donors = donors._replace(label=torch.full((8,), runner_up[0].item()))
    grid = Grid({"ixg": InputXGradient()}, {"exiaa": EXIAA()}, {"linf": LinfNorm()})
    with pytest.warns(UserWarning, match="got none for 3 of 4 classes"):
        grid.prepare(model, lambda: [donors])
    correct = logits.argmax(dim=1) == labelled.label
    reached = int((correct & (runner_up == runner_up[0])).sum())
    row = by_metric(filled(grid, model, labelled))["linf"]
    assert 0 < reached < 10
    assert (row.count, row.excluded) == (reached, 12 - reached)


def test_an_attack_that_needs_donors_says_so(model, labelled):
    grid = Grid({"ixg": InputXGradient()}, {"exiaa": EXIAA()}, {"linf": LinfNorm()})
    with pytest.raises(ValueError, match=r"not prepared\. Call `prepare` first"):
        grid.update(model, labelled)


def test_reset_forgets_earlier_samples(model, labelled):
    grid = Grid({"ixg": InputXGradient()}, {"mirror": Mirror()}, {"linf": LinfNorm()})
    before = list(filled(grid, model, labelled).rows())
    grid.reset()
    assert list(grid.rows()) == []
    assert len(grid.records()) == 0
    assert list(grid.records().columns) == ["attribution", "attack", "metric", "sample_id", "value"]
    assert list(filled(grid, model, labelled).rows()) == before


def test_the_seed_decides_every_draw(model, labelled):
    def scores(seed):
        grid = Grid(
            {"smooth_grad": SmoothGrad(samples=2)},
            {"mirror": Mirror(), "sign": RandomSign(eps=0.1)},
            {"drawn": Drawn(), "change": ExplanationChange()},
            seed,
        )
        return pd.DataFrame(filled(grid, model, labelled).rows()).set_index(["attack", "metric"])["value"]

    first, again, other = scores(3), scores(3), scores(4)
    assert first.equals(again)
    assert (first != other).all()


def test_metrics_are_given_the_noise_of_the_attack(model, labelled):
    grid = Grid({"ixg": InputXGradient()}, {"mirror": Mirror()}, {"drawn": Drawn()}, seed=3)
    records = filled(grid, model, labelled).records()
    drawn = records[records["metric"] == "drawn"]
    noise = Noise(3, torch.tensor(drawn["sample_id"].to_numpy()))
    assert drawn["value"].tolist() == noise.uniform(torch.zeros(10, dtype=torch.float64)).tolist()


def test_the_network_and_the_batch_are_left_as_they_were(model, labelled):
    grid = full_grid()
    with Untouched(model, *labelled):
        grid.prepare(model, lambda: [labelled])
        grid.update(model, labelled)


def test_inference_mode_changes_no_number(model, labelled):
    grids = [full_grid(), full_grid()]
    for grid in grids:
        grid.prepare(model, lambda: [labelled])
    filled(grids[0], model, labelled)
    with torch.inference_mode():
        filled(grids[1], model, Batch(*(tensor.clone() for tensor in labelled)))
    assert grids[0].records().equals(grids[1].records())


def test_a_network_in_training_mode_is_measured_in_evaluation_mode(labelled):
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Dropout(0.5), tiny_network())
    grids = [
        Grid({"ixg": InputXGradient()}, {"mirror": Mirror()}, {"change": ExplanationChange()})
        for _ in range(2)
    ]
    filled(grids[0], network.train(), labelled)
    filled(grids[1], network.eval(), labelled)
    assert grids[0].records().equals(grids[1].records())


@pytest.mark.parametrize("name", ["Top_K", "top-k", "top k", "", "top/k", "größe"])
@pytest.mark.parametrize("part", ["attributions", "attacks", "metrics"])
def test_refuses_names_that_are_no_key(part, name):
    parts = {"attributions": {"a": Flat()}, "attacks": {"a": Unattacked()}, "metrics": {"a": LinfNorm()}}
    parts[part] = {name: parts[part]["a"]}
    match = rf"Expected names of lower-case letters, digits and _ in `{part}`, but got {name}\."
    with pytest.raises(ValueError, match=match):
        Grid(**parts)


@pytest.mark.parametrize("name", ["excluded", "failed"])
def test_refuses_metrics_named_as_a_count(name):
    with pytest.raises(ValueError, match=f"`metrics`, but got {name}"):
        Grid({"a": Flat()}, {"a": Unattacked()}, {name: LinfNorm()})


@pytest.mark.parametrize("part", ["attributions", "attacks", "metrics"])
def test_refuses_an_empty_part(part):
    parts = {"attributions": {"a": Flat()}, "attacks": {"a": Unattacked()}, "metrics": {"a": LinfNorm()}}
    with pytest.raises(ValueError, match=f"Expected at least one of `{part}`, but got none"):
        Grid(**{**parts, part: {}})


def test_refuses_a_gradient_attack_on_a_map_without_derivative():
    attacks = {"unattacked": Unattacked(), "top_k": TopK()}
    match = "Expected differentiable attributions for TopK, but got Flat. Give it a grid of its own."
    with pytest.raises(TypeError, match=match):
        Grid({"ixg": InputXGradient(), "flat": Flat()}, attacks, {"linf": LinfNorm()})


def test_refuses_a_metric_that_scores_another_explanation(model):
    own = Saliency(absolute=False)
    metrics = {
        "linf": LinfNorm(),
        "fooled": FoolingSuccessRate(model, attribution=own),
        "untouched": UntouchedFoolingRate(model, attribution=own),
    }
    grid = Grid({"signed": Saliency(absolute=False)}, {"unattacked": Unattacked()}, metrics)
    assert list(grid.metrics) == ["linf", "fooled", "untouched"]
    for other in (Saliency(), InputXGradient()):
        with pytest.raises(ValueError, match="alone, which fooled scores, but got") as found:
            Grid({"own": own, "other": other}, {"unattacked": Unattacked()}, metrics)
        expected = f"Expected {own} alone, which fooled scores, but got {other}. Give it a grid of its own."
        assert str(found.value) == expected


def test_samples_of_a_diverged_network_are_excluded(model, batch):
    with torch.no_grad():
        next(model.parameters()).fill_(float("nan"))
    grid = Grid({"saliency": Saliency()}, {"unattacked": Unattacked()}, {"kept": PredictionKept()})
    grid.update(model, Batch(batch.image, torch.zeros_like(batch.label), batch.sample_id))
    (row,) = grid.rows()
    assert (row.count, row.excluded) == (0, len(batch.label))
