"""The kernel of a network on images: how its matrix is cut into pieces.

`pixels` has the recursion. Here a matrix is cut into blocks, whose shape is
compiled once, and blocks into steps of as many pairs of images as a cache holds.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from metabridge.theory.kernels.architectures import Pooling
from metabridge.theory.kernels.devices import compiled_tile, fill_rows
from metabridge.theory.kernels.evaluate import fill_blocks, float64
from metabridge.theory.kernels.images import pixels
from metabridge.theory.types import (
    Array,
    Kernels,
    check_choice,
    check_scale,
    check_whole,
)

Layer = Literal["conv", "dense"]
Precision = Literal["float32", "float64"]

_CACHE = 2**21
"""Bytes of one array of a step, on a CPU."""
_COLUMNS = 64
"""Images of `x2` in a step, at most: a CPU is fastest in loops of so many pairs."""
_ARRAYS = 8
"""Arrays that a step holds at a time, no more."""


@dataclasses.dataclass(frozen=True)
class ImageKernel:
    """A kernel made by `relu_convolutional` or `relu_residual`.

    Calling it gives NumPy arrays in float64; `tile` is the same as pure JAX code.
    Equal networks are equal and have one hash, so that `jax.jit` can take them as
    static arguments.

    Example:
      >>> kernel = relu_convolutional(4, pooling="global_average", dtype="float32")
      >>> nngp, ntk = kernel(images)
      >>> tile = jax.jit(kernel.tile)(images[:8], images)
    """

    network: Literal["convolutional", "residual"]
    depth: int
    """Convolutions, or residual blocks."""
    layer: Layer
    pooling: Pooling
    pool_stride: int
    filter_size: int
    W_std: float
    b_std: float
    last_W_std: float
    dtype: Precision
    max_bytes: int

    def with_depth(self, depth: int) -> "ImageKernel":
        """The same network of another depth."""
        return dataclasses.replace(self, depth=depth)

    def __post_init__(self) -> None:
        check_choice("layer", self.layer, get_args(Layer))
        check_choice("pooling", self.pooling, get_args(Pooling))
        check_choice("dtype", self.dtype, get_args(Precision))
        for name in ("pool_stride", "filter_size", "max_bytes"):
            check_whole(name, getattr(self, name), 1)
        if self.pooling == "flatten" and self.pool_stride != 1:
            raise ValueError(
                f"`pool_stride` is {self.pool_stride}, but pooling='flatten' keeps all "
                "pixels: pass pooling='global_average'"
            )
        if self.filter_size % 2 == 0:
            raise ValueError(
                f"`filter_size` must be odd, but is {self.filter_size}: filters with a "
                "middle are all that is implemented; theory.convolutional takes others"
            )
        for name in ("W_std", "last_W_std", "b_std"):
            check_scale(name, getattr(self, name), zero=name == "b_std")

    def __call__(self, x1: Array, x2: Array | None = None) -> Kernels:
        """Kernels ``[N, M]`` in float64; `x2` None means `x1`, and half the work."""
        first = np.asarray(x1, self.dtype)
        second = None if x2 is None else np.asarray(x2, self.dtype)
        others = first if second is None else second
        _check_inputs(self, first.shape, others.shape)
        lengths = _block(len(first)), _block(len(others))

        def block(x1: np.ndarray, x2: np.ndarray | None) -> Kernels:
            """Filled up with zeros: one shape to compile."""
            x2 = x1 if x2 is None else x2
            parts = zip((x1, x2), lengths, strict=True)
            filled = [fill_rows(x, length - len(x)) for x, length in parts]
            tile = compiled_tile(self, *filled)
            return Kernels(*(np.asarray(part)[: len(x1), : len(x2)] for part in tile))

        with float64():
            return fill_blocks(block, first, second, *lengths)

    def tile(
        self, x1: Float[jax.Array, "N *X"], x2: Float[jax.Array, "M *X"] | None = None
    ) -> Kernels:
        """Kernels as traceable JAX code, in the type of the inputs.

        `dtype` is not looked at. Rows of `x1` may be sharded over devices, and then
        those of the result are. Fastest where M is a multiple of 64; `x2` None means
        `x1`, and saves nothing.

        Raises:
          TypeError: not float32 or float64, or one of each.
          ValueError: shapes that do not fit.
        """
        x2 = x1 if x2 is None else x2
        if self.layer == "dense":
            x1, x2 = (x.reshape(len(x), 1, 1, -1) for x in (x1, x2))
        _check_inputs(self, x1.shape, x2.shape)
        if x1.dtype != x2.dtype or x1.dtype not in (jnp.float32, jnp.float64):
            raise TypeError(
                "images must be float32 or float64, both the same, but are "
                f"{x1.dtype} and {x2.dtype}"
            )
        # Steps over rows and columns, each of so many pairs as a cache holds.
        rows, columns = _step(self, x1, len(x2))
        # Rows of one step stand far apart, so that each device has some of all steps.
        parts1, lengths1 = _split(x1, rows, self.b_std, interleaved=True)
        parts2, lengths2 = _split(x2, columns, self.b_std, interleaved=False)
        index = np.indices((len(parts1), len(parts2))).reshape(2, -1)

        def step(pair: tuple[jax.Array, jax.Array]) -> Kernels:
            one, two = pair
            return _pooled(self, parts1[one], parts2[two], lengths1[one], lengths2[two])

        steps = jax.lax.map(step, (jnp.asarray(index[0]), jnp.asarray(index[1])))

        def assemble(parts: jax.Array) -> jax.Array:
            parts = parts.reshape(len(parts1), len(parts2), rows, columns)
            whole = parts.transpose(2, 0, 1, 3).reshape(rows * len(parts1), -1)
            return whole[: len(x1), : len(x2)]

        return Kernels(*map(assemble, steps))


def _check_inputs(
    kernel: ImageKernel, x1: tuple[int, ...], x2: tuple[int, ...]
) -> None:
    """Shapes that fit the network and each other."""
    for name, shape in (("x1", x1), ("x2", x2)):
        if kernel.layer == "conv" and (len(shape) != 4 or 0 in shape[1:]):
            raise ValueError(
                f"`{name}` must be images [N, H, W, c], but has shape {list(shape)}; "
                "relu_network and layer='dense' take inputs of any shape"
            )
    if x1[1:] != x2[1:]:
        raise ValueError(
            f"`x1` and `x2` differ in size: {list(x1[1:])} and {list(x2[1:])}"
        )
    for side in x1[1:3] if kernel.pooling == "global_average" else ():
        if side % kernel.pool_stride:
            raise ValueError(
                f"`pool_stride` is {kernel.pool_stride}, but images are "
                f"{x1[1]} x {x1[2]}: pass a divisor of both sides"
            )


def _block(count: int) -> int:
    """Images of a block: multiples of 8, with the fewest pairs on half a matrix."""
    if count <= _COLUMNS:
        return max(1, count)

    def pairs(length: int) -> int:
        blocks = -(-count // length)
        return blocks * (blocks + 1) * length**2

    return min(range(_COLUMNS, _COLUMNS // 2, -8), key=pairs)


def _step(kernel: ImageKernel, x1: jax.Array, others: int) -> tuple[int, int]:
    """How many images of either side a step takes."""
    image = x1.shape[1] * x1.shape[2] * x1.dtype.itemsize
    cache = _CACHE if jax.default_backend() == "cpu" else kernel.max_bytes
    pairs = max(1, min(cache, kernel.max_bytes // _ARRAYS) // image)
    columns = _even(others, min(_COLUMNS, pairs))
    return _even(len(x1), max(1, pairs // columns)), columns


def _even(total: int, longest: int) -> int:
    """The length of parts, from half the longest on, that fills up least."""
    longest = min(total, longest)
    return min(
        range(longest, longest // 2, -1), key=lambda length: -total % length, default=1
    )


def _split(
    x: jax.Array, length: int, b_std: float, *, interleaved: bool
) -> tuple[Float[jax.Array, "P C H W L"], Float[jax.Array, "P L"]]:
    """Parts of images brought to one scale, the pairs' axis last, and the scales.

    The scales of images and biases together, since a difference of two images of very
    different scales says nothing of the angle between them.
    """
    square = jnp.mean(jnp.square(x), axis=(1, 2, 3), keepdims=True)
    scale = jnp.sqrt(square + b_std**2)
    scale = jnp.where(scale > 0, scale, 1.0)
    x = x / scale
    count = -(-len(x) // length)
    missing = count * length - len(x)
    x = jnp.pad(x, [(0, missing)] + [(0, 0)] * 3)
    scale = jnp.pad(scale[:, 0, 0, 0], (0, missing), constant_values=1.0)
    if interleaved:
        x, scale = x.reshape(length, count, *x.shape[1:]), scale.reshape(length, count)
        return x.transpose(1, 4, 2, 3, 0), scale.T
    x, scale = x.reshape(count, length, *x.shape[1:]), scale.reshape(count, length)
    return x.transpose(0, 4, 2, 3, 1), scale


def _pooled(
    kernel: ImageKernel,
    x1: Float[jax.Array, "C H W N"],
    x2: Float[jax.Array, "C H W M"],
    length1: Float[jax.Array, "N"],
    length2: Float[jax.Array, "M"],
) -> Kernels:
    """Kernels of images whose lengths are given apart."""
    conv = pixels.Filter(
        kernel.filter_size,
        kernel.W_std,
        (kernel.b_std / length1)[None, None, :, None],
        (kernel.b_std / length2)[None, None, None],
    )
    stride, (height, width) = kernel.pool_stride, x1.shape[1:3]

    def sums(at: pixels.Displacement | None) -> Kernels:
        """Covariance and Theta behind the last ReLU, over the pixels of the pool."""
        return Kernels(*pixels.pooled(_layers(kernel, conv, x1, x2, at), stride, at))

    def displaced(row: jax.Array, column: jax.Array) -> Kernels:
        shift, shape = (row * stride, column * stride), (height, width)
        return sums(pixels.displacement(*shift, shape, conv.size, x1.dtype))

    count = (height // stride) * (width // stride)
    if kernel.pooling == "flatten":
        total = sums(None)
    else:
        zeros = Kernels(*[jnp.zeros((x1.shape[-1], x2.shape[-1]), x1.dtype)] * 2)

        def row_of_sums(row: jax.Array) -> Kernels:
            return _sum(width // stride, functools.partial(displaced, row), zeros)

        total, count = _sum(height // stride, row_of_sums, zeros), count**2
    scale = kernel.last_W_std**2 / count * length1[:, None] * length2[None]
    nngp = scale * total.nngp
    return Kernels(nngp, nngp + scale * total.ntk)


def _layers(
    kernel: ImageKernel,
    conv: pixels.Filter,
    x1: Float[jax.Array, "C H W N"],
    x2: Float[jax.Array, "C H W M"],
    at: pixels.Displacement | None,
) -> pixels.Preactivations:
    """All but the last ReLU and the output."""

    def layer(_: jax.Array, state: pixels.Preactivations) -> pixels.Preactivations:
        return pixels.convolve(pixels.relu(state, at), conv, at)

    def block(_: jax.Array, state: pixels.Preactivations) -> pixels.Preactivations:
        return pixels.add(state, jax.lax.fori_loop(0, 2, layer, state), at)

    state = pixels.convolve(pixels.pixels(x1, x2, at), conv, at)
    if kernel.network == "convolutional":
        return jax.lax.fori_loop(0, kernel.depth - 1, layer, state)
    return jax.lax.fori_loop(0, kernel.depth, block, state)


def _sum(count: int, term: Callable[[jax.Array], Kernels], zeros: Kernels) -> Kernels:
    """``term(0) + term(1) + ...``, one at a time."""

    def body(index: jax.Array, total: Kernels) -> Kernels:
        return jax.tree.map(jnp.add, total, term(index))

    return jax.lax.fori_loop(0, count, body, zeros)
