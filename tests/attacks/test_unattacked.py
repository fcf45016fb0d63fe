import pytest
import torch

from lit_xai.attacks.base import run_attack
from lit_xai.attacks.unattacked import Unattacked
from lit_xai.attributions.base import Explain
from lit_xai.attributions.integrated_gradients import IntegratedGradients
from lit_xai.attributions.saliency import Saliency
from lit_xai.attributions.smooth_grad import SmoothGrad
from lit_xai.noise import Noise
from tests.contracts import assert_attack_contract

EXPLANATIONS = [Saliency(), IntegratedGradients(path_steps=3), SmoothGrad(samples=3)]


@pytest.mark.parametrize("attribution", EXPLANATIONS)
def test_contract_with_no_distance_at_all(model, batch, attribution):
    result = assert_attack_contract(Unattacked(), attribution, model, batch, eps=-1e-6)
    assert torch.equal(result.attribution, result.attribution_adv)
    assert torch.equal(result.logits, result.logits_adv)


def test_counts_as_failed(model, batch):
    result = run_attack(model, Saliency(), Unattacked(), batch, seed=0)
    assert result.failed.tolist() == [True] * 6
    assert result.kept.tolist() == [True] * 6


def test_returns_a_copy(model, batch):
    noise = Noise(0, batch.sample_id)
    image = Unattacked().perturb(model, Explain(Saliency(), model, noise), batch.image, batch.label, noise)
    assert torch.equal(image, batch.image)
    assert image.data_ptr() != batch.image.data_ptr()
