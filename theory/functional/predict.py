"""MTL and GBML predictors as functions of kernel matrices.

The formulas of `theory.mtl_predictor` and `theory.gbml_predictor` on the kernel
matrices of all points, training and unseen, for tasks of one size; see there.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int, Num

from metabridge.theory import types
from metabridge.theory.functional.loops import (
    Loop,
    Scalar,
    check_number,
    flow,
    solve,
)
from metabridge.theory.predictors.mtl import TrainOn
from metabridge.theory.types import Array, Kernels


class Tasks(NamedTuple):
    """Tasks of one size, whose points are rows of the kernel matrices."""

    support: Int[Array, "T S"]
    support_y: Float[Array, "T S K"]
    query: Int[Array, "T Q"]
    query_y: Float[Array, "T Q K"] | None = None
    """None where only predictions are wanted."""


def positions(
    *given: types.Tasks,
) -> tuple[Num[np.ndarray, "P *X"], tuple[Tasks, ...]]:
    """All inputs of tasks in one array, and the tasks by their positions in it.

    Example:
      >>> x, (train, unseen) = functional.positions(tasks, unseen_tasks)

    Raises:
      ValueError: tasks that differ in size or in the shape of their inputs.
    """
    points, result, start = [], [], 0
    for tasks in given:
        each = types.check_tasks(tasks)
        sizes = sorted({(len(task.support_x), len(task.query_x)) for task in each})
        if len(sizes) > 1:
            raise ValueError(
                "functional predictors take tasks of one size, but these have (support,"
                f" query) sizes {sizes}"
            )
        ((supports, queries),) = sizes
        places = np.arange(len(each) * (supports + queries)).reshape(len(each), -1)
        places += start
        start += places.size
        points += [np.concatenate([t.support_x, t.query_x]) for t in each]
        labels = [t.query_y for t in each if t.query_y is not None]
        result.append(
            Tasks(
                places[:, :supports],
                np.stack([task.support_y for task in each]),
                places[:, supports:],
                np.stack(labels) if labels else None,
            )
        )
    if len({x.shape[1:] for x in points}) > 1:
        shapes = sorted({x.shape[1:] for x in points})
        raise ValueError(f"inputs of all tasks must share one shape, not {shapes}")
    return np.concatenate(points), tuple(result)


def operator(
    kernels: Kernels, query: Int[Array, "Q"], support: Int[Array, "S"], loop: Loop
) -> Float[jax.Array, "Q S"]:
    """``A = K(X, X') g(K(X', X'))`` of one task, by its positions."""
    matrix = _of(kernels, loop.layers)
    cross = matrix[jnp.asarray(query)[:, None], jnp.asarray(support)[None]]
    own = matrix[jnp.asarray(support)[:, None], jnp.asarray(support)[None]]
    return cross @ loop.g(own)


def adapt(
    kernels: Kernels, values: Float[Array, "P K"], tasks: Tasks, loop: Loop
) -> Float[jax.Array, "T Q K"]:
    """``A Y' + [I, -A] f([X; X'])``: predictions of a function f after adaptation.

    Args:
      kernels: ``[P, P]`` of all points.
      values: ``f`` at all points.
      tasks: which adapt.
      loop: how they adapt.
    """
    values = jnp.asarray(values)

    def one(task: Tasks) -> jax.Array:
        A = operator(kernels, task.query, task.support, loop)
        return values[task.query] + A @ (task.support_y - values[task.support])

    return jax.vmap(one)(_arrays(tasks._replace(query_y=None), values.dtype))


def mtl_predict(
    kernels: Kernels,
    tasks: Tasks,
    unseen: Tasks,
    *,
    adaptation: Loop,
    correlation: Float[Array, "T T"] | Scalar = 1.0,
    train_on: TrainOn = "query",
    time: Scalar = math.inf,
    jitter: Scalar = 0.0,
) -> Float[jax.Array, "U Q K"]:
    """Predictions of multi-task learning on the queries of unseen tasks.

    Those of `theory.mtl_predictor`, differentiable in the kernels, the labels and every
    number.

    Args:
      kernels: ``[P, P]`` of all points.
      tasks: training tasks.
      unseen: U unseen tasks.
      adaptation: to the unseen tasks.
      correlation: of the heads of different tasks at initialisation, one number (1:
        shared, 0: independent) or ``[T, T]`` with ones on the diagonal.
      train_on: the queries, or "joint" with the supports.
      time: of training; infinity has to be a number, not traced.
      jitter: added to the diagonal.

    Raises:
      ValueError: a correlation ``[1, 1]``, of which none with a new head follows.
    """
    types.check_choice("train_on", train_on, ("query", "joint"))
    _check(kernels, {"adaptation": adaptation}, tasks=tasks, unseen=unseen)
    body = _of(kernels, "body")
    support, support_y, places, labels = _labelled(tasks, body.dtype)
    if train_on == "joint":
        places = jnp.concatenate([places, support], 1)
        labels = jnp.concatenate([labels, support_y], 1)
    count = len(places)
    C = jnp.asarray(correlation, body.dtype)
    if C.ndim:
        if count == 1:
            raise ValueError(
                "a correlation between tasks needs two tasks or more; with one, pass a "
                "number"
            )
        new = (C.sum(0) - jnp.diagonal(C)) / (count - 1)
    else:
        C, new = jnp.where(jnp.eye(count, dtype=bool), 1.0, C), jnp.full(count, C)
    task = jnp.repeat(jnp.arange(count), places.shape[1])
    rows = places.reshape(-1)
    square = rows[:, None], rows[None]
    own = (task[:, None] == task[None]) * _of(kernels, "head")[square]
    matrix = own + C[task[:, None], task[None]] * body[square]
    solved = _train(matrix, labels.reshape(len(rows), -1), time, jitter)
    values = body[:, rows] @ (new[task][:, None] * solved)
    return adapt(kernels, values, unseen, adaptation)


def gbml_predict(
    kernels: Kernels,
    tasks: Tasks,
    unseen: Tasks,
    *,
    inner: Loop,
    adaptation: Loop | None = None,
    time: Scalar = math.inf,
    jitter: Scalar = 0.0,
) -> Float[jax.Array, "U Q K"]:
    """Predictions of gradient-based meta-learning on the queries of unseen tasks.

    Those of `theory.gbml_predictor`, differentiable in the kernels, the labels and
    every number.

    Args:
      kernels: ``[P, P]`` of all points.
      tasks: training tasks.
      unseen: U unseen tasks.
      inner: the inner loop of training.
      adaptation: to the unseen tasks; `inner` by default.
      time: of the outer loop; infinity has to be a number, not traced.
      jitter: added to the diagonal of Phi.
    """
    adaptation = inner if adaptation is None else adaptation
    loops = {"inner": inner, "adaptation": adaptation}
    _check(kernels, loops, tasks=tasks, unseen=unseen)
    theta = _of(kernels, "all")
    support, support_y, query, query_y = _labelled(tasks, theta.dtype)
    A = jax.vmap(lambda q, s: operator(kernels, q, s, inner))(query, support)
    eye = jnp.eye(A.shape[1], dtype=A.dtype)
    B = jnp.concatenate([jnp.broadcast_to(eye, (len(A), *eye.shape)), -A], 2)
    residual = query_y - A @ support_y
    places = jnp.concatenate([query, support], 1)
    # Theta between all points and B^T, [P, T, Q].
    half = jnp.einsum("ptn,tqn->ptq", theta[:, places], B)
    phi = jnp.einsum("tqn,tnur->tqur", B, half[places])
    size = residual.shape[0] * residual.shape[1]
    labels = residual.reshape(size, -1)
    solved = _train(phi.reshape(size, size), labels, time, jitter)
    values = half.reshape(-1, size) @ solved
    return adapt(kernels, values, unseen, adaptation)


def _train(
    matrix: jax.Array, labels: jax.Array, time: Scalar, jitter: Scalar
) -> jax.Array:
    """``K^-1 (I - exp(-time K)) labels``."""
    check_number("time", time, infinite=True)
    check_number("jitter", jitter)
    matrix = matrix + jitter * jnp.eye(len(matrix), dtype=matrix.dtype)
    if not isinstance(time, jax.Array) and time == math.inf:
        return solve(matrix, labels)
    return flow(matrix, time) @ labels


def _check(kernels: Kernels, loops: dict[str, Loop], **tasks: Tasks) -> None:
    """Raises for what JAX would clamp or read as something else."""
    if not isinstance(kernels, Kernels):
        raise TypeError(
            "`kernels` must be theory.Kernels(nngp, ntk) of all points, not "
            f"{type(kernels).__name__}"
        )
    for name, loop in loops.items():
        if not isinstance(loop, Loop):
            raise TypeError(
                f"`{name}` must be a loop of theory.functional, as its gradient_flow, "
                f"but is {loop!r}"
            )
    shape = kernels.ntk.shape
    for name, own in tasks.items():
        if not isinstance(own, Tasks):
            raise TypeError(
                f"`{name}` must be functional.Tasks, not {type(own).__name__}: "
                "functional.positions makes them of theory.Tasks"
            )
        places = [p for p in (own.support, own.query) if isinstance(p, np.ndarray)]
        last = max((int(p.max()) for p in places if p.size), default=-1)
        if len(shape) != 2 or shape[0] != shape[1] or last >= shape[0]:
            raise ValueError(
                f"`{name}` has points up to {last}, but the kernels are {list(shape)}: "
                "they must be between all points of all tasks"
            )


def _of(kernels: Kernels, layers: types.Layers) -> jax.Array:
    return jnp.asarray(kernels.of(layers))


def _arrays(tasks: Tasks, dtype: jnp.dtype) -> Tasks:
    """Tasks with their labels in the type of the kernels."""
    query_y = None if tasks.query_y is None else jnp.asarray(tasks.query_y, dtype)
    support, query = jnp.asarray(tasks.support), jnp.asarray(tasks.query)
    return Tasks(support, jnp.asarray(tasks.support_y, dtype), query, query_y)


def _labelled(
    tasks: Tasks, dtype: jnp.dtype
) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
    """Supports, their labels, queries and theirs, which training needs."""
    if tasks.query_y is None:
        raise ValueError("the training tasks have no `query_y`, which training needs")
    support, support_y, query, query_y = map(jnp.asarray, tasks)
    return support, support_y.astype(dtype), query, query_y.astype(dtype)
