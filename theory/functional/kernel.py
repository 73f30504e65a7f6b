"""The kernel of a ReLU network, differentiable in its scales and inputs.

The recursion of `theory.relu_network` (`kernels.relu`) for any scale of the weights,
behind each ReLU with the mean squares of the units in place of ``q``. A layer with
weights of variance ``v`` and biases of variance ``b^2`` makes of features with mean
squares a, a' and correlation ``1 - delta``

    w = sqrt((v a + b^2) (v a' + b^2)),    m = v sqrt(a a')
    delta <- (m delta + b^2 (sqrt(v a) - sqrt(v a'))^2 / (w + m + b^2)) / w
    Theta <- w (1 - delta) + v Theta

before its ReLU, which halves w, turns delta by `arc_cosine` and multiplies Theta by
``(1 - theta / pi) / 2``.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Float

from metabridge.theory.kernels.arc_cosine import overlap, shortfall
from metabridge.theory.types import Array, Kernels, check_whole

Scalar = float | Float[jax.Array, ""]


def relu_kernels(
    x1: Float[Array, "N *X"],
    x2: Float[Array, "M *X"] | None = None,
    *,
    depth: int,
    W_std: Scalar = 2.0**0.5,
    b_std: Scalar = 0.0,
    last_W_std: Scalar = 1.0,
) -> Kernels:
    """Kernels ``[N, M]`` of a fully connected ReLU network, as a JAX function.

    Differentiable in the scales and in the inputs but for two kinds of points: the
    tangent kernel has a kink where one input is a multiple of another and there are no
    biases, or is equal to it; the derivative of its angle is taken as 0 there.

    Args:
      x1: inputs, none of them zero if there are no biases.
      x2: inputs; None means `x1`.
      depth: hidden layers, at least 0.
      W_std: scale of the weights of the hidden layers.
      b_std: scale of the biases of all layers.
      last_W_std: scale of the output layer's weights.
    """
    check_whole("depth", depth, 0)
    flat1 = jnp.asarray(x1).reshape(len(x1), -1)
    flat2 = flat1 if x2 is None else jnp.asarray(x2).reshape(len(x2), -1)
    unit1, mean1 = _unit(flat1)
    unit2, mean2 = _unit(flat2)
    delta = 1.0 - jnp.matmul(unit1, unit2.T, precision=jax.lax.Precision.HIGHEST)
    # Round-off between equal directions would grow to its square root.
    same = delta < 8 * jnp.finfo(delta.dtype).eps
    if x2 is None:
        same |= jnp.eye(len(x1), dtype=bool)
    delta = jnp.where(same, 0.0, jnp.minimum(delta, 2.0))
    bias = jnp.asarray(b_std, delta.dtype) ** 2
    v = jnp.asarray(W_std, delta.dtype) ** 2

    def layer(state: tuple, _: None) -> tuple[tuple, None]:
        own1, own2, delta, theta = state
        own1, own2, m = v * own1, v * own2, v * jnp.sqrt(own1[:, None] * own2)
        wide1, wide2 = own1 + bias, own2 + bias
        w = jnp.sqrt(wide1[:, None] * wide2)
        apart = jnp.square(jnp.sqrt(own1)[:, None] - jnp.sqrt(own2))
        delta = (m * delta + bias * apart / (w + m + bias)) / w
        theta = (w * (1.0 - delta) + v * theta) * overlap(delta) / 2.0
        return (wide1 / 2.0, wide2 / 2.0, 2.0 * shortfall(delta), theta), None

    state = mean1, mean2, delta, jnp.zeros_like(delta)
    state, _ = jax.lax.scan(layer, state, None, length=depth)
    own1, own2, delta, theta = state
    last = jnp.asarray(last_W_std, delta.dtype) ** 2
    nngp = last * jnp.sqrt(own1[:, None] * own2) * (1.0 - delta) + bias
    return Kernels(nngp, nngp + last * theta)


def _unit(x: Float[jax.Array, "N D"]) -> tuple[jax.Array, jax.Array]:
    """Directions and mean squares."""
    squares = jnp.sum(x * x, axis=1)
    return x / jnp.sqrt(squares)[:, None], squares / x.shape[1]
