"""Finite networks: a Flax MLP in the NTK parametrisation with a linear head, float32.

What they compute for multi-task learning and for ANIL, the tangent kernels of that, and
training by gradient descent. `width_study` compares them with their limit.
"""

import functools
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Float, Int, Key

from metabridge.models.mlp import MLP
from metabridge.theory.predictors.predictor import require_queries
from metabridge.theory.types import Tasks, check_tasks

Algorithm = Literal["MTL", "ANIL"]
Scalar = float | Float[jax.Array, ""]

_HALVINGS = 7
_TERMS = 8


class Batch(NamedTuple):
    """Tasks of one size, in float32."""

    support_x: Float[jax.Array, "T S *X"]
    support_y: Float[jax.Array, "T S K"]
    query_x: Float[jax.Array, "T Q *X"]
    query_y: Float[jax.Array, "T Q K"]


def batch_of(tasks: Tasks, dtype: Any = jnp.float32) -> Batch:
    """Tasks as finite networks take them: of one size, with query labels."""
    each = check_tasks(tasks)
    require_queries(each)
    sizes = {(len(task.support_x), len(task.query_x)) for task in each}
    if len(sizes) > 1:
        raise ValueError(
            "finite networks take tasks of one size, but these have (support, query) "
            f"sizes {sorted(sizes)}"
        )
    columns = map(np.stack, zip(*each, strict=True))
    return Batch(*(jnp.asarray(column, dtype) for column in columns))


def initialise(
    key: Key[jax.Array, ""], batch: Batch, body: nn.Module, *, shared: bool
) -> dict[str, Any]:
    """Body, the head of a new task, and a head for each training task."""
    key_body, key_head = jax.random.split(key)
    count, outputs = len(batch.query_x), batch.query_y.shape[2]
    width, dtype = count_features(body, batch.query_x[0]), batch.query_x.dtype
    drawn = (1 if shared else count, width, outputs)
    heads = jax.random.normal(key_head, drawn, dtype)
    variables = body.init(key_body, batch.query_x[0])
    return {
        "body": jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype), variables),
        "head": heads[0],
        "heads": jnp.broadcast_to(heads, (count, width, outputs)),
    }


def count_features(body: nn.Module, x: Float[jax.Array, "N *X"]) -> int:
    """Number of features D of a body.

    Raises:
      ValueError: a body whose outputs for ``[N, *X]`` are not ``[N, D]``.
    """
    out, _ = jax.eval_shape(body.init_with_output, jax.random.key(0), x)
    shape = getattr(out, "shape", None)
    if shape is None or len(shape) != 2 or shape[0] != len(x):
        given = type(out).__name__ if shape is None else list(shape)
        raise ValueError(
            f"`body` must map inputs [N, *X] to features [N, D], but gave {given} for "
            f"inputs {list(x.shape)}: flatten or pool what it returns"
        )
    return shape[1]


def centre(body: MLP, params: Any, batch: Batch) -> Batch:
    """The tasks with the network's own initial outputs added to their labels.

    Training on these labels is training ``f - f_0`` on the true ones, a network that
    begins at 0, whatever the inner loop, as long as it is linear in the outputs.
    """

    def initial(x: Float[jax.Array, "T N *X"]) -> jax.Array:
        return _features(body, params, x) @ params["head"]

    return batch._replace(
        support_y=batch.support_y + initial(batch.support_x),
        query_y=batch.query_y + initial(batch.query_x),
    )


def _features(body: MLP, params: Any, x: Float[jax.Array, "T N *X"]) -> jax.Array:
    flat = body.apply(params["body"], x.reshape(-1, *x.shape[2:]))
    return jnp.asarray(flat).reshape(*x.shape[:2], -1)


@functools.partial(jax.jit, static_argnums=0)
def features(
    body: MLP, params: Any, x: Float[jax.Array, "N *X"]
) -> Float[jax.Array, "N D"]:
    """What the body makes of inputs."""
    return _features(body, params, x[None])[0]


def outputs(
    algorithm: Algorithm, body: MLP, params: Any, batch: Batch, *, time: float
) -> Float[jax.Array, "T Q K"]:
    """Outputs for the queries of each task.

    Of "MTL" under the task's own head, of "ANIL" after gradient flow of the head on the
    task's support, for this time.
    """
    query = _features(body, params, batch.query_x)
    if algorithm == "MTL":
        return query @ params["heads"]
    support = _features(body, params, batch.support_x)
    residual = batch.support_y - support @ params["head"]
    flowed = flow(jnp.einsum("tsd,trd->tsr", support, support), time)
    moved = jnp.einsum("tqd,tsd,tsr,trk->tqk", query, support, flowed, residual)
    return query @ params["head"] + moved


def flow(K: Float[jax.Array, "T S S"], time: float) -> Float[jax.Array, "T S S"]:
    """``K^-1 (I - exp(-time K))`` by its series, halving and doubling the time.

    With ``p(z) = (exp(z) - 1) / z``: ``p(2 z) = p(z) (1 + exp(z)) / 2``. Unlike an
    eigenbasis it has derivatives where eigenvalues coincide. Three digits are left
    where `time` times the largest eigenvalue is 30, and fewer beyond.
    """
    eye = jnp.eye(K.shape[-1], dtype=K.dtype)[None]
    z = -time / 2**_HALVINGS * K
    p = eye + z / (_TERMS + 1)
    for term in range(_TERMS - 1, 0, -1):
        p = eye + z @ p / (term + 1)
    for _ in range(_HALVINGS):
        p = p + z @ p @ p / 2
        z = 2 * z
    return time * p


@functools.partial(jax.jit, static_argnames=("algorithm", "body", "time"))
def tangent_kernel(
    algorithm: Algorithm, body: MLP, params: Any, batch: Batch, *, time: float
) -> Float[jax.Array, "N N"]:
    """``J J^T`` of all query outputs, task after task.

    A column at a time, so that J never stands in memory.
    """

    def fitted(params: Any) -> jax.Array:
        return outputs(algorithm, body, params, batch, time=time)

    values, pull = jax.vjp(fitted, params)

    def column(direction: jax.Array) -> jax.Array:
        (gradient,) = pull(direction.reshape(values.shape))
        return jax.jvp(fitted, (params,), (gradient,))[1].reshape(-1)

    return jax.lax.map(column, jnp.eye(values.size, dtype=values.dtype))


@functools.partial(jax.jit, static_argnames=("algorithm", "body", "time"))
def descend(
    algorithm: Algorithm,
    body: MLP,
    params: Any,
    batch: Batch,
    *,
    time: float,
    lr: Scalar,
    tolerance: Scalar,
    max_steps: int | Int[jax.Array, ""],
) -> tuple[Any, Float[jax.Array, ""]]:
    """Gradient descent on ``1/2 ||F - Y||^2``, summed over all queries.

    Returns:
      Trained parameters, and the share of the residual that is left.
    """

    def fitted(params: Any) -> jax.Array:
        return outputs(algorithm, body, params, batch, time=time)

    first = jnp.linalg.norm(fitted(params) - batch.query_y)

    def going(state: tuple) -> jax.Array:
        return (state[1] > tolerance * first) & (state[2] < max_steps)

    def move(state: tuple) -> tuple:
        params, _, step = state
        values, pull = jax.vjp(fitted, params)
        residual = values - batch.query_y
        (gradient,) = pull(residual)
        params = jax.tree.map(lambda p, g: p - lr * g, params, gradient)
        return params, jnp.linalg.norm(residual), step + 1

    params, left, _ = jax.lax.while_loop(going, move, (params, first, 0))
    return params, left / first
