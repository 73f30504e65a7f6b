"""Accuracy by class and confusions between classes, counted over tasks, as tables."""

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from metabridge.report.markup import (
    Markup,
    element,
    note,
    run_label,
    scrollable,
    sorting_head,
    table,
)
from metabridge.report.predictions import Group
from metabridge.report.task_view import class_name

MOST_CLASSES = 15
"""Of the table by class: the least accurate ones."""
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
        with np.errstate(invalid="ignore"):
            return self.taken.diagonal() / self.possible.diagonal().astype(np.float64)

    def rates(self) -> Float[np.ndarray, "C C"]:
        """How often a class was taken for another where it could be."""
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
    accuracies = np.stack([found.accuracy() for found in counts.values()])
    possible = next(iter(counts.values())).possible.diagonal()
    seen = np.flatnonzero(possible)
    order = seen[np.argsort(accuracies[:, seen].mean(0), kind="stable")]
    tasks = len(group.drawn.classes)
    text = f"{tasks} test tasks, {int(possible.sum()):,} queries of {len(seen)} classes"
    if len(order) > MOST_CLASSES:
        text += f"; the {MOST_CLASSES} least accurate ones"
    parts = [
        element("h3", group.title),
        note(f"{text}."),
        _by_class(group, counts, names, order[:MOST_CLASSES]),
    ]
    if len(seen) <= MATRIX and len(counts) <= _MATRICES:
        parts += [
            _matrix(group, found, seen, number, names[number])
            for number, found in counts.items()
        ]
    return element("div", *parts, class_="confusions")


def _by_class(
    group: Group, counts: dict[int, Confusion], names: list[str], order: np.ndarray
) -> Markup:
    class_names = group.dataset.test.class_names
    head = [sorting_head("Class", class_="text"), sorting_head("Queries")]
    head += [sorting_head(run_label(names[number], number)) for number in counts]
    possible = next(iter(counts.values())).possible.diagonal()
    rows = []
    for row in map(int, order):
        name = class_name(class_names[row])
        rows.append(
            element(
                "tr",
                element("th", name, scope="row", class_="text", data_value=name),
                element("td", int(possible[row]), data_value=int(possible[row])),
                *(_class_cell(found, row, class_names) for found in counts.values()),
            )
        )
    return table(
        f"Accuracy by class, {group.title}", head, rows, class_="classes sortable"
    )


def _class_cell(found: Confusion, row: int, class_names: tuple[str, ...]) -> Markup:
    share = float(found.accuracy()[row])
    return element(
        "td",
        element("span", f"{100 * share:.0f} %", class_="share"),
        _mistake(found, row, class_names),
        data_value=f"{share:.6f}",
    )


def _mistake(found: Confusion, row: int, class_names: tuple[str, ...]) -> Markup:
    mistake = found.mistaken_for(row)
    if mistake is None:
        return element("span", "always right", class_="taken")
    other, share = mistake
    return element(
        "span",
        f"as {class_name(class_names[other])} {100 * share:.0f}\u00a0%",
        class_="taken",
    )


def _matrix(
    group: Group, found: Confusion, seen: np.ndarray, number: int, name: str
) -> Markup:
    """How often a class (row) is taken for another (column) in tasks with both."""
    rates = found.rates()
    names = [class_name(group.dataset.test.class_names[c]) for c in seen]
    head = [element("td")] + [
        element("th", element("span", name), scope="col") for name in names
    ]
    rows = []
    for row, title in zip(seen, names, strict=True):
        cells = [_cell(float(rates[row, c]), own=bool(row == c)) for c in seen]
        rows.append(element("tr", element("th", title, scope="row"), *cells))
    matrix = element(
        "table",
        element("caption", "Rows: true class; columns: predicted; % of the queries "
                "in tasks that had both"),
        element("thead", element("tr", *head)),
        element("tbody", *rows),
        class_="matrix",
    )  # fmt: skip
    summary = element("summary", "Confusion matrix of ", run_label(name, number))
    title = f"Confusion matrix of {name}, {group.title}"
    return element("details", summary, scrollable(matrix, title))


def _cell(rate: float, *, own: bool) -> Markup:
    if math.isnan(rate):
        return element("td", "·", class_="none")
    shade = f"{'own' if own else 'other'} h{min(int(10 * rate), 9)}"
    return element("td", f"{100 * rate:.0f}", class_=shade)
