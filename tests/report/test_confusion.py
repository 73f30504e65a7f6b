"""Counts over tasks, against a case by hand."""

import numpy as np
import pytest

from metabridge.report.confusion import count


def test_by_hand() -> None:
    classes = np.array([[4, 0], [0, 2]])
    predicted = np.array([[[0, 0, 1], [1, 1, 1]], [[0, 1, 1], [1, 1, 1]]])
    found = count(classes, predicted, 5)
    # Class 0 has three queries in each task; in the second two are taken for class 2.
    assert found.asked[0].tolist() == [6, 0, 3, 0, 3]
    assert found.said[0].tolist() == [4, 0, 2, 0, 0]
    assert found.accuracy()[[0, 2, 4]] == pytest.approx([4 / 6, 1.0, 2 / 3])
    assert np.isnan(found.accuracy()[[1, 3]]).all()
    assert found.rates()[0, 2] == pytest.approx(2 / 3)
    assert found.mistaken_for(0) == (2, pytest.approx(2 / 3))
    assert found.mistaken_for(4) == (0, pytest.approx(1 / 3))
    assert found.mistaken_for(2) is None
    assert found.mistaken_for(1) is None
    assert found.said.sum() == predicted.size
