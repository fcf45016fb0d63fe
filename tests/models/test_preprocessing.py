import math

import numpy as np
import pytest
import timm
import torchvision
from PIL import Image
from timm.data import create_transform, resolve_data_config
from timm.models import PretrainedCfg

from lit_xai.models.preprocessing import Preprocessing, released_preprocessing, resized_for, share_of


@pytest.fixture(scope="module")
def picture():
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (181, 260, 3), dtype=np.uint8))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("resnet18.a1_in1k", Preprocessing(224, 235, "bicubic")),
        ("tf_efficientnet_lite0", Preprocessing(224, 256, "bicubic")),
        ("vit_tiny_patch16_224", Preprocessing(224, 248, "bicubic")),
        ("eva02_tiny_patch14_336.mim_in22k_ft_in1k", Preprocessing(336, 336, "bicubic")),
        # Both sides are resized to a square, out of which the centre is cut.
        ("coat_lite_medium_384.in1k", Preprocessing(384, 384, "bicubic", squash=True)),
        ("dm_nfnet_f0.dm_in1k", Preprocessing(192, 213, "bicubic", squash=True)),
    ],
)
def test_a_network_of_timm_gets_the_squares_of_its_own_transform(name, expected, picture):
    found = released_preprocessing(f"timm/{name}")
    assert found == expected
    config = resolve_data_config(pretrained_cfg=timm.get_pretrained_cfg(name).to_dict())
    transform = create_transform(**{**config, "mean": (0, 0, 0), "std": (1, 1, 1)})
    reference = (transform(picture).numpy() * 255).round().astype(np.uint8)
    assert np.array_equal(np.array(found(picture)).transpose(2, 0, 1), reference)


@pytest.mark.parametrize(("name", "resize"), [("resnet18", 256), ("resnet50", 232), ("swin_v2_t", 260)])
def test_a_network_of_torchvision_gets_the_squares_of_its_own_transform(name, resize, picture):
    found = released_preprocessing(f"torchvision/{name}")
    assert found.resize == resize
    transform = torchvision.models.get_model_weights(name).DEFAULT.transforms(mean=(0, 0, 0), std=(1, 1, 1))
    reference = (transform(picture).numpy() * 255).round().astype(np.uint8)
    assert np.array_equal(np.array(found(picture)).transpose(2, 0, 1), reference)


def test_a_square_is_cut_out_of_the_centre_of_the_shorter_side():
    pixels = np.zeros((10, 20, 3), np.uint8)
    pixels[3:7, 8:12] = 200
    square = np.array(Preprocessing(4, 10)(Image.fromarray(pixels)))
    assert square.shape == (4, 4, 3)
    assert square.min() == 200
    # A side that is too short is filled with black.
    assert np.array(Preprocessing(12, 10, "nearest")(Image.fromarray(pixels + 1)))[0].max() == 0


def test_both_sides_become_as_long_where_the_picture_is_squashed():
    pixels = np.zeros((10, 20, 3), np.uint8)
    pixels[:, :10] = 200
    square = np.array(Preprocessing(6, 8, "nearest", squash=True)(Image.fromarray(pixels)))
    assert square[..., 0].tolist() == [[200] * 3 + [0] * 3] * 6


def test_a_network_of_timm_without_settings_has_timms_own(monkeypatch):
    monkeypatch.setitem(timm.models._registry._model_entrypoints, "own_network", None)
    assert released_preprocessing("timm/own_network") == Preprocessing(224, 256, "bicubic")
    settings = PretrainedCfg(input_size=(3, 64, 64), interpolation="random", crop_pct=0.5)
    monkeypatch.setattr(timm, "get_pretrained_cfg", lambda name: settings)
    assert released_preprocessing("timm/own_network") == Preprocessing(64, 128, "bilinear")


@pytest.mark.parametrize(
    ("settings", "found"),
    [
        (PretrainedCfg(input_size=(3, 64, 64), crop_mode="border"), "cut by border"),
        (PretrainedCfg(input_size=(3, 1024, 768)), "made for 1024 x 768 pixels"),
    ],
)
def test_what_is_no_square_from_the_centre_is_refused(settings, found, monkeypatch):
    monkeypatch.setattr(timm, "get_pretrained_cfg", lambda name: settings)
    with pytest.raises(ValueError, match=rf"from the centre, but got resnet18, .*{found}.*Set `size`"):
        released_preprocessing("timm/resnet18")


def test_the_share_gives_timm_the_same_side_again():
    # timm: floor(size / crop_pct).
    pairs = [(size, resize) for size in range(16, 513) for resize in range(size, 2 * size, 7)]
    pairs += [(size, resize) for size in range(16, 65) for resize in range(size, 2 * size)]
    lost = [(size, resize) for size, resize in pairs if math.floor(size / (size / resize)) != resize]
    assert lost
    for size, resize in pairs:
        share = share_of(size, resize)
        assert math.floor(size / share) == resize
        assert share == pytest.approx(size / resize, rel=1e-15)


def test_the_square_is_the_usual_share():
    assert [resized_for(224), resized_for(224, 0.95), resized_for(32)] == [256, 235, 36]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": 0}, "Expected `size` of at least 1, but got 0"),
        ({"resize": -1}, "Expected `resize` of at least 1, but got -1"),
        (
            {"interpolation": "cubic"},
            "Expected `interpolation` as nearest, bilinear, bicubic, lanczos, but got cubic",
        ),
    ],
)
def test_refuses_options_out_of_range(options, message):
    with pytest.raises(ValueError, match=message):
        Preprocessing(**{"size": 4, "resize": 4, **options})


@pytest.mark.parametrize(
    ("network", "message"),
    [
        ("resnet18", "Expected `network` as timm/NAME or torchvision/NAME, but got resnet18"),
        ("timm/resnet81", r"Expected `network` as timm/NAME .*, but got resnet81\. Did you mean resnet"),
        ("torchvision/resnet19", r"as torchvision/NAME .*, but got resnet19\. Did you mean resnet"),
        ("timm/hf-hub:user/net", "but got hf-hub:user/net"),
        (
            "timm/resnet18.a1_in1",
            r"as timm/NAME .*, but got resnet18\.a1_in1\. Did you mean resnet18\.a1_in1k",
        ),
        ("timm/resnet18.none", r"Expected `network` as timm/NAME .*, but got resnet18\.none\."),
    ],
)
def test_an_unknown_network_is_refused(network, message):
    with pytest.raises(ValueError, match=message):
        released_preprocessing(network)
