"""Images as users have them, read as the images that a body was trained on.

They become what a folder of images becomes: uint8, of the body's size and channels.
"""

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from metabridge.data.images import decode
from metabridge.untrusted import expanded


@dataclasses.dataclass(frozen=True)
class Images:
    """Images that are converted when they are read, a batch at a time."""

    rows: Sequence[Any] | np.ndarray
    """Paths, or arrays ``[H, W]`` or ``[H, W, c]``."""
    shape: tuple[int, int, int]
    """``(H, W, c)`` to convert to."""
    are_files: bool

    def __len__(self) -> int:
        return len(self.rows)

    def read(self, start: int, stop: int) -> np.ndarray:
        """Images `start` to `stop`, uint8 ``[N, H, W, c]``.

        Raises:
          ValueError: a file that is no image, or floats that are not in [0, 1].
        """
        rows = self.rows[start:stop]
        if self.are_files:
            pixels = np.empty((len(rows), *self.shape), np.uint8)
            decode([expanded(path) for path in rows], pixels)
            return pixels
        if isinstance(rows, np.ndarray) and rows.shape[1:] == self.shape:
            return _as_uint8(rows)  # nothing to resize, all at once
        return np.stack([_converted(_as_uint8(row), self.shape) for row in rows])


def checked(images: Any, shape: tuple[int, int, int]) -> Images:
    """Images of a user, looked at as far as it costs nothing.

    Args:
      images: ``[N, H, W, c]`` or ``[N, H, W]``, uint8 or floats in [0, 1], c 1 or 3; a
        list of such images of any sizes; or a list of paths of JPEG and PNG files.
      shape: ``(H, W, c)`` of the body. Other sizes are resized to it (Lanczos), grey
        images repeated for three channels, and colours made grey (ITU-R 601) for one.

    Raises:
      ValueError: anything else; what was expected and what was given.
    """
    if isinstance(images, str | os.PathLike):
        raise ValueError(f"`images` is one path, {str(images)!r}: pass a list of paths")
    rows: Any = images if isinstance(images, list | tuple) else np.asarray(images)
    if isinstance(rows, np.ndarray):
        if rows.ndim == 0:
            raise ValueError(
                f"`images` is {type(images).__name__}, not a list or an array"
            )
        if rows.ndim == 1 and rows.dtype.kind in "OU":
            rows = list(rows)
    if not len(rows):
        raise ValueError("`images` is empty: pass at least one image")
    if isinstance(rows, np.ndarray):
        _check_array(rows)
        return Images(rows, shape, are_files=False)
    paths = [isinstance(row, str | os.PathLike) for row in rows]
    if all(paths):
        return Images([Path(row) for row in rows], shape, are_files=True)
    if any(paths):
        raise ValueError("`images` mixes paths and arrays: pass one kind")
    arrays = [np.asarray(row) for row in rows]
    for array in arrays:
        _check_image(array.shape, array.dtype)
    return Images(arrays, shape, are_files=False)


def _check_array(rows: np.ndarray) -> None:
    if rows.ndim not in (3, 4):
        raise ValueError(
            f"`images` must be [N, H, W, c] or [N, H, W], but they are "
            f"{list(rows.shape)}"
        )
    if rows.ndim == 3 and rows.shape[-1] in (1, 3):
        raise ValueError(
            f"`images` are {list(rows.shape)}: if this is one image, pass "
            "`images[None]`; if they are grey, pass `images[..., None]`"
        )
    _check_image(rows.shape[1:], rows.dtype)


def _check_image(shape: tuple[int, ...], dtype: np.dtype) -> None:
    if np.iscomplexobj(np.empty(0, dtype)):
        raise ValueError("Complex data not supported: pass uint8 or floats in [0, 1]")
    if dtype != np.uint8 and dtype.kind != "f":
        raise ValueError(
            f"`images` are {dtype}: pass uint8 in [0, 255] or floats in [0, 1]"
        )
    if len(shape) not in (2, 3) or 0 in shape:
        raise ValueError(f"an image must be [H, W] or [H, W, c], not {list(shape)}")
    if len(shape) == 3 and shape[-1] not in (1, 3):
        raise ValueError(
            f"an image must have 1 or 3 channels, in its last axis, but it is "
            f"{list(shape)}: leave out transparency, and transpose [c, H, W]"
        )


def _as_uint8(pixels: np.ndarray) -> np.ndarray:
    if pixels.dtype == np.uint8:
        return pixels
    if not np.isfinite(pixels).all():
        raise ValueError("`images` hold NaN or infinity (inf)")
    if pixels.min() < 0 or pixels.max() > 1:
        raise ValueError(
            f"`images` are floats from {pixels.min():.3g} to {pixels.max():.3g}, but "
            "must be in [0, 1]: divide by what is white, or pass uint8"
        )
    return np.rint(np.asarray(pixels, np.float64) * 255.0).astype(np.uint8)


def _converted(pixels: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    """One image as `metabridge.data.images` would decode it from a file."""
    from PIL import Image

    height, width, channels = shape
    plain = pixels[..., 0] if pixels.ndim == 3 and pixels.shape[-1] == 1 else pixels
    image = Image.fromarray(plain).convert("L" if channels == 1 else "RGB")
    if image.size != (width, height):
        image = image.resize((width, height), Image.Resampling.LANCZOS)
    return np.asarray(image).reshape(shape)
