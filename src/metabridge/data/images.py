"""Image files to one uint8 array: checked first, then decoded in threads."""

import io
import logging
import math
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np

from metabridge import devices
from metabridge.untrusted import shown

_LOG = logging.getLogger(__name__)

MAX_PIXELS = 40_000_000
"""Of one file; a larger one is refused before it is decoded."""
MAX_SIDE = 1024
"""Of `image_size`."""
MAX_SCANS = 100
"""Of a JPEG file. Each scan of a progressive one is a pass over the whole image and may
be 60 bytes of the file: a small file could keep a processor busy for hours."""

_BLOCK = 4096  # of what waits for a thread
_GREY_MODES = ("1", "L", "LA", "La", "I;16", "I;16B", "I", "F")
_ORIENTATION = 0x0112  # EXIF tag; 5 to 8 exchange height and width

_Result = TypeVar("_Result")


class _Header(NamedTuple):
    size: tuple[int, int]
    """``(H, W)``, after turning the image upright."""
    is_grey: bool


def checked_size(image_size: Any) -> tuple[int, int] | None:
    """`image_size` as ``(H, W)``, or None.

    Raises:
      TypeError: it is neither an integer nor two of them.
      ValueError: a side is not in [1, `MAX_SIDE`].
    """
    if image_size is None:
        return None
    sides = (
        (image_size, image_size)
        if isinstance(image_size, int | np.integer)
        else image_size
    )
    if (
        not isinstance(sides, Sequence)
        or len(sides) != 2
        or any(
            isinstance(s, bool) or not isinstance(s, int | np.integer) for s in sides
        )
    ):
        raise TypeError(
            f"`image_size` must be an integer or a pair (H, W), not {image_size!r}"
        )
    if not all(1 <= side <= MAX_SIDE for side in sides):
        raise ValueError(
            f"`image_size` must have sides from 1 to {MAX_SIDE}, not {image_size!r}"
        )
    return int(sides[0]), int(sides[1])


class Encoded(NamedTuple):
    """An image file that is in memory already."""

    name: str
    """What errors call it."""
    content: bytes
    """The JPEG or PNG file."""


def read(
    files: Sequence[Path],
    size: tuple[int, int] | None,
    *,
    skip_corrupt: bool = False,
) -> tuple[np.ndarray, np.ndarray]:
    """Decodes JPEG and PNG files to images of one size.

    Args:
      files: at least one.
      size: ``(H, W)`` to resize to, or None if they have one size.
      skip_corrupt: log files that cannot be read instead of raising.

    Returns:
      ``(pixels, kept)``: uint8 ``[K, H, W, 1]`` if all files are greyscale, else
      ``[K, H, W, 3]``; and bool ``[N]``, which files they are of, all of them unless
      `skip_corrupt`.

    Raises:
      ValueError: a file is not a JPEG or PNG image, is broken or too large, no file
        can be read, sizes differ and `size` is None, or all of them decoded do not
        fit in memory; names the file.
    """
    with _pool() as pool:
        headers = list(
            pool.map(lambda file: _guarded(file, _header, skip_corrupt), files)
        )
    read = [(f, h) for f, h in zip(files, headers, strict=True) if h is not None]
    if not read:
        raise ValueError(f"none of {len(files)} images can be read")
    first, its_header = read[0]
    chosen, all_grey = size or its_header.size, True
    for file, header in read:
        all_grey &= header.is_grey
        if size is None and header.size != chosen:
            raise ValueError(
                f"images differ in size: {shown(first)} is {_text(chosen)} (H x W), "
                f"{shown(file)} is {_text(header.size)}; pass `image_size`"
            )
    shape = (len(files), *chosen, 1 if all_grey else 3)
    _check_memory(shape)
    pixels = np.empty(shape, np.uint8)
    kept = decode(files, pixels, skip_corrupt=skip_corrupt)
    return (pixels if kept.all() else pixels[kept]), kept


def decode(
    sources: Sequence[Path | Encoded], out: np.ndarray, *, skip_corrupt: bool = False
) -> np.ndarray:
    """Decodes JPEG and PNG images into an array, resized to what it holds.

    Args:
      sources: N files, on disk or in memory.
      out: uint8 ``[N, H, W, channels]``, 1 or 3 channels; it is written to, row by row,
        and may be memory-mapped.
      skip_corrupt: log images that cannot be read, and leave their rows as they are,
        instead of raising.

    Returns:
      bool ``[N]``, which rows were written: all of them unless `skip_corrupt`.

    Raises:
      ValueError: an image is not a JPEG or PNG, or broken or too large; names it.
    """
    height, width, channels = out.shape[1:]

    def one(row: int) -> bool:
        pixels = _guarded(
            sources[row],
            lambda image: _pixels(image, (height, width), channels),
            skip_corrupt,
        )
        if pixels is not None:
            out[row] = pixels
        return pixels is not None

    written = np.zeros(len(sources), bool)
    with _pool() as pool:
        for start in range(0, len(sources), _BLOCK):
            rows = range(start, min(start + _BLOCK, len(sources)))
            written[rows.start : rows.stop] = list(pool.map(one, rows))
    return written


def decode_alone(source: Encoded, *, max_pixels: int) -> np.ndarray:
    """Decodes an image as large as it is.

    Args:
      source: a JPEG or PNG file.
      max_pixels: of the image; a larger one is refused before it is decoded.

    Returns:
      uint8 ``[H, W, 1]`` if it is greyscale, else ``[H, W, 3]``.

    Raises:
      ValueError: it is not a JPEG or PNG, or broken or too large; names it.
    """
    found = _guarded(source, _whole, False, max_pixels=max_pixels)
    assert found is not None
    return found


def _whole(image: Any) -> np.ndarray:
    size, is_grey = _header(image)
    return _pixels(image, size, 1 if is_grey else 3)


def _check_memory(shape: tuple[int, ...]) -> None:
    needed, free = math.prod(shape), devices.free_host_bytes()
    if needed > free:
        raise ValueError(
            f"{shape[0]:,} images of {_text(shape[1:3])} pixels take "
            f"{needed / 1e9:.3g} GB decoded, but {free / 1e9:.3g} GB of memory are "
            "free; pass a smaller `image_size`"
        )


def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(min(8, os.cpu_count() or 1))


def _guarded(
    source: Path | Encoded,
    use: Callable[[Any], _Result],
    skip_corrupt: bool,
    *,
    max_pixels: int = MAX_PIXELS,
) -> _Result | None:
    """Opens an image and returns `use(image)`; any failure becomes a ValueError, or
    with `skip_corrupt` a warning and None."""
    from PIL import Image

    encoded = isinstance(source, Encoded)
    file = io.BytesIO(source.content) if encoded else source
    try:
        with Image.open(file, formats=("JPEG", "PNG")) as image:
            if image.width * image.height > max_pixels:
                raise ValueError(
                    f"it is {_text((image.height, image.width))}; the limit is "
                    f"{max_pixels:,} pixels"
                )
            return use(image)
    except MemoryError:
        raise
    # Pillow's decoders raise many types on broken data, SyntaxError among them.
    except Exception as error:
        # An error of the system is no fault of the image.
        skip_corrupt &= getattr(error, "errno", None) is None
        problem = (
            f"cannot read the image {shown(source.name if encoded else source)}: "
            f"{shown(error)} ({type(error).__name__})"
        )
        if skip_corrupt:
            _LOG.warning("%s; left out", problem)
            return None
        raise ValueError(
            f"{problem}; repair or remove it, or leave such images out (`skip_corrupt`)"
        ) from error


def _header(image: Any) -> _Header:
    size = image.height, image.width
    if image.getexif().get(_ORIENTATION, 1) >= 5:
        size = size[::-1]
    return _Header(size, image.mode in _GREY_MODES)


def _pixels(image: Any, size: tuple[int, int], channels: int) -> np.ndarray:
    from PIL import Image, ImageOps

    if image.format != "PNG":
        _check_scans(image.fp)
    image.load()
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I"):  # 16 bits; `convert` would clip them at 255
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    image = image.convert("L" if channels == 1 else "RGB")
    if image.size != size[::-1]:
        image = image.resize(size[::-1], Image.Resampling.LANCZOS)
    return np.asarray(image).reshape(*size, channels)


def _check_scans(file: Any) -> None:
    """Refuses a JPEG file with more scans than any has that shows an image."""
    file.seek(0)
    scans, last = 0, b""
    while block := file.read(1 << 20):
        scans += (last + block).count(b"\xff\xda")
        last = block[-1:]
    if scans > MAX_SCANS:
        raise ValueError(f"it has {scans} scans; the limit is {MAX_SCANS}")


def _text(size: Sequence[int]) -> str:
    return f"{size[0]} x {size[1]}"
