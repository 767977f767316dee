"""The one way from an image file to uint8 pixels, shared by the store and by prediction.

Every step depends on the file alone: EXIF orientation is applied, transparency is laid over white, wider samples are
scaled to 8 bits, and the shorter side is resized before the center is cropped. A box is cut out of the original pixels
before resizing and kept whole: its two sides are resized independently.
"""

import hashlib
import threading
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image, UnidentifiedImageError

from search_spaces.space.errors import InputError
from search_spaces.space.space import Variant

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff"})
"""Suffixes of the files that count as images when a folder is listed, in lower case."""

Box = Sequence[float]
"""x, y, width and height in pixels, of the upright image at full size."""

RESIZE_RULES: dict[Variant, str] = {
    "whole": "shorter side to the size, antialiased bilinear, centre crop",
    "box": "both sides to the size, antialiased bilinear",
}
"""The rules that make an image square: the edges of a photo rarely matter, those of a box do."""

# Only these of Pillow's many parsers may see a file, whatever its suffix.
_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF")

_GREY_MODES = frozenset({"1", "L", "LA", "La", "I", "F", "I;16", "I;16B", "I;16L", "I;16N"})

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class BrokenImageError(InputError):
    """A readable file that does not hold a whole image. The message is the reason."""


@dataclass(frozen=True, slots=True)
class Header:
    """The facts about an image known without decoding it: sides in pixels, and whether its mode is gray."""

    width: int
    height: int
    grey: bool


def decode(source: Path | str | bytes, size: int, channels: int, *, box: Box | None = None) -> npt.NDArray[np.uint8]:
    """Decode an image file, or its bytes, to uint8 (channels, size, size), cut to its box if there is one.

    Raises:
        BrokenImageError: if the content is not a whole image of a known format, or the box is not inside it.
        InputError: if the file cannot be read.
    """
    image = read_image(source)
    variant: Variant = "whole" if box is None else "box"
    return fit(in_channels(image if box is None else cut(image, box), channels), size, variant)


def read_header(source: Path | bytes) -> Header | None:
    """Read size and mode of an image file, or its bytes; None if broken, as decoding reports the reason later."""
    try:
        file = BytesIO(source) if isinstance(source, bytes) else source
        with _quiet_pillow, Image.open(file, formats=_FORMATS) as image:
            return Header(*image.size, grey=image.mode in _GREY_MODES)
    except Exception:  # see read_image
        return None


def read_image(source: Path | str | bytes) -> Image.Image:
    """Decode an image file, or its bytes, at full size: upright, opaque, of mode "L" or "RGB".

    Raises:
        BrokenImageError: if the content is not a whole image of a known format.
        InputError: if the file cannot be read.
    """
    # Reading is separate from decoding: a failing disk must not make good images count as broken.
    data = source if isinstance(source, bytes) else _read(source)
    try:
        with _quiet_pillow, Image.open(BytesIO(data), formats=_FORMATS) as image:
            image.load()
            return _opaque(_upright(image))
    except MemoryError:
        raise
    except UnidentifiedImageError as error:
        raise BrokenImageError("not an image of a known format") from error
    except Exception as error:  # Pillow's parsers may raise anything on damaged files
        raise BrokenImageError(str(error) or type(error).__name__) from error


def cut(image: Image.Image, box: Box) -> Image.Image:
    """Cut an image to its box, whose edges are rounded to whole pixels.

    Raises:
        BrokenImageError: if the box is empty or not inside the image.
    """
    edges = edges_of(box)
    if edges is None:
        raise BrokenImageError(f"its box {_text(box)} is not x, y, width and height of at least a pixel")
    left, top, right, bottom = edges
    if left < 0 or top < 0 or right > image.width or bottom > image.height:
        raise BrokenImageError(f"its box {_text(box)} is not inside the image of {image.width} x {image.height} pixels")
    return image.crop(edges)


def edges_of(box: Box) -> tuple[int, int, int, int] | None:
    """Return left, top, right and bottom of a box in whole pixels; None if the box is empty."""
    if len(box) != 4 or not np.isfinite(box).all():
        return None
    x, y, width, height = box
    left, top, right, bottom = round(x), round(y), round(x + width), round(y + height)
    return (left, top, right, bottom) if left < right and top < bottom else None


def in_channels(image: Image.Image, channels: int) -> Image.Image:
    """Convert an image to one channel (mode "L", luma) or three (mode "RGB")."""
    mode = "L" if channels == 1 else "RGB"
    return image if image.mode == mode else image.convert(mode)


def fit(image: Image.Image, size: int, variant: Variant) -> npt.NDArray[np.uint8]:
    """Bring an image of mode "L" or "RGB", or its box, to uint8 (channels, size, size) by the rule in RESIZE_RULES."""
    if image.size != (size, size):
        kept = (0, 0, image.width, image.height)
        if variant == "whole":
            side = min(image.size)
            left, top = (image.width - side) // 2, (image.height - side) // 2
            # Only the crop is resized (with the margin that the filter needs), for the same pixels: a whole 1 x 60,000
            # strip would be enlarged to gigabytes.
            kept = (left, top, left + side, top + side)
        image = image.resize((size, size), Image.Resampling.BILINEAR, box=kept)
    pixels = np.asarray(image).reshape(size, size, -1)
    return np.ascontiguousarray(pixels.transpose(2, 0, 1))


def pixel_digest(image: Image.Image) -> bytes:
    """Digest the pixels of an image to 16 bytes: equal for two files that decode to the same picture."""
    digest = hashlib.sha256(f"{image.mode} {image.width} {image.height} ".encode())
    digest.update(image.tobytes())
    return digest.digest()[:16]


def _text(box: Box) -> str:
    return f"[{', '.join(f'{number:g}' for number in box)}]"


def _read(path: Path | str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error


def _upright(image: Image.Image) -> Image.Image:
    """Apply the EXIF orientation, without the copies that Pillow's `exif_transpose` makes of every image."""
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation)
    except Exception:  # damaged metadata beside good pixels: used as stored, as every viewer does
        return image
    return image.transpose(_TURNS[orientation]) if orientation in _TURNS else image


def _opaque(image: Image.Image) -> Image.Image:
    """Convert any mode to "L" or "RGB", with transparency laid over white."""
    grey = image.mode in _GREY_MODES
    if image.mode.startswith("I;16"):
        return _scaled(np.asarray(image), 0, 65535)
    if image.mode in ("I", "F"):
        values = np.asarray(image)
        return _scaled(values, *_range_of(values))
    if image.has_transparency_data:
        layer = image.convert("LA" if grey else "RGBA")
        ground = Image.new("L" if grey else "RGB", layer.size, "white")
        ground.paste(layer.convert(ground.mode), mask=layer.getchannel("A"))
        return ground
    return in_channels(image, 1 if grey else 3)


def _range_of(values: npt.NDArray[Any]) -> tuple[float, float]:
    """Choose the values of black and white in 32-bit samples, whose files do not record them.

    They are the smallest of the usual ranges that holds the image (0..1 for floats, 0..255, 0..65535), else the image's
    own range.
    """
    low, high = float(values.min()), float(values.max())
    if not (np.isfinite(low) and np.isfinite(high)):
        raise BrokenImageError("it holds samples that are not finite")
    usual = (1.0, 255.0, 65535.0) if values.dtype.kind == "f" else (255.0, 65535.0)
    for white in usual:
        if low >= 0 and high <= white:
            return 0.0, white
    return low, high


def _scaled(values: npt.NDArray[Any], black: float, white: float) -> Image.Image:
    """Map black..white to 0..255, rounded, and return an image of mode "L"."""
    unit = (values.astype(np.float64) - black) / max(white - black, 1e-12)
    return Image.fromarray((unit * 255 + 0.5).astype(np.uint8))


class _QuietPillow:
    """A context that hides Pillow's warnings from the caller, with any number of threads inside.

    `warnings.catch_warnings` swaps a list that all threads share. So threads that leave it in another order than they
    entered would restore each other's filters. Here the first thread in swaps and the last one out restores.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._swap = warnings.catch_warnings()

    def __enter__(self) -> None:
        with self._lock:
            if self._inside == 0:
                self._swap = warnings.catch_warnings()
                self._swap.__enter__()
                warnings.filterwarnings("ignore", module=r"PIL\.")
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0:
                self._swap.__exit__(None, None, None)


_quiet_pillow = _QuietPillow()
