"""Labelled images as each form of CIFAR-100 gives them."""

from typing import NamedTuple

import numpy as np

SIDE = 32
"""Height and width of the images."""
PER_CLASS = 600
"""Images of each class, 500 of the training and 100 of the test file."""


class Labelled(NamedTuple):
    """Images of the classes of one split, and perhaps of others."""

    images: np.ndarray
    """uint8 ``[N, 32, 32, 3]``."""
    labels: np.ndarray
    """Integers ``[N]``."""
    names: dict[int, str]
    """The classes of the split by label, in the order that they are to have."""


def names_of(every: list[str], chosen: list[str], where: str) -> dict[int, str]:
    """Names of chosen classes by label, if they are among the names of all labels."""
    if len(set(every)) != 100 or not set(chosen) <= set(every):
        raise ValueError(
            f"{where} does not name the 100 classes of CIFAR-100: it names {len(every)}"
        )
    return {every.index(name): name for name in chosen}
