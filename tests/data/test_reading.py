"""Options of reading images: their ranges, and what a cache keeps of them."""

from typing import Any

import pytest

from metabridge.config import DataConfig
from metabridge.data.reading import Reading


def test_a_configuration_has_the_same_defaults() -> None:
    data = DataConfig()
    given = Reading(data.background, data.white_level, data.max_pixels)
    assert given == Reading()
    assert given.changed() == {}


def test_options_that_are_changed_are_named() -> None:
    assert Reading(white_level=4095.0, background="black").changed() == {
        "background": "black",
        "white_level": 4095.0,
    }


@pytest.mark.parametrize(
    ("name", "colour"),
    [
        ("white", (255, 255, 255)),
        ("Black", (0, 0, 0)),
        ("#8040ff", (128, 64, 255)),
        ("rgb(1, 2, 3)", (1, 2, 3)),
    ],
)
def test_backgrounds(name: str, colour: tuple[int, int, int]) -> None:
    assert Reading(name).colour == colour


@pytest.mark.parametrize("name", ["", "see-through", "#80402010", "\x1b[2J", "x" * 999])
def test_what_is_no_background(name: str) -> None:
    with pytest.raises(ValueError, match="must be a colour without transparency"):
        _ = Reading(name).colour


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"background": 7}, TypeError),
        ({"white_level": "255"}, TypeError),
        ({"white_level": True}, TypeError),
        ({"white_level": 0.0}, ValueError),
        ({"white_level": float("nan")}, ValueError),
        ({"max_pixels": 1e6}, TypeError),
        ({"max_pixels": 0}, ValueError),
    ],
)
def test_options_out_of_range(options: dict[str, Any], error: type) -> None:
    (name,) = options
    with pytest.raises(error, match=name):
        Reading(**options)
