"""Full-batch gradient descent of MTL and GBML in finite networks, and its step."""

import functools
import math
from collections.abc import Callable, Sequence
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
    tolerance: Scalar = 0.0,
) -> tuple[Any, Float[jax.Array, ""]]:
    """Gradient descent, with momentum the heavy ball of Polyak (1964).

    ``v <- momentum v - lr gradient``, ``theta <- theta + v``. It ends early, after the
    step that begins where the share that is left is within `tolerance`.

    Returns:
      Trained parameters, and the share that is left: of the norm of the residual, or of
      the cross-entropy.
    """

    def objective(params: Any) -> jax.Array:
        values = training_outputs(network, inner, params, initial, tasks)
        return network.cost(values, tasks.query_y, tasks.query_0)

    first = objective(params)

    def share(value: jax.Array) -> jax.Array:
        left = jnp.where(first > 0, value / first, value)
        return jnp.sqrt(left) if network.loss == "squared" else left

    def going(state: tuple) -> jax.Array:
        *_, value, step = state
        return (step < steps) & (share(value) > tolerance)

    def move(state: tuple) -> tuple:
        params, velocity, _, step = state
        value, gradient = jax.value_and_grad(objective)(params)
        if momentum:
            velocity = jax.tree.map(
                lambda v, g: momentum * v - lr * g, velocity, gradient
            )
            params = jax.tree.map(jnp.add, params, velocity)
        else:
            params = jax.tree.map(lambda p, g: p - lr * g, params, gradient)
        return params, velocity, value, step + 1

    still = jax.tree.map(jnp.zeros_like, params) if momentum else None
    trained, *_ = jax.lax.while_loop(going, move, (params, still, first, 0))
    return trained, share(objective(trained))


@functools.partial(jax.jit, static_argnames=("network", "inner"))
def tangent_kernel(
    network: Network, inner: Inner | None, params: Any, tasks: Centred
) -> Float[jax.Array, "N N"]:
    """``J J^T`` of all query outputs at the initial parameters, task after task.

    A column at a time, so that J never stands in memory.
    """
    values, multiply = _gram(network, inner, params, tasks)
    directions = jnp.eye(values.size, dtype=values.dtype).reshape(-1, *values.shape)
    return jax.lax.map(lambda one: multiply(one).reshape(-1), directions)


@functools.partial(jax.jit, static_argnames=("network", "inner"))
def largest_eigenvalue(
    network: Network, inner: Inner | None, params: Any, tasks: Centred
) -> Float[jax.Array, ""]:
    """Largest eigenvalue of ``J J^T`` of all query outputs, at the initial parameters.

    By power iteration: products of J and its transpose alone.
    """
    values, multiply = _gram(network, inner, params, tasks)

    def iterate(_: Any, state: tuple) -> tuple:
        direction, size = state
        product = multiply(direction / size)
        return product, jnp.linalg.norm(product)

    start = jax.random.normal(jax.random.key(0), values.shape, values.dtype)
    state = start, jnp.linalg.norm(start)
    return jax.lax.fori_loop(0, _ITERATIONS, iterate, state)[1]


def _gram(
    network: Network, inner: Inner | None, params: Any, tasks: Centred
) -> tuple[Float[jax.Array, "T Q K"], Callable[[jax.Array], jax.Array]]:
    """Query outputs at the initial parameters, and products with their ``J J^T``."""

    def fitted(moved: Any) -> jax.Array:
        return training_outputs(network, inner, moved, params, tasks)

    values, pull = jax.vjp(fitted, params)

    def multiply(direction: jax.Array) -> jax.Array:
        return jax.jvp(fitted, (params,), pull(direction))[1]

    return values, multiply


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
