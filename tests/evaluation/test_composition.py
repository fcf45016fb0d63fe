import warnings

import pytest

from lit_xai.attacks.unattacked import Unattacked
from lit_xai.attributions.saliency import Saliency
from lit_xai.evaluation.composition import check_parts
from lit_xai.metrics.fooling import FoolingSuccessRate, UntouchedFoolingRate
from lit_xai.metrics.infidelity import ConstantMapInfidelity, Infidelity, ZeroMapInfidelity
from lit_xai.metrics.top_k import TopKIntersection


def parts(**metrics):
    return {"saliency": Saliency()}, {"unattacked": Unattacked()}, metrics


def test_accepts_parts_that_fit():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_parts(*parts(top_k=TopKIntersection()))


@pytest.mark.parametrize("name", ["Top", "top-k", "excluded", "none", "keys"])
def test_refuses_names_that_are_no_keys(name):
    with pytest.raises(ValueError, match=rf"Expected .* in `metrics`, but got {name}"):
        check_parts(*parts(**{name: TopKIntersection()}))


def test_refuses_an_empty_part():
    with pytest.raises(ValueError, match=r"at least one of `metrics`, but got none\."):
        check_parts(*parts())


def test_asks_for_the_controls_of_infidelity():
    with pytest.warns(UserWarning, match="Expected ConstantMapInfidelity and ZeroMapInfidelity of the same"):
        check_parts(*parts(error=Infidelity()))
    with pytest.warns(UserWarning, match="Expected ZeroMapInfidelity of the same options beside error"):
        check_parts(
            *parts(error=Infidelity(), constant=ConstantMapInfidelity(), zero=ZeroMapInfidelity(samples=5))
        )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_parts(*parts(error=Infidelity(), constant=ConstantMapInfidelity(), zero=ZeroMapInfidelity()))


def test_asks_for_the_rate_of_the_untouched_network(model):
    options = {"reference": model, "attribution": Saliency()}
    with pytest.warns(UserWarning, match="Expected UntouchedFoolingRate of the same options beside rate"):
        check_parts(*parts(rate=FoolingSuccessRate(**options)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_parts(*parts(rate=FoolingSuccessRate(**options), untouched=UntouchedFoolingRate(**options)))
