"""The cause of a kernel that is singular on inputs of few dimensions.

A network without biases is homogeneous, ``f(c x) = c f(x)`` for ``c > 0``: on inputs of
one dimension its kernel has rank 2, and on inputs of several dimensions it has at most
the rank of their directions. A linear network has at most the rank of the dimensions.
No choice of tasks mends either, so that the solver's advice, to leave out a point,
would be wrong.
"""

import contextlib
from collections.abc import Iterator

import numpy as np
from jaxtyping import Num

from metabridge.theory.kernels.evaluate import evaluate
from metabridge.theory.solvers.dense import SingularKernelError
from metabridge.theory.types import KernelFn, Layers

_POINTS = 128
"""Different inputs that are looked at, which is enough for their kernel's rank."""


@contextlib.contextmanager
def explained(
    kernel: KernelFn, inputs: Num[np.ndarray, "N *X"], *, layers: Layers = "all"
) -> Iterator[None]:
    """Names inputs of low rank as the cause of a `SingularKernelError` inside."""
    try:
        yield
    except SingularKernelError as error:
        if cause := _cause(kernel, inputs, layers):
            raise SingularKernelError(cause) from error
        raise


def _cause(kernel: KernelFn, inputs: np.ndarray, layers: Layers) -> str | None:
    """Inputs of few dimensions whose kernel lacks rank; None if they are not that."""
    if not getattr(kernel, "scalable", True):
        return None
    # Positions among inputs, as of `precomputed`, have no dimension.
    if inputs.shape[1:] == (1,) and not np.issubdtype(inputs.dtype, np.floating):
        return None
    points = np.unique(inputs.reshape(len(inputs), -1), axis=0)
    dimension = points.shape[1]
    points = points[points.any(1)]
    if len(points) <= dimension:
        return None
    points = np.random.default_rng(0).permutation(points)[:_POINTS]
    own = points.reshape(-1, *inputs.shape[1:])
    matrix = np.asarray(evaluate(kernel, own).of(layers))
    # neural-tangents loses half the digits on the diagonal.
    rank, lost = (
        int(np.linalg.matrix_rank(matrix, hermitian=True, rtol=rtol))
        for rtol in (None, 1e-6)
    )
    scaled = points / np.abs(points).max(1, keepdims=True)  # whose squares are not 0
    directions = scaled / np.linalg.norm(scaled, axis=1, keepdims=True)
    distinct = len(np.unique(directions.round(12), axis=0))
    twice = np.asarray(evaluate(kernel, own[:1], 2.0 * own[:1]).of(layers))
    homogeneous = np.isclose(twice[0, 0], 2.0 * matrix[0, 0], rtol=1e-6, atol=0.0)
    what = (
        f"the kernel is singular whatever the tasks: the inputs are of dimension "
        f"{dimension}, and on {len(points)} different ones it has rank "
    )
    if homogeneous and 0 < lost <= distinct < len(points):
        return (
            f"{what}{lost}, as a network without biases cannot tell multiples of an "
            "input apart. It needs biases (`b_std` above 0, as 0.1) or a constant "
            "feature beside those of the inputs"
        )
    if 0 < rank <= dimension + 1 and rank < len(points):
        return f"{what}{rank}, as that of a linear network: it needs hidden layers"
    return None
