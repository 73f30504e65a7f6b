"""One image to pixels: modes, orientation, transparency and bit depths."""

import functools
import io
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw

from metabridge.data import images, picture
from metabridge.data.reading import Reading

GENERATOR = np.random.default_rng(0)
Image.init()
COLOUR = GENERATOR.integers(0, 256, (9, 7, 3), dtype=np.uint8)
GREY, ALPHA = COLOUR[..., 0], COLOUR[..., 1]
SMOOTH = np.asarray(
    Image.fromarray(COLOUR).resize((160, 120), Image.Resampling.BICUBIC)
)


def saved(image: Image.Image, kind: str, **options: Any) -> images.Encoded:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return images.Encoded("it", file.getvalue())


def decoded(source: images.Source, channels: int = 3, **options: Any) -> np.ndarray:
    reading = Reading(**options)
    use = functools.partial(picture.pixels_of, size=None, channels=channels)
    return images._guarded(lambda x: use(x, reading=reading), reading, None, source)


def held(image: Image.Image) -> images.Held:
    return images.Held("it", image)


def is_grey(image: Image.Image, background: str = "white") -> bool:
    return picture.is_grey(image, Reading(background))


LOSSLESS: dict[str, dict[str, Any]] = {
    "PNG": {},
    "BMP": {},
    "TIFF": {"compression": "tiff_lzw"},
    "PPM": {},
    "WEBP": {"lossless": True},
    "GIF": {},
    "JPEG2000": {"irreversible": False},
}


@pytest.mark.parametrize("kind", LOSSLESS)
def test_files_without_loss_are_read_exactly(kind: str) -> None:
    few = COLOUR // 128 * np.uint8(255)  # no more colours than GIF has
    file = saved(Image.fromarray(few), kind, **LOSSLESS[kind])
    np.testing.assert_array_equal(decoded(file), few)


@pytest.mark.parametrize("kind", ["JPEG", "MPO", "AVIF", "WEBP"])
def test_files_with_loss_are_read(kind: str) -> None:
    found = decoded(saved(Image.fromarray(SMOOTH), kind, quality=95))
    assert found.shape == SMOOTH.shape
    assert np.abs(found.astype(int) - SMOOTH).mean() < 4


@pytest.mark.parametrize(
    "mode",
    ["P", "LA", "PA", "La", "RGBA", "RGBa", "RGBX", "CMYK", "HSV", "YCbCr", "LAB", "1",
     "L", "RGB"],
)  # fmt: skip
@pytest.mark.parametrize("channels", [1, 3])
def test_every_mode_shows_the_same_colour(mode: str, channels: int) -> None:
    """A grey which every mode can hold, and a colour for those that have colours."""
    grey = mode in ("LA", "La", "1", "L")
    value = (255, 255, 255) if mode == "1" else (90, 90, 90) if grey else (200, 60, 30)
    plain = Image.new("RGB", (3, 2), value)
    if mode in ("La", "RGBa", "PA"):  # only by way of another mode
        between = {"La": "LA", "RGBa": "RGBA", "PA": "P"}[mode]
        plain = plain.quantize(2) if between == "P" else plain.convert(between)
    if mode == "LAB":
        # L* 49.4, a* 47, b* 47 of the illuminant D50, by the formulas of CIE and sRGB.
        image, value = Image.new("LAB", (3, 2), (126, 175, 175)), (197, 78, 39)
    else:
        image = plain.quantize(2) if mode == "P" else plain.convert(mode)
    assert image.mode == mode
    assert is_grey(image) == grey
    expected = np.asarray(value) @ [0.299, 0.587, 0.114] if channels == 1 else value
    found = decoded(held(image), channels)[1, 2]
    rounding = 3 if mode in ("HSV", "LAB", "YCbCr") else 1
    assert np.abs(found.astype(int) - expected).max() <= rounding


@pytest.mark.parametrize("mode", ["I;16", "I;16B", "I;16L", "I;16N", "I"])
def test_16_bits_are_scaled_by_their_range(mode: str) -> None:
    values = np.array([[0, 128, 257], [32768, 65278, 65535]], np.uint16)
    order = {"I": "<i4", "I;16B": ">u2"}.get(mode, "<u2")
    image = Image.frombytes(mode, (3, 2), values.astype(order).tobytes())
    assert image.mode == mode
    assert is_grey(image)
    expected = [[0, 0, 1], [128, 254, 255]]
    assert decoded(held(image), 1)[..., 0].tolist() == expected
    assert decoded(held(image), 3)[..., 2].tolist() == expected
    # Data of 12 bits in 16: what is brighter than white is white.
    twelve = decoded(held(image), 1, white_level=4095.0)[..., 0]
    assert twelve.tolist() == [[0, 8, 16], [255, 255, 255]]


def test_the_bit_depth_of_a_tiff_file_is_its_range() -> None:
    """12 bits, which Pillow does not write: two values in three bytes."""
    values = [0, 4095, 2048, 16]
    bits = "".join(f"{value:012b}" for value in values)
    content = int(bits, 2).to_bytes(6, "big")
    entries = [(256, 4), (257, 1), (258, 12), (259, 1), (262, 1), (273, 8), (277, 1),
               (278, 1), (279, 6)]  # fmt: skip
    directory = b"".join(struct.pack("<HHII", tag, 4, 1, v) for tag, v in entries)
    file = b"II*\0" + struct.pack("<I", 14) + content
    file += struct.pack("<H", len(entries)) + directory + bytes(4)
    found = decoded(images.Encoded("it", file), 1)
    assert found.ravel().tolist() == [0, 255, 128, 1]


def test_floats_are_from_black_to_white() -> None:
    values = np.array([[0.0, 0.5, 1.0]], np.float32)
    assert decoded(held(Image.fromarray(values)), 1).ravel().tolist() == [0, 128, 255]
    scaled = decoded(saved(Image.fromarray(values * 500), "TIFF"), 1, white_level=1e3)
    assert scaled.ravel().tolist() == [0, 64, 128]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            np.array([[0.0, 3.5]], np.float32),
            r"from 0 to 3\.5, but must be in \[0, 1\]",
        ),
        (np.array([[0, 70_000]], np.int32), r"70000, but must be in \[0, 65535\]"),
        (np.array([[-1, 5]], np.int32), "from -1 to 5.*not negative"),
        (np.array([[np.nan, 1]], np.float32), "from nan.*finite"),
    ],
)
def test_values_out_of_range_are_refused(
    values: np.ndarray, message: str, tmp_path: Path
) -> None:
    Image.fromarray(values).save(tmp_path / "a.tif")
    with pytest.raises(ValueError, match=message) as error:
        images.read([tmp_path / "a.tif"], None)
    assert ("`white_level`" in str(error.value)) == ("must be in" in message)


def orientation(kind: int, count: int, value: bytes) -> bytes:
    """EXIF data with an orientation of a type, as bytes."""
    entry = struct.pack(">HHI", 0x0112, kind, count) + value
    return b"Exif\0\0MM\0*\0\0\0\x08" + struct.pack(">H", 1) + entry + bytes(4)


def upright(pixels: np.ndarray, number: int) -> np.ndarray:
    """By the standard's words: which side of what is stored is the top and the left."""
    turned = {
        1: pixels,
        2: pixels[:, ::-1],
        3: pixels[::-1, ::-1],
        4: pixels[::-1],
        5: pixels.swapaxes(0, 1),
        6: np.rot90(pixels, -1),
        7: np.rot90(pixels, 2).swapaxes(0, 1),
        8: np.rot90(pixels),
    }
    return turned[number]


@pytest.mark.parametrize("number", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
def test_orientations_are_followed(tmp_path: Path, number: int, kind: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = number
    path = tmp_path / "a.png"
    options = {"lossless": True} if kind == "WEBP" else {}
    Image.fromarray(COLOUR).save(path, kind, exif=exif, **options)
    expected = upright(COLOUR, number)
    np.testing.assert_array_equal(images.read([path], None)[0][0], expected)
    np.testing.assert_array_equal(decoded(path), expected)
    with Image.open(path) as image:
        np.testing.assert_array_equal(decoded(held(image)), expected)


@pytest.mark.parametrize(
    "exif",
    [
        orientation(2, 2, b"6\0\0\0"),  # text
        orientation(1, 1, b"\6\0\0\0"),  # bytes
        orientation(7, 4, b"abcd"),  # undefined
        orientation(3, 1, b"\0\0\0\0"),
        orientation(3, 1, b"\0\t\0\0"),  # 9
        orientation(11, 1, struct.pack(">f", 6.0)),
        orientation(5, 1, b"\0\0\xff\xff"),  # a fraction that is not there
        b"Exif\0\0MM\0*\0\0\0\x08\xff\xff",
        b"Exif\0\0nonsense",
    ],
)
@pytest.mark.filterwarnings("ignore::UserWarning")  # of Pillow, for broken EXIF data
def test_odd_orientations_are_ignored(tmp_path: Path, exif: bytes) -> None:
    scene = np.zeros((40, 60, 3), np.uint8)
    scene[:, :32, 0] = 255
    Image.fromarray(scene).save(
        tmp_path / "a.jpg", exif=exif, quality=95, subsampling=0
    )
    found, _ = images.read([tmp_path / "a.jpg"], None)
    assert found.shape == (1, 40, 60, 3)
    assert np.abs(found[0].astype(int) - scene).max() < 20


def composed(colour: np.ndarray, alpha: np.ndarray, ground: Any) -> np.ndarray:
    """By the definition of the alpha channel, of one colour."""
    share = alpha[..., None] / 255.0
    return colour * share + np.asarray(ground) * (1 - share)


@pytest.mark.parametrize("background", ["white", "black", "#ff8000"])
@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA", "RGBa", "La"])
def test_transparency_is_composed_onto_the_background(
    mode: str, background: str
) -> None:
    grey = mode in ("LA", "La")
    colour = np.repeat(GREY[..., None], 3, axis=-1) if grey else COLOUR
    if mode == "PA":
        few = Image.fromarray(COLOUR).quantize(200)
        colour = np.asarray(few.convert("RGB"))
        image = few.convert("PA")
        image.putalpha(Image.fromarray(ALPHA))
    else:
        bands = [GREY, ALPHA] if grey else [*np.moveaxis(COLOUR, -1, 0), ALPHA]
        image = Image.fromarray(np.dstack(bands), "LA" if grey else "RGBA")
        image = image.convert(mode)
    assert image.mode == mode
    expected = composed(colour, ALPHA, Reading(background).colour)
    # Colours that are stored multiplied by a small alpha are rounded to it.
    rounding = 1.0 if mode[-1] != "a" else 255 / np.maximum(ALPHA, 1) * ALPHA / 255 + 1
    found = decoded(held(image), background=background)
    assert np.all(np.abs(found - expected).max(-1) <= rounding)
    assert is_grey(image, background) == (grey and background != "#ff8000")


def test_an_opaque_image_keeps_its_pixels() -> None:
    alpha = np.full_like(GREY, 255)
    image = Image.fromarray(np.dstack([COLOUR, alpha]))
    np.testing.assert_array_equal(decoded(held(image), background="red"), COLOUR)


@pytest.mark.parametrize(
    ("kind", "mode"),
    [("PNG", mode) for mode in ("1", "L", "RGB", "P", "I;16")]
    + [("GIF", mode) for mode in ("L", "P")],
)
def test_a_transparent_value_shows_the_background(mode: str, kind: str) -> None:
    """A value of the image, or an entry of its palette, that stands for nothing."""
    values = np.array([[0, 255], [255, 0]], np.uint8)
    if mode == "I;16":
        image: Any = Image.fromarray(values.astype(np.uint16) * np.uint16(257))
        invisible: Any = 65535
    else:
        image = Image.fromarray(values).convert(mode)
        invisible = {"RGB": (255, 255, 255), "1": 1}.get(mode, 255)
    file = saved(image, kind, transparency=invisible)
    found = decoded(file, background="#102030")
    assert found[0, 0].tolist() == found[1, 1].tolist() == [0, 0, 0]
    assert found[0, 1].tolist() == found[1, 0].tolist() == [16, 32, 48]
    assert decoded(file, 1)[..., 0].tolist() == values.tolist()


def test_an_icon_drawn_in_alpha_alone_is_seen(tmp_path: Path) -> None:
    icon = Image.new("RGBA", (32, 32), (0, 0, 0, 0))
    ImageDraw.Draw(icon).rectangle((8, 8, 23, 23), fill=(0, 0, 0, 255))
    icon.save(tmp_path / "a.png")
    (found,), _ = images.read([tmp_path / "a.png"], None)
    assert found.shape == (32, 32, 3)
    assert (found == 0).sum() == 3 * 16 * 16
    assert (found == 255).sum() == 3 * (32 * 32 - 16 * 16)


def test_a_coloured_background_makes_grey_images_coloured(tmp_path: Path) -> None:
    Image.fromarray(np.dstack([GREY, ALPHA]), "LA").save(tmp_path / "a.png")
    for background, channels in {"white": 1, "red": 3}.items():
        reading = Reading(background)
        found, _ = images.read([tmp_path / "a.png"], None, reading=reading)
        assert found.shape[-1] == channels


def test_the_first_image_of_an_animation_is_read() -> None:
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "lime", "blue")]
    for kind in ("GIF", "PNG", "WEBP", "TIFF", "MPO"):
        options: dict[str, Any] = {"save_all": True, "append_images": frames[1:]}
        if kind == "WEBP":
            options["lossless"] = True
        found = decoded(saved(frames[0], kind, **options))
        assert np.abs(found.astype(int) - [255, 0, 0]).max() < 5, kind


def test_endings_are_those_that_pillow_reads() -> None:
    assert {".jpg", ".jpeg", ".jfif", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp",
            ".mpo", ".pgm"} <= picture.endings()  # fmt: skip
    assert not {".eps", ".pdf", ".tga", ".txt", ".svg", ""} & picture.endings()


def test_heif_is_read_once_a_plugin_is_registered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert ".heic" not in picture.endings()
    factory, _ = Image.OPEN["PNG"]
    png = saved(Image.fromarray(COLOUR), "PNG").content
    monkeypatch.setattr(Image, "OPEN", dict(Image.OPEN))
    monkeypatch.setattr(Image, "EXTENSION", {**Image.EXTENSION, ".heic": "HEIF"})

    def opened(file: Any, name: Any) -> Any:
        assert file.read(4) == b"heif"
        return factory(io.BytesIO(png), name)

    Image.OPEN["HEIF"] = opened, lambda start: start.startswith(b"heif")
    assert ".heic" in picture.endings()
    found = decoded(images.Encoded("it", b"heif" + bytes(30)))
    np.testing.assert_array_equal(found, COLOUR)
