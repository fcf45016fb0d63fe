from dataclasses import dataclass

from lit_xai.regimes.base import Regime
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
