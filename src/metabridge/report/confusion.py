"""Accuracy by class and confusions between classes, counted over tasks, as tables."""

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from metabridge.plots import class_name
from metabridge.report.markup import Markup, fill, run_label
from metabridge.report.predictions import Group

MOST_CLASSES = 15
"""Rows of the table by class: the least accurate ones."""
MATRIX = 20
"""Classes up to which there is a whole matrix."""
_MATRICES = 12
"""Runs up to which each has one."""


class Confusion(NamedTuple):
    """Counts over the queries of tasks, by test class; most pairs may be zero."""

    taken: Int[np.ndarray, "C C"]
    """Queries of a class (row) that were taken for a class (column)."""
    possible: Int[np.ndarray, "C C"]
    """Queries of a class (row) in tasks that also had a class (column)."""

    def accuracy(self) -> Float[np.ndarray, "C"]:
        """Share of the queries of each class that was right; NaN without any."""
        return self.rates().diagonal()

    def rates(self) -> Float[np.ndarray, "C C"]:
        """Share of a class (row) taken for a class (column) where it could be."""
        with np.errstate(invalid="ignore"):
            return self.taken / self.possible.astype(np.float64)

    def mistaken_for(self, row: int) -> tuple[int, float] | None:
        """The most frequent mistake for a class, and its share where it was possible.

        None if all queries were right or there were none.
        """
        others = self.taken[row].copy()
        others[row] = 0
        if not others.any():
            return None
        most = int(others.argmax())
        return most, float(others[most] / self.possible[row, most])


def count(
    classes: Int[np.ndarray, "T ways"],
    predicted: Int[np.ndarray, "T ways queries"],
    num_classes: int,
) -> Confusion:
    """Count over tasks, given the class of each label and the labels predicted."""
    taken = np.zeros((num_classes, num_classes), np.int64)
    possible = np.zeros_like(taken)
    queries = predicted.shape[2]
    for names, labels in zip(classes, predicted, strict=True):
        np.add.at(taken, (np.repeat(names, queries), names[labels].reshape(-1)), 1)
        possible[np.ix_(names, names)] += queries
    return Confusion(taken, possible)


def confusions(group: Group) -> dict[int, Confusion]:
    """The counts of each run."""
    total = group.dataset.test.num_classes
    return {
        number: count(group.drawn.classes, found.confidence.argmax(-1), total)
        for number, found in group.members.items()
    }


def confusion_view(group: Group, names: list[str]) -> Markup:
    """A table by class of all runs, and a matrix of each where classes are few."""
    counts = confusions(group)
    labels = {number: run_label(names[number], number) for number in counts}
    class_names = [class_name(name) for name in group.dataset.test.class_names]
    accuracies = np.stack([found.accuracy() for found in counts.values()])
    queries = next(iter(counts.values())).possible.diagonal()
    seen = np.flatnonzero(queries)
    order = seen[np.argsort(accuracies[:, seen].mean(0), kind="stable")]
    about = (
        f"{len(group.drawn.classes)} test tasks, {int(queries.sum()):,} queries of "
        f"{len(seen)} classes"
    )
    if len(order) > MOST_CLASSES:
        about += f"; the {MOST_CLASSES} least accurate ones"
    titles, of_text = ("Class", "Queries", *labels.values()), Markup(' class="text"')
    head = [
        fill("sorting_head", title=title, attributes=None if column else of_text)
        for column, title in enumerate(titles)
    ]
    rows = [
        fill(
            "class_row",
            name=class_names[row],
            queries=int(queries[row]),
            cells=[_class_cell(found, row, class_names) for found in counts.values()],
        )
        for row in map(int, order[:MOST_CLASSES])
    ]
    caption = f"Accuracy by class, {group.title}"
    kind = "classes sortable"
    matrices = [
        fill(
            "matrix",
            run=labels[number],
            name=names[number],
            group=group.title,
            head=[fill("matrix_head", name=class_names[c]) for c in seen],
            rows=_matrix_rows(found.rates(), seen, class_names),
        )
        for number, found in counts.items()
        if len(seen) <= MATRIX and len(counts) <= _MATRICES
    ]
    return fill(
        "confusions",
        title=group.title,
        about=about,
        table=fill("table", kind=kind, caption=caption, head=head, rows=rows),
        matrices=matrices,
    )


def _class_cell(found: Confusion, row: int, class_names: list[str]) -> Markup:
    share = float(found.accuracy()[row])
    text = "always right"
    if mistake := found.mistaken_for(row):
        text = f"as {class_names[mistake[0]]} {100 * mistake[1]:.0f}\u00a0%"
    return fill(
        "class_cell", value=f"{share:.6f}", share=f"{100 * share:.0f}", mistake=text
    )


def _matrix_rows(
    rates: np.ndarray, seen: np.ndarray, class_names: list[str]
) -> list[Markup]:
    """Rates of confusion of a class (row) with another (column)."""
    return [
        fill(
            "matrix_row",
            name=class_names[row],
            cells=[_cell(float(rates[row, c]), own=bool(row == c)) for c in seen],
        )
        for row in seen
    ]


def _cell(rate: float, *, own: bool) -> Markup:
    if math.isnan(rate):
        return fill("matrix_cell", shade="none", rate="·")
    shade = f"{'own' if own else 'other'} h{min(int(10 * rate), 9)}"
    return fill("matrix_cell", shade=shade, rate=f"{100 * rate:.0f}")
