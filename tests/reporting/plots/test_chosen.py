import numpy as np

from lit_xai.reporting.plots.chosen import leading_attacks, shown_attacks


def without(results, *metrics: str):
    """Return the table with all means of some attacks undefined."""
    table = results.table.copy()
    table.loc[table.attack.isin(metrics), "value"] = np.nan
    return table


def test_of_many_attacks_the_strongest_of_each_family_is_shown(results):
    assert len(results.attacks) == 13
    # The controls first; the widest radius and the strongest injection of each family.
    expected = ["random_sign_eps_0_2", "top_k_eps_0_2", "exiaa_alpha_0_15_k_0_6"]
    assert shown_attacks(results, "saliency") == expected


def test_few_attacks_are_all_shown_controls_first(changed, results):
    kept = ["unattacked", "top_k_eps_0_1", "exiaa_alpha_0_06_k_0_2", "random_sign_eps_0_05"]
    attacks = {name: results.card["attacks"][name] for name in kept}
    few = changed(card={**results.card, "attacks": attacks})
    assert shown_attacks(few, "saliency") == [
        "random_sign_eps_0_05",
        "top_k_eps_0_1",
        "exiaa_alpha_0_06_k_0_2",
    ]


def test_the_leading_attacks_are_a_control_and_the_strongest(results):
    strongest = ["random_sign_eps_0_2", "exiaa_alpha_0_15_k_0_6"]
    assert leading_attacks(results, "saliency", results.attacks[1:]) == strongest
    assert leading_attacks(results, "saliency", ["top_k_eps_0_05", "top_k_eps_0_1"]) == ["top_k_eps_0_1"]
    assert leading_attacks(results, "saliency", []) == []


def test_an_attack_without_a_mean_is_no_leader(changed, results):
    lost = changed(table=without(results, "top_k_eps_0_2"))
    found = leading_attacks(lost, "saliency", ["random_sign_eps_0_1", "top_k_eps_0_1", "top_k_eps_0_2"])
    assert found == ["random_sign_eps_0_1", "top_k_eps_0_1"]
