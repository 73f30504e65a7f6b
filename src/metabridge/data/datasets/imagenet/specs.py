"""What the datasets made from ImageNet consist of.

mini-ImageNet: Vinyals et al. Matching networks for one shot learning. NeurIPS 2016,
https://arxiv.org/abs/1606.04080; classes split by Ravi, Larochelle. Optimization as a
model for few-shot learning. ICLR 2017. tiered-ImageNet: Ren et al. Meta-learning for
semi-supervised few-shot classification. ICLR 2018, https://arxiv.org/abs/1803.00676.
"""

import json
from importlib import resources
from typing import NamedTuple

from metabridge.data.dataset import SPLITS

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
    path = resources.files("metabridge.data") / "splits" / f"{name}.json"
    lists = json.loads(path.read_text(encoding="utf-8"))
    classes = {split: tuple(sorted(lists[split])) for split in SPLITS}
    return Spec(name, per_class, dict(zip(SPLITS, totals, strict=True)), classes)


SPECS = {
    "mini_imagenet": _spec("mini_imagenet", 600, (38_400, 9_600, 12_000)),
    "tiered_imagenet": _spec("tiered_imagenet", None, (448_695, 124_261, 206_209)),
}
