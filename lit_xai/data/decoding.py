"""Pictures of the user's, decoded to RGB, or refused by name."""

from pathlib import Path

from PIL import Image

# Pillow cuts what does not fit into 8 bits, without a word.
_DEEP_MODES = ("I", "F")
_NAMES = {"L": "gray"}
_DEEP_LAYOUT = ";16B"
_TIFF_BITS = 258


def read_rgb(
    path: Path, remedy: str = "Replace the file, or take it out.", bands: tuple[str, ...] = ()
) -> Image.Image:
    """Read a picture as torchvision's `ImageFolder` does: whatever its kind is, it is converted to RGB.

    Gray, palettes and the inks of a print (CMYK) are converted as Pillow does it; what is transparent shows
    the colour that is stored under it. A picture is not turned as its EXIF entry says.

    Args:
        path: The file.
        remedy: Said of a file that is missing or no picture.
        bands: Kinds of pictures that are taken, `RGB` and `L`, gray, for example; all if empty.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no whole picture, one of more than 8 bits for each channel, or of another kind.
    """
    if not path.is_file():
        raise FileNotFoundError(f"Expected a picture, but got {path}, which does not exist. {remedy}")
    try:
        with Image.open(path) as picture:
            # Reading the pixels forgets how they were stored.
            stored, kind = _stored(picture), "".join(picture.getbands())
            converted = picture.convert("RGB")
    # Decoders raise many kinds of errors on bytes that are no picture.
    except Exception as error:
        raise ValueError(f"Expected a picture, but got {path}: {one_line(error)}. {remedy}") from error
    if stored.startswith(_DEEP_MODES) or stored.endswith(_DEEP_LAYOUT):
        raise ValueError(
            f"Expected a picture of 8 bits for each channel, but got mode {stored} in {path}. Convert it."
        )
    if bands and kind not in bands:
        named = " or ".join(_NAMES.get(band, band) for band in bands)
        raise ValueError(f"Expected a picture in {named}, but got {kind} in {path}. Convert it.")
    return converted


def _stored(picture: Image.Image) -> str:
    """Return a picture's mode, or how its file stores the channels if that is deeper."""
    # Pillow reads the channels of a TIFF that lie apart as if they had 8 bits.
    bits = max(getattr(picture, "tag_v2", {}).get(_TIFF_BITS, (1,)))
    if bits > 8 and not picture.mode.startswith(_DEEP_MODES):
        return picture.mode + _DEEP_LAYOUT
    for tile in getattr(picture, "tile", ()):
        layout, *rest = tile[3] if isinstance(tile[3], tuple) else (tile[3],)
        if tile[0].startswith("ppm") and rest and rest[0] > 255:
            return f"{layout}{_DEEP_LAYOUT}"
        if str(layout).endswith(_DEEP_LAYOUT):
            return str(layout)
    return picture.mode


def one_line(error: Exception) -> str:
    """Return an error's message on one short line."""
    return (" ".join(str(error).split()) or type(error).__name__)[:120].rstrip(".")
