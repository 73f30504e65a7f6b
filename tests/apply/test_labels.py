"""Labels of users: any hashables, there and back."""

import numpy as np
import pytest

from metabridge.apply.labels import encode


@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        (["dog", "cat", "dog"], ["cat", "dog"]),
        ([3, 1, 3, -2], [-2, 1, 3]),
        ([True, False], [False, True]),
        ([("a", 1), ("b", 2), ("a", 1)], [("a", 1), ("b", 2)]),
        (["x", 1, "x"], ["x", 1]),  # no order: as they come
        ([1.0, 2.0], [1.0, 2.0]),
    ],
)
def test_there_and_back(labels: list, classes: list) -> None:
    found, codes = encode(labels, len(labels))
    assert list(found) == classes
    assert codes.dtype == np.int32
    assert list(found[codes]) == labels


def test_arrays_keep_their_type() -> None:
    for labels in (np.asarray(["b", "a"]), np.asarray([4, 2], np.uint8)):
        classes, codes = encode(labels, 2)
        assert classes.dtype == labels.dtype
        assert np.array_equal(classes, np.unique(labels))
        assert codes.tolist() == [1, 0]
    objects = np.asarray(["b", "a"], object)
    assert encode(objects, 2)[0].tolist() == ["a", "b"]


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (None, "requires y to be passed"),
        (["a", "b", "c"], "2 images, but 3 labels"),
        (["a", "a"], "the one class 'a'"),
        (["a", None], "None"),
        ([1.0, float("nan")], "NaN"),
        ([0.5, 1.0], "Unknown label type: continuous"),
        ([["a"], ["b"]], "not hashable"),
        (np.zeros((2, 1), int), r"not \[2, 1\]"),
    ],
)
def test_labels_that_make_no_classes(labels, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        encode(labels, 2)
