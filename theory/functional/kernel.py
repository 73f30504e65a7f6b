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

from metabridge.theory.functional.loops import check_number
from metabridge.theory.kernels.arc_cosine import overlap, shortfall
from metabridge.theory.kernels.relu_layers import one_minus_correlation, root, unit
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
      x1: inputs.
      x2: inputs; None means `x1`.
      depth: hidden layers, at least 0.
      W_std: scale of the weights of the hidden layers.
      b_std: scale of the biases of all layers.
      last_W_std: scale of the output layer's weights.
    """
    check_whole("depth", depth, 0)
    for name, scale in (("W_std", W_std), ("b_std", b_std), ("last_W_std", last_W_std)):
        check_number(name, scale)
    flat1 = jnp.asarray(x1).reshape(len(x1), -1)
    unit1, length1 = unit(flat1)
    unit2, length2 = None, length1
    if x2 is not None:
        unit2, length2 = unit(jnp.asarray(x2).reshape(len(x2), -1))
    delta = one_minus_correlation(unit1, unit2)
    bias = jnp.asarray(b_std, delta.dtype) ** 2
    v = jnp.asarray(W_std, delta.dtype) ** 2

    def layer(state: tuple, _: None) -> tuple[tuple, None]:
        own1, own2, delta, theta = state
        own1, own2, m = v * own1, v * own2, v * root(own1[:, None] * own2)
        wide1, wide2 = own1 + bias, own2 + bias
        w = root(wide1[:, None] * wide2)
        apart = jnp.square(root(own1)[:, None] - root(own2))
        safe = jnp.where(w > 0, w, 1.0)  # 0 of an input of zeros without biases
        delta = (m * delta + bias * apart / (safe + m + bias)) / safe
        theta = (w * (1.0 - delta) + v * theta) * overlap(delta) / 2.0
        return (wide1 / 2.0, wide2 / 2.0, 2.0 * shortfall(delta), theta), None

    state = length1**2, length2**2, delta, jnp.zeros_like(delta)
    state, _ = jax.lax.scan(layer, state, None, length=depth)
    own1, own2, delta, theta = state
    last = jnp.asarray(last_W_std, delta.dtype) ** 2
    nngp = last * root(own1[:, None] * own2) * (1.0 - delta) + bias
    return Kernels(nngp, nngp + last * theta)
