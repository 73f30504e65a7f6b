"""Sizes of a task, and how those of unequal tasks are drawn."""

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

Imbalance = Literal["none", "linear", "step", "random"]
"""How the shots of the classes of one task differ; see `TaskShape`."""


class TaskShape(NamedTuple):
    """How large a task is, or the largest of tasks of unequal sizes.

    Sizes are drawn uniformly between the least and the largest: ways and queries for
    each task, and so are shots, the same for all of its classes, or with an `imbalance`
    for each class: evenly spaced ("linear"), the least for half of the classes and the
    most for the others ("step"), or drawn by itself ("random"). Ochal, Patacchiola,
    Vazquez, Storkey, Wang. Few-shot learning with class imbalance. IEEE Transactions on
    AI 2023, https://arxiv.org/abs/2101.02523. A class with fewer images than that
    gives as many shots as leave the least queries, and what remains as queries.
    """

    ways: int
    """Classes in a task."""
    shots: int
    """Support examples of each class."""
    queries: int
    """Query examples of each class."""
    min_ways: int | None = None
    """The least classes; None for `ways`."""
    min_shots: int | None = None
    """The least support examples of a class; None for `shots`."""
    min_queries: int | None = None
    """The least query examples of a class; None for `queries`."""
    imbalance: Imbalance = "none"

    @property
    def least(self) -> "TaskShape":
        """The shape of the smallest tasks."""
        return TaskShape(
            self.ways if self.min_ways is None else self.min_ways,
            self.shots if self.min_shots is None else self.min_shots,
            self.queries if self.min_queries is None else self.min_queries,
        )

    @property
    def mean_images(self) -> float:
        """Images of a task in the mean, where no class has fewer than it takes."""
        least = self.least
        of_class = (least.shots + self.shots + least.queries + self.queries) / 2
        return (least.ways + self.ways) / 2 * of_class

    @property
    def unequal(self) -> bool:
        """Whether the sizes of tasks differ."""
        return self.least[:3] != self[:3]

    @property
    def pictured(self) -> "TaskShape":
        """Equal tasks of all ways, with images that every class has, to show one."""
        return self.least._replace(ways=self.ways)

    def as_json(self) -> dict[str, int | str]:
        """Sizes by name, the least ones only of unequal tasks."""
        if not self.unequal:
            return dict(zip(self._fields[:3], self[:3], strict=True))
        least = dict(zip(self._fields[3:6], self.least[:3], strict=True))
        return self._asdict() | least


def describe(sizes: Mapping[str, Any]) -> str:
    """Sizes of tasks by name in words, as in a result: "5-way 1-shot".

    Of unequal tasks "2- to 5-way, 1- to 5-shot (linear)".
    """
    ways, shots = size_range(sizes, "ways"), size_range(sizes, "shots")
    imbalance = sizes.get("imbalance") or "none"
    joint = "," if "to" in ways + shots else ""
    kind = "" if imbalance == "none" else f" ({imbalance})"
    return f"{ways}-way{joint} {shots}-shot{kind}"


def size_range(sizes: Mapping[str, Any], name: str, prefix: str = "") -> str:
    """A size in words, "5" or "2- to 5"; all names have the prefix, e.g. "train_"."""
    most, least = sizes[f"{prefix}{name}"], sizes.get(f"{prefix}min_{name}")
    return f"{most}" if least in (None, most) else f"{least}- to {most}"
