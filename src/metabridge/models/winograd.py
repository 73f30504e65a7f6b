"""Convolution with 3x3 kernels by Winograd's minimal filtering, F(2x2, 3x3).

Lavin, Gray. Fast algorithms for convolutional neural networks. CVPR 2016,
https://arxiv.org/abs/1509.09308 (section 4.1).

A block of 2x2 outputs needs 4x4 inputs. In a basis of 16 numbers a block, the sum over
channels is the only product left: 16 matrix products of blocks times channels, instead
of nine that are four times as long, so 2.25 times fewer operations. The transforms are
sums and differences, and rounding stays what it is. In 4x4 blocks of outputs there
would be four times fewer, with an error ten times larger.

The gradients in the inputs and in the kernel are transposes of all that, of as many
operations, and share the transformed cotangent. Images are taken in groups.

XLA's CPU backend multiplies bfloat16 matrices fast where the left one's last axis is
summed over and its rows follow one another in memory, and loops over an array fast
where it is not reshaped in the same loop. `_stored` keeps XLA from merging a loop with
what follows it; without it a step took twice as long.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental.layout import Layout, with_layout_constraint
from jax.typing import DTypeLike
from jaxtyping import Array, Float

Matrix = Float[Array, "_ _"]
Maps = Float[Array, "N H W D"]
Kernel = Float[Array, "3 3 D E"]
Products = DTypeLike | None
"""Type that the operands of matrix products are rounded to; None for their own."""

FEW_CHANNELS = 16
"""Below, products of matrices are no faster than XLA's convolution."""
# Of the operations of nine products; the transforms take the rest.
_SHARE = 0.7
# Multiplications and additions of nine products. Below, the time to compile some fifty
# loops and products is not made up for: second-order MAML compiles three times as long.
_WORK = 1.5e9
# Numbers of a kernel from which XLA takes long for maps smaller than it: a second for
# 64 of 2x2 pixels with 640 channels, and 22 ms here.
_LARGE_KERNEL = 9 * 160 * 320
# Numbers that the inputs become: those of a group of images, 8 MB of float32, where
# those of all are more than 64 MB.
_GROUP_NUMBERS = 2**21
_MOST_NUMBERS = 2**24


def is_worthwhile(
    inputs_shape: tuple[int, ...],
    kernel_shape: tuple[int, ...],
    products: Products = None,
) -> bool:
    """Tell whether it is faster than XLA's convolution on a CPU by enough."""
    count, height, width, _ = inputs_shape
    blocks = math.ceil(height / 2) * math.ceil(width / 2)
    numbers = math.prod(kernel_shape)
    work = 2 * count * height * width * numbers
    slow = numbers >= _LARGE_KERNEL and (products is not None or min(height, width) < 3)
    fewer = products is not None or 16 * blocks <= _SHARE * 9 * height * width
    return (
        kernel_shape[:2] == (3, 3)
        and min(kernel_shape[2:]) >= FEW_CHANNELS
        and (slow or (fewer and work >= _WORK))
    )


def product(
    x: Matrix, y: Matrix, products: Products, axes: tuple[int, int] = (1, 0)
) -> Matrix:
    """Matrix product, summed over an axis of each in the type of the result.

    That is float32 for operands that are rounded to `products`.
    """
    summed = jnp.float32 if products is not None else x.dtype
    if products is not None:
        x, y = x.astype(products), y.astype(products)
        if axes[0] == 0:
            x, axes = _stored(x.T), (1, axes[1])
    numbers = (axes[:1], axes[1:]), ((), ())
    return jax.lax.dot_general(x, y, numbers, preferred_element_type=summed)


def convolve(
    inputs: Maps, kernel: Kernel, products: Products = None
) -> Float[Array, "N H W E"]:
    """Convolve with stride 1, keeping the size."""
    factors = _of_kernel(kernel, products)

    def of_group(sums: None, group: tuple[Array]) -> tuple[None, Array]:
        pairs = zip(_of_inputs(*group, products), factors, strict=True)
        sixteen = [product(x, k, products) for x, k in pairs]
        shape = group[0].shape
        return sums, _joined(_along_both(_outputs, _in_blocks(sixteen, shape)), shape)

    return _by_groups(of_group, None, (inputs,), kernel)[1]


def gradients(
    inputs: Maps,
    kernel: Kernel,
    cotangent: Float[Array, "N H W E"],
    products: Products = None,
) -> tuple[Maps, Kernel]:
    """Derivatives of ``sum(cotangent * convolve(inputs, kernel))`` in both."""
    factors = _of_kernel(kernel, products)
    zeros = [jnp.zeros(kernel.shape[2:], kernel.dtype)] * len(factors)

    def of_group(sums: list[Matrix], group: Any) -> tuple[list[Matrix], Array]:
        changed = _of_cotangent(group[1], products)
        pairs = zip(changed, factors, strict=True)
        sixteen = [product(y, k, products, (1, 1)) for y, k in pairs]
        blocks = _in_blocks(sixteen, group[1].shape)
        columns = [_overlapping(blocks[i::4], 1) for i in range(4)]
        rows = [_overlapping(row, 2) for row in zip(*columns, strict=True)]
        pairs = zip(sums, _of_inputs(group[0], products), changed, strict=True)
        sums = [total + product(x, y, products, (0, 0)) for total, x, y in pairs]
        return sums, _joined(rows, group[1].shape)

    sums, by_inputs = _by_groups(of_group, zeros, (inputs, cotangent), kernel)
    return by_inputs, jnp.stack([jnp.stack(row) for row in _along_both(_taps, sums)])


def _by_groups(
    of_group: Callable[[Any, Any], tuple[Any, Array]],
    sums: Any,
    arrays: tuple[Array, ...],
    kernel: Array,
) -> tuple[Any, Array]:
    """Sums over groups of images, and the maps of all.

    What is computed of a group stays in the cache; of many large maps all at once takes
    three times as long. A group is no smaller than the transformed kernel, which is
    read for each.
    """
    count, height, width, channels = arrays[0].shape
    numbers = 4 * height * width * max(channels, kernel.shape[3])
    if count * numbers <= _MOST_NUMBERS:
        return of_group(sums, arrays)
    wanted = max(_GROUP_NUMBERS, 16 * math.prod(kernel.shape[2:])) / numbers
    num_groups = math.ceil(count / max(wanted, 1))
    size = math.ceil(count / num_groups)
    num_groups = math.ceil(count / size)
    missing = size * num_groups - count

    def split(x: Array) -> Array:
        if missing:
            x = jnp.pad(x, [(0, missing), (0, 0), (0, 0), (0, 0)])
        return x.reshape(num_groups, size, *x.shape[1:])

    sums, maps = jax.lax.scan(of_group, sums, jax.tree.map(split, arrays))
    return sums, maps.reshape(-1, *maps.shape[2:])[:count]


def _stored(x: Array) -> Array:
    """The array, written to memory row by row before it is read."""
    return with_layout_constraint(x, Layout(tuple(range(x.ndim))))


def _of_inputs(inputs: Maps, products: Products) -> list[Matrix]:
    """16 numbers of each block of 4x4 inputs, ``[blocks, D]``; half of it overlaps."""
    edges = [(1, 1 + side % 2) for side in inputs.shape[1:3]]
    padded = _stored(jnp.pad(inputs, ((0, 0), *edges, (0, 0))))

    def change(x: Array, axis: int) -> Sequence[Array]:
        # Every second of the rows (columns) from the i-th on.
        end = x.shape[axis] // 2 * 2 - 3
        a, b, c, d = (jax.lax.slice_in_dim(x, i, i + end, 2, axis) for i in range(4))
        return a - c, b + c, c - b, b - d

    return _flat([change(row, 2) for row in change(padded, 1)], products)


def _of_kernel(kernel: Kernel, products: Products) -> list[Matrix]:
    """16 matrices ``[D, E]``."""

    def change(taps: Array) -> Sequence[Array]:
        a, b, c = taps
        outer, middle = 0.5 * (a + c), 0.5 * b
        return a, outer + middle, outer - middle, c

    return _flat([change(row) for row in change(kernel)], products)


def _of_cotangent(
    cotangent: Float[Array, "N H W E"], products: Products
) -> list[Matrix]:
    """The transpose of `_outputs`, of each block of 2x2: ``[blocks, E]``."""
    edges = [(0, side % 2) for side in cotangent.shape[1:3]]
    padded = jnp.pad(cotangent, ((0, 0), *edges, (0, 0)))

    def change(y: Array, axis: int) -> Sequence[Array]:
        size = y.shape[axis]
        a, b = (jax.lax.slice_in_dim(y, i, size - 1 + i, 2, axis) for i in range(2))
        return a, a + b, a - b, -b

    return _flat([change(row, 2) for row in change(padded, 1)], products)


def _outputs(m: Sequence[Array]) -> Sequence[Array]:
    """Two outputs of four numbers, along one axis."""
    return m[0] + m[1] + m[2], m[1] - m[2] - m[3]


def _overlapping(m: Sequence[Array], axis: int) -> Sequence[Array]:
    """The transpose of the inputs' transform along one axis: even rows and odd ones."""

    def shifted(x: Array, by: int) -> Array:
        edges = [(0, 0)] * x.ndim
        edges[axis] = (max(by, 0), max(-by, 0))
        start, end = max(-by, 0), x.shape[axis] - max(by, 0)
        return jnp.pad(jax.lax.slice_in_dim(x, start, end, axis=axis), edges)

    even, odd = m[1] - m[2] + m[3], m[1] + m[2] - m[0]
    return even - shifted(m[3], 1), odd + shifted(m[0], -1)


def _taps(m: Sequence[Array]) -> Sequence[Array]:
    """The transpose of the kernel's transform, along one axis."""
    total, difference = 0.5 * (m[1] + m[2]), 0.5 * (m[1] - m[2])
    return m[0] + total, difference, total + m[3]


def _flat(rows: Sequence[Sequence[Array]], products: Products) -> list[Matrix]:
    arrays = [
        x if products is None else x.astype(products) for row in rows for x in row
    ]
    return [_stored(x).reshape(-1, x.shape[-1]) for x in arrays]


def _in_blocks(
    sixteen: Sequence[Matrix], shape: tuple[int, ...]
) -> list[Float[Array, "N h w channels"]]:
    """A row of each matrix for every block of 2x2 of maps of this shape."""
    blocks = shape[0], math.ceil(shape[1] / 2), math.ceil(shape[2] / 2)
    return [x.reshape(*blocks, x.shape[1]) for x in sixteen]


def _joined(
    rows: Sequence[Sequence[Array]], shape: tuple[int, ...]
) -> Float[Array, "N H W channels"]:
    """Maps of a shape of which these four are the corners of every block of 2x2."""
    whole = jnp.stack([jnp.stack(row, axis=3) for row in rows], axis=2)
    count, height, _, width, _, channels = whole.shape
    whole = whole.reshape(count, 2 * height, 2 * width, channels)
    return whole[:, : shape[1], : shape[2]]


def _along_both(
    change: Callable[[Sequence[Array]], Sequence[Array]], sixteen: Sequence[Array]
) -> list[Sequence[Array]]:
    """A change of four numbers along both axes of each block of 4x4."""
    columns = [change(sixteen[i::4]) for i in range(4)]
    return [change(row) for row in zip(*columns, strict=True)]
