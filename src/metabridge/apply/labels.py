"""Labels as users have them, to rows of a task and back."""

import contextlib
import math
from collections.abc import Hashable
from typing import Any

import numpy as np


def encode(labels: Any, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The classes of labels, and which of them each is.

    Args:
      labels: of anything hashable, a list or ``[N]``; at least two classes.
      count: how many there must be.

    Returns:
      The classes ``[ways]``, in ascending order, or if they have none in that of their
      first labels; and int32 ``[N]``, so that ``classes[codes]`` are the labels.

    Raises:
      ValueError: another number of labels, a missing one, one class, or real numbers.
    """
    if labels is None:
        raise ValueError("fitting requires y to be passed, but the target y is None")
    given = list(labels) if isinstance(labels, list | tuple) else np.asarray(labels)
    if isinstance(given, np.ndarray) and given.ndim != 1:
        raise ValueError(f"`labels` must be one an image, not {list(given.shape)}")
    if len(given) != count:
        raise ValueError(f"there are {count} images, but {len(given)} labels")
    values = list(given)
    for value in values:
        _check(value)
    classes: list[Any] = list(dict.fromkeys(values))
    if len(classes) < 2:
        raise ValueError(
            f"all labels are the one class {classes[0]!r}: a classifier takes two at "
            "least"
        )
    with contextlib.suppress(TypeError):  # of several types, or without an order
        classes = sorted(classes)
    place = {value: code for code, value in enumerate(classes)}
    codes = np.asarray([place[value] for value in values], np.int32)
    return _as_array(classes, given), codes


def _check(value: Any) -> None:
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
    for kind in (str, bool, int):
        if all(type(value) is kind for value in classes):
            return np.asarray(classes)
    objects = np.empty(len(classes), object)
    objects[:] = classes
    return objects
