"""Values as the types of their fields."""

import dataclasses
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import numpy as np
import pytest

from metabridge.config.fields import typed, typed_fields


@pytest.mark.parametrize(
    ("hint", "value", "expected"),
    [
        (int, np.int64(3), 3),
        (float, 1, 1.0),
        (float, np.float32(0.5), 0.5),
        (float | None, None, None),
        (bool, np.bool_(True), True),
        (Path, "a/b", Path("a/b")),
        (Path | str | None, "a/b", Path("a/b")),
        (Path | None, PurePosixPath("a"), Path("a")),
        (int | tuple[int, int] | None, (3, 4), (3, 4)),
        (int | tuple[int, int] | None, [3, np.int32(4)], (3, 4)),
        (tuple[tuple[float, float], ...], [[1, 2]], ((1.0, 2.0),)),
        (Literal["a", 1] | None, "a", "a"),
        (str, "1e-3", "1e-3"),
    ],
)
def test_values_of_their_types(hint: Any, value: Any, expected: Any) -> None:
    found = typed(hint, value, "x")
    assert found == expected
    assert type(found) is type(expected)


@pytest.mark.parametrize(
    ("hint", "value", "kind", "message"),
    [
        (float, "1e-3", TypeError, "`x` is '1e-3', of type str, but must be a number"),
        (int | None, "100", TypeError, "'100', of type str, but must be a whole numb"),
        (int, 2.0, TypeError, r"`x` is 2\.0, of type float"),
        (int, True, TypeError, "`x` is True, of type bool"),
        (bool, 1, TypeError, "`x` is 1, of type int, but must be True or False"),
        (float, True, TypeError, "`x` is True"),
        (float, float("inf"), ValueError, "`x` is inf, but must be finite"),
        (float, 10**400, ValueError, "`x` is 1.*, but must be finite"),
        (str, 1, TypeError, "must be text"),
        (Path, 1, TypeError, "must be a path"),
        (Path, "a\0b", ValueError, "is no path"),
        (Literal["a", "b"], "c", ValueError, "`x` is 'c', but must be one of a, b"),
        (Literal["a", "b"] | None, 1, TypeError, "one of a, b or None"),
        (int | tuple[int, int], (1, 2, 3), TypeError, r"`x` is \(1, 2, 3\), of type t"),
        (int | tuple[int, int], (1, "2"), TypeError, r"`x\[1\]` is '2', of type str"),
    ],
)
def test_values_of_other_types_are_named(hint, value, kind, message) -> None:
    with pytest.raises(kind, match=message):
        typed(hint, value, "x")


def test_the_fields_of_a_dataclass() -> None:
    @dataclasses.dataclass(frozen=True)
    class Own:
        rate: float = 1
        sizes: tuple[int, ...] = (1, 2)
        made: int = dataclasses.field(default=3, init=False)

    found = typed_fields(Own())
    assert found == Own()
    assert type(found.rate) is float
