"""Numbers as they are written."""

import math

import pytest

from metabridge.report import numbers


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (numbers.percent(0.66957), "67.0"),
        (numbers.percent(0.66957, 2), "66.96"),
        (numbers.duration(0.0), "0.0 s"),
        (numbers.duration(99.9), "99.9 s"),
        (numbers.duration(99.96), "1.7 min"),
        (numbers.duration(7200.0), "2.0 h"),
        (numbers.megabytes(55.4), "55.4 MB"),
        (numbers.megabytes(999.6), "1 GB"),
        (numbers.count(52176.0), "52,176"),
    ],
)
def test_written(written: str, expected: str) -> None:
    assert written == expected


@pytest.mark.parametrize("value", [None, math.nan, math.inf])
def test_what_is_not_known(value: float | None) -> None:
    assert not numbers.known(value)
    for show in (numbers.percent, numbers.duration, numbers.megabytes, numbers.count):
        assert show(value) == numbers.MISSING
