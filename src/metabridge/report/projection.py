"""Features in the plane: principal components."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float


class Projection(NamedTuple):
    """Points in the plane that keeps most of the variance."""

    points: Float[np.ndarray, "N 2"]
    """Over the largest distance from their mean in one coordinate: within [-1, 1]."""
    explained: tuple[float, float]
    """Share of the variance in each coordinate."""


def project(features: Float[np.ndarray, "N D"]) -> Projection:
    """The first two principal components of features.

    The sign of a component is that which makes its largest weight positive, so that
    the same features always give the same picture.

    Raises:
      ValueError: features that are not finite.
    """
    features = np.asarray(features, np.float64)
    if not np.isfinite(features).all():
        raise ValueError("the features are not finite")
    centred = features - features.mean(0)
    _, sizes, rows = np.linalg.svd(centred, full_matrices=False)
    variances = np.zeros(2)
    axes = np.zeros((2, features.shape[1]))
    count = min(2, len(sizes))
    variances[:count], axes[:count] = sizes[:count] ** 2, rows[:count]
    largest = np.take_along_axis(axes, np.abs(axes).argmax(1)[:, None], 1)
    points = centred @ (axes * np.where(largest < 0, -1.0, 1.0)).T
    total = float((sizes**2).sum()) or 1.0
    scale = float(np.abs(points).max()) or 1.0
    first, second = (float(value / total) for value in variances)
    return Projection(points / scale, (first, second))
