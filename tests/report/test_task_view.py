"""Example tasks as HTML, and as data for the script."""

import dataclasses
import re

import numpy as np

from metabridge.evaluation import Tasks
from metabridge.plots import class_name
from metabridge.report.predictions import Group, Predictions
from metabridge.report.task_view import task_data, task_view
from tests import toy


def group(ways: int = 2) -> Group:
    """Two tasks of two classes with names that are HTML; two runs, 0 and 3."""
    dataset = toy.dataset()
    names = tuple(f"<b>{name}" for name in dataset.test.class_names)
    test = dataclasses.replace(dataset.test, class_names=names)
    dataset = dataclasses.replace(dataset, test=test)
    classes = np.array([[0, 1], [3, 2]])
    first = classes[..., None] * toy.IMAGES
    drawn = Tasks(classes, first + np.arange(2), first + np.arange(2, 5))
    rng = np.random.default_rng(0)

    def random() -> Predictions:
        scores = rng.dirichlet(np.ones(ways), (2, ways, 3)).astype(np.float32)
        return Predictions(scores, rng.normal(size=(32, 5)).astype(np.float32))

    return Group("<i>toy", dataset, drawn, {0: random(), 3: random()})


NAMES = ["<u>first", "a", "b", "last"]


def test_names_of_classes() -> None:
    assert class_name("Greek/alpha_one") == "alpha one"


def test_predictions_are_those_of_the_first_run() -> None:
    found = group()
    view = task_view(found, 0, 2, NAMES)
    assert not set(re.findall(r"<[biu]>", view))
    assert view.count("<img") == 2 * 2 * (2 + 3)
    assert view.count('src="data:image/png;base64,') == view.count("<img")
    buttons = re.findall(r"<button type=\"button\" class=\"(right|wrong)\"[^>]*>", view)
    right = found.members[0].confidence.argmax(-1) == np.arange(2)[:, None]
    assert buttons == ["right" if r else "wrong" for r in right.reshape(-1)]
    best = found.members[0].confidence[0, 0, 0]
    assert f"{best.argmax() + 1} · {100 * best.max():.0f} %" in view
    assert re.findall(r"<option value=\"(\d)\">([^<]*)", view) == [
        ("0", "&lt;u&gt;first"), ("3", "last"),
    ]  # fmt: skip


def test_data_of_the_script() -> None:
    found = group()
    data = task_data(found, 1)
    assert data["classes"] == [["<b>test 0", "<b>test 1"]]
    np.testing.assert_allclose(
        data["confidence"][3], found.members[3].confidence[:1], atol=1e-4
    )
