"""Max pooling, with derivatives that are fast on a CPU too."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int


def max_pool(
    x: Float[Array, "N H W D"], *, train: bool = False
) -> Float[Array, "N h w D"]:
    """2x2 max pooling of stride 2; an odd last row or column is dropped.

    Written with strided slices: the gradient of `reduce_window` is several times slower
    on a CPU.

    Args:
      x: ``[N, H, W, D]``.
      train: on a CPU, remember which value was the largest, which halves the time of
        derivatives, but leaves those of reverse mode only. The first of equal values
        then has all of the gradient; otherwise they share it.

    Returns:
      ``[N, H // 2, W // 2, D]``.
    """
    if train and jax.default_backend() == "cpu":
        return _select(x, _largest(jax.lax.stop_gradient(x)))
    a, b, c, d = _corners(x)
    return jnp.maximum(jnp.maximum(a, b), jnp.maximum(c, d))


def _corners(x: Float[Array, "N H W D"]) -> tuple[Float[Array, "N h w D"], ...]:
    height, width = x.shape[1] // 2 * 2, x.shape[2] // 2 * 2
    x = x[:, :height, :width]
    return x[:, ::2, ::2], x[:, ::2, 1::2], x[:, 1::2, ::2], x[:, 1::2, 1::2]


def _largest(x: Float[Array, "N H W D"]) -> Int[Array, "N h w D"]:
    """Which of its four corners is the largest of a window, the first if several."""
    a, b, c, d = _corners(x)
    upper = jnp.maximum(a, b) >= jnp.maximum(c, d)
    return jnp.where(upper, (b > a).astype(jnp.int8), 2 + (d > c).astype(jnp.int8))


@jax.custom_vjp
def _select(
    x: Float[Array, "N H W D"], which: Int[Array, "N h w D"]
) -> Float[Array, "N h w D"]:
    """The chosen corner of every window: linear in x, and the transpose of `_spread`,
    whose derivative it is in turn."""
    a, b, c, d = _corners(x)
    return jnp.where(
        which < 2, jnp.where(which == 0, a, b), jnp.where(which == 2, c, d)
    )


@jax.custom_vjp
def _spread(
    pooled: Float[Array, "N h w D"],
    which: Int[Array, "N h w D"],
    example: Float[Array, "N H W D"],
) -> Float[Array, "N H W D"]:
    """Every value at the chosen corner of its window, zeros elsewhere; shaped as
    `example`."""
    count, height, width, channels = pooled.shape
    corner = jnp.arange(4, dtype=which.dtype).reshape(1, 1, 2, 1, 2, 1)
    chosen = which[:, :, None, :, None] == corner
    spread = jnp.where(
        chosen, pooled[:, :, None, :, None], jnp.zeros_like(pooled[0, 0, 0, 0])
    )
    spread = spread.reshape(count, 2 * height, 2 * width, channels)
    odd = [(0, side % 2) for side in example.shape[1:3]]
    return jnp.pad(spread, ((0, 0), *odd, (0, 0)))


def _select_forward(x, which):
    return _select(x, which), (x, which)


def _select_backward(saved, slope):
    x, which = saved
    return _spread(slope, which, x), None


def _spread_forward(pooled, which, example):
    return _spread(pooled, which, example), (which, example)


def _spread_backward(saved, change):
    which, example = saved
    return _select(change, which), None, jnp.zeros_like(example)


_select.defvjp(_select_forward, _select_backward)
_spread.defvjp(_spread_forward, _spread_backward)
