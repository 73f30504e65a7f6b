"""Image files to one uint8 array: checked first, then decoded in threads."""

import functools
import io
import logging
import math
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from metabridge.data import picture
from metabridge.data.reading import DEFAULT, LimitError, Reading
from metabridge.parallel import devices
from metabridge.units import format_bytes
from metabridge.untrusted import shown

_LOG = logging.getLogger(__name__)

MAX_SIDE = 1024
"""Limit of `image_size`."""


def checked_size(image_size: Any) -> tuple[int, int] | None:
    """Check `image_size`, an integer, two of them or None: ``(H, W)`` or None."""
    if image_size is None:
        return None
    sides = image_size if isinstance(image_size, Sequence) else (image_size,) * 2
    if len(sides) != 2 or not all(
        isinstance(s, int | np.integer) and not isinstance(s, bool) for s in sides
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
    """An image file that is in memory already, by its name in errors."""

    name: str
    content: bytes


class Held(NamedTuple):
    """A Pillow image that is no file, by its name in errors."""

    name: str
    image: Any


Source = Path | Encoded | Held


def read(
    files: Sequence[Source],
    size: tuple[int, int] | None,
    *,
    skip_corrupt: bool = False,
    reading: Reading = DEFAULT,
) -> tuple[np.ndarray, np.ndarray]:
    """Decode image files, at least one, to images of one size.

    Without `size` they must have one. `skip_corrupt` logs files that cannot be read
    instead of raising. Returns pixels, uint8 ``[K, H, W, 1]`` if all files are
    greyscale, else ``[K, H, W, 3]``; and which files they are of, bool ``[N]``.
    """

    def header(image: Any) -> tuple[tuple[int, int], bool]:
        # A PNG file is decoded to tell its size: EXIF may be behind the pixels.
        return size or picture.upright_size(image), picture.is_grey(image, reading)

    with _pool() as pool:
        read_header = functools.partial(
            _guarded, header, reading, skip_corrupt, is_resized=size is not None
        )
        headers = list(pool.map(read_header, files))
    found = [(f, *h) for f, h in zip(files, headers, strict=True) if h is not None]
    if not found:
        raise ValueError(f"none of {len(files)} images can be read")
    first, chosen, _ = found[0]
    for file, its_size, _ in found:
        if its_size != chosen:
            raise ValueError(
                f"images differ in size: {_name(first)} is {_text(chosen)} (H x W), "
                f"{_name(file)} is {_text(its_size)}; pass `image_size`"
            )
    channels = 1 if all(is_grey for _, _, is_grey in found) else 3
    shape = (len(files), *chosen, channels)
    needed, free = math.prod(shape), devices.free_host_bytes()
    if needed > free:
        raise ValueError(
            f"{len(files):,} images of {_text(chosen)} pixels take "
            f"{format_bytes(needed)}; {format_bytes(free)} are free; lower `image_size`"
        )
    pixels = np.empty(shape, np.uint8)
    kept = decode(files, pixels, skip_corrupt=skip_corrupt, reading=reading)
    return (pixels if kept.all() else pixels[kept]), kept


def decode(
    sources: Sequence[Source],
    out: np.ndarray,
    skip_corrupt: bool | None = None,
    reading: Reading = DEFAULT,
) -> np.ndarray:
    """Decode images into an array, uint8 ``[N, H, W, channels]``, resized to its sides.

    `skip_corrupt` logs images that cannot be read and leaves their rows as they are,
    instead of raising. None also raises, for callers without such an option: the
    message then advises none. Returns which rows were written, bool ``[N]``.
    """
    height, width, channels = out.shape[1:]

    def pixels_of(image: Any) -> np.ndarray:
        return picture.pixels_of(image, (height, width), channels, reading)

    def one(row: int) -> bool:
        pixels = _guarded(pixels_of, reading, skip_corrupt, sources[row])
        if pixels is not None:
            out[row] = pixels
        return pixels is not None

    with _pool() as pool:
        return np.asarray(list(pool.map(one, range(len(sources)))), bool)


def convert(pixels: np.ndarray, out: np.ndarray) -> None:
    """Convert images ``[N, H, W, c]`` to the sides and channels of `out`, both uint8.

    As `decode` does: Lanczos, without keeping the aspect ratio; grey is repeated for
    three channels, and colours become grey by ITU-R 601.
    """
    if pixels.shape == out.shape:
        out[:] = pixels
    else:
        rows = enumerate(pixels)
        decode(
            [Held(f"{n} of `images`", picture.image_of(row)) for n, row in rows], out
        )


def decode_alone(source: Path | Encoded, *, max_pixels: int) -> np.ndarray:
    """Decode an image as large as it is: ``[H, W, 1]`` if greyscale, else ``3``."""
    how = Reading(max_pixels=max_pixels)
    use = functools.partial(picture.pixels_of, size=None, channels=None, reading=how)
    return _guarded(use, how, None, source, is_resized=False)


def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(min(8, os.cpu_count() or 1))


def _guarded(
    use: Callable[[Any], Any],
    reading: Reading,
    skip_corrupt: bool | None,
    source: Source,
    *,
    is_resized: bool = True,
) -> Any:
    """Open an image and return `use(image)`.

    Any failure becomes a ValueError, or with `skip_corrupt` a warning and None.
    """
    try:
        if isinstance(source, Held):
            return use(source.image)
        file = io.BytesIO(source.content) if isinstance(source, Encoded) else source
        with picture.opened(file, reading, is_resized=is_resized) as image:
            return use(image)
    except MemoryError:
        raise
    # Pillow's decoders raise many types on broken data, SyntaxError among them.
    except Exception as error:
        name = _name(source)
        kind = type(error).__name__
        problem = f"cannot read the image {name}: {shown(error)} ({kind})"
        # An error of the system is no fault of the image.
        if skip_corrupt and getattr(error, "errno", None) is None:
            _LOG.warning("%s; left out", problem)
            return None
        raise ValueError(f"{problem}; {_advice(error, skip_corrupt)}") from error


def _advice(error: Exception, skip_corrupt: bool | None) -> str:
    if skip_corrupt is None:
        return "repair or remove it"
    if isinstance(error, LimitError):
        return f"pass another `{error.option}`, or remove the image"
    return "repair or remove it, or leave such images out (`skip_corrupt`)"


def _name(source: Source) -> str:
    return shown(source if isinstance(source, Path) else source.name)


def _text(size: Sequence[int]) -> str:
    return f"{size[0]} x {size[1]}"
