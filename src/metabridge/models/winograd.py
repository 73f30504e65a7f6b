"""Convolution with 3x3 kernels by Winograd's minimal filtering, F(2x2, 3x3).

Lavin, Gray. Fast algorithms for convolutional neural networks. CVPR 2016,
https://arxiv.org/abs/1509.09308 (section 4.1).

A block of 2x2 outputs needs 4x4 inputs. In a basis of 16 numbers a block, the sum over
channels is the only product left: 16 matrix products of blocks times channels, instead
of nine that are four times as long, so 2.25 times fewer operations. The transforms are
sums and differences, and rounding stays what it is. In 4x4 blocks of outputs there
would be four times fewer, with an error ten times larger.

The gradient in the kernel is the transpose of all that: as many operations.
"""

import math
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

Products = DTypeLike | None
"""Type that the operands of matrix products are rounded to; None for their own."""

_FEW_CHANNELS = 16
# Of the operations of nine products; the transforms take the rest.
_SHARE = 0.7
# Multiplications and additions of nine products. Below, the time to compile some fifty
# loops and products is not made up for: second-order MAML compiles three times as long.
_WORK = 1.5e9


def is_worthwhile(inputs_shape: tuple[int, ...], kernel_shape: tuple[int, ...]) -> bool:
    """Tell whether it is faster than XLA's convolution on a CPU by enough."""
    count, height, width, _ = inputs_shape
    blocks = math.ceil(height / 2) * math.ceil(width / 2)
    return (
        kernel_shape[:2] == (3, 3)
        and min(kernel_shape[2:]) >= _FEW_CHANNELS
        and 16 * blocks <= _SHARE * 9 * height * width
        and 2 * count * height * width * math.prod(kernel_shape) >= _WORK
    )


def product(
    x: Float[Array, "*N D"], y: Float[Array, "D E"], products: Products
) -> Float[Array, "*N E"]:
    """Matrix product of operands rounded to a type, summed in their own."""
    if products is None:
        return x @ y
    one, two = x.astype(products), y.astype(products)
    return jax.lax.dot_general(
        one, two, (((x.ndim - 1,), (0,)), ((), ())), preferred_element_type=x.dtype
    )


def convolve(
    inputs: Float[Array, "N H W D"],
    kernel: Float[Array, "3 3 D E"],
    products: Products = None,
) -> Float[Array, "N H W E"]:
    """Convolve with stride 1, keeping the size."""
    count, height, width, _ = inputs.shape
    pairs = zip(_of_inputs(inputs), _of_kernel(kernel), strict=True)
    sixteen = [product(x, k, products) for x, k in pairs]
    blocks = count, math.ceil(height / 2), math.ceil(width / 2), kernel.shape[3]
    rows = _along_both(_outputs, [part.reshape(blocks) for part in sixteen])
    whole = jnp.stack([jnp.stack(row, axis=3) for row in rows], axis=2)
    whole = whole.reshape(count, 2 * blocks[1], 2 * blocks[2], blocks[3])
    return whole[:, :height, :width]


def kernel_gradient(
    inputs: Float[Array, "N H W D"],
    cotangent: Float[Array, "N H W E"],
    products: Products = None,
) -> Float[Array, "3 3 D E"]:
    """Derivative of ``sum(cotangent * convolve(inputs, kernel))`` in the kernel."""
    pairs = zip(_of_inputs(inputs), _of_cotangent(cotangent), strict=True)
    rows = _along_both(_taps, [product(x.T, y, products) for x, y in pairs])
    return jnp.stack([jnp.stack(row) for row in rows])


def _of_inputs(inputs: Float[Array, "N H W D"]) -> list[Float[Array, "blocks D"]]:
    """16 numbers of each block of 4x4 inputs; blocks overlap by half."""
    edges = [(1, 1 + side % 2) for side in inputs.shape[1:3]]
    padded = jnp.pad(inputs, ((0, 0), *edges, (0, 0)))

    def change(x: Array, axis: int) -> Sequence[Array]:
        # Every second of the rows (columns) from the i-th on.
        end = x.shape[axis] // 2 * 2 - 3
        a, b, c, d = (jax.lax.slice_in_dim(x, i, i + end, 2, axis) for i in range(4))
        return a - c, b + c, c - b, b - d

    return _flat([change(row, 2) for row in change(padded, 1)])


def _of_kernel(kernel: Float[Array, "3 3 D E"]) -> list[Float[Array, "D E"]]:
    def change(taps: Array) -> Sequence[Array]:
        a, b, c = taps
        outer, middle = 0.5 * (a + c), 0.5 * b
        return a, outer + middle, outer - middle, c

    return [x for row in change(kernel) for x in change(row)]


def _of_cotangent(cotangent: Float[Array, "N H W E"]) -> list[Float[Array, "blocks E"]]:
    """The transpose of `_outputs`, of each block of 2x2."""
    edges = [(0, side % 2) for side in cotangent.shape[1:3]]
    padded = jnp.pad(cotangent, ((0, 0), *edges, (0, 0)))

    def change(y: Array, axis: int) -> Sequence[Array]:
        size = y.shape[axis]
        a, b = (jax.lax.slice_in_dim(y, i, size - 1 + i, 2, axis) for i in range(2))
        return a, a + b, a - b, -b

    return _flat([change(row, 2) for row in change(padded, 1)])


def _outputs(m: Sequence[Array]) -> Sequence[Array]:
    """Two outputs of four numbers, along one axis."""
    return m[0] + m[1] + m[2], m[1] - m[2] - m[3]


def _taps(m: Sequence[Array]) -> Sequence[Array]:
    """The transpose of the kernel's transform, along one axis."""
    total, difference = 0.5 * (m[1] + m[2]), 0.5 * (m[1] - m[2])
    return m[0] + total, difference, total + m[3]


def _flat(rows: Sequence[Sequence[Array]]) -> list[Array]:
    return [x.reshape(-1, x.shape[-1]) for row in rows for x in row]


def _along_both(
    change: Callable[[Sequence[Array]], Sequence[Array]], sixteen: Sequence[Array]
) -> list[Sequence[Array]]:
    """A change of four numbers along both axes of each block of 4x4."""
    columns = [change(sixteen[i::4]) for i in range(4)]
    return [change(row) for row in zip(*columns, strict=True)]
