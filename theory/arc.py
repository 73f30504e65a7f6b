"""What a ReLU does to the angle between two inputs, without cancellation.

With ``delta = 1 - rho`` in place of the correlation and ``theta`` the angle, a hidden
layer takes ``delta`` to ``delta - step`` and multiplies the tangent kernel by
``1 - turn``:

    turn = theta / pi
    step = (sin theta - theta cos theta) / pi

Divided by ``sqrt(delta)`` and ``delta^(3/2)`` both are analytic up to ``delta = 2``, so
on [0, 1] a polynomial has them to the last digit; above it ``2 - delta`` stands for the
opposite input. One square root, no division, no arcsine: five times faster than those.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Float

# Chebyshev interpolation in 60 digits; relative errors 2e-17, 7e-18, 3e-9, 2e-9.
_TURN = {
    "float64": (
        0.3183098861837907,
        0.02652582384864655,
        0.00596831036626583,
        0.0017762828318784063,
        0.0006044299569287606,
        0.00022253426890176517,
        8.636285075850551e-05,
        3.432635384426163e-05,
        1.64016661221292e-05,
        -1.6173734695216744e-06,
        2.4468864405570126e-05,
        -4.61410296755898e-05,
        7.834974542320849e-05,
        -9.678613134317523e-05,
        9.018654946263806e-05,
        -6.051171064278059e-05,
        2.796645340986302e-05,
        -7.962927550705774e-06,
        1.0798261173654198e-06,
    ),
    "float32": (
        0.3183098867002877,
        0.026525740405554967,
        0.005970504568581841,
        0.0017543496880210922,
        0.000712501651890802,
        -6.983499221597337e-05,
        0.000534163883698369,
        -0.0003379960377256244,
        0.00015407379085893583,
    ),
}
_STEP = {
    "float64": (
        0.30010543871903533,
        0.015005271935952597,
        0.0024115615610460976,
        0.0005582318466287261,
        0.0001554167357869515,
        4.841945348910864e-05,
        1.6263806339262657e-05,
        5.84070847629788e-06,
        1.857888431389364e-06,
        1.7398143778622169e-06,
        -1.9457839673763177e-06,
        4.3081759394265986e-06,
        -5.713317168339133e-06,
        5.894828158021196e-06,
        -4.290219170809671e-06,
        2.153383299693181e-06,
        -6.609434495385855e-07,
        9.759058594307168e-08,
    ),
    "float32": (
        0.30010543829111214,
        0.015005326538176614,
        0.0024104332423547452,
        0.0005669806922219441,
        0.0001227779081409269,
        0.00011245108276565827,
        -4.9231807928787e-05,
        3.5709515759655246e-05,
    ),
}


def relu_arc(
    delta: Float[jax.Array, "*N"],
) -> tuple[Float[jax.Array, "*N"], Float[jax.Array, "*N"]]:
    """``(theta, sin theta - theta cos theta) / pi`` of ``cos theta = 1 - delta``.

    Args:
      delta: in [0, 2], in float32 or float64.

    Returns:
      ``turn`` and ``step``, each in [0, 1], to a few roundings of their own size.
    """
    far = delta > 1
    near = jnp.where(far, 2 - delta, delta)
    # Two roots of different arguments: one root that two results need would make XLA
    # write it to memory, on a CPU, and read it again.
    turn = jnp.sqrt(2 * near) * _polynomial(_TURN[delta.dtype.name], near)
    step = near * jnp.sqrt(near) * _polynomial(_STEP[delta.dtype.name], near)
    return jnp.where(far, 1 - turn, turn), jnp.where(far, step + (1 - near), step)


def _polynomial(
    coefficients: tuple[float, ...], x: Float[jax.Array, "*N"]
) -> Float[jax.Array, "*N"]:
    value = jnp.full_like(x, coefficients[-1])
    for coefficient in reversed(coefficients[:-1]):
        value = value * x + coefficient
    return value
