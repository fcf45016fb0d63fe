from dataclasses import dataclass

import pytest

from lit_xai.attributions.expected_gradients import ExpectedGradients
from lit_xai.regimes.base import Regime
from lit_xai.regimes.exiaa_training import EXIAATraining
from lit_xai.regimes.fooling import LocationFooling, TopKFooling
from lit_xai.regimes.igr import IGR
from lit_xai.regimes.lens_training import LENSTraining
from lit_xai.regimes.scheduled import Ramp, Scheduled
from lit_xai.types import RegimeLoss


@dataclass(frozen=True)
class Confident(Regime):
    def loss(self, model, image, label, noise):
        logits = model(image)
        return RegimeLoss(
            -logits.amax(dim=1).mean(), logits, {"confidence": logits.detach().amax(dim=1).mean()}
        )


def test_a_regime_needs_only_its_loss(model, batch):
    regime = Confident()
    assert regime.at(0.3) is regime
    assert regime.prepare(model, list) is regime
    loss = regime.loss(model, batch.image, batch.label, None)
    assert loss.total.item() == -loss.parts["confidence"].item()


class Remembering(IGR):
    def prepare(self, model, donors):
        return self


@pytest.mark.parametrize(
    ("regime", "expected"),
    [
        (Confident(), False),
        (IGR(), False),
        (Remembering(), True),
        (LENSTraining(), False),
        (EXIAATraining(), True),
        (LocationFooling(), False),
        (LocationFooling(attribution=ExpectedGradients()), True),
        (TopKFooling(), True),
        (Scheduled(IGR(), {"weight": Ramp()}), False),
        (Scheduled(TopKFooling(), {"weight": Ramp()}), True),
    ],
)
def test_what_only_hands_donors_on_compares_with_nothing(regime, expected):
    assert regime.compares_with_start is expected
