"""Array work that several datasets share."""

import numpy as np

from metabridge.data.dataset import Split


def pixel_statistics(
    images: np.ndarray,
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Per-channel mean and standard deviation of pixels scaled to [0, 1].

    Args:
      images: uint8 ``[N, H, W, channels]``.

    Returns:
      ``(mean, std)``, each with a value a channel, rounded to four places so that
      they print; exact sums, from the histogram of each channel.
    """
    values = np.arange(256) / 255.0
    means, stds = [], []
    for channel in range(images.shape[-1]):
        counts = np.bincount(images[..., channel].ravel(), minlength=256)
        weights = counts / counts.sum()
        mean = weights @ values
        means.append(round(float(mean), 4))
        stds.append(round(float(np.sqrt(weights @ (values - mean) ** 2)), 4))
    return tuple(means), tuple(stds)


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
        labels=np.repeat(
            np.arange(len(rows), dtype=np.int32), [len(found) for found in rows]
        ),
        class_names=tuple(class_names.values()),
    )
