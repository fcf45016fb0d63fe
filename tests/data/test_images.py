import numpy as np
import pytest
import torch

from lit_xai.data.images import Images, LabelledImages


def numbered(size: int) -> Images:
    pixels = np.arange(size, dtype=np.uint8).reshape(size, 1, 1, 1)
    return Images.from_bytes(pixels, np.arange(size) % 3)


def test_selected_images_are_numbered_anew_in_the_order_given():
    chosen = numbered(9).select([7, 2])
    assert len(chosen) == 2
    assert (chosen[0].image * 255).round().item() == 7
    assert [chosen[0].label.item(), chosen[1].label.item()] == [1, 2]
    assert [chosen[place].sample_id.item() for place in range(2)] == [0, 1]


def test_the_first_images_share_memory():
    images = numbered(9)
    assert images.first(4).pixels.data_ptr() == images.pixels.data_ptr()
    assert torch.equal(images.first(4).pixels, images.select(range(4)).pixels)


def test_the_digest_depends_on_what_is_selected_and_its_order():
    images = numbered(9)
    found = {images.select(chosen).digest() for chosen in ([0, 1], [1, 0], [0, 1, 2], [0, 2])}
    assert len(found) == 4
    assert images.first(2).digest() in found


def test_an_image_data_set_has_to_say_how_it_is_read():
    with pytest.raises(TypeError, match="abstract"):
        LabelledImages()
