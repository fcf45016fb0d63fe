import re
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
import torch
from jsonargparse import ArgumentParser

from lit_xai.noise import Noise
from lit_xai.regimes.base import Regime
from lit_xai.regimes.ig_norm import IGNorm
from lit_xai.regimes.igr import IGR
from lit_xai.regimes.natural import Natural
from lit_xai.regimes.pgd import PGD
from lit_xai.regimes.rank_thickness import RankThickness
from lit_xai.regimes.scheduled import Ramp, Scheduled
from lit_xai.regimes.trades import TRADES
from tests.data.test_base import TinyData
from tests.test_module import classifier, trainer

HALF = Ramp(first=0.5, begin=0.0, end=1.0)


@dataclass(frozen=True)
class Taught(Regime):
    """Natural training that keeps what it was prepared with out of its options, and remembers its radius."""

    eps: float = 0.4
    name: str = "taught"
    count: int = 3
    shares: tuple[float, ...] = (0.5,)
    donors: int = field(default=0, init=False)
    learned: float = field(default=0.0, init=False)
    radii: list = field(default_factory=list, compare=False)

    def prepare(self, model, donors):
        prepared = replace(self)
        object.__setattr__(prepared, "donors", sum(1 for _ in donors()))
        return prepared

    def loss(self, model, image, label, noise):
        self.radii.append((self.eps, self.donors))
        return Natural().loss(model, image, label, noise)


@pytest.mark.parametrize(
    ("ramp", "expected"),
    [
        (Ramp(), {0.0: 0.1, 0.125: 0.325, 0.25: 0.55, 0.5: 1.0, 1.0: 1.0}),
        (Ramp(first=0.2, begin=0.4, end=0.8), {0.0: 0.2, 0.4: 0.2, 0.5: 0.4, 0.6: 0.6, 0.8: 1.0, 1.0: 1.0}),
        (Ramp(first=1e-6, begin=0.0, end=1.0), {0.0: 1e-6, 0.5: 0.5000005, 1.0: 1.0}),
    ],
)
def test_a_ramp_is_a_straight_line_between_two_constants(ramp, expected):
    assert {progress: ramp.share(progress) for progress in expected} == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("change", [{"first": 0.3}, {"begin": 0.2}, {"end": 0.9}])
def test_every_field_of_a_ramp_matters(change):
    assert Ramp().share(0.3) != pytest.approx(Ramp(**change).share(0.3), abs=1e-3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"first": 0.0}, r"Expected `first` in \(0, 1\), but got 0\."),
        ({"first": 1.0}, r"Expected `first` in \(0, 1\), but got 1\. Leave out what does not grow\."),
        ({"begin": -0.1}, r"Expected `begin` below `end`, both in \[0, 1\], but got -0\.1 and 0\.5\."),
        ({"begin": 0.5}, r"Expected `begin` below `end`, both in \[0, 1\], but got 0\.5 and 0\.5\."),
        ({"end": 1.1}, r"Expected `begin` below `end`, both in \[0, 1\], but got 0 and 1\.1\."),
    ],
)
def test_a_ramp_refuses_options_out_of_range(options, message):
    with pytest.raises(ValueError, match=message):
        Ramp(**options)


def test_options_grow_each_by_its_own_ramp():
    regime = Scheduled(IGNorm(), {"eps": HALF, "weight": Ramp(first=0.2, begin=0.5, end=1.0)})
    found = [regime.at(progress) for progress in (0.0, 0.5, 0.75, 1.0)]
    assert all(type(each) is IGNorm for each in found)
    assert [each.eps for each in found] == pytest.approx([0.05, 0.075, 0.0875, 0.1])
    assert [each.weight for each in found] == pytest.approx([0.2, 0.2, 0.6, 1.0])
    assert found[-1] == IGNorm()
    # The regime itself stays what it was.
    assert regime.regime == IGNorm()


def test_dotted_names_reach_the_options_of_parts():
    inner = IGR(TRADES(eps=0.2), weight=4.0)
    regime = Scheduled(inner, {"robust.eps": HALF, "robust.step_size": HALF, "weight": HALF})
    found = regime.at(0.0)
    assert found == IGR(TRADES(eps=0.1, step_size=0.005), weight=2.0)
    assert regime.at(1.0) == inner == IGR(TRADES(eps=0.2), weight=4.0)


def test_an_option_may_be_written_without_a_point():
    assert Scheduled(TRADES(weight=6), {"weight": HALF}).at(0.0).weight == 3.0


def test_schedules_nest():
    regime = Scheduled(Scheduled(TRADES(), {"weight": HALF}), {"eps": HALF})
    assert regime.at(0.0) == TRADES(eps=0.05, weight=3.0)
    assert Scheduled(Scheduled(TRADES(), {"weight": HALF}), {"weight": HALF}).at(0.0).weight == 1.5


def test_the_loss_at_a_share_of_the_training_is_that_of_the_smaller_regime(model, batch):
    noise = Noise(0, batch.sample_id)
    pgd = PGD(eps=0.2, step_size=0.1, steps=2)
    regime = Scheduled(pgd, {"eps": HALF, "step_size": HALF})
    totals = [
        each.loss(model, batch.image, batch.label, noise).total
        for each in (regime.at(0.0), PGD(eps=0.1, step_size=0.05, steps=2), regime.at(1.0), regime, pgd)
    ]
    assert totals[0] == totals[1]
    assert totals[2] == totals[3] == totals[4]
    assert totals[0] < totals[2] - 0.01


def test_what_was_prepared_stays(model):
    regime = Scheduled(Taught(), {"eps": HALF}).prepare(model, lambda: range(5))
    assert regime.regime.donors == 5
    for progress in (0.0, 1.0):
        assert regime.at(progress).donors == 5
    nested = Scheduled(Scheduled(Taught(), {"eps": HALF}), {"eps": HALF}).prepare(model, lambda: range(5))
    assert nested.at(0.0).donors == 5
    assert nested.at(0.0).eps == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("regime", "name", "message"),
    [
        (PGD(), "steps", "PGD in `ramps`, but got steps. It has eps, step_size."),
        (PGD(), "epsilon", "PGD in `ramps`, but got epsilon. It has eps, step_size."),
        (PGD(), "eps.more", "PGD in `ramps`, but got eps.more. It has eps, step_size."),
        (PGD(), "attack", "PGD in `ramps`, but got attack. It has eps, step_size."),
        (PGD(), "", "PGD in `ramps`, but got . It has eps, step_size."),
        (Taught(), "name", "Taught in `ramps`, but got name. It has eps."),
        (Taught(), "count", "Taught in `ramps`, but got count. It has eps."),
        (Taught(), "shares", "Taught in `ramps`, but got shares. It has eps."),
        (Taught(), "learned", "Taught in `ramps`, but got learned. It has eps."),
        (Natural(), "weight", "Natural in `ramps`, but got weight. It has none."),
        (IGR(), "robust", "IGR in `ramps`, but got robust. It has weight, baseline."),
        (IGR(), "robust.weight", "PGD in `ramps`, but got weight. It has eps, step_size."),
        (IGR(), "search.eps", "IGR in `ramps`, but got search.eps. It has weight, baseline."),
    ],
)
def test_refuses_names_that_are_no_numbers(regime, name, message):
    with pytest.raises(ValueError, match=re.escape(f"Expected a number of {message}")):
        Scheduled(regime, {name: HALF})


def test_refuses_a_ramp_that_leaves_the_range_of_its_option():
    with pytest.raises(ValueError, match=r"Expected `k` as a number of pixels or a share .* but got 50\.5\."):
        Scheduled(RankThickness(k=101), {"k": HALF})


def test_refuses_a_training_without_an_end(tmp_path):
    module = classifier(regime=Scheduled(PGD(), {"eps": HALF}), adversary=None)
    endless = trainer(tmp_path, -1, max_time={"seconds": 5}, limit_val_batches=0)
    with pytest.raises(ValueError, match="Expected `max_epochs` or `max_steps` for a Scheduled regime"):
        endless.fit(module, TinyData())


def test_refuses_no_ramps():
    with pytest.raises(ValueError, match=r"Expected `ramps` of at least one option, but got none\."):
        Scheduled(PGD(), {})


def test_training_passes_its_progress(tmp_path):
    taught = Taught()
    module = classifier(regime=Scheduled(taught, {"eps": Ramp(first=0.5, end=0.5)}), adversary=None)
    trainer(tmp_path, 2, limit_val_batches=0).fit(module, TinyData())
    assert [eps for eps, _ in taught.radii] == pytest.approx(
        [0.4 * share for share in (0.5, 0.5 + 1 / 6, 0.5 + 1 / 3, 1.0, 1.0, 1.0)]
    )
    assert all(donors > 0 for _, donors in taught.radii)


def test_the_fragment_ramps_radius_and_step_over_the_first_half():
    fragment = Path(__file__).parents[2] / "configs" / "regimes" / "scheduled.yaml"
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(Regime, "regime")
    built = parser.instantiate(parser.parse_args([f"--regime={fragment}"])).regime
    assert built == Scheduled(PGD(), {"eps": Ramp(first=0.1), "step_size": Ramp(first=0.1)})
    assert (built.at(0.25).eps, built.at(0.25).step_size) == pytest.approx((0.055, 0.0055))
    assert built.at(0.5) == PGD()


def test_a_file_schedules_the_part_of_a_regime(tmp_path):
    (tmp_path / "own.yaml").write_text(
        "class_path: lit_xai.regimes.scheduled.Scheduled\n"
        "init_args:\n"
        "  regime:\n"
        "    class_path: lit_xai.regimes.igr.IGR\n"
        "    init_args: {robust: {class_path: lit_xai.regimes.trades.TRADES}}\n"
        "  ramps:\n"
        "    robust.eps: {first: 0.5, end: 1.0}\n"
        "    weight: {begin: 0.5, end: 1.0}\n"
    )
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(Regime, "regime")
    built = parser.instantiate(parser.parse_args([f"--regime={tmp_path / 'own.yaml'}"])).regime
    assert built.at(0.0) == IGR(TRADES(eps=0.05), weight=0.1)


def test_the_noise_is_handed_on(model, batch):
    regime = Scheduled(PGD(eps=0.2, step_size=0.1, steps=1), {"eps": HALF})
    found, other = (
        regime.loss(model, batch.image, batch.label, Noise(seed, batch.sample_id)).total for seed in (0, 1)
    )
    assert not torch.equal(found, other)
