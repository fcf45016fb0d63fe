import numpy as np
import pytest
import scipy.optimize
import torch
from torch import Tensor

from lit_xai.attacks.blending import LocalContrastBlend, PlainBlend, capped_shares, local_contrast
from lit_xai.attacks.poisson import PoissonBlend
from tests.contracts import assert_every_field_matters

BLENDS = [PlainBlend(), LocalContrastBlend(), PoissonBlend()]


def pixels(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def example(seed: int = 0, share: float = 0.4) -> tuple[Tensor, Tensor, Tensor]:
    """Return images, donors, and chosen features."""
    image, donor = pixels(5, 3, 9, 7, seed=seed), pixels(5, 3, 9, 7, seed=seed + 1)
    # Texture that falls from the left to the right.
    image = 0.5 + (image - 0.5) * torch.linspace(0.8, 0.05, 7)
    return image, donor, pixels(5, 3, 9, 7, seed=seed + 2) < share


def donor_share(blend: LocalContrastBlend, example: tuple[Tensor, ...], alpha: float) -> Tensor:
    image, donor, chosen = example
    found = blend.mix(image, donor, chosen, alpha)
    return torch.where(chosen, (found - image) / (donor - image), 0.0)


@pytest.mark.parametrize("blend", BLENDS)
def test_contract(blend):
    image, donor, chosen = example()
    copies = [tensor.clone() for tensor in (image, donor, chosen)]
    found = blend.mix(image, donor, chosen, 0.3)
    assert all(torch.equal(a, b) for a, b in zip(copies, (image, donor, chosen), strict=True))
    assert found.shape == image.shape
    assert found.dtype == torch.float64
    assert torch.equal(found[~chosen], image[~chosen])
    assert (found != image)[chosen].all()
    for row in range(5):
        alone = blend.mix(image[[row]], donor[[row]], chosen[[row]], 0.3)
        torch.testing.assert_close(alone, found[[row]], rtol=0, atol=1e-12)
    single = blend.mix(image.float(), donor.float(), chosen, 0.3)
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), found, rtol=0, atol=1e-6)


@pytest.mark.parametrize("blend", BLENDS)
def test_nothing_chosen_changes_nothing(blend):
    image, donor, chosen = example()
    chosen[2] = False
    found = blend.mix(image, donor, chosen, 0.3)
    assert torch.equal(found[2], image[2])
    assert (found != image).flatten(1).any(dim=1).tolist() == [True, True, False, True, True]
    assert blend.mix(image[:0], donor[:0], chosen[:0], 0.3).shape == (0, 3, 9, 7)


@pytest.mark.parametrize("blend", BLENDS)
def test_a_donor_that_is_the_image_changes_nothing(blend):
    image, _, chosen = example()
    torch.testing.assert_close(blend.mix(image, image, chosen, 0.7), image, rtol=0, atol=1e-15)


@pytest.mark.parametrize("blend", [PlainBlend(), LocalContrastBlend()])
def test_the_whole_share_is_the_donor(blend):
    image, donor, chosen = example()
    found = blend.mix(image, donor, chosen, 1.0)
    torch.testing.assert_close(found, torch.where(chosen, donor, image), rtol=0, atol=1e-14)


def test_plain_blend_by_hand():
    image, donor = (
        torch.tensor([0.2, 0.4, 0.9]).view(1, 1, 1, 3),
        torch.tensor([0.6, 0.0, 0.1]).view(1, 1, 1, 3),
    )
    found = PlainBlend().mix(image, donor, torch.tensor([True, True, False]).view(1, 1, 1, 3), 0.25)
    torch.testing.assert_close(found.flatten(), torch.tensor([0.3, 0.3, 0.9]))


@pytest.mark.parametrize("w", [1, 2, 8])
def test_local_contrast_equals_numpy(w):
    image = pixels(2, 3, 6, 5)
    found = local_contrast(image.float(), w)
    assert found.dtype == torch.float64
    for row in range(6):
        for column in range(5):
            rows = slice(max(0, row - w), row + w + 1)
            columns = slice(max(0, column - w), column + w + 1)
            window = image[:, :, rows, columns].float().double().flatten(2).numpy()
            expected = np.sqrt(window.var(axis=2).mean(axis=1))
            np.testing.assert_allclose(found[:, 0, row, column], expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("mean", [0.06, 0.3, 0.8, 1.0])
def test_capped_shares_equal_a_root_search(mean):
    weight = pixels(4, 2, 5, 5, seed=3) ** 6 + 1e-3
    weight[pixels(4, 2, 5, 5, seed=4) < 0.3] = 0
    found = capped_shares(weight, mean)
    for own, shares in zip(weight.numpy(), found.numpy(), strict=True):
        positive = own[own > 0]

        def excess(scale: float, positive: np.ndarray = positive) -> float:
            return np.minimum(1, scale * positive).mean() - mean

        scale = scipy.optimize.brentq(excess, 0, 1.01 / positive.min(), xtol=1e-14)
        np.testing.assert_allclose(shares, np.minimum(1, scale * own), rtol=0, atol=1e-9)


@pytest.mark.parametrize(("alpha", "capped"), [(0.06, False), (0.6, True), (0.95, True)])
def test_the_mean_share_is_alpha_and_follows_the_contrast(alpha, capped):
    blend = LocalContrastBlend(w=1, floor=0.05)
    image, donor, chosen = example()
    share = donor_share(blend, (image, donor, chosen), alpha)
    mean = share.flatten(1).sum(dim=1) / chosen.flatten(1).sum(dim=1)
    torch.testing.assert_close(mean, torch.full((5,), alpha, dtype=torch.float64), rtol=0, atol=1e-12)
    assert bool((share > 1 - 1e-9).any()) == capped
    assert share.max() < 1 + 1e-9
    weight = (local_contrast(image, 1) + 0.05).expand_as(image)
    for row in range(5):
        free = chosen[row] & (share[row] < 1 - 1e-9)
        scale = (share[row] / weight[row])[free].median()
        expected = torch.where(chosen[row], (scale * weight[row]).clamp_max(1), 0.0)
        torch.testing.assert_close(share[row], expected, rtol=0, atol=1e-9)


def test_textured_places_get_more_than_flat_ones():
    image, donor, chosen = example()
    share = donor_share(LocalContrastBlend(), (image, donor, chosen), 0.1)
    left, right = (
        (share[..., part].sum(dim=(1, 2, 3)) / chosen[..., part].sum(dim=(1, 2, 3)))
        for part in (slice(0, 2), slice(5, 7))
    )
    assert (left > 1.5 * right).all()


def test_a_flat_image_is_blended_plainly():
    _, donor, chosen = example()
    image = torch.full_like(donor, 0.25)
    found, expected = (blend.mix(image, donor, chosen, 0.2) for blend in (LocalContrastBlend(), PlainBlend()))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-14)


def test_every_field_matters():
    image, donor, chosen = example()
    assert_every_field_matters(
        LocalContrastBlend(), {"w": 2, "floor": 0.1}, lambda blend: blend.mix(image, donor, chosen, 0.2)
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"w": 0}, "Expected `w` of at least 1, but got 0."),
        ({"floor": 0.0}, "Expected `floor` above 0, but got 0."),
    ],
)
def test_refuses_options_out_of_range(options, message):
    with pytest.raises(ValueError, match=message):
        LocalContrastBlend(**options)
