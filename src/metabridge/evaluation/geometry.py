"""Geometry of features and heads: spread of classes, cosines, condition of heads.

All in float64 on the host; what is infinite or no number says that it is not defined.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

_LARGEST_CONDITION = 1e6


class Cosines(NamedTuple):
    """Mean cosine of query features with support features."""

    same_class: float
    other_class: float


class HeadGeometry(NamedTuple):
    """Condition and norms of the rows of linear heads."""

    condition_number: float
    norm_mean: float
    norm_std: float


def class_distance_variance(
    features: Float[np.ndarray, "N D"], labels: Int[np.ndarray, "N"]
) -> float:
    """Class-distance normalised variance (CDNV), mean over pairs of classes.

    ``V(i, j) = (var_i + var_j) / (2 |mu_i - mu_j|^2)`` with the mean ``mu_i`` of the
    features of class i and ``var_i`` the mean of ``|f - mu_i|^2``. It is 0 where every
    class has collapsed to a point, and infinite if two classes have the same mean.

    Galanti, Gyorgy, Hutter. On the role of neural collapse in transfer learning. ICLR
    2022, https://arxiv.org/abs/2112.15121.

    Args:
      features: of the images.
      labels: their classes, each of 0..C-1 at least once, C at least 2.
    """
    features = features.astype(np.float64)
    members = np.eye(int(labels.max()) + 1)[labels]
    counts = members.sum(0)
    means = members.T @ features / counts[:, None]
    variances = members.T @ np.square(features - means[labels]).sum(1) / counts
    first, second = np.triu_indices(len(means), 1)
    distances = np.square(means[first] - means[second]).sum(1)
    with np.errstate(divide="ignore", invalid="ignore"):
        pairs = (variances[first] + variances[second]) / (2 * distances)
    return float(pairs.mean())


def query_cosines(
    features: Float[np.ndarray, "N D"],
    labels: Int[np.ndarray, "N"],
    is_query: Bool[np.ndarray, "N"],
) -> Cosines:
    """Mean of ``cos(q, s) = q.s / (|q| |s|)`` over queries q and support s.

    Over the pairs of the same class, and over those of two classes. The cosine with a
    feature of zeros is 0.

    Kao, Chiu, Chen. MAML is a noisy contrastive learner in classification. ICLR 2022,
    https://arxiv.org/abs/2106.15367.

    Args:
      features: of the images.
      labels: their classes, at least 2.
      is_query: whether an image is a query, else it is support; some class has both.
    """
    features = features.astype(np.float64)
    norms = np.linalg.norm(features, axis=1, keepdims=True)
    unit = features / np.where(norms > 0, norms, 1.0)
    cosines = unit[is_query] @ unit[~is_query].T
    same = labels[is_query][:, None] == labels[~is_query]
    return Cosines(float(cosines[same].mean()), float(cosines[~same].mean()))


def head_geometry(rows: Float[np.ndarray, "T ways D"]) -> HeadGeometry:
    """Condition number and norms of the rows ``w_c`` of linear heads.

    ``kappa = sigma_1 / sigma_r``: the largest over the smallest singular value of the
    matrix of all rows, from which the mean row of their head is taken first, as a
    softmax over the head's classes ignores it; that leaves ``r = min(T (ways - 1), D)``
    singular values. For heads of two classes the matrix is that of the paper, a vector
    a task, times a constant. Beyond 10^6, where float32 says no more, kappa is
    infinite. The norms are ``|w_c|`` of the rows as they are, mean and standard
    deviation.

    Bouniot, Redko, Audigier, Loesch, Habrard. Improving few-shot learning through
    multi-task representation learning theory. ECCV 2022,
    https://arxiv.org/abs/2010.01992.

    Args:
      rows: of T heads; a table of C classes is one head of C ways. At least 2 ways.
    """
    rows = rows.astype(np.float64)
    norms = np.linalg.norm(rows, axis=2)
    centred = rows - rows.mean(1, keepdims=True)
    tasks, ways, dimension = rows.shape
    matrix = centred.reshape(-1, dimension)
    tall = matrix.shape[0] > dimension
    gram = matrix.T @ matrix if tall else matrix @ matrix.T  # the smaller one
    squares = np.sort(np.linalg.eigvalsh(gram))[::-1]
    rank = min(tasks * (ways - 1), dimension)
    largest, smallest = np.sqrt(np.maximum(squares[[0, rank - 1]], 0.0))
    defined = smallest * _LARGEST_CONDITION >= largest > 0
    condition = float(largest / smallest) if defined else float("inf")
    return HeadGeometry(condition, float(norms.mean()), float(norms.std()))
