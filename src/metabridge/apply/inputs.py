"""Images and labels as users have them, checked and converted.

Images become what a folder of images becomes: uint8, of the body's size and channels.
"""

import contextlib
import dataclasses
import math
import os
from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from metabridge.data import picture
from metabridge.data.images import Encoded, Held, Source, decode
from metabridge.data.reading import DEFAULT, Reading
from metabridge.untrusted import expanded, quoted, shown

_CHANNELS = (1, 2, 3, 4)  # grey, grey and alpha, colour, colour and alpha


@dataclasses.dataclass(frozen=True)
class Images:
    """Images that are converted when they are read, a batch at a time."""

    rows: Sequence[Any] | np.ndarray
    """Paths, files as bytes, Pillow images, or arrays ``[H, W]`` or ``[H, W, c]``."""
    shape: tuple[int, int, int]
    """``(H, W, c)`` to convert to."""
    reading: Reading
    """Options by which the body's training images were read."""

    def __len__(self) -> int:
        return len(self.rows)

    def read(self, start: int, stop: int) -> np.ndarray:
        """Images `start` to `stop`, uint8 ``[N, H, W, c]``."""
        rows = self.rows[start:stop]
        if isinstance(rows, np.ndarray) and rows.shape[1:] == self.shape:
            return self._as_uint8(rows)  # nothing to resize, all at once
        pixels = np.empty((len(rows), *self.shape), np.uint8)
        sources = [self._source(row, n) for n, row in enumerate(rows, start)]
        decode(sources, pixels, reading=self.reading)
        return pixels

    def _source(self, row: Any, number: int) -> Source:
        name = f"{number} of `images`"
        if isinstance(row, str | os.PathLike):
            return expanded(row)
        if isinstance(row, bytes):
            return Encoded(name, row)
        if isinstance(row, np.ndarray):
            return Held(name, picture.image_of(self._as_uint8(row)))
        return Held(name, _loaded(row, name))

    def _as_uint8(self, pixels: np.ndarray) -> np.ndarray:
        if pixels.dtype == np.uint8:
            return pixels
        if pixels.dtype == np.uint16:
            return picture.scaled(pixels, self.reading.white_level or 65535.0)
        if not np.isfinite(pixels).all():
            raise ValueError("`images` hold NaN or infinity (inf)")
        if pixels.min() < 0 or pixels.max() > 1:
            raise ValueError(
                f"`images` are floats from {pixels.min():.3g} to {pixels.max():.3g}, "
                "but must be in [0, 1]: divide by what is white, or pass uint8"
            )
        return picture.scaled(pixels.astype(np.float64), 1.0)


@dataclasses.dataclass(frozen=True)
class Arrays:
    """Inputs that are no images, such as features."""

    rows: np.ndarray
    """Finite numbers ``[N, ...]``."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one input."""
        return self.rows.shape[1:]

    def __len__(self) -> int:
        return len(self.rows)

    def read(self, start: int, stop: int) -> np.ndarray:
        """Inputs `start` to `stop`, float32."""
        return np.asarray(self.rows[start:stop], np.float32)


def check_arrays(inputs: Any, shape: tuple[int, ...] | None = None) -> Arrays:
    """Check inputs of a user that are no images, or raise a ValueError.

    Args:
      inputs: finite numbers ``[N, ...]``.
      shape: of one input; None for ``[N, D]`` of any D.
    """
    rows = np.asarray(inputs)
    wanted = "[N, D]" if shape is None else f"[N, {', '.join(map(str, shape))}]"
    if np.iscomplexobj(rows):
        raise ValueError(f"Complex data not supported: pass real numbers {wanted}")
    if rows.dtype.kind not in "fiub":
        raise ValueError(f"`inputs` are {rows.dtype}: pass numbers {wanted}")
    if rows.ndim == 1 and (shape is None or len(shape) == 1):
        raise ValueError(
            f"`inputs` are {list(rows.shape)}, but must be {wanted}. Reshape your "
            "data: if this is one example, pass `inputs[None]`"
        )
    if 0 in rows.shape:
        what = "0 feature(s)" if len(rows) else "0 sample(s)"
        raise ValueError(
            f"`inputs` have {what} (shape={rows.shape}) while a minimum of 1 is "
            "required."
        )
    if rows.ndim < 2 or rows.shape[1:] != (shape or rows.shape[-1:]):
        raise ValueError(f"`inputs` are {list(rows.shape)}, but must be {wanted}")
    if not np.isfinite(rows).all():
        raise ValueError("`inputs` hold NaN or infinity (inf)")
    return Arrays(rows)


def check_images(
    images: Any, shape: tuple[int, int, int], reading: Reading = DEFAULT
) -> Images:
    """Check images of a user as far as it costs nothing, or raise a ValueError.

    Args:
      images: ``[N, H, W, c]`` or ``[N, H, W]``, uint8, uint16 or floats in [0, 1], c
        from 1 to 4 (grey, with alpha, colour, with alpha); or a list of such images of
        any sizes, of paths, of image files as bytes, or of Pillow images.
      shape: ``(H, W, c)`` of the body. Other sizes are resized to it (Lanczos), grey
        images repeated for three channels, and colours made grey (ITU-R 601) for one.
      reading: how files, transparency and 16 bits are read.
    """
    if isinstance(images, str | os.PathLike):
        raise ValueError(f"`images` is one path, {str(images)!r}: pass a list of paths")
    if isinstance(images, bytes | Image.Image):
        raise ValueError(
            f"`images` is one image, {type(images).__name__}: pass a list of them"
        )
    rows: Any = images if isinstance(images, list | tuple) else np.asarray(images)
    if isinstance(rows, np.ndarray) and rows.ndim == 0:
        raise ValueError(f"`images` is {type(images).__name__}, not a list or an array")
    if isinstance(rows, np.ndarray) and rows.ndim == 1 and rows.dtype.kind in "OU":
        rows = list(rows)
    if not len(rows):
        raise ValueError("`images` is empty: pass at least one image")
    if isinstance(rows, np.ndarray):
        _check_array(rows)
        return Images(rows, shape, reading)
    return Images([_checked_row(row) for row in rows], shape, reading)


def _checked_row(row: Any) -> Any:
    if isinstance(row, str | os.PathLike):
        return Path(row)
    if isinstance(row, bytes | Image.Image):
        return row
    array = np.asarray(row)
    _check_image(array.shape, array.dtype)
    return array


def _loaded(image: Any, name: str) -> Any:
    """A Pillow image with its pixels, which one that was just opened lacks.

    It may stand in a list twice, and is then converted by two threads at once.
    """
    try:
        image.load()
    except Exception as error:  # of many types on broken data
        raise ValueError(
            f"cannot read image {name}: {shown(error)} ({type(error).__name__})"
        ) from error
    with contextlib.suppress(Exception):  # broken EXIF data is ignored
        image.getexif()
    return image


def _check_array(rows: np.ndarray) -> None:
    if rows.ndim not in (3, 4):
        raise ValueError(
            f"`images` must be [N, H, W, c] or [N, H, W], not {list(rows.shape)}"
        )
    if rows.ndim == 3 and rows.shape[-1] in _CHANNELS:
        raise ValueError(
            f"`images` are {list(rows.shape)}: if this is one image, pass "
            "`images[None]`; if they are grey, pass `images[..., None]`"
        )
    _check_image(rows.shape[1:], rows.dtype)


def _check_image(shape: tuple[int, ...], dtype: np.dtype) -> None:
    if np.iscomplexobj(np.empty(0, dtype)):
        raise ValueError("Complex data not supported: pass uint8 or floats in [0, 1]")
    if dtype not in (np.uint8, np.uint16) and dtype.kind != "f":
        raise ValueError(
            f"`images` are {dtype}: pass uint8 in [0, 255], uint16 or floats in [0, 1]"
        )
    if len(shape) not in (2, 3) or 0 in shape:
        raise ValueError(f"an image must be [H, W] or [H, W, c], not {list(shape)}")
    if len(shape) == 3 and shape[-1] not in _CHANNELS:
        raise ValueError(
            f"an image must have 1 to 4 channels, in its last axis, but it is "
            f"{list(shape)}: transpose [c, H, W]"
        )


def encode_labels(labels: Any, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Encode labels of `count` images, anything hashable, as classes and their indices.

    Returns:
      The classes ``[ways]``, ascending, or by their first labels if they have no order;
      and int32 ``codes [N]``, so that ``classes[codes]`` are the labels.
    """
    given, values = _label_values(labels, count)
    classes: list[Any] = list(dict.fromkeys(values))
    if len(classes) < 2:
        raise ValueError(
            f"all labels are the one class {classes[0]!r}, but a classifier takes two"
        )
    with contextlib.suppress(TypeError):  # of several types, or without an order
        classes = sorted(classes)
    place = {value: code for code, value in enumerate(classes)}
    codes = np.asarray([place[value] for value in values], np.int32)
    return _as_array(classes, given), codes


def codes_of(labels: Any, classes: np.ndarray, count: int) -> np.ndarray:
    """Encode labels of `count` images, all of which are among `classes`, int32 ``[N]``.

    Raises:
      ValueError: a label that was not fitted, or another number of labels.
    """
    _, values = _label_values(labels, count)
    place = {value: code for code, value in enumerate(classes.tolist())}
    if unknown := [value for value in values if value not in place]:
        raise ValueError(
            f"the label {quoted(unknown[0])} is none of the {len(classes)} classes "
            "that were fitted: leave its images out, or fit it, too"
        )
    return np.asarray([place[value] for value in values], np.int32)


def _label_values(labels: Any, count: int) -> tuple[Any, list[Any]]:
    """Labels as they were given, and one by one, checked."""
    if labels is None:
        raise ValueError("fitting requires y to be passed, but the target y is None")
    given = list(labels) if isinstance(labels, list | tuple) else np.asarray(labels)
    if isinstance(given, np.ndarray) and given.ndim != 1:
        raise ValueError(f"`labels` must be one an image, not {list(given.shape)}")
    if len(given) != count:
        raise ValueError(f"there are {count} images, but {len(given)} labels")
    values = list(given)
    for value in values:
        _check_label(value)
    return given, values


def _check_label(value: Any) -> None:
    if not isinstance(value, Hashable):
        raise ValueError(f"a label is {value!r}, which is not hashable")
    if value is None:
        raise ValueError("a label is None: leave its image out")
    if isinstance(value, float | np.floating):
        if not math.isfinite(value):
            raise ValueError("a label is NaN or infinity (inf): leave its image out")
        if not float(value).is_integer():
            raise ValueError(
                f"Unknown label type: continuous. A label is {value!r}, but classes "
                "are not real numbers"
            )


def _as_array(classes: list[Any], given: Any) -> np.ndarray:
    """In the type of the labels given; of objects where NumPy has none."""
    if isinstance(given, np.ndarray):
        return np.asarray(classes, given.dtype)
    kinds = {type(value) for value in classes}
    if len(kinds) == 1 and kinds.pop() in (str, bool, int, float):
        return np.asarray(classes)
    scalars = [value.dtype.kind for value in classes if isinstance(value, np.generic)]
    if len(scalars) == len(classes) and len(set(scalars)) == 1:
        return np.asarray(classes)
    objects = np.empty(len(classes), object)
    objects[:] = classes
    return objects
