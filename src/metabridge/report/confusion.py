"""Which test classes are taken for which, counted over tasks."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int


class Confusion(NamedTuple):
    """Counts over the queries of tasks, by test class; most pairs may be zero."""

    said: Int[np.ndarray, "C C"]
    """Queries of a class (row) that were taken for a class (column)."""
    asked: Int[np.ndarray, "C C"]
    """Queries of a class (row) in tasks that also had a class (column)."""

    def accuracy(self) -> Float[np.ndarray, "C"]:
        """Share of the queries of each class that was right; NaN without any."""
        with np.errstate(invalid="ignore"):
            return self.said.diagonal() / self.asked.diagonal().astype(np.float64)

    def rates(self) -> Float[np.ndarray, "C C"]:
        """How often a class was taken for another where it could be."""
        with np.errstate(invalid="ignore"):
            return self.said / self.asked.astype(np.float64)

    def mistaken_for(self, row: int) -> tuple[int, float] | None:
        """The class that most queries of a class were taken for, and their share of
        those that could be; None if all were right or there were none."""
        others = self.said[row].copy()
        others[row] = 0
        if not others.any():
            return None
        most = int(others.argmax())
        return most, float(others[most] / self.asked[row, most])


def count(
    classes: Int[np.ndarray, "T ways"],
    predicted: Int[np.ndarray, "T ways queries"],
    num_classes: int,
) -> Confusion:
    """Counts over tasks.

    Args:
      classes: the class that each label of a task stands for.
      predicted: labels given to the queries, class by class.
      num_classes: of the split, C.
    """
    said = np.zeros((num_classes, num_classes), np.int64)
    asked = np.zeros_like(said)
    queries = predicted.shape[2]
    for names, labels in zip(classes, predicted, strict=True):
        np.add.at(said, (np.repeat(names, queries), names[labels].reshape(-1)), 1)
        asked[np.ix_(names, names)] += queries
    return Confusion(said, asked)
