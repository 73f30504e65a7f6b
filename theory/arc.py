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
        0.45015815807855303,
        0.03751317983987564,
        0.00844046546442507,
        0.0025120432714529307,
        0.0008547930425932389,
        0.00031471098117365757,
        0.00012213551482788204,
        4.8544795153372625e-05,
        2.3195458675430442e-05,
        -2.2873114960199797e-06,
        3.460419989822555e-05,
        -6.525326994907856e-05,
        0.00011080327258598078,
        -0.00013687625959514212,
        0.00012754304139369471,
        -8.557648187341667e-05,
        3.955053770370357e-05,
        -1.1261280138402475e-05,
        1.527104740182858e-06,
    ),
    "float32": (
        0.4501581588089902,
        0.03751306183352384,
        0.008443568535098965,
        0.0024810251219444367,
        0.001007629499317206,
        -9.876159312004907e-05,
        0.000755421808856118,
        -0.00047799858057994636,
        0.00021789324463894287,
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
    root = jnp.sqrt(near)
    turn = root * _polynomial(_TURN[delta.dtype.name], near)
    step = near * root * _polynomial(_STEP[delta.dtype.name], near)
    return jnp.where(far, 1 - turn, turn), jnp.where(far, step + (1 - near), step)


def _polynomial(
    coefficients: tuple[float, ...], x: Float[jax.Array, "*N"]
) -> Float[jax.Array, "*N"]:
    value = jnp.full_like(x, coefficients[-1])
    for coefficient in reversed(coefficients[:-1]):
        value = value * x + coefficient
    return value
