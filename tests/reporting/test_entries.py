import math

import pytest

from lit_xai.reporting.entries import canonical, entries, is_unattacked, short_class
from tests.reporting.made_up_boards import attack, evaluation


def test_settings_are_equal_whatever_their_order_and_spelling():
    assert canonical({"b": 1.0, "a": [True, 2.5]}) == canonical({"a": [True, 2.5], "b": 1})
    assert canonical({"a": True}) != canonical({"a": 1})
    assert canonical({"a": [1, 2]}) != canonical({"a": [2, 1]})
    assert canonical({"a": {"class_path": "x", "init_args": {"k": 3.0}}}).endswith('{"k": 3}}}')
    assert canonical({"a": math.inf}) == '{"a": Infinity}'


def test_classes_are_named_without_their_module():
    assert short_class({"class_path": "a.b.TopK"}) == "TopK"
    assert is_unattacked({"class_path": "lit_xai.attacks.unattacked.Unattacked"})
    assert not is_unattacked({"class_path": "Unattacked.TopK"})


def test_an_entry_for_every_checkpoint_and_explanation():
    found = evaluation(
        "card.json",
        {"a": {"unattacked": 1.0, "sign": 0.5, "pgd": 0.25}, "b": {"sign": (0.6, 0.5, 0.7), "top_k": 0.4}},
        attributions={name: {"class_path": f"my.{name}"} for name in ("saliency", "other")},
    )
    listed = list(entries(found))
    assert [(entry.checkpoint, entry.attribution) for entry in listed] == [
        ("a", "saliency"), ("a", "other"), ("b", "saliency"), ("b", "other"),
    ]  # fmt: skip
    first, _, second, missing = listed
    assert first.clean.value == 1.0
    assert (first.pgd_accuracy.value, first.accuracy) == (0.25, None)
    assert next((mean.attack, mean.value) for mean in first.means.values()) == ("sign", 0.5)
    assert math.isnan(list(first.means.values())[1].value)
    sign = next(iter(second.means.values()))
    assert (sign.low, sign.high, sign.count, sign.failed, sign.excluded) == (0.5, 0.7, 40, 2, 3)
    assert all(mean.undefined and mean.count == 0 for mean in missing.means.values())


def test_only_the_first_metric_counts():
    found = evaluation("card.json", {"a": {"sign": 0.5, "top_k": 0.4}})
    other = found.table.assign(metric="other", value=0.1)
    card = found.card | {"metrics": found.card["metrics"] | {"other": {"class_path": "my.Other"}}}
    (entry,) = entries(found._replace(card=card, table=other))
    assert all(mean.undefined for mean in entry.means.values())
    assert entry.conditions["metric"]["class_path"] == "my.TopK"


@pytest.mark.parametrize(("name", "expected"), [("sign", True), ("top_k", False), ("unattacked", False)])
def test_controls(name, expected):
    (entry,) = entries(evaluation("card.json", {"a": {"sign": 0.5}}))
    assert entry.is_control(name) is expected


@pytest.mark.parametrize("checksum", [None, ["x"], 3])
def test_a_checksum_is_text(checksum):
    (entry,) = entries(evaluation("card.json", {"a": {}}, checkpoints={"a": {"sha256": checksum}}))
    assert entry.checksum == ""


def conditions(found):
    (entry,) = entries(found)
    return canonical(entry.conditions)


ATTACKS = {"sign": attack("RandomSign", 0.1), "top_k": attack("TopK", 0.1)}


@pytest.mark.parametrize(
    "changed",
    [
        {"data": {"class_path": "my.data.Images", "sha256": {"test": "other", "donors": "bb"}}},
        {"data": {"class_path": "my.data.Images", "sha256": {"test": "aa", "donors": "other"}}},
        {"samples": {"split": "test", "count": 41}},
        {"samples": {"split": "validation", "count": 40}},
        {"seeds": {"grid": 1, "subset": 0}},
        {"seeds": {"grid": 0, "subset": 1}},
        {"attributions": {"saliency": {"class_path": "my.Saliency", "init_args": {"score": "loss"}}}},
        {"attributions": {"saliency": {"class_path": "my.Other", "init_args": {}}}},
        {"attacks": ATTACKS | {"top_k": attack("TopK", 0.1, eps=0.1, steps=9)}},
        {"attacks": ATTACKS | {"more": attack("MassCenter", 0.1)}},
        {"attacks": {"top_k": ATTACKS["top_k"]}},
        {"metrics": {"top_k": {"class_path": "my.TopK", "init_args": {"k": 9}, "higher_is_better": True}}},
        {"metrics": {"top_k": {"class_path": "my.TopK", "init_args": {"k": 8}, "higher_is_better": False}}},
    ],
)
def test_conditions_differ(changed):
    values = {"a": {"sign": 0.5, "top_k": 0.4}}
    assert conditions(evaluation("a", values)) != conditions(evaluation("b", values, **changed))


@pytest.mark.parametrize(
    "changed",
    [
        # Without the unattacked image, and in another order.
        {"attacks": {"top_k": ATTACKS["top_k"], "sign": ATTACKS["sign"]}},
        {"attributions": {"saliency": {"init_args": {}, "class_path": "my.Saliency"}}},
        {"metrics": {"top_k": {"class_path": "my.TopK", "init_args": {"k": 8.0}, "higher_is_better": True}}},
        {"samples": {"split": "test", "count": 40, "batch_size": 1}},
        {"data": {"class_path": "my.Copy", "init_args": {"x": 1}, "sha256": {"test": "aa", "donors": "bb"}}},
        {"versions": {"torch": "9"}, "created": "2027-01-01"},
    ],
)
def test_conditions_are_the_same(changed):
    found = evaluation("b", {"b": {"sign": 0.6}})
    found.card.update(changed)
    assert conditions(evaluation("a", {"a": {"sign": 0.5}})) == conditions(found)
