"""Accuracy by class, and what each class is taken for, as tables."""

import math

import numpy as np

from metabridge.report import confusion
from metabridge.report.confusion import Confusion
from metabridge.report.groups import Group
from metabridge.report.markup import Markup, element
from metabridge.report.results_table import label, scrollable
from metabridge.report.task_view import class_name

MOST_CLASSES = 15
"""Of the table by class: the least accurate ones."""
MATRIX = 20
"""Classes up to which there is a whole matrix."""
_MATRICES = 12
"""Runs up to which each has one."""


def confusions(group: Group) -> dict[int, Confusion]:
    """The counts of each run."""
    total = group.dataset.test.num_classes
    return {
        number: confusion.count(group.drawn.classes, found.confidence.argmax(-1), total)
        for number, found in group.members.items()
    }


def confusion_view(group: Group, names: list[str]) -> Markup:
    """A table by class of all runs, and a matrix of each where classes are few."""
    counts = confusions(group)
    accuracies = np.stack([found.accuracy() for found in counts.values()])
    asked = next(iter(counts.values())).asked.diagonal()
    seen = np.flatnonzero(asked)
    order = seen[np.argsort(accuracies[:, seen].mean(0), kind="stable")]
    tasks = len(group.drawn.classes)
    note = f"{tasks} test tasks, {int(asked.sum()):,} queries of {len(seen)} classes"
    if len(order) > MOST_CLASSES:
        note += f"; the {MOST_CLASSES} least accurate ones"
    parts = [
        element("h3", group.title),
        element("p", f"{note}.", class_="note"),
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
    split = group.dataset.test
    heads = [("Class", "text"), ("Queries", None)]
    head = [_head(title, kind) for title, kind in heads]
    head += [_head(label(names[number], number), None) for number in counts]
    first = next(iter(counts.values()))
    rows = []
    for row in map(int, order):
        name = class_name(split.class_names[row])
        queries = int(first.asked[row, row])
        cells = [
            element("th", name, scope="row", class_="text", data_value=name),
            element("td", queries, data_value=queries),
        ]
        for found in counts.values():
            share = float(found.accuracy()[row])
            cells.append(
                element(
                    "td",
                    element("span", f"{100 * share:.0f} %", class_="share"),
                    _mistake(found, row, split.class_names),
                    data_value=f"{share:.6f}",
                )
            )
        rows.append(element("tr", *cells))
    caption = f"Accuracy by class, {group.title}"
    table = element(
        "table",
        element("caption", caption, class_="hidden-label"),
        element("thead", element("tr", *head)),
        element("tbody", *rows),
        class_="classes sortable",
    )
    return scrollable(table, caption)


def _head(title: object, kind: str | None) -> Markup:
    return element(
        "th", element("button", title, type="button"), scope="col", class_=kind
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
    table = element(
        "table",
        element("caption", "Rows: true class; columns: predicted; % of the queries "
                "in tasks that had both"),
        element("thead", element("tr", *head)),
        element("tbody", *rows),
        class_="matrix",
    )  # fmt: skip
    summary = element("summary", "Confusion matrix of ", label(name, number))
    title = f"Confusion matrix of {name}, {group.title}"
    return element("details", summary, scrollable(table, title))


def _cell(rate: float, *, own: bool) -> Markup:
    if math.isnan(rate):
        return element("td", "·", class_="none")
    shade = f"{'own' if own else 'other'} h{min(int(10 * rate), 9)}"
    return element("td", f"{100 * rate:.0f}", class_=shade)
