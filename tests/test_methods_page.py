"""docs/methods.md is what the docstrings and signatures say."""

import pytest

from lit_xai.attacks.soft_coverage import SoftCoverage
from lit_xai.attacks.top_k import TopK
from lit_xai.attributions.integrated_gradients import IntegratedGradients
from lit_xai.metrics.insertion_deletion import Insertion
from lit_xai.metrics.lens_distance import CombinedLENSDistance
from lit_xai.models.small import SmallCNN
from scripts import methods


def test_the_page_is_what_the_docstrings_say():
    assert methods.PAGE.read_text() == methods.render(), "Run `make methods`."


def test_a_changed_docstring_changes_the_page(monkeypatch):
    before = methods.table("attacks", {})
    monkeypatch.setattr(TopK, "__doc__", TopK.__doc__.replace("Push the k", "Drive the k"))
    after = methods.table("attacks", {})
    assert before != after
    assert after == before.replace("Push the k", "Drive the k")


@pytest.mark.parametrize("family", methods.FAMILIES)
def test_every_fragment_has_its_class_on_the_page(family):
    page = methods.PAGE.read_text()
    names = [kind.__name__ for kind in methods.classes(family)]
    assert len(names) == len(set(names)) > 5
    assert [name for name in names if f"| [`{name}`](../lit_xai/{family}/" not in page] == []


@pytest.mark.parametrize(
    ("kind", "found"),
    [
        (TopK, "Ghorbani et al., 2019, arXiv 1710.10547"),
        (SoftCoverage, "ours, after Kamath et al., 2024, arXiv 2312.10534"),
        # The authors are part of the sentence.
        (SmallCNN, "Chen et al., 2019, arXiv 1905.09957"),
        # The class refers to its function.
        (Insertion, "Petsiuk et al., 2018, arXiv 1806.07421"),
    ],
)
def test_a_source_is_found_where_it_stands(kind, found):
    assert methods.source(kind) == found


def test_options_come_with_their_defaults():
    assert methods.options(IntegratedGradients).startswith("`path_steps=50`, `rule='gauss_legendre'`, `basel")
    assert "`k_weights={50: 1.0, 100: 0.5, 200: 0.25}`" in methods.options(CombinedLENSDistance)


def test_every_published_method_has_a_source():
    unnamed = {
        kind.__name__
        for family in ("attributions", "attacks", "regimes")
        for kind in methods.classes(family)
        if not methods.source(kind)
    }
    assert unnamed == {"ConstantMap", "RandomMap", "Unattacked", "Natural", "Scheduled"}


def test_refusals_are_those_that_were_measured():
    refused = methods.refusals()
    assert refused["DeepLift"] == ["timm convnext_tiny", "timm vit_tiny_patch16_224"]
    assert refused["IntegratedGradients"] == []
