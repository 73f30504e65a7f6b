"""`metabridge report RUNS`: runs beside each other on one page."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from metabridge.files import write_text
from metabridge.output import check_output
from metabridge.precision import in_32_bits
from metabridge.report import figures, markup, runs
from metabridge.report.confusion import confusion_view
from metabridge.report.markup import Markup, element, join, note
from metabridge.report.predictions import Group, predict_groups
from metabridge.report.runs import Run, task_of
from metabridge.report.tables import configurations, finding, results_table
from metabridge.report.task_view import task_data, task_view
from metabridge.untrusted import expanded

MOST_RUNS = 60
"""On a page."""


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
    """Write a page that compares runs.

    Args:
      given: run folders, or folders that hold some, such as that of a comparison. By
        default every finished run under ``runs/``.
      output: the page.
      examples: test tasks to show; fewer, if the page would pass 3 MB.
      tasks: test tasks to count confusions over; with 0 of both, neither data nor
        checkpoints are read.
      data_dir: where the data of the runs is, if not where they found it; of
        ``folder:PATH`` the folder of images.
      tell: called with a line of progress for each run.

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
    path = check_output(output)
    folders = runs.find(given)
    if len(folders) > MOST_RUNS:
        raise ValueError(
            f"there are {len(folders)} runs, but a page holds {MOST_RUNS}: name fewer"
        )
    found = sorted(runs.read(folders), key=lambda run: -run.accuracy)
    groups, notes = [], []
    if number := max(examples, tasks):
        groups, notes = predict_groups(found, number, data_dir=data_dir, tell=tell)
    text = page_text(found, groups, notes, examples, by_class=tasks > 0)
    while len(text.encode()) > markup.MAX_BYTES and examples > 0:
        examples -= 1
        text = page_text(found, groups, notes, examples, by_class=tasks > 0)
    write_text(path, text)
    return path


def page_text(
    found: Sequence[Run],
    groups: Sequence[Group],
    notes: Sequence[str],
    examples: int,
    *,
    by_class: bool,
) -> str:
    """The page, without example tasks or classes where there are no `groups`."""
    embeddings = figures.embeddings(groups)
    names = [run.name for run in found]
    sections = [
        ("results", "Results", join(finding(found), _RESULTS, results_table(found))),
        ("learning", "Learning curves", _figure("curves", _CURVES)),
        ("efficiency", "Efficiency", _figure("efficiency", _EFFICIENCY)),
    ]
    if groups and examples:
        views = [
            task_view(group, place, examples, names)
            for place, group in enumerate(groups)
        ]
        sections.append(("tasks", "Example tasks", join(_TASKS, *views)))
    if groups and by_class:
        tables = [confusion_view(group, names) for group in groups]
        sections.append(("classes", "By class", join(_CLASSES, *tables)))
    if embeddings:
        panels = element("div", class_="panels", id="features-figure")
        sections.append(("features", "Features", join(_FEATURES, panels)))
    sections.append(("configuration", "Configuration", configurations(found)))
    if notes:
        items = element("ul", *(element("li", item) for item in notes))
        sections.append(("missing", "What is missing", items))
    data = {
        "runs": figures.curves(found),
        "groups": [task_data(group, examples) for group in groups],
        "embeddings": embeddings,
    }
    return markup.page(
        f"Metabridge: {len(found)} run{'s' if len(found) > 1 else ''}",
        join(_header(found, sections), _main(sections)),
        data,
        ["chart.js", "runs.js"],
    )


_Sections = Sequence[tuple[str, str, Markup]]
"""Identifier, title and content of each."""


def _header(found: Sequence[Run], sections: _Sections) -> Markup:
    tasks = list(dict.fromkeys(map(task_of, found)))
    subtitle = (
        f"{len(tasks)} kinds of test tasks" if len(tasks) > 2 else "; ".join(tasks)
    )
    links = [
        element("li", element("a", title, href=f"#{name}"))
        for name, title, _ in sections
    ]
    return element(
        "header",
        element("p", "Metabridge report", class_="kicker"),
        element(
            "h1", found[0].name if len(found) == 1 else f"{len(found)} runs compared"
        ),
        element("p", subtitle, class_="subtitle"),
        element("nav", element("ul", *links), aria_label="Sections"),
    )


def _main(sections: _Sections) -> Markup:
    parts = [
        element(
            "section",
            element("h2", title, id=f"{name}-title"),
            content,
            id=name,
            aria_labelledby=f"{name}-title",
        )
        for name, title, content in sections
    ]
    return element("main", *parts, id="content")


def _figure(name: str, text: str) -> Markup:
    return join(
        note(text),
        element("div", class_="figure", id=f"{name}-figure"),
        element("noscript", element("p", "This figure needs JavaScript.")),
    )


_RESULTS = note(
    "Accuracy on unseen test tasks with its 95 % interval; beside it the nearest "
    "centroid on raw pixels, which any training has to beat. A click on a heading "
    "sorts."
)
_CURVES = (
    "Bands are 95 % intervals of the validation accuracy. Click a name to hide a run; "
    "point at the figure, or move in it with the arrow keys, to read values."
)
_EFFICIENCY = (
    "Lines are validation accuracies, large points the final test accuracies with "
    "their 95 % intervals. Higher and further left is better."
)
_TASKS = note(
    "Tasks as the runs are tested on: the learner sees the support, and names the "
    "class of every query. Choose a query to see how sure each run is."
)
_CLASSES = note(
    "How often queries of a test class are right, and which class they are taken for "
    "most, as a share of the queries in tasks that had both."
)
_FEATURES = note(
    "What the trained body makes of images of test classes it has never seen: the "
    "first two principal components of its features."
)
