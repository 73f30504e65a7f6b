"""Array work that several datasets share."""

import stat
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from metabridge.data.dataset import Split
from metabridge.untrusted import shown


def map_file(path: Path) -> np.ndarray:
    """The array in a ``.npy`` file, mapped read-only.

    Raises:
      ValueError: it is no such file, or damaged.
      OSError: there is none, or it cannot be read.
    """
    if not stat.S_ISREG(path.stat().st_mode):
        raise ValueError(f"{shown(path)} is no regular file")
    try:
        return np.lib.format.open_memmap(path, mode="r")
    except OSError:
        raise
    # A forged header can raise nearly anything: its shape is an expression.
    except Exception as error:
        raise ValueError(
            f"{shown(path)} holds no array: {shown(error)} ({type(error).__name__})"
        ) from error


def pixel_statistics(
    images: np.ndarray,
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Per-channel mean and standard deviation of pixels scaled to [0, 1].

    Args:
      images: uint8 ``[N, H, W, channels]``.

    Returns:
      ``(mean, std)``, each with a value a channel, rounded to four places so that
      they print; exact sums, from the histogram of each channel. A constant channel
      gets the std of one grey level, so that dividing by it stays safe.
    """
    values = np.arange(256) / 255.0
    means, stds = [], []
    for channel in range(images.shape[-1]):
        counts = np.bincount(images[..., channel].ravel(), minlength=256)
        weights = counts / counts.sum()
        mean = weights @ values
        means.append(round(float(mean), 4))
        deviation = float(np.sqrt(weights @ (values - mean) ** 2))
        stds.append(round(max(deviation, values[1]), 4))
    return tuple(means), tuple(stds)


def run_labels(lengths: Sequence[int]) -> np.ndarray:
    """Labels of images sorted by class: int32 ``[N]``, `lengths[c]` times each c."""
    return np.repeat(np.arange(len(lengths), dtype=np.int32), lengths)


def sorted_split(
    images: np.ndarray, labels: np.ndarray, class_names: dict[int, str]
) -> Split:
    """The images of some classes, grouped by class in the order of `class_names`.

    Args:
      images: uint8 ``[N, H, W, channels]``.
      labels: int ``[N]``; images whose label is not in `class_names` are left out.
      class_names: name of each wanted label; its order gives the new labels.

    Returns:
      The split; images of one class keep their order.
    """
    rows = [np.flatnonzero(labels == label) for label in class_names]
    return Split(
        images=images[np.concatenate(rows)],
        labels=run_labels([len(found) for found in rows]),
        class_names=tuple(class_names.values()),
    )
