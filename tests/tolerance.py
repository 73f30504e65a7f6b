"""Tolerances of two routes to one number, by dtype: the only table of them.

The entries are some ten roundings of values near 1. A test that needs more says why and
passes `slack`, the factor by which it is looser.
"""

from typing import Any

import numpy as np

TOLERANCE = {
    "float32": {"rtol": 1e-5, "atol": 1e-6},
    "float64": {"rtol": 1e-10, "atol": 1e-12},
}


def assert_close(actual: Any, expected: Any, *, slack: float = 1.0) -> None:
    """Asserts that an array equals another to the tolerance of its own dtype.

    Args:
      actual: the array under test; its dtype chooses the row of the table.
      expected: the independent answer, usually NumPy's in float64.
      slack: factor on both tolerances.
    """
    actual = np.asarray(actual)
    bounds = TOLERANCE[actual.dtype.name]
    assert actual.shape == np.shape(expected)
    np.testing.assert_allclose(
        actual, expected, rtol=bounds["rtol"] * slack, atol=bounds["atol"] * slack
    )
