"""Agreement of runs: predictions for the same queries, from the kept evaluations."""

import math
from collections.abc import Sequence
from typing import Any

from metabridge.evaluation.intervals import Difference, difference
from metabridge.report.markup import Markup, fill, run_label
from metabridge.report.runs import Run, task_of
from metabridge.runs.evaluation import Evaluation, same_tasks
from metabridge.similarity.agree import compare_kept
from metabridge.similarity.kept import Kept, name_methods
from metabridge.similarity.text import (
    MEANINGS,
    METHOD_COLUMNS,
    OF_METHODS,
    TITLES,
    format_measure,
    method_rows,
)

MOST_RUNS = 20
"""Runs of a matrix, at most: the most accurate ones."""
_ALIKE = ("same_class", "kappa")  # high where runs agree; the others are distances


def paired_difference(first: Run, second: Run) -> Difference | None:
    """Difference of accuracies on the same tasks; None unless both have kept them."""
    one, two = first.evaluation, second.evaluation
    if one is None or two is None or not _comparable(one, two):
        return None
    return difference(one.closed.outcome.accuracy, two.closed.outcome.accuracy)


def _comparable(first: Evaluation, second: Evaluation) -> bool:
    return len(first.closed.outcome.accuracy) > 1 and same_tasks(first, second)


def agreement_views(runs: Sequence[Run]) -> list[Markup]:
    """A view of each set of runs, two at least, that have kept the same test tasks."""
    groups: list[dict[int, Evaluation]] = []
    for number, run in enumerate(runs):
        if (own := run.evaluation) is None or own.closed.unequal:
            continue
        alike = (g for g in groups if _comparable(next(iter(g.values())), own))
        if (group := next(alike, None)) is None:
            groups.append(group := {})
        group[number] = own
    several = [group for group in groups if len(group) > 1]
    return [_view(runs, *each) for each in enumerate(several)]


def _view(runs: Sequence[Run], place: int, group: dict[int, Evaluation]) -> Markup:
    numbers = list(group)[:MOST_RUNS]
    names = name_methods([runs[number].config for number in numbers])
    methods = dict(zip(numbers, names, strict=True))
    # Runs of one method stand beside each other.
    numbers.sort(key=lambda number: names.index(methods[number]))
    kept = [
        Kept(runs[n].name, runs[n].folder, runs[n].config, methods[n], group[n])
        for n in numbers
    ]
    found = compare_kept(kept)
    pairs, title = found["pairs"], task_of(runs[next(iter(group))])
    measures = [name for name in MEANINGS if pairs[0][name] is not None]
    tasks, queries = kept[0].evaluation.closed.outcome.predicted.shape
    about = f"{len(group)} runs on the same {tasks:,} test tasks of {queries} queries"
    if len(group) > len(numbers):
        about += f"; the {len(numbers)} most accurate ones"
    return fill(
        "agreement",
        place=place,
        title=title,
        about=about,
        options=[fill("choice", number=name, name=_plain(name)) for name in measures],
        matrices=[_matrix(name, title, numbers, runs, pairs) for name in measures],
        methods=_methods(found, title),
    )


def _plain(name: str) -> str:
    return name.replace("_", " ").capitalize()


def _matrix(
    name: str,
    title: str,
    numbers: Sequence[int],
    runs: Sequence[Run],
    pairs: Sequence[dict[str, Any]],
) -> Markup:
    """A measure of all pairs of runs."""
    values = {(pair["first"], pair["second"]): pair[name] for pair in pairs}
    values |= {(b, a): value for (a, b), value in values.items()}
    # What agrees is shaded from 0 to 1, a distance from 0 to the largest of them.
    finite = [value for value in values.values() if math.isfinite(value)]
    largest = 1.0 if name in _ALIKE else max(finite, default=0.0) or 1.0
    places = range(len(numbers))
    return fill(
        "measure",
        measure=name,
        title=_plain(name),
        group=title,
        meaning=f"{TITLES[name].capitalize()}: {MEANINGS[name]}",
        head=[fill("matrix_head", name=runs[number].name) for number in numbers],
        rows=[
            fill(
                "matrix_row",
                name=run_label(runs[numbers[a]].name, numbers[a]),
                cells=[_cell(name, values.get((a, b)), largest) for b in places],
            )
            for a in places
        ],
    )


def _cell(name: str, value: float | None, largest: float) -> Markup:
    if value is None or not math.isfinite(value):  # a run with itself
        return fill("matrix_cell", shade="none", rate="·")
    step = min(max(int(10 * value / largest), 0), 9)
    kind = "own" if name in _ALIKE else "other"
    return fill(
        "matrix_cell", shade=f"{kind} h{step}", rate=format_measure(name, value)
    )


def _methods(found: dict[str, Any], title: str) -> Markup:
    """Seeds of one method against other methods, or why there is no such table."""
    if not found["methods"]:
        note = f"No comparison of methods: {found['no_methods']}."
        return fill("methods", table=None, note=note)
    of_text = Markup(' class="text"')
    columns = [column.capitalize() for column in METHOD_COLUMNS]
    rows = [
        fill(
            "matrix_row",
            name=measure,
            cells=[
                fill("plain_cell", shown=methods, attributes=of_text),
                *(fill("plain_cell", shown=n, attributes=None) for n in numbers),
            ],
        )
        for measure, methods, *numbers in method_rows(found["methods"])
    ]
    head = [
        fill("head", title=column, attributes=of_text if place < 2 else None)
        for place, column in enumerate(columns)
    ]
    caption = f"Seeds of one method against two methods, {title}"
    table = fill("table", kind="methods", caption=caption, head=head, rows=rows)
    return fill("methods", table=table, note=OF_METHODS)
