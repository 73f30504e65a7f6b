"""Image files to one uint8 array: checked first, then decoded in threads."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np

MAX_PIXELS = 40_000_000
"""Of one file; a larger one is refused before it is decoded."""
MAX_SIDE = 1024
"""Of `image_size`."""

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


def read(files: Sequence[Path], size: tuple[int, int] | None) -> np.ndarray:
    """Decodes JPEG and PNG files.

    Args:
      files: at least one.
      size: ``(H, W)`` to resize to, or None if they have one size.

    Returns:
      uint8 ``[N, H, W, 1]`` if all files are greyscale, else ``[N, H, W, 3]``.

    Raises:
      ValueError: a file is not a JPEG or PNG image, is broken or too large, or sizes
        differ and `size` is None; names the file.
    """
    threads = min(8, os.cpu_count() or 1)
    with ThreadPoolExecutor(threads) as pool:
        headers = list(pool.map(lambda file: _guarded(file, _header), files))
        if size is None:
            size = headers[0].size
            for file, header in zip(files, headers, strict=True):
                if header.size != size:
                    raise ValueError(
                        f"images differ in size: {files[0]} is {_text(size)} (H x W), "
                        f"{file} is {_text(header.size)}; pass `image_size`"
                    )
        channels = 1 if all(header.is_grey for header in headers) else 3
        pixels = np.empty((len(files), *size, channels), np.uint8)

        def decode(row: int) -> None:
            pixels[row] = _guarded(
                files[row], lambda image: _pixels(image, size, channels)
            )

        # Going through the results raises what a thread raised.
        for _ in pool.map(decode, range(len(files))):
            pass
    return pixels


def _guarded(file: Path, use: Callable[[Any], _Result]) -> _Result:
    """Opens `file` and returns `use(image)`; any failure becomes a ValueError."""
    from PIL import Image

    try:
        with Image.open(file, formats=("JPEG", "PNG")) as image:
            if image.width * image.height > MAX_PIXELS:
                raise ValueError(
                    f"it is {_text((image.height, image.width))}; the limit is "
                    f"{MAX_PIXELS:,} pixels"
                )
            return use(image)
    # Pillow's decoders raise many types on broken data, SyntaxError among them.
    except Exception as error:
        raise ValueError(
            f"cannot read the image {file}: {error} ({type(error).__name__}); repair "
            "or remove it"
        ) from error


def _header(image: Any) -> _Header:
    size = image.height, image.width
    if image.getexif().get(_ORIENTATION, 1) >= 5:
        size = size[::-1]
    return _Header(size, image.mode in _GREY_MODES)


def _pixels(image: Any, size: tuple[int, int], channels: int) -> np.ndarray:
    from PIL import Image, ImageOps

    image.load()
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I"):  # 16 bits; `convert` would clip them at 255
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    image = image.convert("L" if channels == 1 else "RGB")
    if image.size != size[::-1]:
        image = image.resize(size[::-1], Image.Resampling.LANCZOS)
    return np.asarray(image).reshape(*size, channels)


def _text(size: tuple[int, int]) -> str:
    return f"{size[0]} x {size[1]}"
