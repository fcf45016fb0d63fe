import pytest
import torch

from lit_xai.models.small_vit import SmallViT
from tests.models.checking import assert_plain_second_derivative


def test_has_the_size_that_its_options_say():
    model = SmallViT(size=12, channels=3, num_classes=7, patch_size=4, width=8, depth=2, heads=2)
    assert model(torch.rand(2, 3, 12, 12)).shape == (2, 7)
    assert [block.attn.num_heads for block in model.network.blocks] == [2, 2]
    # Patches; class token and places; by layer: norms, attention, perceptron; last norm; head.
    layer = 2 * 16 + (8 * 24 + 24 + 72) + (8 * 16 + 16 + 16 * 8 + 8)
    expected = (3 * 16 * 8 + 8) + (8 + 10 * 8) + 2 * layer + 16 + (8 * 7 + 7)
    assert sum(parameter.numel() for parameter in model.parameters()) == expected


def test_refuses_what_does_not_divide():
    with pytest.raises(ValueError, match="Expected `size` as a multiple of 4 pixels, but got 30"):
        SmallViT(size=30)
    with pytest.raises(ValueError, match="Expected `width` as a multiple of 4 heads, but got 30"):
        SmallViT(width=30)


def test_attention_has_a_second_derivative_in_a_training_pass():
    generator = torch.Generator().manual_seed(0)
    model = SmallViT(size=8, channels=1, num_classes=3, patch_size=4, width=8, depth=2, heads=2).double()
    model.train()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) / 3)
    image = torch.rand(2, 1, 8, 8, generator=generator, dtype=torch.float64)
    assert_plain_second_derivative(model, image, model.network.blocks[0].attn.qkv.weight)


def test_attention_is_not_one_kernel():
    flags = [part.fused_attn for part in SmallViT(depth=2).modules() if hasattr(part, "fused_attn")]
    assert flags == [False, False]


@pytest.mark.parametrize("option", ["size", "patch_size", "width", "depth", "heads"])
def test_nothing_is_empty(option):
    with pytest.raises(ValueError, match=rf"^Expected `{option}` of at least 1, but got 0\."):
        SmallViT(**{option: 0})
