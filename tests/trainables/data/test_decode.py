import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image, ImageOps

from search_spaces.space.errors import InputError
from trainables.data import BrokenImageError, decode
from trainables.data.decode import pixel_digest, read_header, read_image

from .pictures import noise, save

CORNERS = ((255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0))


def corners(size: int = 8) -> Image.Image:
    """Red, green, blue and yellow squares: the first shows which corner is which."""
    small = Image.new("RGB", (2, 2))
    small.putdata(CORNERS)
    return small.resize((size, size), Image.Resampling.NEAREST)


def corner_pixels(pixels: np.ndarray) -> tuple[tuple[int, ...], ...]:
    ends = ((0, 0), (0, -1), (-1, 0), (-1, -1))
    return tuple(tuple(pixels[:, y, x].tolist()) for y, x in ends)


@pytest.mark.parametrize(
    ("suffix", "options"),
    [
        ("png", {}),
        ("bmp", {}),
        ("gif", {}),
        ("tif", {}),
        ("tiff", {"compression": "tiff_lzw"}),
        ("webp", {"lossless": True}),
    ],
)
def test_a_lossless_format_keeps_every_pixel(tmp_path: Path, suffix: str, options: dict[str, object]) -> None:
    pixels = decode(save(tmp_path / f"x.{suffix}", corners(), **options), 8, 3)
    assert pixels.dtype == np.uint8
    assert pixels.shape == (3, 8, 8)
    assert pixels.flags.c_contiguous
    np.testing.assert_array_equal(pixels, np.asarray(corners()).transpose(2, 0, 1))


@pytest.mark.parametrize(("suffix", "options"), [("jpg", {"quality": 95, "subsampling": 0}), ("webp", {})])
def test_a_lossy_format_keeps_colours_nearly(tmp_path: Path, suffix: str, options: dict[str, object]) -> None:
    pixels = decode(save(tmp_path / f"x.{suffix}", corners(32), **options), 32, 3)
    np.testing.assert_allclose(corner_pixels(pixels), CORNERS, atol=16)


def test_bytes_decode_as_their_file_does(tmp_path: Path) -> None:
    path = save(tmp_path / "x.jpg", noise(0, (20, 30)))
    np.testing.assert_array_equal(decode(path.read_bytes(), 16, 3), decode(str(path), 16, 3))


def test_the_suffix_does_not_decide_the_format(tmp_path: Path) -> None:
    save(tmp_path / "x.png", corners()).rename(tmp_path / "x.jpg")
    assert corner_pixels(decode(tmp_path / "x.jpg", 8, 3)) == CORNERS


def test_grey_is_repeated_for_three_channels_and_colour_becomes_luma_for_one(tmp_path: Path) -> None:
    grey = save(tmp_path / "grey.png", noise(0, mode="L"))
    np.testing.assert_array_equal(decode(grey, 8, 3), np.repeat(decode(grey, 8, 1), 3, axis=0))
    red = save(tmp_path / "red.png", Image.new("RGB", (4, 4), (255, 0, 0)))
    assert np.unique(decode(red, 4, 1)).tolist() == [76]


def test_one_bit_becomes_black_and_white(tmp_path: Path) -> None:
    image = Image.new("1", (2, 1))
    image.putdata([0, 255])
    path = save(tmp_path / "x.png", image.resize((4, 4)))
    assert np.unique(decode(path, 4, 1)).tolist() == [0, 255]
    assert read_header(path).grey


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_sixteen_bit_grey_is_scaled_and_not_clipped(tmp_path: Path, suffix: str) -> None:
    values = np.array([[0, 257, 32896, 65535]] * 4, np.uint16)
    path = save(tmp_path / f"x.{suffix}", Image.fromarray(values))
    assert decode(path, 4, 1)[0, 0].tolist() == [0, 1, 128, 255]
    assert read_header(path).grey


@pytest.mark.parametrize(
    ("values", "dtype", "expected"),
    [
        ([0, 1, 128, 255], np.int32, [0, 1, 128, 255]),
        ([0, 257, 32896, 65535], np.int32, [0, 1, 128, 255]),
        ([-100, 0, 100, 155], np.int32, [0, 100, 200, 255]),
        ([0, 0.5, 0.25, 1], np.float32, [0, 128, 64, 255]),
        ([0, 1, 128, 255], np.float32, [0, 1, 128, 255]),
        ([-1, 0, 1, 3], np.float32, [0, 64, 128, 255]),
        ([-7, -7, -7, -7], np.float32, [0, 0, 0, 0]),
    ],
)
def test_32_bit_grey_is_scaled_from_the_smallest_usual_range_or_its_own(
    tmp_path: Path, values: list[float], dtype: type, expected: list[int]
) -> None:
    path = save(tmp_path / "x.tif", Image.fromarray(np.array([values] * 4, dtype)))
    assert decode(path, 4, 1)[0, 0].tolist() == expected


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_samples_that_are_not_finite_make_an_image_broken(tmp_path: Path, value: float) -> None:
    path = save(tmp_path / "x.tif", Image.fromarray(np.full((4, 4), value, np.float32)))
    with pytest.raises(BrokenImageError, match="not finite"):
        decode(path, 4, 1)


@pytest.mark.parametrize("suffix", ["png", "webp", "tif"])
def test_transparency_lies_over_white(tmp_path: Path, suffix: str) -> None:
    image = Image.new("RGBA", (4, 4), (0, 0, 0, 0))
    image.paste((200, 0, 0, 128), (0, 0, 2, 4))
    options = {"lossless": True, "exact": True} if suffix == "webp" else {}
    pixels = decode(save(tmp_path / f"x.{suffix}", image, **options), 4, 3)
    assert pixels[:, 0, 3].tolist() == [255, 255, 255]
    np.testing.assert_allclose(pixels[:, 0, 0], [227, 127, 127], atol=1)


def test_grey_with_alpha_stays_grey(tmp_path: Path) -> None:
    image = Image.new("LA", (4, 4), (0, 0))
    image.paste((100, 255), (0, 0, 2, 4))
    path = save(tmp_path / "x.png", image)
    assert read_header(path).grey
    assert decode(path, 4, 1)[0, 0].tolist() == [100, 100, 255, 255]


@pytest.mark.parametrize("suffix", ["png", "gif"])
def test_a_palette_is_looked_up(tmp_path: Path, suffix: str) -> None:
    path = save(tmp_path / f"x.{suffix}", corners().quantize(8))
    assert corner_pixels(decode(path, 8, 3)) == CORNERS
    assert not read_header(path).grey


@pytest.mark.parametrize("transparency", [1, b"\xff\x00"])
def test_a_transparent_palette_entry_becomes_white(tmp_path: Path, transparency: int | bytes) -> None:
    image = Image.new("P", (2, 2))
    image.putpalette([10, 20, 30, 0, 0, 0])
    image.putdata([0, 1, 0, 1])
    pixels = decode(save(tmp_path / "x.png", image, transparency=transparency), 2, 3)
    assert pixels[:, 0].T.tolist() == [[10, 20, 30], [255, 255, 255]]


@pytest.mark.parametrize(("mode", "key"), [("L", 7), ("RGB", (7, 7, 7)), ("1", 0)])
def test_a_transparent_colour_becomes_white(tmp_path: Path, mode: str, key: object) -> None:
    image = Image.new(mode, (2, 2), 255 if mode == "1" else (90,) * len(Image.new(mode, (1, 1)).getbands()))
    image.putpixel((0, 0), key)
    pixels = decode(save(tmp_path / "x.png", image, transparency=key), 2, 1)
    assert pixels[0, 0].tolist() == [255, 255 if mode == "1" else 90]


@pytest.mark.parametrize("suffix", ["jpg", "tif"])
def test_cmyk_becomes_rgb(tmp_path: Path, suffix: str) -> None:
    pixels = decode(save(tmp_path / f"x.{suffix}", corners(32).convert("CMYK")), 32, 3)
    np.testing.assert_allclose(corner_pixels(pixels), CORNERS, atol=40)


def test_the_first_frame_of_an_animation_is_taken(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (4, 4), colour) for colour in CORNERS]
    for suffix in ("gif", "png", "webp", "tif"):
        options = {"lossless": True} if suffix == "webp" else {}
        path = save(tmp_path / f"x.{suffix}", frames[0], save_all=True, append_images=frames[1:], **options)
        assert decode(path, 4, 3)[:, 0, 0].tolist() == [255, 0, 0]


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif"])
def test_exif_orientation_is_applied(tmp_path: Path, suffix: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    options = {"jpg": {"quality": 95, "subsampling": 0}, "webp": {"lossless": True}}.get(suffix, {})
    path = save(tmp_path / f"x.{suffix}", corners(16).resize((32, 16)), exif=exif, **options)
    with Image.open(path) as image:
        expected = np.asarray(ImageOps.exif_transpose(image))
    upright = read_image(path)
    assert upright.size == ((32, 16) if orientation < 5 else (16, 32))
    np.testing.assert_array_equal(np.asarray(upright), expected)


@pytest.mark.parametrize("exif", [b"", b"garbage!garbage!", b"MM\0*", b"MM\0*\0\0\0\x08\0\1\1\x12\0\2\0\0\0\1abc\0"])
def test_damaged_exif_beside_good_pixels_is_ignored(tmp_path: Path, exif: bytes) -> None:
    path = save(tmp_path / "x.png", corners(), exif=b"Exif\0\0" + exif)
    assert corner_pixels(decode(path, 8, 3)) == CORNERS


def test_the_centre_square_is_taken_and_never_squeezed(tmp_path: Path) -> None:
    wide = Image.new("RGB", (30, 10), "red")
    wide.paste("blue", (8, 0, 22, 10))  # one more on each side, as the filter looks beyond the crop
    for image in (wide, wide.transpose(Image.Transpose.ROTATE_90)):
        pixels = decode(save(tmp_path / "x.png", image), 5, 3)
        assert (pixels == np.array([0, 0, 255]).reshape(3, 1, 1)).all()


def test_all_of_a_box_is_kept(tmp_path: Path) -> None:
    """Its sides are resized each by itself: a product may be as long as a bench."""
    image = Image.new("L", (40, 40), 7)
    image.paste(100, (5, 10, 20, 20))
    image.paste(200, (20, 10, 35, 20))
    pixels = decode(save(tmp_path / "x.png", image), 10, 1, box=(5, 10, 30, 10))[0]
    assert (pixels[:, :4] == 100).all()
    assert (pixels[:, 6:] == 200).all()


def test_resizing_is_that_of_the_whole_image_cropped_afterwards(tmp_path: Path) -> None:
    image = noise(0, (30, 10))
    whole = np.asarray(image.resize((15, 5), Image.Resampling.BILINEAR))
    pixels = decode(save(tmp_path / "x.png", image), 5, 3)
    np.testing.assert_array_equal(pixels, whole[:, 5:10].transpose(2, 0, 1))


def test_an_image_of_the_right_side_is_cropped_without_resampling(tmp_path: Path) -> None:
    image = noise(0, (11, 8))
    pixels = decode(save(tmp_path / "x.png", image), 8, 3)
    np.testing.assert_array_equal(pixels, np.asarray(image)[:, 1:9].transpose(2, 0, 1))


def test_shrinking_is_antialiased(tmp_path: Path) -> None:
    board = (np.indices((64, 64)).sum(axis=0) % 2 * 255).astype(np.uint8)
    pixels = decode(save(tmp_path / "x.png", Image.fromarray(board)), 8, 1)
    assert abs(pixels.astype(int) - 128).max() <= 2


def test_a_long_strip_takes_no_memory_of_its_length(tmp_path: Path) -> None:
    strip = save(tmp_path / "x.png", Image.new("L", (60_000, 1), 9))
    assert np.unique(decode(strip, 64, 1)).tolist() == [9]


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "bmp", "gif", "tif"])
def test_a_truncated_file_is_broken(tmp_path: Path, suffix: str) -> None:
    path = save(tmp_path / f"x.{suffix}", noise(0, (64, 64)))
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    with pytest.raises(BrokenImageError):
        decode(path, 8, 3)


@pytest.mark.parametrize("content", [b"", b"no image", b"\x89PNG\r\n\x1a\n", b"%!PS-Adobe-3.0 EPSF-3.0\n"])
def test_what_is_no_image_of_a_known_format_is_broken(content: bytes) -> None:
    with pytest.raises(BrokenImageError, match="not an image of a known format"):
        decode(content, 8, 3)


def test_a_flipped_byte_in_a_png_is_broken(tmp_path: Path) -> None:
    data = bytearray(save(tmp_path / "x.png", noise(0, (64, 64))).read_bytes())
    data[len(data) // 2] ^= 0xFF
    with pytest.raises(BrokenImageError):
        decode(bytes(data), 8, 3)


def test_a_file_that_cannot_be_read_is_not_called_broken(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cannot read .*none\.png: No such file") as caught:
        decode(tmp_path / "none.png", 8, 3)
    assert not isinstance(caught.value, BrokenImageError)


@pytest.fixture
def limit(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Sets the pixels beyond which Pillow warns of an image; it refuses twice as many."""
    return partial(monkeypatch.setattr, Image, "MAX_IMAGE_PIXELS")


def test_a_decompression_bomb_is_broken_and_a_large_image_raises_no_warning(
    tmp_path: Path, limit: Callable[[int], None]
) -> None:
    path = save(tmp_path / "x.png", noise(0, (10, 10)))
    limit(60)
    assert decode(path, 10, 3).shape == (3, 10, 10)
    limit(40)
    with pytest.raises(BrokenImageError, match="decompression bomb"):
        decode(path, 10, 3)


def test_decoding_in_many_threads_leaves_the_warning_filters_as_they_were(
    tmp_path: Path, limit: Callable[[int], None]
) -> None:
    path = save(tmp_path / "x.png", noise(0, (10, 10)))
    limit(60)  # each opening warns
    before = list(warnings.filters)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: decode(path, 4, 3), range(200)))
    assert warnings.filters == before


def test_two_files_of_one_picture_have_one_digest(tmp_path: Path) -> None:
    image = noise(0)
    paths = [save(tmp_path / f"x.{suffix}", image) for suffix in ("png", "bmp", "tif")]
    assert len({pixel_digest(read_image(path)) for path in paths}) == 1
    assert pixel_digest(image) != pixel_digest(noise(1))
    assert pixel_digest(Image.new("L", (2, 8))) != pixel_digest(Image.new("L", (8, 2)))


def test_a_colour_profile_or_comment_does_not_change_the_digest(tmp_path: Path) -> None:
    buffer = BytesIO()
    noise(0).save(buffer, "PNG", dpi=(72, 72))
    assert pixel_digest(read_image(buffer.getvalue())) == pixel_digest(noise(0))
