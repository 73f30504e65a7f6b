"""Accuracy by class as a table, and the matrices."""

import re

import numpy as np

from metabridge.report import confusion_view as view
from tests.report.test_task_view import NAMES, group


def test_numbers_of_the_table() -> None:
    found = group()
    counts = view.confusions(found)
    html = view.confusion_view(found, NAMES)
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
    html = view.confusion_view(found, NAMES)
    assert html.count("<details>") == 2
    matrix = html.split("<details>")[1]
    cells = re.findall(r'<td class="(own|other|none)[^"]*">([^<]*)', matrix)
    assert len(cells) == 16
    rates = next(iter(view.confusions(found).values())).rates()
    for (kind, written), rate in zip(cells, rates.reshape(-1), strict=True):
        assert written == ("·" if np.isnan(rate) else f"{100 * rate:.0f}")
        assert (kind == "none") == np.isnan(rate)
