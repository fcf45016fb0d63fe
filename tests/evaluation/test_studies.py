"""The shipped evaluations of colour pictures of many pixels, each run as it is but for what is shrunk."""

import pandas as pd
import pytest
import torch

from lit_xai.attacks.base import run_attack
from lit_xai.attacks.random_sign import RandomSign
from lit_xai.attributions.deep_lift import DeepLift
from lit_xai.attributions.integrated_gradients import IntegratedGradients
from lit_xai.attributions.saliency import Saliency
from lit_xai.metrics.insertion_deletion import deletion, insertion
from lit_xai.metrics.maps import pixel_map
from lit_xai.metrics.top_k import top_k_intersection
from lit_xai.noise import Noise
from tests.evaluation.studies import (
    COUNTS,
    EPS,
    SIDE,
    assert_unattacked,
    evaluated,
    generated,
    pictures,
    scores,
    taught,
)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:.*(val serves as test|donors of|but fewer fit into maps).*"),
]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return generated(tmp_path_factory.mktemp("pictures"))


@pytest.fixture(scope="module")
def network(data):
    return taught(data)


@pytest.fixture
def evaluation(data, network, tmp_path):
    return lambda name: evaluated(name, data, network, tmp_path)


def attacked_by_random_sign(model, data, samples: pd.DataFrame, method):
    """Return how much of the thousand most important pixels is left, from the parts themselves."""
    chosen = sorted(samples["sample_id"].unique())
    attacked = run_attack(model, method, RandomSign(EPS), pictures(data, chosen), seed=0)
    maps = pixel_map(attacked.attribution), pixel_map(attacked.attribution_adv)
    return top_k_intersection(*maps, k=1000).double().tolist()


def test_the_locality_study(evaluation, data, network):
    results, samples = evaluation("lens")
    value = results.set_index(["attribution", "attack", "metric"])["value"]
    methods = {
        "saliency": Saliency(),
        "integrated_gradients": IntegratedGradients(path_steps=2, rule="right"),
    }
    signs = "random_sign_eps_0_0313725"
    for attribution, method in methods.items():
        found = scores(samples, attribution, signs, "top_k").tolist()
        assert found == pytest.approx(attacked_by_random_sign(network, data, samples, method), abs=1e-9)
    for attack in {name for _, name, metric in value.index if metric == "lens_recall_3"}:
        for attribution in methods:
            own = value[attribution, attack]
            # Wider windows hold what narrower ones held.
            shares = [own[key] for key in ("top_k", *(f"lens_precision_{w}" for w in (1, 2, 3)))]
            assert shares == sorted(shares)
            assert own["lens_recall_1"] <= own["lens_recall_3"] <= 1
            # On a grid of every fourth pixel, no window of 7 x 7 holds another's centre.
            assert (SIDE // 7) ** 2 <= own["diverse_count_3"] <= (SIDE // 4) ** 2
    assert value["saliency", signs, "top_k"] < value["saliency", "random_sign_eps_0_00392157", "top_k"]


def test_the_locality_table(evaluation, data, network):
    _, samples = evaluation("lens_table")
    methods = {
        "saliency": Saliency(),
        "deep_lift": DeepLift(),
        "integrated_gradients": IntegratedGradients(path_steps=2, rule="right"),
    }
    for attribution, method in methods.items():
        found = scores(samples, attribution, "random_sign", "top_k").tolist()
        assert found == pytest.approx(attacked_by_random_sign(network, data, samples, method), abs=1e-9)
        assert 1000 / SIDE**2 < min(found) <= max(found) < 1


def test_the_study_of_exiaa(evaluation, data, network):
    results, samples = evaluation("exiaa_imagenet")
    chosen = sorted(samples["sample_id"].unique())
    logits = network(pictures(data, chosen).image)
    runner_up = logits.argsort(dim=1, descending=True)[:, 1].tolist()
    excluded = [sum(COUNTS[other] <= rank for other in runner_up) for rank in range(3)]
    assert excluded[0] == 0 < excluded[2]
    table = results.set_index(["attribution", "attack", "metric"])
    for attribution in ("saliency", "integrated_gradients", "deep_lift_shap"):
        assert_unattacked(table, attribution)
        signs = scores(samples, attribution, "random_sign", "linf_norm")
        assert signs.tolist() == pytest.approx([8 / 255] * 3, abs=1e-6)
        for rank, k in ((rank, k) for rank in range(3) for k in ("0_05", "0_6")):
            setting = f"alpha_0_15_k_{k}_rank_{rank}"
            for family in ("exiaa", "exiaa_random_places", "gaussian_equal_l2"):
                cell = table.loc[attribution, f"{family}_{setting}", "change"]
                assert cell["excluded"] == excluded[rank], (family, rank)
            largest = scores(samples, attribution, f"exiaa_{setting}", "linf_norm")
            # Of pixels between 60 and 200 of 255.
            assert ((largest > 0) & (largest <= 0.15 * 140 / 255 + 1e-6)).all()
            energy = scores(samples, attribution, f"exiaa_{setting}", "l2_norm")
            equal = scores(samples, attribution, f"gaussian_equal_l2_{setting}", "l2_norm")
            assert equal.tolist() == pytest.approx(energy.tolist(), rel=1e-3)


def test_the_study_of_the_top_k_attack(evaluation, data, network):
    results, samples = evaluation("top_k_imagenet")
    table = results.set_index(["attribution", "attack", "metric"])
    for attribution, method in {
        "saliency": Saliency(),
        "integrated_gradients": IntegratedGradients(2),
    }.items():
        assert_unattacked(table, attribution)
        found = scores(samples, attribution, "random_sign", "top_k").tolist()
        assert found == pytest.approx(attacked_by_random_sign(network, data, samples, method), abs=1e-9)
        signs = scores(samples, attribution, "random_sign", "linf_norm")
        assert signs.tolist() == pytest.approx([8 / 255] * 3, abs=1e-6)
        for attack in ("random_walk", "top_k"):
            walked = scores(samples, attribution, attack, "linf_norm")
            # Two steps of 0.00784.
            assert walked.max() <= 2 * 0.00784 + 1e-6
        attacked = table["value"][attribution]
        assert attacked["top_k", "top_k"] < attacked["random_walk", "top_k"] < 1


def test_colour_pictures(evaluation):
    results, _ = evaluation("color")
    table = results.set_index(["attribution", "attack", "metric"])
    assert_unattacked(table, "integrated_gradients")
    value = table["value"]["integrated_gradients"]
    for attack in ("random_sign", "top_k"):
        radii = [value[f"{attack}{end}", "top_k"] for end in ("_eps_0_00784", "_eps_0_01569", "_eps_0_03137")]
        assert 1 > radii[0] > radii[2]
    # More of the donor changes more.
    weak, strong = (value[f"exiaa_alpha_{alpha}_k_0_2", "change"] for alpha in ("0_06", "0_15"))
    assert 0 < weak < strong
    accuracy = results[(results["attribution"] == "none") & (results["attack"] == "unattacked")].iloc[0]
    assert (accuracy["value"], accuracy["count"]) == (1.0, sum(COUNTS))


def test_photographs_under_attexplore(evaluation, data, network):
    results, samples = evaluation("attexplore_photographs")
    chosen = sorted(samples["sample_id"].unique())
    image = pictures(data, chosen).image
    target = network(image).argmax(dim=1)
    flat = torch.ones_like(image[:, :1])
    for metric, game in {"insertion_union": insertion, "deletion_union": deletion}.items():
        # From the top row down, whatever the network.
        expected = game(network, image, flat, target).tolist()
        found = scores(samples, "constant_map", "unattacked", metric).tolist()
        assert found == pytest.approx(expected, abs=1e-6)
    maps = Saliency(score="probability").attribute(network, image, target, Noise(0, torch.tensor(chosen)))
    for metric, game in {"insertion_union": insertion, "deletion_union": deletion}.items():
        found = scores(samples, "saliency", "unattacked", metric).tolist()
        assert found == pytest.approx(game(network, image, maps, target).tolist(), abs=1e-6)
    value = results.set_index(["attribution", "metric"])["value"]
    for name in ("saliency", "integrated_gradients", "boundary_ig", "adversarial_ig", "attexplore"):
        assert value[name, "insertion_union"] != value["random_map", "insertion_union"]
