"""The gap between MTL and GBML beside those between initialisations of one method.

Predictions of a random initialisation are Gaussian (`theory.predictors.spread`), and so
are differences between them: of two networks of one method with twice its covariance;
of MTL and GBML with the sum of theirs, less, where both begin as one function, what
they have in common. The mean norms of these differences are averages over draws.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from metabridge.theory.predictors import spread
from metabridge.theory.predictors.spread import Deviation


class MemberGaps(NamedTuple):
    """Mean distances between networks, averaged over tasks; fields of `Closeness`."""

    seed_gap_mtl: float
    seed_gap_gbml: float
    member_gap: float
    member_gap_apart: float


def member_gaps(
    mtl: Deviation,
    gbml: Deviation,
    differences: Sequence[Float[np.ndarray, "_ K"]],
    *,
    members: int,
    seed: int,
) -> MemberGaps:
    """The distances, from so many draws a task.

    Args:
      mtl: of predictions of MTL on the unseen tasks.
      gbml: of those of GBML, in which the head begins as the new head of MTL.
      differences: between their means over initialisations, of each task.
      members: pairs of networks that are drawn for each task.
      seed: of the draws.
    """
    found = []
    both = spread.covariances(spread.side_by_side(mtl, gbml))
    for index, (V, mean) in enumerate(zip(both, differences, strict=True)):
        (a, ab), (ba, b) = (np.split(half, 2, 1) for half in np.split(V, 2))
        pairs = ((2 * a, 0.0), (2 * b, 0.0), (a + b - ab - ba, mean), (a + b, mean))
        shape = (members, mean.shape[1])
        found.append(
            [
                # The same draws for all four, which are to be compared.
                np.linalg.norm(
                    middle + spread.sample(covariance, shape, seed + index), axis=(1, 2)
                ).mean()
                for covariance, middle in pairs
            ]
        )
    return MemberGaps(*map(float, np.mean(found, 0)))
