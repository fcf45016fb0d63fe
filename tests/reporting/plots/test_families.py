from lit_xai.reporting.plots.families import class_name, is_control, swept


def test_families_of_one_and_of_two_fields(results):
    one, two = swept(results, 1), swept(results, 2)
    assert [(family.name, family.is_control) for family in one] == [("random_sign", True), ("top_k", False)]
    assert [values["eps"] for values in one[1].attacks.values()] == [0.05, 0.1, 0.2]
    assert [(family.name, len(family.attacks)) for family in two] == [("exiaa", 6)]


def test_a_family_swept_twice_over_different_fields_is_two(changed, results):
    attacks = dict(results.card["attacks"])
    attacks["top_k_k_5"] = {"class_path": "lit_xai.attacks.top_k.TopK", "sweep": "top_k", "values": {"k": 5}}
    families = swept(changed(card={**results.card, "attacks": attacks}), 1)
    assert [list(next(iter(family.attacks.values()))) for family in families] == [["eps"], ["eps"], ["k"]]


def test_controls(results):
    assert is_control(results, "unattacked")
    assert is_control(results, "random_sign_eps_0_1")
    assert not is_control(results, "top_k_eps_0_1")


def test_a_class_is_the_end_of_its_path():
    assert class_name({"class_path": "a.b.C"}) == "C"
    assert class_name({}) == ""
