"""Sizes and durations as text."""

import pytest

from metabridge.units import format_bytes, format_duration, shortened


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (64.0, "0.064 kB"),
        (1234, "1.23 kB"),
        (64e6, "64 MB"),
        (999.6e6, "1 GB"),
        (123.4e9, "123 GB"),
        (2.5e12, "2.5 TB"),
    ],
)
def test_sizes(size: int | float, text: str) -> None:
    assert format_bytes(size) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(9.0, "9.0 s"), (99.96, "1.7 min"), (5969, "99.5 min"), (5970, "1.7 h")],
)
def test_durations(seconds: int | float, text: str) -> None:
    assert format_duration(seconds) == text


def test_errors_fit_on_a_line() -> None:
    assert shortened(ValueError("a\n b")) == "a b"
    assert shortened(ValueError()) == "ValueError"
    assert len(shortened(ValueError("a" * 1000))) < 210
