"""Confusions counted over tasks, against a case by hand, and their tables."""

import re

import numpy as np
import pytest

from metabridge.report.confusion import confusion_view, confusions, count
from tests.report.test_task_view import NAMES, group


def test_by_hand() -> None:
    classes = np.array([[4, 0], [0, 2]])
    predicted = np.array([[[0, 0, 1], [1, 1, 1]], [[0, 1, 1], [1, 1, 1]]])
    found = count(classes, predicted, 5)
    # Class 0 has three queries in each task; in the second two are taken for class 2.
    assert found.possible[0].tolist() == [6, 0, 3, 0, 3]
    assert found.taken[0].tolist() == [4, 0, 2, 0, 0]
    assert found.accuracy()[[0, 2, 4]] == pytest.approx([4 / 6, 1.0, 2 / 3])
    assert np.isnan(found.accuracy()[[1, 3]]).all()
    assert found.rates()[0, 2] == pytest.approx(2 / 3)
    assert found.mistaken_for(0) == (2, pytest.approx(2 / 3))
    assert found.mistaken_for(4) == (0, pytest.approx(1 / 3))
    assert found.mistaken_for(2) is None
    assert found.mistaken_for(1) is None
    assert found.taken.sum() == predicted.size


def test_numbers_of_the_table() -> None:
    found = group()
    counts = confusions(found)
    html = confusion_view(found, NAMES)
    assert "2 test tasks, 12 queries of 4 classes." in html
    rows = re.findall(r"<tr><th scope=\"row\".*?</tr>", html.split("<details")[0])
    assert len(rows) == 4
    values = [
        [float(v) for v in re.findall(r'<td data-value="([^"]*)"', r)] for r in rows
    ]
    means = [np.mean(row[1:]) for row in values]
    assert (np.diff(means) > -2e-6).all()  # of six digits each
    names = [re.findall(r'data-value="([^"]*)"', row)[0] for row in rows]
    for name, row in zip(names, values, strict=True):
        place = int(name[-1])
        expected = [c.accuracy()[place] for c in counts.values()]
        np.testing.assert_allclose(row, [3, *expected], atol=1e-6)
    assert not re.findall(r"<[biu]>", html)


def test_a_matrix_for_few_classes() -> None:
    found = group()
    html = confusion_view(found, NAMES)
    assert html.count("<details>") == 2
    matrix = html.split("<details>")[1]
    cells = re.findall(r'<td class="(own|other|none)[^"]*">([^<]*)', matrix)
    assert len(cells) == 16
    rates = next(iter(confusions(found).values())).rates()
    for (kind, written), rate in zip(cells, rates.reshape(-1), strict=True):
        assert written == ("·" if np.isnan(rate) else f"{100 * rate:.0f}")
        assert (kind == "none") == np.isnan(rate)
