"""The table of results: accuracy with its interval, and what it cost."""

from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import NamedTuple

from metabridge.report import numbers
from metabridge.report.markup import Markup, element, join
from metabridge.report.runs import Run

_WIDTH, _HEIGHT = 120, 14


class _Column(NamedTuple):
    title: str
    cell: Callable[[Run], object]
    value: Callable[[Run], float | str | None]
    """What the table is sorted by."""


def task_of(run: Run) -> str:
    """Dataset and shape of the test tasks."""
    shape = run.config.evaluation
    name = run.config.data.dataset.removeprefix("folder:").rstrip("/").split("/")[-1]
    return f"{name}, {shape.ways}-way {shape.shots}-shot"


def results_table(runs: Sequence[Run]) -> Markup:
    """A row a run, sorted by accuracy; the script sorts by any column."""
    columns = _columns(runs)
    head = [
        element(
            "th",
            element("button", column.title, type="button"),
            scope="col",
            aria_sort="descending" if column.title == _SORTED else None,
            class_="text" if column.title in _TEXTS else None,
        )
        for column in columns
    ]
    rows = [_row(run, number, columns) for number, run in enumerate(runs)]
    table = element(
        "table",
        element("caption", "Results of the runs", class_="hidden-label"),
        element("thead", element("tr", *head)),
        element("tbody", *rows),
        class_="results sortable",
    )
    return scrollable(table, "Results of the runs")


def scrollable(table: Markup, label: str) -> Markup:
    """A table that may be wider than the page; the keyboard scrolls it, too."""
    return element(
        "div", table, class_="wide", tabindex="0", role="region", aria_label=label
    )


def label(name: object, number: int) -> Markup:
    """The name of a run beside its colour."""
    swatch = element("span", class_=f"swatch c{number % 8}", aria_hidden="true")
    return element("span", swatch, element("span", name), class_="run")


def finding(runs: Sequence[Run]) -> Markup | None:
    """Which run is the most accurate of those with the same test tasks, in words."""
    sentences = []
    for task in dict.fromkeys(map(task_of, runs)):
        those = [run for run in runs if task_of(run) == task]
        if len(those) < 2:
            continue
        best = those[0]
        near = [run.name for run in those[1:] if _overlap(best, run)]
        where = "" if len(those) == len(runs) else f"On {task}, "
        sentences.append(
            join(
                where, element("strong", best.name), " is the most accurate, with ",
                accuracy(best), " %. ",
                f"Its interval overlaps that of {', '.join(near)}. " if near else
                "No other interval overlaps its own. ",
            )
        )  # fmt: skip
    return element("p", *sentences, class_="finding") if sentences else None


def accuracy(run: Run) -> str:
    """Test accuracy and the half width of its interval, in percent."""
    value, half = run.result["accuracy"], run.result["ci95"]
    return f"{numbers.percent(value, 2)} ± {numbers.percent(half, 2)}"


def _overlap(a: Run, b: Run) -> bool:
    (low_a, high_a), (low_b, high_b) = interval(a), interval(b)
    return low_a <= high_b and low_b <= high_a


def interval(run: Run) -> tuple[float, float]:
    """The ends of the 95 % interval."""
    value, half = run.result["accuracy"] or 0.0, run.result["ci95"] or 0.0
    return value - half, value + half


_SORTED = "Test accuracy, %"
_TEXTS = ("Run", "Learner", "Test tasks")


def _columns(runs: Sequence[Run]) -> list[_Column]:
    ends = [end for run in runs for end in interval(run)]
    low, high = min(ends), max(ends)

    def number(name: str, show: Callable[[float | None], str], title: str) -> _Column:
        return _Column(
            title, lambda run: show(run.result[name]), lambda run: run.result[name]
        )

    columns = []
    if any(run.name != run.config.algorithm for run in runs):
        learner = attrgetter("config.algorithm")
        columns.append(_Column("Learner", learner, learner))
    if len(set(map(task_of, runs))) > 1:
        columns.append(_Column("Test tasks", task_of, task_of))
    columns += [
        _Column(
            _SORTED,
            lambda run: join(_bar(run, low, high), accuracy(run)),
            lambda run: run.result["accuracy"],
        ),
        number("pixel_centroid_accuracy", numbers.percent, "Raw pixels, %"),
        number("train_seconds", numbers.duration, "Training"),
        number("train_steps", numbers.count, "Steps"),
        number("images_per_second", numbers.count, "Images/s"),
        number("peak_memory_mb", numbers.megabytes, "Peak memory"),
        number("step_memory_mb", numbers.megabytes, "Step memory"),
        number("parameters", numbers.count, "Parameters"),
    ]
    return [_Column("Run", lambda run: run.name, lambda run: run.name), *columns]


def _row(run: Run, number: int, columns: Sequence[_Column]) -> Markup:
    cells = []
    for column in columns:
        value = column.value(run)
        shown = column.cell(run)
        if column.title == "Run":
            shown = label(shown, number)
        cells.append(
            element(
                "th" if column.title == "Run" else "td",
                shown,
                scope="row" if column.title == "Run" else None,
                data_value="" if value is None else value,
                class_="text" if column.title in _TEXTS else None,
            )
        )
    return element("tr", *cells)


def _bar(run: Run, low: float, high: float) -> Markup:
    """The interval as a line, on the same scale for all rows."""
    width = (high - low) or 1.0

    def place(value: float) -> str:
        return f"{4 + (_WIDTH - 8) * (value - low) / width:.1f}"

    (start, end), middle = interval(run), _HEIGHT / 2
    line = {"y1": middle, "y2": middle}
    return element(
        "svg",
        element("line", x1=0, x2=_WIDTH, class_="rail", **line),
        element("line", x1=place(start), x2=place(end), class_="span", **line),
        element("circle", cx=place((start + end) / 2), cy=middle, r=3.5),
        viewBox=f"0 0 {_WIDTH} {_HEIGHT}",
        class_="interval",
        aria_hidden="true",
    )
