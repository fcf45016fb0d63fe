import pytest

from lit_xai.reporting import wording
from lit_xai.reporting.boards import boards
from tests.reporting.made_up_boards import attack, evaluation


def board(**parts):
    (found,) = boards([evaluation("card.json", {"a": {"sign": 0.5, "top_k": 0.4}}, **parts)])
    return found


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("lit_xai.models.small.SmallCNN", "SmallCNN"),
        ("natural", "natural"),
        ("eps 0.1", "eps 0.1"),
        ("a.", "a."),
        (None, "\N{EN DASH}"),
        (3, "3"),
    ],
)
def test_only_class_paths_are_shortened(name, expected):
    assert wording.short(name) == expected


def test_a_board_is_named_in_words():
    found = board()
    assert wording.title(found) == "saliency on 40 images of Images"
    assert wording.images(found) == "40 images of the test split"
    assert wording.measured(found) == "top-k intersection (higher is more robust)"
    assert wording.attacks(found) == ["RandomSign (control) at radius 0.1", "TopK at radius 0.1"]


def test_one_image_is_one_image():
    found = board(samples={"split": "val", "count": 1})
    assert wording.title(found) == "saliency on 1 image of Images"
    assert wording.images(found) == "1 image of the val split"


def test_a_name_that_turns_is_isolated_in_a_title():
    saliency = {"class_path": "my.Saliency", "init_args": {}}
    values = {"a": {"sign": 0.5, "top_k": 0.4}}
    (found,) = boards([evaluation("card.json", values, attributions={"\u05d0": saliency})])
    assert wording.title(found) == "\u2068\u05d0\u2069 on 40 images of Images"


def test_attacks_are_told_by_their_radii_or_by_what_varies():
    swept = {
        "unattacked": attack("Unattacked", 0.0),
        "top_k_1": attack("TopK", 0.05),
        "exiaa_1": attack("EXIAA", None, alpha=0.06, k=0.2),
        "top_k_2": attack("TopK", 0.1),
        "exiaa_2": attack("EXIAA", None, alpha=0.15, k=0.2),
        "top_k_3": attack("TopK", 0.2),
        "plain": attack("Plain", None) | {"values": None},
    }
    assert wording.attacks(board(attacks=swept)) == [
        "TopK at radius 0.05, 0.1 and 0.2",
        "EXIAA at alpha 0.06 and 0.15, k 0.2",
        "Plain",
    ]


def test_an_explanation_is_told_with_its_settings():
    inner = {"class_path": "my.Saliency", "init_args": {"score": "loss"}}
    attribution = {"class_path": "my.Softened", "init_args": {"inner": inner, "beta": 2.5, "layer": None}}
    found = board(attributions={"saliency": attribution})
    assert wording.explained(found) == "Softened(inner=Saliency(score=loss), beta=2.5, layer=null)"


def test_equal_titles_are_numbered():
    assert wording.distinct(["a", "b", "a"]) == ["a (1)", "b", "a (2)"]


def test_conditions_take_a_line_for_each_component():
    lines = wording.conditions(board()).splitlines()
    assert [line.partition(":")[0] for line in lines] == [
        "data", "samples", "seeds", "attribution", "attacks", "attacks", "metric",
    ]  # fmt: skip
    assert lines[0] == 'data: {"test": "aa", "donors": "bb"}'
