import pytest
import scipy.fft
import torch

from lit_xai.attributions.spectral import cosine_basis, reweigh


@pytest.mark.parametrize("shape", [(2, 3, 8, 8), (1, 1, 5, 12), (3, 2, 7, 1)])
def test_equals_scipy(shape):
    generator = torch.Generator().manual_seed(0)
    image, factor = (torch.rand(shape, generator=generator, dtype=torch.float64) for _ in range(2))
    spectrum = scipy.fft.dctn(image.numpy(), type=2, axes=(-2, -1), norm=None) * factor.numpy()
    expected = torch.from_numpy(scipy.fft.idctn(spectrum, type=2, axes=(-2, -1), norm=None))
    torch.testing.assert_close(reweigh(image, factor), expected, rtol=0, atol=1e-13)


def test_factors_of_one_change_nothing_and_the_first_is_the_mean():
    image = torch.rand(2, 1, 6, 9, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    factor = torch.ones_like(image)
    torch.testing.assert_close(reweigh(image, factor), image, rtol=0, atol=1e-14)
    factor[..., 1:, :] = factor[..., 1:] = 0
    mean = image.mean(dim=(2, 3), keepdim=True).expand_as(image)
    torch.testing.assert_close(reweigh(image, factor), mean, rtol=0, atol=1e-14)


def test_a_matrix_made_in_inference_mode_serves_autograd():
    cosine_basis.cache_clear()
    image = torch.rand(1, 1, 4, 6, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        before = reweigh(image, torch.full_like(image, 2.0)).clone()
    assert not cosine_basis(4, image.dtype, image.device).is_inference()
    leaf = image.clone().requires_grad_()
    reweigh(leaf, torch.full_like(image, 2.0)).sum().backward()
    torch.testing.assert_close(leaf.grad, torch.full_like(image, 2.0), rtol=0, atol=1e-6)
    torch.testing.assert_close(before, 2 * image, rtol=0, atol=1e-6)


def test_matrices_are_made_once_for_each_precision():
    single = cosine_basis(5, torch.float32, torch.device("cpu"))
    double = cosine_basis(5, torch.float64, torch.device("cpu"))
    assert single.dtype == torch.float32
    assert double.dtype == torch.float64
    assert cosine_basis(5, torch.float64, torch.device("cpu")) is double
