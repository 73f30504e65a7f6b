"""Kernels of deep ReLU networks at the edge of chaos, exact at any depth.

One layer after another, by the angle between two inputs: `recursion`.

References:
  Cho, Saul. Kernel methods for deep learning. NeurIPS 2009.
  Jacot, Gabriel, Hongler. Neural tangent kernel. NeurIPS 2018,
    https://arxiv.org/abs/1806.07572.
"""

import dataclasses
import functools
import math
from collections.abc import Iterator, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from metabridge.theory.kernels import recursion
from metabridge.theory.kernels.evaluate import float64
from metabridge.theory.types import Array, Kernels

_LAYERS_A_PASS = 8
_LARGE = 2**18
"""Entries from which a compilation for their shape and this depth pays."""


@dataclasses.dataclass(frozen=True)
class ReLUNetwork:
    """Kernels of a fully connected ReLU network; made by `relu_network`.

    Attributes:
      depth: hidden layers.
      last_W_std: scale of the output layer's weights.
      b_std: scale of all biases.
    """

    depth: int
    last_W_std: float = 1.0
    b_std: float = 0.0

    def __post_init__(self) -> None:
        _check_depths([self.depth])
        _check_scales(self.last_W_std, self.b_std)

    def __repr__(self) -> str:
        """As it was before there were biases: folders of kernels are named by it."""
        biases = f", b_std={self.b_std}" if self.b_std else ""
        return f"ReLUNetwork(depth={self.depth}, last_W_std={self.last_W_std}{biases})"

    @property
    def dtype(self) -> str:
        """In which a call computes."""
        return "float64"

    def __call__(self, x1: Array, x2: Array | None = None) -> Kernels:
        """Kernels ``[N, M]`` in float64; `x2` None means `x1`."""
        first = np.asarray(x1, np.float64)
        second = None if x2 is None else np.asarray(x2, np.float64)
        pairs = len(first) * len(first if second is None else second)
        with float64():
            if pairs >= _LARGE:
                return Kernels(*map(np.asarray, _compiled(self, first, second)))
            inputs, state = _begin(first, second, self.b_std)
            state = recursion.advance(inputs, state, self.depth)
            return Kernels(
                *map(np.asarray, recursion.emit(inputs, state, self.last_W_std))
            )

    def tile(
        self, x1: Float[jax.Array, "N *X"], x2: Float[jax.Array, "M *X"] | None = None
    ) -> Kernels:
        """The same inside a compiled function, in the type of the inputs.

        In float32 correlations are rounded to 1e-7: inputs nearer to each other than an
        angle of 1e-3 are not told apart.
        """
        flat1 = x1.reshape(len(x1), -1)
        flat2 = None if x2 is None else x2.reshape(len(x2), -1)
        inputs, state = recursion.start(flat1, flat2, self.b_std)
        # Several layers in one pass over memory.
        state = jax.lax.fori_loop(
            0, self.depth, lambda _, state: recursion.layer(inputs, state), state,
            unroll=min(max(self.depth, 1), _LAYERS_A_PASS),
        )  # fmt: skip
        return recursion.emit(inputs, state, self.last_W_std)


def relu_network(
    depth: int, *, last_W_std: float = 1.0, b_std: float = 0.0
) -> ReLUNetwork:
    """Kernels of a fully connected ReLU network.

    NTK parametrisation, `depth` hidden layers of infinite width with
    ``W_std = sqrt(2)``, a linear output layer. Inputs are flattened; without biases a
    mean square of 1 gives an output of variance ``last_W_std^2``. Without biases the
    network is homogeneous: multiples of an input have multiples of its output, so that
    inputs of one dimension have a kernel of rank 2 and need `b_std` above 0.

    Args:
      depth: hidden layers, at least 0.
      last_W_std: scale of the output layer's weights. Without biases both kernels carry
        its square, so all times and penalties are in units of it.
      b_std: scale of the biases of all layers, the output's too, at least 0.

    Returns:
      ``kernel(x1, x2=None) -> Kernels`` in float64.
    """
    return ReLUNetwork(depth, last_W_std, b_std)


def relu_depths(
    x1: Float[Array, "N *X"],
    x2: Float[Array, "M *X"] | None = None,
    *,
    depths: Sequence[int],
    last_W_std: float = 1.0,
    b_std: float = 0.0,
) -> Kernels:
    """Kernels of `relu_network` at several depths, in one pass over the layers.

    Args:
      x1: inputs in float32 or float64.
      x2: likewise; None means `x1`.
      depths: hidden layers, in any order.
      last_W_std: see `relu_network`.
      b_std: likewise.

    Returns:
      Kernels ``[len(depths), N, M]`` in the type of `x1`; NumPy arrays.
    """
    _check_depths(depths)
    _check_scales(last_W_std, b_std)
    order = sorted(set(depths))
    counts = np.diff(np.asarray([0, *order], np.int32))
    with float64():
        inputs, state = _begin(*_pair(x1, x2), b_std)
        stacks = recursion.emit_depths(inputs, state, counts, last_W_std)
        stacks = Kernels(*map(np.asarray, stacks))
    if list(depths) == order:
        return stacks
    rows = [order.index(depth) for depth in depths]
    return Kernels(*(stack[rows] for stack in stacks))


def iterate_depths(
    x1: Float[Array, "N *X"],
    x2: Float[Array, "M *X"] | None = None,
    *,
    depths: Sequence[int],
    last_W_std: float = 1.0,
    b_std: float = 0.0,
) -> Iterator[Kernels]:
    """The kernels of `relu_depths` one depth after another, in little memory.

    Args:
      x1: inputs in float32 or float64.
      x2: likewise; None means `x1`.
      depths: hidden layers, ascending.
      last_W_std: see `relu_network`.
      b_std: likewise.
    """
    _check_depths(depths)
    _check_scales(last_W_std, b_std)
    with float64():
        inputs, state = _begin(*_pair(x1, x2), b_std)
    for count in np.diff([0, *depths]):
        with float64():
            state = recursion.advance(inputs, state, int(count))
            kernels = Kernels(
                *map(np.asarray, recursion.emit(inputs, state, last_W_std))
            )
        yield kernels


def _check_depths(depths: Sequence[int]) -> None:
    if not len(depths):
        raise ValueError("`depths` is empty: pass at least one number of hidden layers")
    for depth in depths:
        if int(depth) != depth or depth < 0:
            raise ValueError(
                "a depth is a number of hidden layers, at least 0, but "
                f"{depth} was given"
            )


def _check_scales(last_W_std: float, b_std: float) -> None:
    if not 0 < last_W_std < math.inf:
        raise ValueError(
            f"`last_W_std` must be positive and finite, but is {last_W_std}"
        )
    if not 0 <= b_std < math.inf:
        raise ValueError(f"`b_std` must be at least 0 and finite, but is {b_std}")


def _pair(x1: Array, x2: Array | None) -> tuple[np.ndarray, np.ndarray | None]:
    x1 = np.asarray(x1)
    if x1.dtype not in (np.float32, np.float64):
        raise TypeError(f"`x1` must be float32 or float64, but is {x1.dtype}")
    return x1, None if x2 is None else np.asarray(x2, x1.dtype)


def _begin(
    x1: np.ndarray, x2: np.ndarray | None, b_std: float
) -> tuple[recursion.Inputs, recursion.State]:
    flat1 = jnp.asarray(x1.reshape(len(x1), -1))
    flat2 = None if x2 is None else jnp.asarray(x2.reshape(len(x2), -1))
    if flat2 is not None and flat1.shape[1] != flat2.shape[1]:
        raise ValueError(
            f"the inputs differ in size: {flat1.shape[1]} and {flat2.shape[1]}"
        )
    inputs, state = recursion.start_in_float64(flat1, flat2)
    return inputs._replace(bias=recursion.bias_variance(b_std, flat1.dtype)), state


@functools.partial(jax.jit, static_argnums=0)
def _compiled(
    network: ReLUNetwork,
    x1: Float[jax.Array, "N *X"],
    x2: Float[jax.Array, "M *X"] | None,
) -> Kernels:
    return network.tile(x1, x2)
