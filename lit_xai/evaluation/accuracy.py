"""Which images a network classifies correctly, as they are and under its adversary."""

import pandas as pd
from torch import Tensor, nn

from lit_xai.gate import evaluating, measuring, on_network
from lit_xai.noise import Noise
from lit_xai.regimes.pgd import PGD
from lit_xai.types import Batch


def accuracy_scores(network: nn.Module, batch: Batch, adversary: PGD | None, noise_seed: int) -> pd.DataFrame:
    """Classify N images.

    Args:
        network: Maps pixels in [0, 1] to logits.
        batch: N samples, moved to the network's device.
        adversary: Attack on the prediction; None to leave it out.
        noise_seed: Of the attack's draws, as in LitClassifier.

    Returns:
        Columns attack (`unattacked`, `pgd`), metric (`accuracy`), sample_id, value (1 where correct, else 0).
    """
    with measuring(), evaluating(network):
        image, label, sample_id = on_network(network, batch)
        images = {"unattacked": image}
        if adversary is not None:
            noise = Noise(noise_seed, sample_id).child("adversary")
            images["pgd"] = adversary.attack(network, image, label, noise)
        frames = [
            pd.DataFrame(
                {
                    "attack": name,
                    "metric": "accuracy",
                    "sample_id": sample_id.cpu().numpy(),
                    "value": _correct(network(pixels), label).double().cpu().numpy(),
                }
            )
            for name, pixels in images.items()
        ]
    return pd.concat(frames, ignore_index=True)


def _correct(logits: Tensor, label: Tensor) -> Tensor:
    return logits.detach().argmax(dim=1) == label
