"""Architectures by name: what each stands for."""

import numpy as np
import pytest

from metabridge import theory
from metabridge.theory.kernels import registry

POOL = "global_average"
NAMES = {
    "fully_connected": lambda: theory.fully_connected(2),
    "convolutional": lambda: theory.convolutional(2),
    "convolutional_pooled": lambda: theory.convolutional(2, pooling=POOL),
    "residual": lambda: theory.residual(2, layer="conv"),
}


SLOW = (pytest.param(name, marks=pytest.mark.slow) for name in [*NAMES][1:])


@pytest.mark.parametrize("name", ["fully_connected", *SLOW])
def test_names(name: registry.Name) -> None:
    """As neural-tangents has them, with ``last_W_std = sqrt(2)`` in place of 1."""
    x = np.random.default_rng(0).standard_normal((3, 4, 4, 2))
    actual, expected = registry.kernel(name, 2)(x), NAMES[name]()(x)
    for ours, theirs in zip(actual, expected, strict=True):
        np.testing.assert_allclose(ours, 2.0 * theirs, rtol=1e-5)
    assert registry.ARCHITECTURES[name].flat == (name == "fully_connected")


def test_kernels_by_name() -> None:
    options = {"last_W_std": 2.0**0.5, "b_std": 0.1}
    for name, expected in {
        "fully_connected": theory.relu_network(3, **options),
        "convolutional": theory.relu_convolutional(3, **options),
        "convolutional_pooled": theory.relu_convolutional(
            3, pooling="global_average", pool_stride=2, dtype="float32", **options
        ),
        "residual": theory.relu_residual(3, layer="conv", **options),
    }.items():
        assert registry.kernel(name, 3, pool_stride=2, b_std=0.1) == expected  # type: ignore[arg-type]


def test_depth_is_at_least_one() -> None:
    with pytest.raises(ValueError, match="`depth`"):
        registry.kernel("residual", 0)
