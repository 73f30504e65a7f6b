"""`metabridge report RUNS`: runs beside each other on one page."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from metabridge.output import check_output
from metabridge.precision import in_32_bits
from metabridge.report import document, runs, series
from metabridge.report.configurations import configurations
from metabridge.report.confusion_view import confusion_view
from metabridge.report.document import MAX_BYTES
from metabridge.report.groups import Found, form
from metabridge.report.markup import Markup, data, element, join
from metabridge.report.results_table import (
    finding,
    results_table,
    task_of,
)
from metabridge.report.runs import Run
from metabridge.report.task_view import task_data, task_view
from metabridge.untrusted import expanded


@in_32_bits
def runs_report(
    given: Sequence[str | os.PathLike[str]] = (),
    output: str | os.PathLike[str] = Path("report.html"),
    *,
    examples: int = 3,
    tasks: int = 100,
    data_dir: str | os.PathLike[str] | None = None,
    tell: Callable[[str], None] = lambda line: None,
) -> Path:
    """Writes a page that compares runs.

    Args:
      given: run folders, or folders that hold some, such as that of a comparison. By
        default every finished run under ``runs/``.
      output: the page.
      examples: test tasks to show; fewer, if the page would pass 3 MB.
      tasks: test tasks to count confusions over; with 0 of both, neither data nor
        checkpoints are read.
      data_dir: where the data of the runs is, if not where they found it; of
        ``folder:PATH`` the folder of images.
      tell: is told what is being done.

    Returns:
      The page.

    Raises:
      ValueError: a folder without a finished run, a file in it that is damaged, or a
        page that cannot be written, before any work.
    """
    for name, value in (("examples", examples), ("tasks", tasks)):
        if value < 0:
            raise ValueError(f"`{name}` is {value}, but must be at least 0")
    if data_dir is not None and not expanded(data_dir).is_dir():
        raise ValueError(f"`data_dir` is {data_dir}, which is no folder")
    page = check_output(output)
    folders = runs.find(given)
    if len(folders) > MOST_RUNS:
        raise ValueError(
            f"there are {len(folders)} runs, but a page holds {MOST_RUNS}: name fewer"
        )
    found = runs.read(folders)
    found.sort(key=lambda run: -(run.result["accuracy"] or 0.0))
    number = max(examples, tasks)
    groups = form(found, number, data_dir=data_dir, tell=tell) if number else _NOTHING
    text = _text(found, groups, examples, by_class=tasks > 0)
    while len(text.encode()) > MAX_BYTES and examples > 0:
        examples -= 1
        text = _text(found, groups, examples, by_class=tasks > 0)
    page.write_text(text, encoding="utf-8")
    return page


MOST_RUNS = 60
"""On a page."""
_NOTHING = Found([], [])


def _text(found: Sequence[Run], groups: Found, examples: int, *, by_class: bool) -> str:
    names = [run.name for run in found]
    sections = [
        ("results", "Results", _results(found)),
        ("learning", "Learning curves", _figure("curves", _CURVES)),
        ("efficiency", "Efficiency", _figure("efficiency", _EFFICIENCY)),
    ]
    figures = series.embeddings(groups.groups)
    if groups.groups and examples:
        views = [
            task_view(group, place, examples, names)
            for place, group in enumerate(groups.groups)
        ]
        sections.append(("tasks", "Example tasks", join(_TASKS, *views)))
    if groups.groups and by_class:
        tables = [confusion_view(group, names) for group in groups.groups]
        sections.append(("classes", "By class", join(_CLASSES, *tables)))
    if figures:
        sections.append(("features", "Features", join(_FEATURES, _panels())))
    sections.append(("configuration", "Configuration", configurations(found)))
    if groups.notes:
        notes = element("ul", *(element("li", note) for note in groups.notes))
        sections.append(("missing", "What is missing", notes))
    content: dict[str, Any] = {
        "runs": series.curves(found),
        "groups": [task_data(group, examples) for group in groups.groups],
        "embeddings": figures,
    }
    body = join(_header(found, sections), _main(sections))
    title = f"Metabridge: {len(found)} run{'s' if len(found) > 1 else ''}"
    return document.document(
        title, body, [data("report-data", content)], ["chart.js", "runs.js"]
    )


def _header(
    found: Sequence[Run], sections: Sequence[tuple[str, str, Markup]]
) -> Markup:
    tasks = list(dict.fromkeys(map(task_of, found)))
    one = len(found) == 1
    links = [
        element("li", element("a", title, href=f"#{name}"))
        for name, title, _ in sections
    ]
    title = found[0].name if one else f"{len(found)} runs compared"
    counts = f"{len(tasks)} kinds of test tasks" if len(tasks) > 2 else "; ".join(tasks)
    return element(
        "header",
        element("p", "Metabridge report", class_="kicker"),
        element("h1", title),
        element("p", counts, class_="subtitle"),
        element("nav", element("ul", *links), aria_label="Sections"),
    )


def _main(sections: Sequence[tuple[str, str, Markup]]) -> Markup:
    return element(
        "main",
        *(
            element(
                "section",
                element("h2", title, id=f"{name}-title"),
                content,
                id=name,
                aria_labelledby=f"{name}-title",
            )
            for name, title, content in sections
        ),
        id="content",
    )


def _results(found: Sequence[Run]) -> Markup:
    note = element(
        "p",
        "Accuracy on unseen test tasks with its 95 % interval; beside it the nearest "
        "centroid on raw pixels, which any training has to beat. A click on a heading "
        "sorts.",
        class_="note",
    )
    return join(finding(found), note, results_table(found))


def _figure(name: str, note: str) -> Markup:
    return join(
        element("p", note, class_="note"),
        element("div", class_="figure", id=f"{name}-figure"),
        element("noscript", element("p", "This figure needs JavaScript.")),
    )


def _panels() -> Markup:
    return element("div", class_="panels", id="features-figure")


_CURVES = (
    "Bands are 95 % intervals of the validation accuracy. Click a name to hide a run; "
    "point at the figure, or move in it with the arrow keys, to read values."
)
_EFFICIENCY = (
    "Lines are validation accuracies, large points the final test accuracies with "
    "their 95 % intervals. Higher and further left is better."
)
_TASKS = element(
    "p",
    "Tasks as the runs are tested on: the learner sees the support, and names the "
    "class of every query. Choose a query to see how sure each run is.",
    class_="note",
)
_CLASSES = element(
    "p",
    "How often queries of a test class are right, and which class they are taken for "
    "most, as a share of the queries in tasks that had both.",
    class_="note",
)
_FEATURES = element(
    "p",
    "What the trained body makes of images of test classes it has never seen: the "
    "first two principal components of its features.",
    class_="note",
)
