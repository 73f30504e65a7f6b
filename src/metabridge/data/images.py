"""Image files to one uint8 array: checked first, then decoded in threads."""

import contextlib
import io
import logging
import math
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np

from metabridge.data import picture
from metabridge.data.reading import LimitError, Reading
from metabridge.parallel import devices
from metabridge.units import format_bytes
from metabridge.untrusted import shown

_LOG = logging.getLogger(__name__)

MAX_SIDE = 1024
"""Limit of `image_size`."""

_BLOCK = 4096  # of what waits for a thread

_Result = TypeVar("_Result")


def checked_size(image_size: Any) -> tuple[int, int] | None:
    """`image_size` as ``(H, W)``, or None.

    Raises:
      TypeError: it is neither an integer nor two of them.
      ValueError: a side is not in [1, `MAX_SIDE`].
    """
    if image_size is None:
        return None
    one = isinstance(image_size, int | np.integer)
    sides = (image_size, image_size) if one else image_size
    if (
        not isinstance(sides, Sequence)
        or len(sides) != 2
        or not all(isinstance(s, int | np.integer) for s in sides)
        or any(isinstance(s, bool) for s in sides)
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
    """Its name in errors."""
    content: bytes


class Held(NamedTuple):
    """An image that is no file."""

    name: str
    """Its name in errors."""
    image: Any
    """A Pillow image."""


Source = Path | Encoded | Held
"""An image on disk, in memory as a file, or in memory as pixels."""


def read(
    files: Sequence[Path],
    size: tuple[int, int] | None,
    *,
    skip_corrupt: bool = False,
    reading: Reading | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Decode image files to images of one size.

    Args:
      files: at least one.
      size: ``(H, W)`` to resize to, or None if they have one size.
      skip_corrupt: log files that cannot be read instead of raising.
      reading: options; default: those of `Reading`.

    Returns:
      ``(pixels, kept)``: uint8 ``[K, H, W, 1]`` if all files are greyscale, else
      ``[K, H, W, 3]``; and bool ``[N]``, which files they are of, all of them unless
      `skip_corrupt`.

    Raises:
      ValueError: a file is no image of a kind in `picture.FORMATS`, is broken or too
        large, no file can be read, sizes differ and `size` is None, or all of them
        decoded do not fit in memory; names the file.
    """
    how = reading or Reading()

    def header(image: Any) -> tuple[tuple[int, int], bool]:
        # A PNG file is decoded to tell its size: EXIF may be behind the pixels.
        return size or picture.upright_size(image), picture.is_grey(image, how)

    def header_of(file: Path) -> tuple[tuple[int, int], bool] | None:
        return _guarded(
            file, header, how, skip_corrupt=skip_corrupt, is_resized=size is not None
        )

    with _pool() as pool:
        headers = list(pool.map(header_of, files))
    found = [(f, *h) for f, h in zip(files, headers, strict=True) if h is not None]
    if not found:
        raise ValueError(f"none of {len(files)} images can be read")
    first, chosen, _ = found[0]
    for file, its_size, _ in found:
        if its_size != chosen:
            raise ValueError(
                f"images differ in size: {shown(first)} is {_text(chosen)} (H x W), "
                f"{shown(file)} is {_text(its_size)}; pass `image_size`"
            )
    channels = 1 if all(is_grey for _, _, is_grey in found) else 3
    shape = (len(files), *chosen, channels)
    _check_memory(shape)
    pixels = np.empty(shape, np.uint8)
    kept = decode(files, pixels, skip_corrupt=skip_corrupt, reading=how)
    return (pixels if kept.all() else pixels[kept]), kept


def decode(
    sources: Sequence[Source],
    out: np.ndarray,
    skip_corrupt: bool | None = None,
    reading: Reading | None = None,
) -> np.ndarray:
    """Decode images into an array, resized to its height and width.

    Args:
      sources: N images.
      out: uint8 ``[N, H, W, channels]``, 1 or 3 channels; it is written to, row by row,
        and may be memory-mapped.
      skip_corrupt: log images that cannot be read, and leave their rows as they are,
        instead of raising. None also raises, for callers without such an option: the
        message then does not advise options of reading.
      reading: options; default: those of `Reading`.

    Returns:
      bool ``[N]``, which rows were written: all of them unless `skip_corrupt`.

    Raises:
      ValueError: an image of another kind, or broken or too large; names it.
    """
    how = reading or Reading()
    height, width, channels = out.shape[1:]

    def one(row: int) -> bool:
        pixels = _guarded(
            sources[row],
            lambda image: picture.pixels_of(image, (height, width), channels, how),
            how,
            skip_corrupt=skip_corrupt,
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
    """Decode an image as large as it is, up to `max_pixels`.

    Returns:
      uint8 ``[H, W, 1]`` if it is greyscale, else ``[H, W, 3]``.

    Raises:
      ValueError: an image of another kind, or broken or too large; names it.
    """
    how = Reading(max_pixels=max_pixels)
    found = _guarded(
        source,
        lambda image: picture.pixels_of(image, None, None, how),
        how,
        skip_corrupt=None,
        is_resized=False,
    )
    assert found is not None
    return found


def _check_memory(shape: tuple[int, ...]) -> None:
    needed, free = math.prod(shape), devices.free_host_bytes()
    if needed > free:
        raise ValueError(
            f"{shape[0]:,} images of {_text(shape[1:3])} pixels take "
            f"{format_bytes(needed)} decoded, but {format_bytes(free)} of memory are "
            "free; pass a smaller `image_size`"
        )


def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(min(8, os.cpu_count() or 1))


def _guarded(
    source: Source,
    use: Callable[[Any], _Result],
    reading: Reading,
    *,
    skip_corrupt: bool | None,
    is_resized: bool = True,
) -> _Result | None:
    """Open an image and return `use(image)`.

    Any failure becomes a ValueError, or with `skip_corrupt` a warning and None.
    """
    try:
        with _opened(source, reading, is_resized) as image:
            return use(image)
    except MemoryError:
        raise
    # Pillow's decoders raise many types on broken data, SyntaxError among them.
    except Exception as error:
        name = source if isinstance(source, Path) else source.name
        problem = (
            f"cannot read the image {shown(name)}: {shown(error)} "
            f"({type(error).__name__})"
        )
        # An error of the system is no fault of the image.
        if skip_corrupt and getattr(error, "errno", None) is None:
            _LOG.warning("%s; left out", problem)
            return None
        raise ValueError(f"{problem}; {_advice(error, skip_corrupt)}") from error


def _opened(source: Source, reading: Reading, is_resized: bool) -> Any:
    if isinstance(source, Held):
        return contextlib.nullcontext(source.image)
    file = io.BytesIO(source.content) if isinstance(source, Encoded) else source
    return picture.opened(file, reading, is_resized=is_resized)


def _advice(error: Exception, skip_corrupt: bool | None) -> str:
    if skip_corrupt is None:
        return "repair or remove it"
    if isinstance(error, LimitError):
        return f"pass another `{error.option}`, or remove the image"
    return "repair or remove it, or leave such images out (`skip_corrupt`)"


def _text(size: Sequence[int]) -> str:
    return f"{size[0]} x {size[1]}"
