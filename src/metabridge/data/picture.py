"""The pixels of one image, read alike from a file, bytes, a Pillow image or an array.

- Orientation: that of EXIF, if it is an integer from 1 to 8; any other is ignored.
- Transparency: composed onto `Reading.background`.
- 16 and 32 bits: `Reading.white_level` becomes 255, values between are rounded.
- Animations: the first frame.
- Colour profiles and gamma are not applied.
"""

import contextlib
import io
import itertools
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from metabridge.data.reading import LimitError, Reading

FORMATS = (
    "JPEG", "PNG", "WEBP", "BMP", "DIB", "GIF", "TIFF", "JPEG2000", "AVIF", "PPM",
    "HEIF",
)  # fmt: skip
"""Formats that are read if Pillow can; HEIF once a plugin has registered it. Not among
them: those without a magic number, and those that Pillow hands to other programmes."""
MAX_SCANS = 100
"""Limit of a JPEG file. Each scan of a progressive one is a pass over the whole image
and may be 60 bytes of the file: a small file could keep a processor busy for hours."""
MAX_REDUCED = 8
"""A JPEG file may have so many times `max_pixels`, as it is decoded at reduced size."""

# Of a JPEG file: a marker that a length follows, or the end of the image; codes; and
# the most segments, which bounds the time to look at them.
_MARKER = re.compile(rb"\xff[^\x00\x01\xd0-\xd7\xff]")
_START_OF_SCAN, _END_OF_IMAGE, _MAX_SEGMENTS = 0xDA, 0xD9, 100_000
_ORIENTATION = 0x0112  # EXIF tag
_BITS_PER_SAMPLE = 258  # TIFF tag
_JPEG = b"\xff\xd8\xff"
_LARGE = threading.Lock()  # held by the one image above the limit that is decoded


def endings() -> frozenset[str]:
    """Endings of the files that are read, in lower case with the dot."""
    from PIL import Image

    known = Image.registered_extensions()  # imports Pillow's plugins
    read = _formats() | {"MPO"}  # of which the first image is a JPEG file
    return frozenset(ending for ending, kind in known.items() if kind in read)


def _formats() -> frozenset[str]:
    from PIL import Image

    Image.init()
    return frozenset(FORMATS).intersection(Image.OPEN)


@contextlib.contextmanager
def opened(
    source: Path | io.BytesIO, reading: Reading, *, is_resized: bool
) -> Iterator[Any]:
    """Open a file as a Pillow image, reading only its header.

    A JPEG file above the limit of pixels is decoded at reduced size if it `is_resized`
    later. LimitError for too many pixels; else whatever Pillow raises.
    """
    from PIL import Image, JpegImagePlugin

    with contextlib.ExitStack() as stack:
        in_memory = not isinstance(source, Path)
        file = source if in_memory else stack.enter_context(source.open("rb"))
        start = file.read(len(_JPEG))
        file.seek(0)
        if start == _JPEG:
            # `Image.open` would hold the whole image against Pillow's own limit, and
            # not what is decoded of it.
            image = stack.enter_context(JpegImagePlugin.JpegImageFile(file))
            most = reading.max_pixels * (MAX_REDUCED if is_resized else 1)
            _check_pixels(image, most, reading.max_pixels, is_resized=is_resized)
            _check_scans(file, image, reading.max_pixels)
            pixels = image.width * image.height
            if pixels > reading.max_pixels:
                # Decoded at the largest size below. Only one such image is open at a
                # time: the coefficients of a progressive one are in memory whole.
                stack.enter_context(_LARGE)
                factor = 2 if pixels <= 4 * reading.max_pixels else 4
                width, height = image.width // factor, image.height // factor
                image.draft(None, (max(width, 1), max(height, 1)))
        else:
            try:
                opened = Image.open(source, formats=tuple(sorted(_formats())))
            except Image.DecompressionBombError as error:
                raise ValueError(
                    f"it has more pixels than Pillow reads of a file but JPEG: {error}"
                ) from error
            image = stack.enter_context(opened)
            _check_pixels(image, reading.max_pixels, reading.max_pixels)
        yield image


def upright_size(image: Any) -> tuple[int, int]:
    """``(H, W)`` of an image once it is turned upright."""
    size = image.height, image.width
    return size[::-1] if _orientation(image) >= 5 else size


def is_grey(image: Any, reading: Reading) -> bool:
    """Tell whether an image comes out grey: it is, and so is its background."""
    grey = image.mode in ("1", "L", "LA", "La", "I", "F") or image.mode[:2] == "I;"
    return grey and not (image.has_transparency_data and len(set(reading.colour)) > 1)


def pixels_of(
    image: Any, size: tuple[int, int] | None, channels: int | None, reading: Reading
) -> np.ndarray:
    """Pixels of a Pillow image, uint8 ``[H, W, channels]``; the image is not changed.

    `size` ``(H, W)`` is resized to (Lanczos), `channels` are 1 or 3; None keeps those
    of the image. LimitError for values beyond white; else whatever Pillow raises.
    """
    from PIL import Image

    image.load()
    image = _upright(image)
    if channels is None:
        channels = 1 if is_grey(image, reading) else 3
    image = _opaque(_eight_bits(image, reading), reading.colour)
    if image.mode == "LAB":  # Pillow makes no grey of it
        image = image.convert("RGB")
    image = image.convert("L" if channels == 1 else "RGB")
    if size is not None and image.size != size[::-1]:
        image = image.resize(size[::-1], Image.Resampling.LANCZOS)
    return np.asarray(image).reshape(image.height, image.width, channels)


def image_of(array: np.ndarray) -> Any:
    """A Pillow image of uint8 ``[H, W]`` or ``[H, W, c]``, with or without alpha."""
    from PIL import Image

    grey = array.ndim == 3 and array.shape[-1] == 1
    return Image.fromarray(array[..., 0] if grey else array)


def scaled(values: np.ndarray, white: float) -> np.ndarray:
    """Values in [0, white] as uint8, rounded; what is brighter becomes 255."""
    kind = np.float64 if values.dtype.kind == "f" else np.float32
    scaled = np.asarray(values, kind) * kind(255.0 / white)
    return np.rint(np.minimum(scaled, kind(255.0))).astype(np.uint8)


def _check_pixels(
    image: Any, most: int, limit: int, *, is_resized: bool = True
) -> None:
    if image.width * image.height > most:
        problem = f"it is {image.height} x {image.width}; the limit is {limit:,} pixels"
        if most > limit:
            problem += f", {MAX_REDUCED} times as many of a JPEG file that is resized"
        raise LimitError(problem, "max_pixels" if is_resized else "image_size")


def _check_scans(file: Any, image: Any, max_pixels: int) -> None:
    """Refuse a JPEG file with more scans than any has that shows an image."""
    most = MAX_SCANS * max_pixels // max(max_pixels, image.width * image.height)
    place = file.tell()
    file.seek(0)
    codes = list(itertools.islice(_markers(file.read()), _MAX_SEGMENTS + 1))
    file.seek(place)
    if len(codes) > _MAX_SEGMENTS:
        raise ValueError(f"it has more than {_MAX_SEGMENTS:,} segments")
    scans = codes.count(_START_OF_SCAN)
    if scans > most:
        raise ValueError(f"it has {scans} scans; the limit is {most}")


def _markers(content: bytes) -> Iterator[int]:
    """Codes of the markers of a JPEG file, up to the end of its first image.

    Behind that phones put films and further images. Segments are passed over by their
    length: thumbnails in them have markers of their own.
    """
    place = 2  # behind the start of the image
    while found := _MARKER.search(content, place):
        code, place = content[found.end() - 1], found.end()
        if code == _END_OF_IMAGE:
            return
        yield code
        place += max(int.from_bytes(content[place : place + 2], "big"), 2)


def _orientation(image: Any) -> int:
    if image.format == "TIFF":
        return 1  # Pillow turns it as it is decoded, and its size says so before
    try:
        value = image.getexif().get(_ORIENTATION, 1)
    # Broken EXIF data can raise nearly anything; viewers show the image as it is.
    except Exception:
        return 1
    return value if type(value) is int and 1 <= value <= 8 else 1


def _upright(image: Any) -> Any:
    from PIL.Image import Transpose

    names = (
        "FLIP_LEFT_RIGHT", "ROTATE_180", "FLIP_TOP_BOTTOM", "TRANSPOSE", "ROTATE_270",
        "TRANSVERSE", "ROTATE_90",
    )  # fmt: skip
    orientation = _orientation(image)
    if orientation == 1:
        return image
    return image.transpose(Transpose[names[orientation - 2]])


def _eight_bits(image: Any, reading: Reading) -> Any:
    """An image of 16 or 32 bits with 8; with alpha if one of its values is see-through.

    `Image.convert` would clip them at 255.
    """
    if image.mode != "F" and not image.mode.startswith("I"):
        return image
    values = np.asarray(image)
    white = reading.white_level or _white_of(image)
    low, high = values.min(), values.max()
    if not (low >= 0 and high < np.inf):
        raise ValueError(
            f"its values from {low:g} to {high:g} must be finite and not negative"
        )
    if high > white and not reading.white_level:
        raise LimitError(
            f"its values go from {low:g} to {high:g}, but must be in [0, {white:g}]",
            "white_level",
        )
    found = image_of(scaled(values, white))
    invisible = image.info.get("transparency")
    if isinstance(invisible, int):
        found.putalpha(image_of((values != invisible).astype(np.uint8) * np.uint8(255)))
    return found


def _white_of(image: Any) -> float:
    """Largest value of the bit depth that an image says it has."""
    if image.mode == "F":
        return 1.0
    bits = getattr(image, "tag_v2", {}).get(_BITS_PER_SAMPLE, (16,))
    return float(2 ** min(max(int(bits[0]), 1), 16) - 1)


def _opaque(image: Any, colour: tuple[int, int, int]) -> Any:
    """An image composed onto a colour, where it is transparent."""
    from PIL import Image

    if not image.has_transparency_data:
        return image
    grey = image.mode in ("1", "L", "LA", "La") and len(set(colour)) == 1
    if image.mode == "La":  # Pillow makes only this of it
        image = image.convert("LA")
    image = image.convert("LA" if grey else "RGBA")
    mode, ground = ("L", colour[0]) if grey else ("RGB", colour)
    canvas = Image.new(mode, image.size, ground)
    canvas.paste(image.convert(canvas.mode), mask=image.getchannel("A"))
    return canvas
