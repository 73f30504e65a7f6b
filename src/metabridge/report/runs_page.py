"""`metabridge report RUNS`: runs beside each other on one page."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from metabridge.config.fields import Range
from metabridge.files import write_text
from metabridge.output import check_output
from metabridge.precision import in_32_bits
from metabridge.report import figures, markup, runs
from metabridge.report.agreement import agreement_views
from metabridge.report.confusion import confusion_view
from metabridge.report.markup import Markup, fill
from metabridge.report.predictions import Group, predict_groups
from metabridge.report.reliability import (
    reliability_data,
    reliability_notes,
    reliability_view,
)
from metabridge.report.runs import Run, task_of
from metabridge.report.tables import (
    configurations,
    finding,
    intervals_note,
    results_table,
)
from metabridge.report.task_view import task_data, task_view
from metabridge.runs.find import find_runs
from metabridge.untrusted import expanded

MOST_RUNS = 60
"""Runs on a page, at most."""


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

    Raises:
      ValueError: no finished run, a damaged file, or a page that cannot be written.
    """
    for name, value in (("examples", examples), ("tasks", tasks)):
        Range(0).check(name, value)
    if data_dir is not None and not expanded(data_dir).is_dir():
        raise ValueError(f"`data_dir` is {data_dir}, which is no folder")
    path = check_output(output)
    folders = find_runs(given)
    if len(folders) > MOST_RUNS:
        raise ValueError(
            f"there are {len(folders)} runs, but a page holds {MOST_RUNS}: name fewer"
        )
    found = sorted(runs.read(folders), key=lambda run: -run.accuracy)
    groups, notes = [], []
    if number := max(examples, tasks):
        groups, notes = predict_groups(found, number, data_dir=data_dir, tell=tell)
    views = agreement_views(found)
    text = page_text(found, groups, notes, examples, views, by_class=tasks > 0)
    while len(text.encode()) > markup.MAX_BYTES and examples > 0:
        examples -= 1
        text = page_text(found, groups, notes, examples, views, by_class=tasks > 0)
    write_text(path, text)
    return path


def page_text(
    found: Sequence[Run],
    groups: Sequence[Group],
    notes: Sequence[str],
    examples: int,
    agreement: Sequence[Markup] = (),
    *,
    by_class: bool,
) -> str:
    """The page, without example tasks or classes where there are no `groups`.

    `agreement` are the views of `agreement_views`.
    """
    embeddings = figures.embeddings(groups)
    names = [run.name for run in found]
    results = fill(
        "results",
        finding=finding(found),
        table=results_table(found),
        intervals=intervals_note(found),
    )
    sections = [
        ("results", "Results", results),
        ("learning", "Learning curves", fill("learning")),
        ("efficiency", "Efficiency", fill("efficiency")),
    ]
    if any(run.features for run in found):
        sections.append(("geometry", "Geometry", fill("geometry")))
    if diagrams := reliability_data(found):
        content = reliability_view(found, diagrams)
        sections.append(("reliability", "Calibration", content))
    if agreement:
        content = fill("agreements", views=list(agreement))
        sections.append(("agreement", "Agreement", content))
    views = [
        task_view(group, place, examples, names)
        for place, group in enumerate(groups)
        if group.dataset.has_images
    ]
    if views and examples:
        sections.append(("tasks", "Example tasks", fill("tasks", views=views)))
    if groups and by_class:
        views = [confusion_view(group, names) for group in groups]
        sections.append(("classes", "By class", fill("classes", views=views)))
    if embeddings:
        sections.append(("features", "Features", fill("features")))
    sections.append(("configuration", "Configuration", configurations(found)))
    if notes := [*notes, *reliability_notes(found)]:
        items = [fill("item", text=note) for note in notes]
        sections.append(("missing", "What is missing", fill("missing", items=items)))
    data = {
        "runs": figures.curves(found),
        "groups": [task_data(group, examples) for group in groups],
        "embeddings": embeddings,
        "reliability": diagrams,
    }
    tasks = list(dict.fromkeys(map(task_of, found)))
    content = fill(
        "runs",
        heading=names[0] if len(found) == 1 else f"{len(found)} runs compared",
        subtitle=f"{len(tasks)} kinds of test tasks" if len(tasks) > 2
        else "; ".join(tasks),
        links=[fill("link", name=name, title=title) for name, title, _ in sections],
        sections=[
            fill("section", name=name, title=title, content=content)
            for name, title, content in sections
        ],
    )  # fmt: skip
    title = f"Metabridge: {len(found)} run{'s' if len(found) > 1 else ''}"
    return markup.page(title, content, data, ["chart.js", "runs.js"])
