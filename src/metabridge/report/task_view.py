"""Example tasks: support, queries, and the predictions of the runs."""

from typing import Any

from metabridge.plots import class_name
from metabridge.report.markup import Markup, fill, image_uri, task_buttons
from metabridge.report.predictions import Group

SHOTS, QUERIES = 5, 8
"""Images shown of each class."""


def task_view(group: Group, place: int, examples: int, names: list[str]) -> Markup:
    """Show the first `examples` tasks of a group; the script switches tasks and runs.

    `place` is that of the group in the report, `names` are those of all its runs.
    """
    first = next(iter(group.members))
    return fill(
        "task_view",
        place=place,
        title=group.title,
        buttons=task_buttons(examples),
        options=[fill("choice", number=n, name=names[n]) for n in group.members],
        first=names[first],
        tasks=[_task(group, number, first) for number in range(examples)],
    )


def _task(group: Group, task: int, run: int) -> Markup:
    ways = [_way(group, task, way, run) for way in range(len(group.drawn.classes[0]))]
    hidden = Markup(" hidden" if task else "")
    return fill("task", number=task, hidden=hidden, ways=ways)


def _way(group: Group, task: int, way: int, run: int) -> Markup:
    split, drawn = group.dataset.test, group.drawn
    confidence = group.members[run].confidence[task, way]
    name = class_name(split.class_names[drawn.classes[task, way]])
    support = [
        fill("support", source=image_uri(split.inputs[row]), number=number,
             way=way + 1, name=name)
        for number, row in enumerate(drawn.support[task, way, :SHOTS], start=1)
    ]  # fmt: skip
    queries = []
    for place, row in enumerate(drawn.query[task, way, :QUERIES]):
        predicted = int(confidence[place].argmax())
        query = fill(
            "query",
            source=image_uri(split.inputs[row]),
            way=way,
            way_number=way + 1,
            place=place,
            number=place + 1,
            name=name,
            outcome="right" if predicted == way else "wrong",
            mark="" if predicted == way else "✗ ",
            predicted=predicted + 1,
            sure=f"{100 * float(confidence[place, predicted]):.0f} %",
        )
        queries.append(query)
    return fill("way", number=way + 1, name=name, support=support, queries=queries)


def task_data(group: Group, examples: int) -> dict[str, Any]:
    """Data for the script: class names, and all confidences of a group's tasks."""
    split = group.dataset.test
    return {
        "classes": [
            [class_name(split.class_names[c]) for c in row]
            for row in group.drawn.classes[:examples]
        ],
        "confidence": {
            number: found.confidence[:examples].round(4).astype(float).tolist()
            for number, found in group.members.items()
        },
        "queries": QUERIES,
    }
