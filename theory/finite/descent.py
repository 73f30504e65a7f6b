"""Full-batch gradient descent of MTL and GBML in finite networks, and its step."""

import functools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Float, Int

from metabridge.theory.finite.methods import Centred, Network, training_outputs
from metabridge.theory.predictors.inner_loop import Inner

Scalar = float | Float[jax.Array, ""]

HALVINGS = 4
"""How often a learning rate that diverges is halved."""
_ITERATIONS = 40


class Descent(NamedTuple):
    """Options of the outer loop."""

    steps: int
    lr: float | None
    """None: half the largest stable step, and halved where it diverges."""
    momentum: float


@functools.partial(jax.jit, static_argnames=("network", "inner", "momentum"))
def descend(
    network: Network,
    inner: Inner | None,
    params: Any,
    initial: Any,
    tasks: Centred,
    *,
    lr: Scalar,
    momentum: float,
    steps: int | Int[jax.Array, ""],
) -> tuple[Any, Float[jax.Array, ""]]:
    """Gradient descent, with momentum the heavy ball of Polyak (1964).

    ``v <- momentum v - lr gradient``, ``theta <- theta + v``.

    Returns:
      Trained parameters, and the share that is left: of the norm of the residual, or of
      the cross-entropy.
    """

    def objective(params: Any) -> jax.Array:
        values = training_outputs(network, inner, params, initial, tasks)
        return network.cost(values, tasks.query_y, tasks.query_0)

    def move(_: Any, state: tuple) -> tuple:
        params, velocity = state
        gradient = jax.grad(objective)(params)
        if not momentum:
            return jax.tree.map(lambda p, g: p - lr * g, params, gradient), velocity
        velocity = jax.tree.map(lambda v, g: momentum * v - lr * g, velocity, gradient)
        return jax.tree.map(jnp.add, params, velocity), velocity

    still = jax.tree.map(jnp.zeros_like, params) if momentum else None
    trained, _ = jax.lax.fori_loop(0, steps, move, (params, still))
    first, last = objective(params), objective(trained)
    share = jnp.where(first > 0, last / first, last)
    return trained, jnp.sqrt(share) if network.loss == "squared" else share


@functools.partial(jax.jit, static_argnames=("network", "inner"))
def largest_eigenvalue(
    network: Network, inner: Inner | None, params: Any, tasks: Centred
) -> Float[jax.Array, ""]:
    """Largest eigenvalue of ``J J^T`` of all query outputs, at the initial parameters.

    By power iteration: products of J and its transpose alone.
    """

    def fitted(moved: Any) -> jax.Array:
        return training_outputs(network, inner, moved, params, tasks)

    values, pull = jax.vjp(fitted, params)

    def iterate(_: Any, state: tuple) -> tuple:
        direction, size = state
        product = jax.jvp(fitted, (params,), pull(direction / size))[1]
        return product, jnp.linalg.norm(product)

    start = jax.random.normal(jax.random.key(0), values.shape, values.dtype)
    state = start, jnp.linalg.norm(start)
    return jax.lax.fori_loop(0, _ITERATIONS, iterate, state)[1]


def train(
    name: str,
    network: Network,
    inner: Inner | None,
    starts: Sequence[Any],
    batches: Sequence[Centred],
    options: Descent,
    *,
    largest: float | None = None,
) -> tuple[list[Any], list[float], float]:
    """Trains one method from each initialisation, for the same time.

    The step is half the largest stable one of the largest eigenvalue: over all
    initialisations, unless `largest` is given.

    Returns:
      Trained parameters and the share left by initialisation, and the training time.

    Raises:
      RuntimeError: training has diverged.
    """
    lr, momentum = options.lr, options.momentum
    if lr is None:
        found = largest or max(
            float(largest_eigenvalue(network, inner, *given))
            for given in zip(starts, batches, strict=True)
        )
        if not 0 < found < math.inf:
            raise RuntimeError(
                f"{name} has no learning rate: its tangent kernel's largest eigenvalue "
                f"is {found} at initialisation; check the body, or shorten the inner "
                "loop if it diverges"
            )
        lr = 1.0 / found
    most = 2**HALVINGS if options.lr is None else 1
    trained, left = [], []
    for params, batch in zip(starts, batches, strict=True):
        finer, end, share = 1, params, jnp.inf
        while not share < 1 and finer <= most:
            end, share = descend(
                network, inner, params, params, batch,
                lr=lr / finer, momentum=momentum, steps=options.steps * finer,
            )  # fmt: skip
            finer *= 2
        if not share < 1:
            raise RuntimeError(
                f"{name} diverges: {float(share):.1e} of its first residual is left "
                f"after steps of size {2 * lr / finer:.1e}; take a smaller `lr`, a "
                "wider network or a shorter inner loop"
            )
        trained.append(jax.device_get(end))
        left.append(float(share))
    return trained, left, lr * options.steps / (1.0 - momentum)
