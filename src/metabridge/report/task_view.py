"""Example tasks: support, queries, and the predictions of the runs."""

from typing import Any

import numpy as np

from metabridge.report.markup import Markup, element, image_uri, join, task_buttons
from metabridge.report.predictions import Group

SHOTS, QUERIES = 5, 8
"""Images shown of each class."""


def class_name(name: str) -> str:
    """The last part of a class's name, with spaces."""
    return name.split("/")[-1].replace("_", " ")


def task_view(group: Group, place: int, examples: int, names: list[str]) -> Markup:
    """The first `examples` tasks of a group; the script switches tasks and runs.

    `place` is that of the group in the report, `names` are those of all its runs.
    """
    first = next(iter(group.members))
    options = [
        element("option", names[number], value=number) for number in group.members
    ]
    choices = task_buttons(examples)
    chosen = f"run-of-{place}"
    return element(
        "div",
        element("h3", group.title),
        element(
            "div",
            element("div", *choices, class_="segments", role="group",
                    aria_label="Task"),
            element("label", "Predictions of ", element("select", *options, id=chosen),
                    for_=chosen),
            class_="controls scripted",
        ),
        element("p", f"Predictions of {names[first]}.", class_="verdict",
                aria_live="polite"),
        *(_task(group, number, first) for number in range(examples)),
        element("div", class_="confidence scripted"),
        class_="tasks",
        data_group=place,
    )  # fmt: skip


def _task(group: Group, task: int, run: int) -> Markup:
    split, drawn = group.dataset.test, group.drawn
    confidence = group.members[run].confidence[task]
    names = [class_name(split.class_names[c]) for c in drawn.classes[task]]
    rows = []
    for way, name in enumerate(names):
        support = [
            element("img", src=image_uri(split.images[row]), width=44, height=44,
                    alt=f"Support image {i + 1} of class {way + 1}, {name}")
            for i, row in enumerate(drawn.support[task, way, :SHOTS])
        ]  # fmt: skip
        queries = [
            _query(
                image_uri(split.images[row]), way, place, name, confidence[way, place]
            )
            for place, row in enumerate(drawn.query[task, way, :QUERIES])
        ]
        title = join(element("span", way + 1, class_="number"), name)
        rows.append(
            element(
                "div",
                element("h4", title),
                element("div", *support, class_="support"),
                element("div", *queries, class_="queries"),
                class_="way",
            )
        )
    head = element(
        "div",
        element("span", "Class"),
        element("span", "Support"),
        element("span", "Queries: predicted class and confidence"),
        class_="heads",
        aria_hidden="true",
    )
    return element("div", head, *rows, class_="task", data_task=task, hidden=task > 0)


def _query(
    source: str, way: int, place: int, name: str, confidence: np.ndarray
) -> Markup:
    predicted = int(confidence.argmax())
    sure = f"{100 * float(confidence[predicted]):.0f} %"
    right = predicted == way
    return element(
        "button",
        element("img", src=source, width=44, height=44, alt=""),
        element("span", ("" if right else "✗ ") + f"{predicted + 1} · {sure}"),
        type="button",
        class_="right" if right else "wrong",
        data_way=way,
        data_query=place,
        aria_pressed="false",
        aria_label=f"Query {place + 1} of class {way + 1}, {name}: predicted class "
        f"{predicted + 1}, {sure} sure, {'right' if right else 'wrong'}",
    )


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
