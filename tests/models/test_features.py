import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import pytest
import timm
import torch
import torchvision
from timm.layers import GatedMlp
from timm.models.mlp_mixer import Affine, ResBlock, SpatialGatingBlock
from torch import nn

from lit_xai.gate import evaluating
from lit_xai.models.features import activation_at, token_grid
from lit_xai.models.softplus import SoftplusTwin
from tests.conftest import tiny_batch, tiny_network
from tests.contracts import Untouched

IMAGE = torch.rand(3, 2, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


class Block(nn.Module):
    """A residual block that writes over the output of its batch norm, as torchvision's does."""

    def __init__(self, in_place: bool = True, last: str = "bn") -> None:
        super().__init__()
        torch.manual_seed(0)
        self.last = last
        self.conv, self.bn = nn.Conv2d(2, 2, 3, padding=1), nn.BatchNorm2d(2)
        self.skip, self.relu, self.head = nn.Identity(), nn.ReLU(in_place), nn.Linear(128, 4)
        self.in_place, self.kept = in_place, {}
        nn.init.normal_(self.bn.weight)
        self.double().eval()

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        if self.last == "bn":
            skipped = self._skipped(image)
        self.kept["conv"] = self.conv(image)
        self.kept["relu"] = self.relu(self.kept["conv"] if self.in_place else self.kept["conv"] * 1)
        y = self.kept["bn"] = self.bn(self.kept["relu"])
        if self.last == "skip":
            skipped = self._skipped(image)
        if self.in_place:
            y += skipped
            y.mul_(image)
        else:
            y = (y + skipped) * image
        return self.head(y.flatten(1))

    def _skipped(self, image: torch.Tensor) -> torch.Tensor:
        self.kept["skip"] = self.skip(image) if self.in_place else image * 1
        return self.kept["skip"]


class Chain(nn.Sequential):
    """Modules in a row, in double precision, with fixed weights."""

    def __init__(self, *modules: nn.Module) -> None:
        super().__init__(*modules)
        generator = torch.Generator().manual_seed(1)
        for parameter in self.double().parameters():
            nn.init.normal_(parameter, std=0.3, generator=generator)


class Attention(nn.Module):
    """Self-attention whose queries pass through a module as (N, heads, T, d)."""

    def __init__(self, batch_first: bool = True) -> None:
        super().__init__()
        self.qkv, self.query, self.batch_first = nn.Linear(2, 6), nn.Identity(), batch_first

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        query, key, value = self.qkv(tokens).unsqueeze(1).chunk(3, dim=3)
        return ((self.query(query) @ key.transpose(2, 3)).softmax(dim=3) @ value).squeeze(1)


class Tokens(nn.Module):
    """Turn (N, F, h, w) into tokens."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return image.flatten(2).transpose(1, 2)


class Heads(Attention):
    """Self-attention under another name."""


class Transformer(nn.Module):
    """Patches, a layer norm, attention and a residual connection, in the ways that networks do it."""

    def __init__(self, attention: nn.Module, windows: int = 1, in_place: bool = False) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.patch, self.tokens = nn.Conv2d(2, 2, 2, stride=2), Tokens()
        self.norm, self.attention, self.head = nn.LayerNorm(2), attention, nn.Linear(2, 4)
        self.windows, self.in_place = windows, in_place
        self.double()

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        tokens = self.tokens(self.patch(image))
        normed = self.norm(tokens).unflatten(1, (self.windows, -1)).flatten(0, 1)
        attended = self.attention(normed)
        if self.in_place:
            normed += 1
            attended = attended + normed
        return self.head((tokens + attended.reshape(tokens.shape)).mean(dim=1))


def gradient_of(logits, activation, index=1):
    return torch.autograd.grad(logits[:, index].square().sum(), activation)[0]


def hooks(model):
    return sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules())


@pytest.mark.parametrize(
    ("layer", "last"),
    [("conv", "bn"), ("relu", "bn"), ("bn", "bn"), ("skip", "bn"), (None, "bn"), (None, "skip")],
)
def test_the_output_is_the_layers_own_where_the_network_writes_over_it(layer, last):
    image = IMAGE.clone().requires_grad_()
    plain = Block(in_place=False)
    expected = plain(image)
    logits, activation = activation_at(Block(last=last), image, layer)
    torch.testing.assert_close(logits, expected, rtol=0, atol=1e-12)
    own = plain.kept[layer or last]
    torch.testing.assert_close(activation, own, rtol=0, atol=1e-12)
    found, wanted = gradient_of(logits, activation), gradient_of(expected, own)
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-12)
    assert wanted.abs().max() > 1e-2


@pytest.mark.parametrize("layer", [None, "features.3"])
def test_the_network_is_left_as_it_was(layer):
    model, batch = tiny_network(), tiny_batch()
    with Untouched(model, batch.image):
        logits, _ = activation_at(model, batch.image, layer)
        assert hooks(model) == 0
        assert torch.equal(logits, model(batch.image))


def test_the_network_runs_once():
    model, passes = tiny_network(), []
    model.register_forward_pre_hook(lambda *_: passes.append(1))
    for layer in (None, "features.3"):
        activation_at(model, tiny_batch().image, layer)
    assert len(passes) == 2


@pytest.mark.parametrize("layer", ["features.3", "features"])
def test_names_refer_to_the_network_inside_a_twin(layer):
    model, image = tiny_network(), tiny_batch().image
    twin = SoftplusTwin(SoftplusTwin(model, 5.0), 2.0)
    logits, activation = activation_at(twin, image, layer)
    assert torch.equal(logits, twin(image))
    assert (activation - activation_at(model, image, layer)[1]).abs().max() > 1e-3
    assert torch.equal(activation_at(twin, image, None)[1], activation_at(twin, image, "features.5")[1])


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (
            "convs",
            r"^Expected `layer` as the name of a module, but got 'convs'. Did you mean conv\? `dict\(mod",
        ),
        (
            "",
            r"^Expected `layer` as the name of a module, but got ''\. `dict\(model\.named_modules\(\)\)` li",
        ),
        (
            "unused",
            "^Expected `layer` unused to run once in a pass, but it ran 0 times. Name a layer that runs",
        ),
        (
            "twice",
            "^Expected `layer` twice to run once in a pass, but it ran 2 times. Name a layer",
        ),
        ("pair", "^Expected `layer` pair to return a tensor, but got a tuple. Name a layer inside it.$"),
    ],
)
def test_refuses_a_layer(layer, message):
    class Pair(nn.Module):
        def forward(self, image):
            return image, image

    class Network(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.pair, self.unused, self.twice = nn.Conv2d(2, 4, 8), Pair(), nn.ReLU(), nn.ReLU()

        def forward(self, image):
            return self.twice(self.twice(self.conv(self.pair(image)[0].float()))).flatten(1)

    model = Network()
    with pytest.raises(ValueError, match=message) as error:
        activation_at(model, IMAGE, layer)
    assert "\n" not in str(error.value)
    assert hooks(model) == 0


def test_an_error_in_the_network_leaves_no_hook():
    model = tiny_network()
    for layer in (None, "features.3"):
        with pytest.raises(RuntimeError, match="channels"):
            activation_at(model, IMAGE[:, :1], layer)
        assert hooks(model) == 0


class TokensFirst(nn.Module):
    """Turn (N, F, h, w) into tokens that come before the samples."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return image.flatten(2).permute(2, 0, 1)


class Mean(nn.Module):
    """Average over one dimension."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return tokens.mean(dim=self.dim)


class Gate(nn.Module):
    """Scale the channels by a module's output of shape (N, 1, F), as efficient channel attention does."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.head = nn.Conv1d(1, 1, 3, padding=1), nn.Linear(3, 4)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        pooled = image.mean(dim=(2, 3))
        return self.head(pooled * self.conv(pooled[:, None])[:, 0].sigmoid())


PAIR, CLASSES = nn.Conv2d(2, 3, 3), nn.Conv2d(3, 4, 3)
LAST = {
    "before the flattening": (Chain(PAIR, nn.ReLU(), nn.Flatten(), nn.Linear(108, 4)), "1"),
    "before the class scores": (Chain(PAIR, nn.ReLU(), CLASSES, nn.AvgPool2d(4), nn.Flatten()), "1"),
    "before the rectified class scores": (
        Chain(PAIR, nn.ReLU(), CLASSES, nn.LeakyReLU(), nn.AvgPool2d(4), nn.Flatten()),
        "1",
    ),
    "before the class scores whose maximum counts": (
        Chain(PAIR, nn.ReLU(), CLASSES, nn.MaxPool2d(4), nn.Flatten()),
        "1",
    ),
    "as many channels as classes": (
        Chain(PAIR, CLASSES, nn.Tanh(), nn.AvgPool2d(4), nn.Flatten(), nn.Linear(4, 4)),
        "2",
    ),
    "no other number of channels": (Chain(nn.Conv2d(2, 4, 3), nn.Flatten(), nn.Linear(144, 4)), "0"),
    "before a gate of the channels": (Chain(PAIR, nn.ReLU(), Gate()), "1"),
    "before the pooling to one place": (
        Chain(PAIR, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 4)),
        "1",
    ),
    "a container": (Chain(nn.Sequential(PAIR, nn.ReLU(inplace=True)), nn.Flatten(), nn.Linear(108, 4)), "0"),
    "no map larger than the image": (
        Chain(PAIR, nn.Upsample(scale_factor=2), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 4)),
        "0",
    ),
    "a map after the tokens": (
        Chain(Tokens(), Attention(), nn.Unflatten(1, (8, 8)), nn.Flatten(), nn.Linear(128, 4)),
        "2",
    ),
}


@pytest.mark.parametrize("case", LAST)
def test_the_default_is_the_last_feature_map(case):
    model, layer = LAST[case]
    logits, activation = activation_at(model, IMAGE, None)
    expected, named = activation_at(model, IMAGE, layer)
    assert torch.equal(logits, expected)
    assert torch.equal(activation, named)
    found, wanted = gradient_of(logits, activation), gradient_of(expected, named)
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("size", "layer"),
    [((2, 32), "0"), ((32, 3), "0"), ((4, 16), "1"), ((16, 4), "1"), ((1, 32), "1"), ((32, 1), "1")],
)
def test_a_map_far_narrower_than_the_image_is_none_unless_it_is_a_single_row(size, layer):
    places = size[0] * size[1]
    model = Chain(nn.Conv2d(2, 3, 8, stride=8), nn.Upsample(size), nn.Flatten(), nn.Linear(3 * places, 4))
    image = torch.rand(2, 2, 32, 32, dtype=torch.float64)
    assert torch.equal(activation_at(model, image, None)[1], activation_at(model, image, layer)[1])


def test_the_last_map_may_lie_in_a_block_whose_output_has_one_place():
    model = Chain(PAIR, nn.Sequential(nn.ReLU(), nn.Conv2d(3, 5, 6)), nn.Flatten(), nn.Linear(5, 4))
    assert torch.equal(activation_at(model, IMAGE, None)[1], activation_at(model, IMAGE, "1.0")[1])


@pytest.mark.parametrize("attention", [Attention(), nn.MultiheadAttention(2, 1, batch_first=True)])
def test_the_default_of_a_network_of_tokens_is_what_its_last_attention_sees(attention):
    if isinstance(attention, nn.MultiheadAttention):
        inner = attention

        class SelfAttention(nn.Module):
            def __init__(self):
                super().__init__()
                self.inner = inner

            def forward(self, tokens):
                return self.inner(query=tokens, key=tokens, value=tokens)[0]

        attention = SelfAttention()
    model = Transformer(attention)
    logits, activation = activation_at(model, IMAGE, None)
    expected, named = activation_at(model, IMAGE, "norm")
    assert activation.shape == (3, 16, 2)
    assert torch.equal(activation, named)
    found, wanted = gradient_of(logits, activation), gradient_of(expected, named)
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-12)
    assert wanted.abs().max() > 1e-3


@pytest.mark.parametrize(
    "model",
    [
        Transformer(Attention(), windows=2),
        Transformer(Attention(batch_first=False)),
        Transformer(Attention(), in_place=True),
        Transformer(nn.Linear(2, 2)),
        Transformer(Heads()),
        Chain(Tokens(), nn.Linear(2, 4), Mean(1)),
        Chain(PAIR, nn.AdaptiveAvgPool2d((1, 2)), Tokens(), Mean(1), nn.Linear(3, 4)),
        Chain(PAIR, TokensFirst(), Mean(0), nn.Linear(3, 4)),
    ],
    ids=[
        "tokens of windows",
        "tokens first",
        "tokens written over",
        "tokens without attention",
        "attention by another name",
        "no patches",
        "two tokens",
        "tokens first without attention",
    ],
)
@pytest.mark.parametrize("samples", [1, 2, 3])
def test_a_network_of_tokens_is_refused_without_attention_to_those_of_each_image(model, samples):
    message = r"^Expected attention in a network of tokens, .* Name a `layer`: `dict"
    with pytest.raises(ValueError, match=message):
        activation_at(model, IMAGE[:samples], None)
    assert hooks(model) == 0


@pytest.mark.parametrize(
    "model",
    [Chain(nn.Flatten(), nn.Linear(128, 4)), Chain(nn.Conv2d(2, 4, 3), nn.AvgPool2d(6), nn.Flatten())],
    ids=["no map", "class scores only"],
)
def test_a_network_without_features_is_refused(model):
    with pytest.raises(
        ValueError, match=r"^Expected a network with a feature map or tokens, .* Name a `layer`"
    ):
        activation_at(model, IMAGE, None)
    assert hooks(model) == 0


NAMELESS = {
    "cait": (timm.models.Cait, {"patch_size": 16, "depth": 2, "num_heads": 4}),
    "convit": (timm.models.ConVit, {"patch_size": 16, "depth": 2, "local_up_to_layer": 1, "num_heads": 4}),
    "mixer": (timm.models.MlpMixer, {"num_blocks": 2}),
    "resmlp": (
        timm.models.MlpMixer,
        {"num_blocks": 2, "block_layer": ResBlock, "norm_layer": Affine, "mlp_ratio": 4},
    ),
    "gmlp": (
        timm.models.MlpMixer,
        {"num_blocks": 2, "block_layer": SpatialGatingBlock, "mlp_layer": GatedMlp, "mlp_ratio": 4},
    ),
}


@pytest.mark.parametrize("name", NAMELESS)
def test_no_attention_weights_and_no_patch_embedding_pass_for_the_last_features(name):
    """Their attention modules are named otherwise, or there are none."""
    network, options = NAMELESS[name]
    model = network(img_size=64, embed_dim=32, num_classes=10, **options).eval()
    image = torch.rand(2, 3, 64, 64)
    message = r"^Expected attention in a network of tokens, .* sees the tokens of each image\. Name a `layer`"
    with pytest.raises(ValueError, match=message):
        activation_at(model, image, None)
    tokens = activation_at(model, image, "blocks.1")[1]
    assert token_grid(tokens, image).shape == (2, tokens.shape[2], 4, 4)


def test_the_default_of_a_swin_transformer_is_what_its_last_window_attention_sees():
    model = timm.models.SwinTransformer(
        img_size=32, window_size=4, embed_dim=16, depths=(1, 2), num_heads=(1, 2), num_classes=10
    ).eval()
    image = torch.rand(2, 3, 32, 32)
    found = token_grid(activation_at(model, image, None)[1], image)
    expected = activation_at(model, image, "layers.1.blocks.1.norm1")[1].permute(0, 3, 1, 2)
    assert found.shape == (2, 32, 4, 4)
    assert torch.equal(found, expected)


def test_the_default_of_a_squeezenet_lies_before_its_class_scores():
    model = torchvision.models.squeezenet1_1(num_classes=10).eval()
    image = torch.rand(2, 3, 64, 64)
    assert torch.equal(activation_at(model, image, None)[1], activation_at(model, image, "features")[1])


@pytest.mark.parametrize("options", [{}, {"qk_norm": True}, {"reg_tokens": 4}])
def test_the_default_of_a_vision_transformer_is_the_last_first_norm(options):
    torch.manual_seed(0)
    model = timm.create_model(
        "vit_tiny_patch16_224", pretrained=False, img_size=64, num_classes=10, depth=2, **options
    )
    image = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    with evaluating(model):
        logits, activation = activation_at(model, image, None)
        expected, named = activation_at(model, image, "blocks.1.norm1")
        torch.testing.assert_close(logits, model(image), rtol=0, atol=1e-6)
    assert activation.shape == (2, 17 + options.get("reg_tokens", 0), 192)
    assert torch.equal(activation, named)
    found, wanted = gradient_of(logits, activation), gradient_of(expected, named)
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-9)
    assert token_grid(activation, image).shape == (2, 192, 4, 4)


@pytest.mark.parametrize("layer", [None, "features.3"])
def test_no_images(layer):
    logits, activation = activation_at(tiny_network(), torch.zeros(0, 2, 8, 8, dtype=torch.float64), layer)
    assert (logits.shape, activation.shape) == ((0, 4), (0, 4, 4, 4) if layer else (0, 4, 2, 2))


@pytest.mark.parametrize(
    ("size", "tokens", "grid"),
    [
        ((64, 64), 17, (4, 4)),
        ((64, 64), 16, (4, 4)),
        ((224, 224), 197, (14, 14)),
        ((224, 224), 261, (16, 16)),
        ((224, 224), 256 + 5, (16, 16)),
        ((32, 32), 5, (2, 2)),
        ((32, 64), 9 + 2, (2, 4)),
        ((48, 48), 9 + 4, (3, 3)),
        ((48, 32), 7, (3, 2)),
        ((45, 30), 6 + 8, (3, 2)),
        ((7, 14), 98, (7, 14)),
    ],
)
def test_tokens_lie_row_by_row_behind_the_first_ones(size, tokens, grid):
    activation = torch.arange(2 * tokens * 3).view(2, tokens, 3)
    found = token_grid(activation, torch.zeros(2, 1, *size))
    assert found.shape == (2, 3, *grid)
    prefix = tokens - grid[0] * grid[1]
    for row in range(grid[0]):
        for column in range(grid[1]):
            own = activation[:, prefix + row * grid[1] + column]
            assert torch.equal(found[:, :, row, column], own)


def test_no_tokens_lie_on_a_grid():
    assert token_grid(torch.zeros(0, 17, 3), torch.zeros(0, 1, 64, 64)).shape == (0, 3, 4, 4)


def test_a_feature_map_is_no_row_of_tokens():
    activation = torch.rand(2, 3, 4, 5)
    assert token_grid(activation, torch.zeros(2, 1, 8, 10)) is activation


@pytest.mark.parametrize(
    ("shape", "size", "message"),
    [
        (
            (2, 1, 3),
            (64, 64),
            "Expected tokens on one grid of square patches, but got 1 tokens for an image of 64",
        ),
        ((2, 3, 3), (64, 64), r"3 tokens for an image of 64 x 64, which fit none\. Name a `layer` that puts"),
        ((2, 4 + 9, 3), (22, 22), "but got 13 tokens for an image of 22 x 22, which fit none"),
        ((2, 9, 3), (48, 48), r"9 tokens for an image of 48 x 48, which fit 3 x 3 and 2 x 2\. Name a `lay"),
        ((2, 9, 3), (32, 64), "but got 9 tokens for an image of 32 x 64, which fit 2 x 4 and 1 x 2"),
        ((2, 5, 3), (7, 11), "but got 5 tokens for an image of 7 x 11"),
        (
            (2, 4),
            (8, 8),
            r"Expected an activation of shape \(N, F, h, w\) or \(N, T, D\), but got \(2, 4\) for 2",
        ),
        ((4, 4, 3), (8, 8), r"but got \(4, 4, 3\) for 2 images. Name another `layer`."),
    ],
)
def test_refuses_tokens_that_lie_on_no_grid(shape, size, message):
    with pytest.raises(ValueError, match=message):
        token_grid(torch.zeros(shape), torch.zeros(2, 1, *size))
