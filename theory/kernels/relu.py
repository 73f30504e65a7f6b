"""Kernels of deep fully connected ReLU networks, exact at any depth.

`relu_layers` has the recursion.
"""

import dataclasses
import functools
from collections.abc import Iterator, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from metabridge.theory.kernels.devices import compiled_tile
from metabridge.theory.kernels.evaluate import float64
from metabridge.theory.kernels.relu_layers import (
    CRITICAL,
    Inputs,
    State,
    emit,
    layer,
    no_layers,
    one_minus_correlation,
    prepare,
    start,
)
from metabridge.theory.types import Array, Kernels, check_scale, check_whole

_LAYERS_A_PASS = 8
_STRIPS = range(32, 129)
"""Rows that are computed at a time, the most of these that divide all."""
_LARGE = 2**18
"""Entries from which a compilation for their shape and this depth pays."""


@dataclasses.dataclass(frozen=True)
class ReLUNetwork:
    """Kernels of a fully connected ReLU network; made by `relu_network`."""

    depth: int
    last_W_std: float = 1.0
    b_std: float = 0.0
    W_std: float = 2.0**0.5

    def __post_init__(self) -> None:
        _check([self.depth], **self.scales)

    def __repr__(self) -> str:
        """As it was before there were biases: folders of kernels are named by it."""
        more = f", b_std={self.b_std}" if self.b_std else ""
        more += f", W_std={self.W_std}" if self.W_std != CRITICAL else ""
        return f"ReLUNetwork(depth={self.depth}, last_W_std={self.last_W_std}{more})"

    @property
    def dtype(self) -> str:
        return "float64"

    def __call__(self, x1: Array, x2: Array | None = None) -> Kernels:
        """Kernels ``[N, M]`` in float64; `x2` None means `x1`."""
        first = np.asarray(x1, np.float64)
        second = None if x2 is None else np.asarray(x2, np.float64)
        pairs = len(first) * len(first if second is None else second)
        if pairs >= _LARGE:
            with float64():
                return Kernels(*map(np.asarray, compiled_tile(self, first, second)))
        return next(iterate_depths(first, second, depths=[self.depth], **self.scales))

    @property
    def scales(self) -> dict[str, float]:
        """Options of `iterate_depths` for networks of other depths."""
        names = ("last_W_std", "b_std", "W_std")
        return {name: getattr(self, name) for name in names}

    def with_depth(self, depth: int) -> "ReLUNetwork":
        """The same network of another depth."""
        return dataclasses.replace(self, depth=depth)

    def tile(
        self, x1: Float[jax.Array, "N *X"], x2: Float[jax.Array, "M *X"] | None = None
    ) -> Kernels:
        """The same inside a compiled function, in the type of the inputs.

        In float32 correlations are rounded to 1e-7: inputs nearer to each other than an
        angle of 1e-3 are not told apart.
        """
        flat1 = x1.reshape(len(x1), -1)
        flat2 = None if x2 is None else x2.reshape(len(x2), -1)
        unit1, unit2, inputs = prepare(flat1, flat2, self.b_std, self.W_std)
        rows, columns = len(flat1), len(flat1 if flat2 is None else flat2)
        strip = max((s for s in _STRIPS if rows % s == 0), default=rows)
        if strip == rows or not _by_strips():
            # Several layers in one pass over memory.
            unroll = min(max(self.depth, 1), _LAYERS_A_PASS)
            return self._output(inputs, one_minus_correlation(unit1, unit2), unroll)
        other = unit1 if unit2 is None else unit2

        def of_strip(first: jax.Array) -> Kernels:
            unit, length = (
                jax.lax.dynamic_slice_in_dim(each, first, strip)
                for each in (unit1, inputs.length1)
            )
            delta = one_minus_correlation(unit, other, first if flat2 is None else None)
            return self._output(inputs._replace(length1=length), delta, 1)

        made = jax.lax.map(of_strip, jnp.arange(0, rows, strip))
        return Kernels(*(part.reshape(rows, columns) for part in made))

    def _output(self, inputs: Inputs, delta: jax.Array, unroll: int) -> Kernels:
        state = jax.lax.fori_loop(
            0, self.depth, lambda _, state: layer(inputs, state), no_layers(delta),
            unroll=unroll,
        )  # fmt: skip
        return emit(inputs, state, self.last_W_std)


def _by_strips() -> bool:
    """Whether layers are computed one by one, on rows that stay in the cache.

    XLA on a CPU computes in a fusion anew what is read twice: three layers in one took
    twice the work. Rows that are sharded over devices have to stay together.
    """
    return jax.default_backend() == "cpu" and jax.device_count() == 1


def relu_network(
    depth: int,
    *,
    last_W_std: float = 1.0,
    b_std: float = 0.0,
    W_std: float = 2.0**0.5,
) -> ReLUNetwork:
    """Kernels of a fully connected ReLU network.

    NTK parametrisation, `depth` hidden layers of infinite width, a linear output layer.
    Inputs are flattened; at the edge of chaos (``W_std = sqrt(2)``, no biases) a mean
    square of 1 gives an output of variance ``last_W_std^2``. Without biases the network
    is homogeneous: multiples of an input have multiples of its output, so that inputs
    of one dimension have a kernel of rank 2 and need `b_std` above 0.

    Args:
      depth: hidden layers, at least 0.
      last_W_std: scale of the output layer's weights. Without biases both kernels carry
        its square, so all times and penalties are in units of it.
      b_std: scale of the biases of all layers, the output's too, at least 0.
      W_std: scale of the weights of the hidden layers; sqrt(2) is critical.
    """
    return ReLUNetwork(depth, last_W_std, b_std, W_std)


def relu_depths(
    x1: Float[Array, "N *X"],
    x2: Float[Array, "M *X"] | None = None,
    *,
    depths: Sequence[int],
    last_W_std: float = 1.0,
    b_std: float = 0.0,
    W_std: float = 2.0**0.5,
) -> Kernels:
    """Kernels of `relu_network` at several depths, in one pass over the layers.

    Inputs and kernels ``[depths, N, M]`` are in float32 or float64; `x2` None means
    `x1`, and depths stand in any order.
    """
    _check(depths, last_W_std, b_std, W_std)
    order = sorted(set(depths))
    counts = np.diff(np.asarray([0, *order], np.int32))
    with float64():
        inputs, state = _begin(x1, x2, b_std, W_std)
        stacks = _emit_depths(inputs, state, counts, last_W_std)
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
    W_std: float = 2.0**0.5,
) -> Iterator[Kernels]:
    """The kernels of `relu_depths` at ascending depths, one after another.

    Raises:
      ValueError: depths that do not ascend.
    """
    _check(depths, last_W_std, b_std, W_std)
    if list(depths) != sorted(depths):
        raise ValueError(f"`depths` must ascend, but are {list(depths)}")
    with float64():
        inputs, state = _begin(x1, x2, b_std, W_std)
    for count in np.diff([0, *depths]):
        with float64():
            state = _advance(inputs, state, int(count))
            kernels = Kernels(*map(np.asarray, emit(inputs, state, last_W_std)))
        yield kernels


def _check(
    depths: Sequence[int], last_W_std: float, b_std: float, W_std: float
) -> None:
    if not len(depths):
        raise ValueError("`depths` is empty: pass at least one number of hidden layers")
    for depth in depths:
        check_whole("depth", depth, 0)
    check_scale("last_W_std", last_W_std)
    check_scale("b_std", b_std, zero=True)
    check_scale("W_std", W_std)


def _begin(
    x1: Array, x2: Array | None, b_std: float, W_std: float
) -> tuple[Inputs, State]:
    first = np.asarray(x1)
    if first.dtype not in (np.float32, np.float64):
        raise TypeError(f"`x1` must be float32 or float64, but is {first.dtype}")
    flat1 = jnp.asarray(first.reshape(len(first), -1))
    flat2 = None
    if x2 is not None:
        flat2 = jnp.asarray(np.asarray(x2, first.dtype).reshape(len(x2), -1))
    if flat2 is not None and flat1.shape[1] != flat2.shape[1]:
        raise ValueError(
            f"the inputs differ in size: {flat1.shape[1]} and {flat2.shape[1]}"
        )
    return _start_in_float64(flat1, flat2, float(b_std), float(W_std))


@functools.partial(jax.jit, static_argnums=(2, 3))
def _start_in_float64(
    x1: Float[jax.Array, "N D"],
    x2: Float[jax.Array, "M D"] | None,
    b_std: float,
    W_std: float,
) -> tuple[Inputs, State]:
    """`_start` for inputs of any type, or near duplicates would have no digits left."""
    double2 = None if x2 is None else x2.astype(jnp.float64)
    begun = start(x1.astype(jnp.float64), double2, b_std, W_std)
    return jax.tree.map(lambda part: part.astype(x1.dtype), begun)


@jax.jit
def _advance(inputs: Inputs, state: State, count: int | Int[jax.Array, ""]) -> State:
    """So many more hidden layers."""
    return jax.lax.fori_loop(0, count, lambda _, state: layer(inputs, state), state)


@jax.jit
def _emit_depths(
    inputs: Inputs,
    state: State,
    counts: Int[np.ndarray | jax.Array, "L"],
    last_W_std: float | Float[jax.Array, ""],
) -> Kernels:
    """Kernels after each of several advances, stacked."""

    def step(state: State, count: jax.Array) -> tuple[State, Kernels]:
        state = _advance(inputs, state, count)
        return state, emit(inputs, state, last_W_std)

    return jax.lax.scan(step, state, jnp.asarray(counts))[1]
