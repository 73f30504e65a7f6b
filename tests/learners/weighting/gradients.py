"""Gradients of tasks for the tests of weightings: random, and degenerate ones."""

from collections.abc import Callable

import numpy as np

_DRAW = np.random.default_rng(0)


def _random(tasks: int, size: int) -> np.ndarray:
    scales = np.exp(_DRAW.normal(size=(tasks, 1)))
    return scales * _DRAW.normal(size=(tasks, size))


def _with(change: Callable[[np.ndarray], None], tasks: int = 4) -> np.ndarray:
    rows = _random(tasks, 6)
    change(rows)
    return rows


def _first_is(value: float) -> Callable[[np.ndarray], None]:
    def change(rows: np.ndarray) -> None:
        rows[0] = value * rows[1]

    return change


GRADIENTS: dict[str, np.ndarray] = {
    "one task": _random(1, 5),
    "one task of zeros": np.zeros((1, 5)),
    "two tasks": _random(2, 9),
    "three tasks": _random(3, 20),
    "five tasks": _random(5, 40),
    "five tasks in a plane": _random(5, 2),
    "alike": _random(1, 8) + 0.3 * _random(4, 8),
    "a task of zeros": _with(_first_is(0.0)),
    "duplicates": _with(_first_is(1.0)),
    "opposite": _with(_first_is(-1.0)),
    "opposite and longer": _with(_first_is(-2.0)),
    "two opposite": np.array([[1.0, 2.0], [-1.0, -2.0]]),
    "stationary": np.array([[1.0, 0.0], [-2.0, 0.0], [0.0, 1.0]]),
    "of many lengths": _random(4, 7) * 10.0 ** np.array([[-6], [0], [3], [6]]),
    "tiny": 1e-12 * _random(3, 7),
    "all zeros": np.zeros((3, 4)),
}
"""J ``[T, P]`` by name."""


def longest(rows: np.ndarray) -> float:
    """Length of the longest gradient, 1 if all are zero."""
    return float(np.linalg.norm(rows, axis=1).max()) or 1.0
