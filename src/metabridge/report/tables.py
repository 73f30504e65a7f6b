"""Tables of runs: results with intervals and costs, and configurations side by side."""

import json
from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import NamedTuple

from metabridge.evaluation.intervals import CLOSED, OPEN
from metabridge.report.agreement import paired_difference
from metabridge.report.markup import Markup, fill, run_label
from metabridge.report.runs import Run, task_of
from metabridge.runs.folder import flat_options
from metabridge.units import format_accuracy, format_bytes, format_duration

_MISSING = "–"  # in the place of a value that is not known
_LONGEST = 300  # characters of an option


class _Column(NamedTuple):
    title: str
    cell: Callable[[Run], object]
    value: Callable[[Run], float | str | None]
    """The table is sorted by it."""
    attributes: Markup | None = None
    """Of its head."""


_DESCENDING, _TEXT = Markup(' aria-sort="descending"'), Markup(' class="text"')


def results_table(runs: Sequence[Run]) -> Markup:
    """A row a run, sorted by accuracy; the script sorts by any column."""
    columns = _columns(runs)
    head = [
        fill("sorting_head", title=column.title, attributes=column.attributes)
        for column in columns
    ]
    rows = [_row(run, number, columns) for number, run in enumerate(runs)]
    caption = "Results of the runs"
    return fill("table", kind="results sortable", caption=caption, head=head, rows=rows)


def finding(runs: Sequence[Run]) -> Markup | None:
    """The most accurate run of those with the same test tasks, in words."""
    sentences = []
    for task in dict.fromkeys(map(task_of, runs)):
        best, *others = (run for run in runs if task_of(run) == task)
        if not others:
            continue
        where = None if len(others) + 1 == len(runs) else f"On {task}, "
        accuracy = format_accuracy(best.accuracy, best.ci95)
        said = _against(best, others)
        found = fill(
            "best", name=best.name, where=where, accuracy=accuracy, others=said
        )
        sentences.append(found)
    return fill("finding", sentences=sentences) if sentences else None


def _against(best: Run, others: Sequence[Run]) -> str:
    """How far the best run is above others: paired differences, else intervals."""
    gaps = {run.name: paired_difference(best, run) for run in others}
    paired = {name: gap for name, gap in gaps.items() if gap is not None}
    said = ""
    if paired:
        near = [name for name, gap in paired.items() if gap.mean <= gap.ci95]
        name, gap = min(paired.items(), key=lambda pair: pair[1].mean)
        shown = format_accuracy(gap.mean, gap.ci95)
        said = (
            f"On the same tasks it is {shown} points above {name}, the next "
            f"(Cohen's d {gap.effect:.2f}). "
        )
        if near:
            said += f"These tasks do not tell it from {', '.join(near)}. "
    alone = [run for run in others if run.name not in paired]
    overlapping = [
        run.name
        for run in alone
        if abs(best.accuracy - run.accuracy) <= best.ci95 + run.ci95
    ]
    if overlapping:
        said += f"Its interval overlaps that of {', '.join(overlapping)}. "
    elif alone:
        said += "No other interval overlaps its own. "
    return said


def intervals_note(runs: Sequence[Run]) -> str:
    """What the intervals in the table of results claim."""
    return f"{CLOSED} {OPEN}" if any(run.open for run in runs) else CLOSED


def _columns(runs: Sequence[Run]) -> list[_Column]:
    ends = [end for run in runs for end in run.interval]
    low, width = min(ends), (max(ends) - min(ends)) or 1.0

    def number(name: str, show: Callable[[float], str], title: str) -> _Column:
        def cell(run: Run) -> str:
            value = run.result[name]
            return _MISSING if value is None else show(value)

        return _Column(title, cell, lambda run: run.result[name])

    def text(value: Callable[[Run], str], title: str) -> _Column:
        return _Column(title, value, value, _TEXT)

    def interval(run: Run) -> Markup:
        """The interval as a line, on the same scale for all rows, and as text."""
        left, right = run.interval
        ends = {"start": left, "middle": (left + right) / 2, "end": right}
        places = {k: f"{4 + 112 * (x - low) / width:.1f}" for k, x in ends.items()}
        accuracy = format_accuracy(run.accuracy, run.ci95)
        return fill("interval", **places, accuracy=accuracy)

    columns = [text(attrgetter("name"), "Run")]
    if any(run.name != run.config.algorithm for run in runs):
        columns.append(text(attrgetter("config.algorithm"), "Learner"))
    if len(set(map(task_of, runs))) > 1:
        columns.append(text(task_of, "Test tasks"))
    accuracy = attrgetter("accuracy")
    columns.append(_Column("Test accuracy, %", interval, accuracy, _DESCENDING))
    if any(run.open for run in runs):
        columns.append(_Column("Open interval, %", _open, _open_accuracy))
    return [
        *columns,
        number("pixel_centroid_accuracy", lambda x: f"{100 * x:.1f}", "Raw pixels, %"),
        number("train_seconds", format_duration, "Training"),
        number("train_steps", "{:,.0f}".format, "Steps"),
        number("images_per_second", "{:,.0f}".format, "Images/s"),
        number("peak_memory_mb", _megabytes, "Peak memory"),
        number("step_memory_mb", _megabytes, "Step memory"),
        number("parameters", "{:,.0f}".format, "Parameters"),
    ]


def _open_accuracy(run: Run) -> float | None:
    return None if run.open is None else run.open[0]


def _open(run: Run) -> str:
    return _MISSING if run.open is None else format_accuracy(*run.open)


def _megabytes(value: float) -> str:
    return format_bytes(1e6 * value)


def _row(run: Run, number: int, columns: Sequence[_Column]) -> Markup:
    cells = [fill("run_cell", value=run.name, shown=run_label(run.name, number))]
    for column in columns[1:]:
        kind = _TEXT if column.attributes is _TEXT else None
        value, shown = column.value(run), column.cell(run)
        cells.append(fill("cell", value=value, shown=shown, attributes=kind))
    return fill("row", cells=cells)


def configurations(runs: Sequence[Run]) -> Markup:
    """The options of all runs side by side; the script hides those that are alike."""
    titles = [run_label(run.name, number) for number, run in enumerate(runs)]
    head = [fill("option_head", title=title) for title in ("Option", *titles)]
    found = compare_options(runs)
    rows = [_option_row(*row) for row in found]
    caption = "Options of the run" if len(runs) < 2 else "Options of the runs"
    table = fill("table", kind="options", caption=caption, head=head, rows=rows)
    if len(runs) < 2:
        return table
    different = sum(differs for *_, differs in found)
    return fill("only_differences", different=different, all=len(found), table=table)


def compare_options(runs: Sequence[Run]) -> list[tuple[str, list[str], bool]]:
    """Name, values and whether they differ, of each option and of what made the runs.

    An option that a run's learner does not have is missing there.
    """
    options = [_options(run) for run in runs]
    names = dict.fromkeys(name for each in options for name in each)
    ordered = sorted(names, key=lambda name: _SECTIONS.index(name.rpartition(".")[0]))
    rows = ((name, [each.get(name, _MISSING) for each in options]) for name in ordered)
    return [(name, values, len(set(values)) > 1) for name, values in rows]


_SECTIONS = ("", "learner", "data", "model", "train", "evaluation", "made by")


def _options(run: Run) -> dict[str, str]:
    made = {f"made by.{name}": value for name, value in run.made.items()}
    values = flat_options(run.config) | made
    return {name: _text(value) for name, value in values.items()}


def _text(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    text = "none" if value is None else text
    return text if len(text) <= _LONGEST else text[:_LONGEST] + "…"


def _option_row(name: str, values: Sequence[str], differs: bool) -> Markup:
    section, _, option = name.rpartition(".")
    prefix = f"{section} " if section == _SECTIONS[-1] else f"{section}."
    return fill(
        "option_row",
        kind="differs" if differs else "alike",
        section=fill("option_section", section=prefix) if section else None,
        option=option,
        mark=fill("option_mark") if differs else None,
        cells=[fill("option_value", value=value) for value in values],
    )
