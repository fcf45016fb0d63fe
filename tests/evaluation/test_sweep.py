import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import pytest
import yaml
from jsonargparse import ActionConfigFile

from lit_xai.attacks.base import Attack
from lit_xai.attacks.criteria import Intersection
from lit_xai.attacks.exiaa import EXIAA
from lit_xai.attacks.gaussian import MatchedGaussian
from lit_xai.attacks.random_sign import RandomSign
from lit_xai.attacks.top_k import TopK
from lit_xai.attacks.unattacked import Unattacked
from lit_xai.attacks.worst_of import WorstOf
from lit_xai.command import Parser
from lit_xai.evaluation.sweep import Sweep, expand
from lit_xai.refusal import one_line_errors


class Bare(Attack):
    needs_gradient: ClassVar[bool] = False

    def perturb(self, model, explain, image, target, noise):
        return image


@dataclass(frozen=True)
class Odd(Bare):
    """Has options of many kinds."""

    turns: int | None = 3
    share: float | None = None
    strict: bool = True
    shape: tuple[float, float] = (0.0, 1.0)
    weights: Mapping[str, float] | None = None


TOP_K = TopK(eps=0.1, step_size=0.01)


def versions(values, attack=TOP_K, scaled=(), name="top_k"):
    return Sweep(values, list(scaled)).versions(name, attack)


def refused(message):
    return pytest.raises(ValueError, match=f"^{re.escape(message)}$")


def test_one_field_gives_a_version_for_each_value():
    found = versions({"eps": [0.05, 0.2]})
    assert found == {
        "top_k_eps_0_05": (TopK(eps=0.05, step_size=0.01), {"eps": 0.05}),
        "top_k_eps_0_2": (TopK(eps=0.2, step_size=0.01), {"eps": 0.2}),
    }
    assert list(found) == ["top_k_eps_0_05", "top_k_eps_0_2"]
    assert [attack.radius for attack, _ in found.values()] == [0.05, 0.2]


def test_several_fields_give_every_combination():
    attack = EXIAA(rank=1)
    found = versions({"alpha": [0.06, 0.15], "k": [0.2, 1]}, attack, name="exiaa")
    assert found == {
        "exiaa_alpha_0_06_k_0_2": (EXIAA(0.06, 0.2, rank=1), {"alpha": 0.06, "k": 0.2}),
        "exiaa_alpha_0_06_k_1": (EXIAA(0.06, 1.0, rank=1), {"alpha": 0.06, "k": 1}),
        "exiaa_alpha_0_15_k_0_2": (EXIAA(0.15, 0.2, rank=1), {"alpha": 0.15, "k": 0.2}),
        "exiaa_alpha_0_15_k_1": (EXIAA(0.15, 1.0, rank=1), {"alpha": 0.15, "k": 1}),
    }
    assert list(found) == sorted(found)
    assert found["exiaa_alpha_0_06_k_0_2"][0] is attack


def test_scaled_fields_keep_their_proportion_to_the_first():
    attack = TopK(eps=0.1, step_size=0.01, steps=7)
    found = versions({"eps": [0.05, 0.1, 0.3], "steps": [7, 9]}, attack, ["step_size"])
    sizes = {values["eps"]: version.step_size for version, values in found.values()}
    assert sizes == pytest.approx({0.05: 0.005, 0.1: 0.01, 0.3: 0.03}, rel=1e-12)
    assert found["top_k_eps_0_1_steps_7"][0] is attack
    assert {version.steps for version, _ in found.values()} == {7, 9}


def test_scaled_whole_numbers_are_rounded():
    found = versions({"eps": [0.05, 0.16]}, TopK(eps=0.1, steps=9), ["steps"])
    assert [version.steps for version, _ in found.values()] == [4, 14]
    assert all(type(version.steps) is int for version, _ in found.values())


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.1 + 0.2, "0_3"),
        (8 / 255, "0_0313725"),
        (1e-05, "0_00001"),
        (1.5e-08, "0_000000015"),
        (1, "1"),
        (0.5, "0_5"),
    ],
)
def test_names_are_numbers_without_exponents(value, text):
    ((name, (attack, values)),) = versions({"eps": [value]}).items()
    assert name == f"top_k_eps_{text}"
    assert (attack.eps, values) == (value, {"eps": value})


def test_large_and_negative_numbers_have_names():
    found = versions({"share": [1234567.0, 1e16, -0.25, 0.0, 2.5e6]}, Odd(), name="odd")
    assert [name.removeprefix("odd_share_") for name in found] == [
        "1234567",
        "10000000000000000",
        "minus_0_25",
        "0",
        "2500000",
    ]
    assert all(re.fullmatch("[a-z0-9_]+", name) for name in found)


def test_whole_numbers_stay_whole():
    found = versions({"steps": [5.0, 10]})
    assert list(found) == ["top_k_steps_5", "top_k_steps_10"]
    for (attack, values), steps in zip(found.values(), (5, 10), strict=True):
        assert (attack.steps, values) == (steps, {"steps": steps})
        assert {type(attack.steps), type(values["steps"])} == {int}
    found = versions({"turns": [4.0]}, Odd(), name="odd")
    assert type(found["odd_turns_4"][0].turns) is int
    with refused("Expected whole numbers for `steps`, but got 2.5."):
        versions({"steps": [2.5]})


def test_values_that_differ_too_little_are_refused():
    with refused("Expected values that differ in six digits, but got top_k_eps_0_1 twice."):
        versions({"eps": [0.1, 0.1 + 1e-9]})


@pytest.mark.parametrize(
    ("attack", "values", "scaled", "numbers", "got"),
    [
        (EXIAA(), {"beta": [1.0]}, [], "alpha, k, rank, class_rank", "beta"),
        (EXIAA(), {"pool": [1.0]}, [], "alpha, k, rank, class_rank", "pool"),
        (EXIAA(), {"_ranked": [1.0]}, [], "alpha, k, rank, class_rank", "_ranked"),
        (EXIAA(), {"alpha": [0.5]}, ["eps"], "alpha, k, rank, class_rank", "eps"),
        (Odd(), {"strict": [1.0]}, [], "turns, share", "strict"),
        (Odd(), {"shape": [1.0]}, [], "turns, share", "shape"),
        (Odd(), {"weights": [1.0]}, [], "turns, share", "weights"),
        (Unattacked(), {"eps": [1.0]}, [], "none", "eps"),
        (Bare(), {"eps": [1.0]}, [], "none", "eps"),
    ],
)
def test_names_the_numbers_that_an_attack_has(attack, values, scaled, numbers, got):
    with refused(f"Expected a number among the fields of mine ({numbers}), but got {got}."):
        versions(values, attack, scaled, "mine")


def test_an_attack_refuses_values_itself():
    with refused("Expected `eps` in (0, 1], but got 8. Write 8/255 as 0.0314."):
        versions({"eps": [0.1, 8]})


def test_nothing_is_in_proportion_to_nothing():
    end = "where `scaled` names it or another field, but got {}. Set it, or empty `scaled`."
    with refused("Expected a number other than 0 as `step_size` " + end.format("None")):
        versions({"eps": [0.1]}, TopK(), ["step_size"])
    with refused("Expected a number other than 0 as `share` " + end.format("None")):
        versions({"share": [0.1]}, Odd(), ["turns"])
    with refused("Expected a number other than 0 as `share` " + end.format("0.0")):
        versions({"share": [0.1]}, Odd(share=0.0), ["turns"])
    assert versions({"share": [0.1]}, Odd(), name="odd")["odd_share_0_1"][0] == Odd(share=0.1)


@pytest.mark.parametrize(
    ("values", "scaled", "message"),
    [
        ({}, [], "Expected at least one field in `values`, but got none."),
        ({"eps": []}, [], "Expected finite values for `eps`, each once, but got []."),
        ({"k": [5], "eps": [1, 1.0]}, [], "Expected finite values for `eps`, each once, but got [1, 1.0]."),
        ({"eps": [float("nan")]}, [], "Expected finite values for `eps`, each once, but got [nan]."),
        ({"eps": [float("inf")]}, [], "Expected finite values for `eps`, each once, but got [inf]."),
        ({"eps": [0.1]}, ["eps"], "Expected fields in `values` and `scaled`, each once, but got eps twice."),
        ({"k": [5]}, ["eps"] * 2, "Expected fields in `values` and `scaled`, each once, but got eps twice."),
    ],
)
def test_refuses_a_sweep_of_nothing(values, scaled, message):
    with refused(message):
        Sweep(values, scaled)


def test_a_family_sweeps_its_members_radius():
    attack = WorstOf({"sign": RandomSign(eps=0.5), "top_k": TopK(eps=0.5)}, Intersection(5))
    found = versions({"eps": [0.05]}, attack, name="worst")
    assert found["worst_eps_0_05"][0].radius == 0.05


def test_versions_take_the_place_of_their_attack():
    attacks = {"unattacked": Unattacked(), "top_k": TopK(eps=0.1), "sign": RandomSign(eps=0.1)}
    sweeps = {"sign": Sweep({"eps": [0.3]}), "top_k": Sweep({"eps": [0.1, 0.2]})}
    found, families = expand(attacks, sweeps)
    assert list(found.items()) == [
        ("unattacked", Unattacked()),
        ("top_k_eps_0_1", TopK(eps=0.1)),
        ("top_k_eps_0_2", TopK(eps=0.2)),
        ("sign_eps_0_3", RandomSign(eps=0.3)),
    ]
    assert list(families.items()) == [
        ("top_k_eps_0_1", ("top_k", {"eps": 0.1})),
        ("top_k_eps_0_2", ("top_k", {"eps": 0.2})),
        ("sign_eps_0_3", ("sign", {"eps": 0.3})),
    ]


def test_without_sweeps_nothing_changes():
    attacks = {"unattacked": Unattacked(), "top_k": TopK()}
    assert expand(attacks, {}) == (attacks, {})


def test_refuses_a_sweep_of_an_attack_that_is_not_there():
    with refused("Expected `sweeps` of unattacked, top_k, but got topk."):
        expand({"unattacked": Unattacked(), "top_k": TopK()}, {"topk": Sweep({"eps": [0.1]})})


@pytest.mark.parametrize("order", [1, -1])
def test_refuses_a_version_with_the_name_of_another_attack(order):
    attacks = {"top_k": TopK(), "top_k_eps_0_1": TopK()}
    attacks = dict(list(attacks.items())[::order])
    with refused("Expected attacks of different names, but got top_k_eps_0_1 twice."):
        expand(attacks, {"top_k": Sweep({"eps": [0.1]})})


def parser():
    parser = Parser()
    parser.add_argument("--sweeps", type=dict[str, Sweep], default={})
    parser.add_argument("-c", "--config", action=ActionConfigFile)
    return parser


def test_sweeps_stand_in_a_configuration(tmp_path):
    config = tmp_path / "sweep.yaml"
    config.write_text(
        "sweeps: {top_k: {values: {eps: [0.05, 1e-1], k: [5]}, scaled: [step_size]}, "
        "sign: {values: {eps: [1]}}}"
    )
    read = parser().parse_args(["-c", str(config)])
    assert parser().instantiate(read).sweeps == {
        "top_k": Sweep({"eps": [0.05, 0.1], "k": [5.0]}, ["step_size"]),
        "sign": Sweep({"eps": [1.0]}),
    }
    assert yaml.safe_load(parser().dump(read))["sweeps"] == {
        "top_k": {"values": {"eps": [0.05, 0.1], "k": [5.0]}, "scaled": ["step_size"]},
        "sign": {"values": {"eps": [1.0]}, "scaled": []},
    }
    assert parser().instantiate(parser().parse_args([])).sweeps == {}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{top_k: {values: {eps: 0.1}}}", "Got value: 0.1"),
        ("{top_k: {values: {eps: [a]}}}", "Got value: a"),
        ("{top_k: {eps: [0.1]}}", "an option that its class takes, but got `eps`"),
        ("{top_k: [0.1]}", "Got value: [0.1]"),
    ],
)
def test_a_configuration_of_another_form_is_refused(text, words, capsys):
    with pytest.raises(SystemExit):
        parser().parse_args(["--sweeps", text])
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert words in error


def test_a_configuration_without_values_is_refused_in_one_line(capsys):
    with pytest.raises(SystemExit), one_line_errors():
        parser().instantiate(parser().parse_args(["--sweeps", "{top_k: {values: {eps: []}}}"]))
    expected = "error: Expected finite values for `eps`, each once, but got [].\n"
    assert capsys.readouterr().err == expected


def test_a_field_of_an_attack_that_is_held_is_swept_too():
    attack = MatchedGaussian(EXIAA(k=0.3))
    found = versions({"reference.alpha": [0.03, 0.06], "reference.rank": [0, 2]}, attack, name="noise")
    assert found == {
        f"noise_alpha_0_0{alpha}_rank_{rank}": (
            MatchedGaussian(EXIAA(alpha=alpha / 100, k=0.3, rank=rank)),
            {"reference.alpha": alpha / 100, "reference.rank": rank},
        )
        for alpha in (3, 6)
        for rank in (0, 2)
    }
    assert found["noise_alpha_0_06_rank_0"][0] is attack
    with refused("Expected whole numbers for `reference.rank`, but got 0.5."):
        versions({"reference.rank": [0.5]}, attack, name="noise")
