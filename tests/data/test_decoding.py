import struct
import zlib

import numpy as np
import pytest
from PIL import Image
from torchvision.datasets.folder import default_loader

from lit_xai.data.decoding import one_line, read_rgb


def kinds():
    pixels = np.random.default_rng(1).integers(0, 256, (6, 5, 4), dtype=np.uint8)
    colors = Image.fromarray(pixels[..., :3])
    turned = Image.Exif()
    turned[0x0112] = 6
    return {
        "rgb.png": (colors, {}),
        "gray.png": (colors.convert("L"), {}),
        "bits.png": (colors.convert("1"), {}),
        "palette.png": (colors.convert("P"), {"transparency": 3}),
        "see_through.png": (Image.fromarray(pixels, "RGBA"), {}),
        "gray_see_through.png": (Image.fromarray(pixels[..., :2], "LA"), {}),
        "print.jpg": (Image.fromarray(pixels, "CMYK"), {}),
        "turned.jpg": (colors, {"exif": turned}),
        "UPPER.JPEG": (colors, {}),
        "bitmap.bmp": (colors, {}),
        "portable.ppm": (colors, {}),
        "web.webp": (colors, {"lossless": True}),
        "tagged.tiff": (colors, {}),
    }


@pytest.mark.filterwarnings("ignore:.*mode.*parameter is deprecated:DeprecationWarning")
@pytest.mark.parametrize("name", kinds())
def test_every_kind_of_picture_is_read_as_torchvision_reads_it(name, tmp_path):
    picture, options = kinds()[name]
    picture.save(tmp_path / name, **options)
    found = np.array(read_rgb(tmp_path / name))
    assert found.shape == (6, 5, 3)
    assert np.array_equal(found, np.array(default_loader(tmp_path / name)))
    if name in ("rgb.png", "UPPER.JPEG", "see_through.png"):
        difference = found.astype(int) - np.array(picture)[..., :3]
        assert abs(difference).max() == 0 if name.endswith("png") else abs(difference).mean() < 40


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "cannot identify"),
        (b"\x89PNG\r\n\x1a\n" + b"\0" * 40, "broken PNG|cannot identify"),
        (b"P6 4 4 255\n" + bytes(40), "not enough image data|truncated"),
        (b"<html>not found</html>", "cannot identify"),
    ],
)
def test_a_damaged_picture_is_named_in_one_line(content, message, tmp_path):
    path = tmp_path / "one.png"
    path.write_bytes(content)
    with pytest.raises(
        ValueError, match=rf"^Expected a picture, but got \S*one\.png: .*({message})"
    ) as error:
        read_rgb(path)
    assert "\n" not in str(error.value)
    assert str(error.value).endswith("Replace the file, or take it out.")


def test_a_truncated_picture_is_refused(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    for name in ("one.jpg", "one.png"):
        path = tmp_path / name
        Image.fromarray(pixels).save(path)
        path.write_bytes(path.read_bytes()[:-1000])
        with pytest.raises(ValueError, match=r"^Expected a picture, but got .*truncated"):
            read_rgb(path)


def test_a_missing_picture_and_one_of_many_bits_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"^Expected a picture, but got \S*none\.png, which does not"):
        read_rgb(tmp_path / "none.png")
    Image.fromarray(np.full((4, 4), 300, np.uint16)).save(tmp_path / "deep.png")
    with pytest.raises(ValueError, match=r"8 bits for each channel, but got mode I\S* in \S*deep\.png"):
        read_rgb(tmp_path / "deep.png")
    for kind, mode in {np.uint16: "I;16", np.int32: "I", np.float32: "F"}.items():
        Image.fromarray(np.full((4, 4), 300, kind)).save(tmp_path / "deep.tif")
        with pytest.raises(ValueError, match=rf"8 bits for each channel, but got mode {mode} in \S*deep"):
            read_rgb(tmp_path / "deep.tif")


def deep(pixels: np.ndarray, kind: int) -> bytes:
    """Return a PNG of 16 bits, (H, W, channels); kind: 2 is RGB, 4 gray and 6 RGB with transparency."""
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    header = struct.pack(">IIBBBBB", pixels.shape[1], pixels.shape[0], 16, kind, 0, 0, 0)
    result = b"\x89PNG\r\n\x1a\n"
    for name, data in ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")):
        result += struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
    return result


@pytest.mark.parametrize(("kind", "channels"), [(2, 3), (4, 2), (6, 4)])
def test_colours_of_sixteen_bits_are_refused(kind, channels, tmp_path):
    path = tmp_path / "deep.png"
    pixels = np.random.default_rng(0).integers(0, 65536, (4, 5, channels))
    path.write_bytes(deep(pixels, kind))
    with Image.open(path) as picture:
        # What would be read without a word.
        assert np.array_equal(np.array(picture)[..., 0], pixels[..., 0] >> 8)
    with pytest.raises(
        ValueError, match=r"^Expected a picture of 8 bits .*;16B in \S*deep\.png\. Convert it"
    ):
        read_rgb(path)


def tagged(pixels: np.ndarray, order: str, planes: bool) -> bytes:
    """Return a TIFF of 16 bits, (H, W, 3), in an order of bytes, the channels apart (`planes`) or not."""
    height, width, _ = pixels.shape
    rows = pixels.transpose(2, 0, 1) if planes else pixels
    data = rows.astype(f"{order}u2").tobytes()
    parts = 3 if planes else 1
    # The entries, then three depths, places and lengths, then the pixels.
    after = 8 + 2 + 12 * 10 + 4
    first = after + 30
    fields = [
        (256, 3, 1, width), (257, 3, 1, height), (258, 3, 3, after), (259, 3, 1, 1), (262, 3, 1, 2),
        (273, 4, parts, after + 6 if planes else first), (277, 3, 1, 3), (278, 3, 1, height),
        (279, 4, parts, after + 18 if planes else len(data)), (284, 3, 1, 1 + planes),
    ]  # fmt: skip
    result = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}IH", 8, len(fields))
    for tag, kind, count, value in fields:
        short = kind == 3 and count == 1
        result += struct.pack(f"{order}HHI{'HH' if short else 'I'}", tag, kind, count, value, *[0] * short)
    places = [first + part * len(data) // 3 for part in range(3)]
    result += struct.pack(f"{order}I3H6I", 0, 16, 16, 16, *places, *[len(data) // 3] * 3)
    return result + data


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("planes", [False, True])
def test_a_tagged_picture_of_sixteen_bits_is_refused(order, planes, tmp_path):
    path = tmp_path / "deep.tif"
    pixels = np.random.default_rng(0).integers(0, 65536, (4, 5, 3))
    path.write_bytes(tagged(pixels, order, planes))
    with Image.open(path) as picture:
        assert (picture.mode, picture.size) == ("RGB", (5, 4))
        # What would be read without a word: the upper bytes, or something else.
        assert np.array_equal(np.array(picture), pixels >> 8) != planes
    with pytest.raises(ValueError, match=r"^Expected a picture of 8 bits .* got mode RGB;16B in \S*deep"):
        read_rgb(path)


def test_a_portable_picture_of_sixteen_bits_is_refused(tmp_path):
    path = tmp_path / "deep.ppm"
    path.write_bytes(b"P6\n5 4\n65535\n" + bytes(120))
    with pytest.raises(ValueError, match="of 8 bits for each channel"):
        read_rgb(path)
    path.write_bytes(b"Pf\n5 4\n-1.0\n" + bytes(80))
    with pytest.raises(ValueError, match="of 8 bits for each channel, but got mode F in"):
        read_rgb(path)
    path.write_bytes(b"P6\n5 4\n100\n" + bytes([100] * 60))
    assert np.array(read_rgb(path)).min() == 255


def test_kinds_may_be_chosen(tmp_path):
    path = tmp_path / "one.png"
    Image.new("RGBA", (3, 3)).save(path)
    assert read_rgb(path, bands=("RGB", "RGBA")).mode == "RGB"
    with pytest.raises(ValueError, match=r"^Expected a picture in RGB or gray, but got RGBA in \S*one\.png"):
        read_rgb(path, bands=("RGB", "L"))


def test_a_message_is_one_short_line():
    assert one_line(ValueError("a\n  b.")) == "a b"
    assert one_line(KeyError()) == "KeyError"
    assert len(one_line(ValueError("long " * 100))) == 120
