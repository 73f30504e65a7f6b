"""Products tile by tile against the whole matrix."""

import numpy as np
import pytest

from metabridge import theory
from metabridge.theory.matrices.products import KernelProducts
from tests.theory.cases import sphere

KERNEL = theory.relu_network(2)


@pytest.mark.extended
@pytest.mark.parametrize("keep", [0.0, 3000.0, np.inf])
@pytest.mark.parametrize(("dtype", "rtol"), [("float64", 1e-12), ("float32", 1e-5)])
@pytest.mark.parametrize("traceable", [True, False])
def test_equal_the_matrix(
    keep: float, dtype: str, rtol: float, traceable: bool
) -> None:
    rng = np.random.default_rng(0)
    x, v = sphere(rng, 48, 5), rng.standard_normal((48, 3))
    given = KERNEL if traceable else lambda x1, x2=None: KERNEL(x1, x2)
    for layers in ("head", "body", "all"):
        products = KernelProducts(
            given, x, layers=layers, dtype=dtype, keep_bytes=keep, tile=16
        )
        assert (len(products.kept) == 6) == (keep == np.inf)
        expected = np.asarray(KERNEL(x).of(layers)) @ v
        scale = np.abs(expected).max()
        actual = products(v)
        assert actual.dtype == np.float64
        np.testing.assert_allclose(actual, expected, rtol=0, atol=rtol * scale)
