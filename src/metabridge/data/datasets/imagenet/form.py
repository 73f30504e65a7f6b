"""The contents of the datasets made from ImageNet, and the forms that people have.

mini-ImageNet: Vinyals et al. Matching networks for one shot learning. NeurIPS 2016,
https://arxiv.org/abs/1606.04080; classes split by Ravi, Larochelle. Optimization as a
model for few-shot learning. ICLR 2017. tiered-ImageNet: Ren et al. Meta-learning for
semi-supervised few-shot classification. ICLR 2018, https://arxiv.org/abs/1803.00676.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from metabridge.data.dataset import SPLITS, class_lists
from metabridge.data.reading import Reading

SIDE = 84
"""Height and width of the images."""


class Spec(NamedTuple):
    """A dataset made from ImageNet."""

    name: str
    per_class: int | None
    """Images of every class, if they have the same number."""
    totals: dict[str, int]
    """Images of each split."""
    classes: dict[str, tuple[str, ...]]
    """WordNet ids of the classes of each split, ascending."""


def _spec(name: str, per_class: int | None, totals: tuple[int, int, int]) -> Spec:
    classes = {s: tuple(sorted(names)) for s, names in class_lists(name).items()}
    return Spec(name, per_class, dict(zip(SPLITS, totals, strict=True)), classes)


SPECS = {
    "mini_imagenet": _spec("mini_imagenet", 600, (38_400, 9_600, 12_000)),
    "tiered_imagenet": _spec("tiered_imagenet", None, (448_695, 124_261, 206_209)),
}

Decode = Callable[[Sequence[Any], np.ndarray, bool, Reading], np.ndarray]
"""``decode(rows, out, skip_corrupt, reading)`` writes the images that `rows` stand for
to `out`, uint8 ``[N, H, W, 3]``, and returns which were written, bool ``[N]``."""


class Images(NamedTuple):
    """The images of a split, not yet decoded."""

    rows: Mapping[str, Sequence[Any]]
    """A row number or a file for each image of a class, by the name of the class."""
    decode: Decode


class Form(NamedTuple):
    """A dataset as it was found."""

    text: str
    """Its name in messages."""
    fingerprint: dict[str, Any]
    """Changes when the images would."""
    open: Callable[[str], Images]
    """The images of a split; may read files."""
