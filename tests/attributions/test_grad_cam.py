import os
import re
import warnings

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import captum.attr
import pytest
import timm
import torch
from torch import nn
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel

from lit_xai.attributions.base import class_score
from lit_xai.attributions.grad_cam import GradCAM
from lit_xai.gate import evaluating
from lit_xai.models.softplus import SoftplusTwin
from lit_xai.noise import Noise
from lit_xai.types import Batch
from tests.contracts import assert_attribution_contract, assert_every_field_matters, curved

WIDE = torch.rand(4, 3, 7, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
LABEL = torch.tensor([0, 3, 1, 2])


def attribute(method, model, image, label):
    return method.attribute(model, image, label, Noise(0, torch.arange(len(image)))).detach()


@pytest.fixture
def wide():
    """A network that averages 6 feature maps of 4 x 6, in a row of modules."""
    torch.manual_seed(0)
    features = [nn.Conv2d(3, 5, 3, padding=1), nn.ReLU(), nn.Conv2d(5, 6, 3, stride=2, padding=1), nn.ReLU()]
    network = nn.Sequential(*features, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 4)).double()
    for name, parameter in network.named_parameters():
        nn.init.normal_(parameter, std=0.6 if name.endswith("weight") else 0.3)
    return network


@pytest.mark.parametrize("layer", [None, "features.3", "features.0"])
def test_contract(model, batch, layer):
    assert_attribution_contract(GradCAM(layer=layer, rectify=False), model, batch)


@pytest.mark.parametrize("score", ["logit", "probability"])
def test_contract_rectified(wide, score):
    likely = wide(WIDE).argmax(dim=1)
    batch = Batch(WIDE, likely, torch.tensor([7, 3, 11, 2]))
    assert_attribution_contract(GradCAM("2", score), wide, batch)


def test_contract_of_tokens(batch):
    torch.manual_seed(0)
    sizes = {"img_size": 8, "patch_size": 2, "in_chans": 2, "embed_dim": 8, "depth": 2, "num_heads": 2}
    model = timm.models.VisionTransformer(num_classes=4, **sizes).double()
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.4)
    with sdpa_kernel(SDPBackend.MATH):
        assert_attribution_contract(GradCAM(rectify=False), model, batch)


@pytest.mark.parametrize("rectify", [True, False])
@pytest.mark.parametrize("layer", [0, 1, 2])
def test_equals_captum(wide, layer, rectify):
    coarse = captum.attr.LayerGradCam(wide, wide[layer]).attribute(
        WIDE, LABEL, relu_attributions=rectify, attr_dim_summation=True
    )
    expected = captum.attr.LayerAttribution.interpolate(coarse, WIDE.shape[2:], "bilinear")
    found = attribute(GradCAM(str(layer), rectify=rectify), wide, WIDE, LABEL)
    torch.testing.assert_close(found, expected.detach(), rtol=0, atol=1e-12)
    assert found.abs().max() > 1e-3
    assert (found.min() < -1e-2 * found.abs().max()) == (not rectify)


def test_a_network_that_averages_its_last_maps_has_the_class_activation_map(wide):
    """Zhou et al. (2016): the maps weighted by the class's weights, here over the number of places."""
    maps = wide[:4](WIDE)
    coarse = torch.einsum("nf,nfhw->nhw", wide[-1].weight[LABEL], maps)[:, None] / 24
    expected = functional.interpolate(coarse, (7, 12), mode="bilinear").detach()
    for layer in (None, "3"):
        found = attribute(GradCAM(layer, rectify=False), wide, WIDE, LABEL)
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("rectify", [True, False])
@pytest.mark.parametrize("layer", [None, "blocks.0", "patch_embed.proj"])
def test_equals_a_vision_transformer_by_hand(layer, rectify):
    torch.manual_seed(0)
    model = timm.create_model("vit_tiny_patch16_224", pretrained=False, img_size=64, num_classes=10).double()
    image = torch.rand(2, 3, 64, 64, dtype=torch.float64)
    target = torch.tensor([4, 9])
    with evaluating(model):
        found = attribute(GradCAM(layer, rectify=rectify), model, image, target)
        for row in range(2):
            tokens, gradient = by_hand(model, image[[row]].requires_grad_(), target[row], layer)
            coarse = torch.zeros(4, 4, dtype=torch.float64)
            weight = gradient[0].mean(dim=0)
            for place in range(16):
                coarse[place // 4, place % 4] = tokens[0, place] @ weight
            scale = (coarse.max() - coarse.min()).item()
            assert scale > 1e-7
            if rectify:
                coarse = coarse.clamp_min(0)
            expected = functional.interpolate(coarse[None, None], (64, 64), mode="bilinear")
            torch.testing.assert_close(found[[row]], expected, rtol=0, atol=1e-9 * scale)


def by_hand(model, image, target, layer):
    """Return the tokens of the patches at a layer of a vision transformer, and the gradient there."""
    x = leaf = model.patch_embed(image)
    start = 0
    x = model._pos_embed(x)
    for index, block in enumerate(model.blocks):
        normed = block.norm1(x)
        if layer is None and index == 11:
            leaf, start = normed, 1
        x = x + block.attn(normed)
        x = x + block.mlp(block.norm2(x))
        if layer == "blocks.0" and index == 0:
            leaf, start = x, 1
    (gradient,) = torch.autograd.grad(model.forward_head(model.norm(x))[0, target], leaf)
    return leaf[:, start:].detach(), gradient[:, start:]


def test_the_smooth_network_is_explained_where_a_twin_is_given(wide):
    twin = SoftplusTwin(wide, 2.0)
    smooth = nn.Sequential(wide[0], nn.Softplus(2.0), wide[2], nn.Softplus(2.0), *wide[4:])
    found = attribute(GradCAM("2"), twin, WIDE, LABEL)
    torch.testing.assert_close(found, attribute(GradCAM("2"), smooth, WIDE, LABEL), rtol=0, atol=1e-12)
    assert (found - attribute(GradCAM("2"), wide, WIDE, LABEL)).abs().max() > 1e-3


@pytest.mark.parametrize("score", ["logit", "probability", "loss"])
def test_the_signed_map_of_the_input_sums_to_mean_gradient_times_image(wide, score):
    """At a layer that returns the image, the weights are the mean input gradient of the score."""
    network = curved(nn.Sequential(nn.Identity(), *wide))
    leaf = WIDE.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(class_score(network(leaf), LABEL, score).sum(), leaf)
    expected = (gradient.mean(dim=(2, 3), keepdim=True) * WIDE).sum(dim=1, keepdim=True)
    found = attribute(GradCAM("0", score, rectify=False), network, WIDE, LABEL)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


ZEROS = (
    r"^Expected a gradient at the layer, but got only zeros for {} images\. Their maps are zero\. "
    r"Name an earlier `layer`\.$"
)


@pytest.mark.parametrize("rows", [[], [0], [0, 2], [0, 1, 2, 3]])
def test_zero_gradients_give_a_zero_map_and_one_warning(wide, rows):
    with torch.no_grad():
        wide[-1].weight[rows] = 0
    dead = torch.isin(LABEL, torch.tensor(rows, dtype=torch.int64))
    method = GradCAM(rectify=False)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = attribute(method, wide, WIDE, LABEL)
    assert [re.match(ZEROS.format(f"{len(rows)} of 4"), str(each.message)) is None for each in caught] == (
        [False] if rows else []
    )
    assert torch.equal(found.eq(0).flatten(1).all(dim=1), dead)


def test_a_map_that_only_the_rectification_makes_zero_is_no_zero_gradient(wide):
    nn.init.constant_(wide[-1].weight, -1.0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert attribute(GradCAM(), wide, WIDE, LABEL).eq(0).all()
        assert attribute(GradCAM(rectify=False), wide, WIDE, LABEL).amin() < -1e-2


@pytest.mark.parametrize("layer", ["blocks.1", "norm"])
def test_patches_that_only_the_class_token_follows_get_a_warning(layer):
    torch.manual_seed(0)
    model = timm.create_model(
        "vit_tiny_patch16_224", pretrained=False, img_size=64, num_classes=10, depth=2
    ).eval()
    image, target = torch.rand(2, 3, 64, 64), torch.tensor([4, 9])
    with pytest.warns(UserWarning, match=ZEROS.format("2 of 2")) as caught:
        found = attribute(GradCAM(layer, rectify=False), model, image, target)
    assert len(caught) == 1
    assert not found.any()


def test_no_images(wide):
    assert attribute(GradCAM(), wide, WIDE[:0], LABEL[:0]).shape == (0, 1, 7, 12)


def test_every_field_matters(wide):
    changes = {"layer": "1", "score": "loss", "rectify": False}
    assert_every_field_matters(GradCAM(), changes, lambda method: attribute(method, wide, WIDE, LABEL))


def test_refuses_an_unknown_score():
    with pytest.raises(ValueError, match="Expected `score` as logit, probability or loss, but got margin"):
        GradCAM(score="margin")


def test_refuses_a_layer_that_does_not_lead_to_the_logits(wide):
    class Auxiliary(nn.Module):
        def __init__(self):
            super().__init__()
            self.wide, self.aside = wide, nn.Conv2d(3, 2, 1).double()

        def forward(self, image):
            self.aside(image)
            return self.wide(image)

    with pytest.raises(
        ValueError, match=r"Expected `layer` aside to lead to the logits, but it does not. Name"
    ):
        attribute(GradCAM("aside"), Auxiliary(), WIDE, LABEL)


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        ("7", "Expected `layer` as the name of a module, but got '7'"),
        ("5", r"or \(N, T, D\), but got \(4, 6\)"),
    ],
)
def test_refuses_a_layer_without_a_map(wide, layer, message):
    with pytest.raises(ValueError, match=message):
        attribute(GradCAM(layer), wide, WIDE, LABEL)
