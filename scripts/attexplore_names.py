"""How tables call the explanations that AttEXplore is compared with, and the attacks that it may take."""

RIVALS = {
    "grad_cam": "Grad-CAM",
    "boundary_ig": "BIG",
    "saliency": "SaliencyMap",
    "deep_lift": "DeepLIFT",
    "guided_ig": "GIG",
    "expected_gradients": "EG",
    "fast_ig": "Fast-IG",
    "integrated_gradients": "IG",
    "smooth_grad": "SG",
    "adversarial_ig": "AGI",
}
ATTACKS = {
    "plain": "NoAttack",
    "pgd": "PGD",
    "di": "DI-FGSM",
    "ti": "TI-FGSM",
    "mi": "MI-FGSM",
    "sini": "SINI-FGSM",
    "naa": "NAA",
}
