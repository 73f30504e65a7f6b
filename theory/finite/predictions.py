"""Predictions of trained finite networks on unseen tasks, and those of their limit."""

import contextlib
import functools
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from metabridge.models.mlp import MLP
from metabridge.theory.closeness.compare import on_positions
from metabridge.theory.finite.methods import (
    Centred,
    Network,
    adapted_outputs,
    at_start,
)
from metabridge.theory.kernels.evaluate import evaluate, float64, precomputed
from metabridge.theory.kernels.relu import ReLUNetwork, relu_network
from metabridge.theory.predictors import streaming
from metabridge.theory.predictors.gbml import gbml_predictor
from metabridge.theory.predictors.inner_loop import Inner, carried, operator
from metabridge.theory.predictors.mtl import mtl_predictor
from metabridge.theory.predictors.predictor import Predicted
from metabridge.theory.types import Array, KernelFn, Kernels, OneTask, Tasks


def precision(dtype: str) -> contextlib.AbstractContextManager[None]:
    """The settings of JAX under which networks of a type compute."""
    return float64() if dtype == "float64" else contextlib.nullcontext()


def predict(
    network: Network,
    params: Any,
    initial: Any,
    unseen: Sequence[OneTask],
    adaptation: Inner,
) -> Predicted:
    """Centred predictions on the queries of each task.

    With the squared loss the head adapts by its operator, as in the predictors, of the
    trained features. Gradient steps of other layers are taken on the training loss, and
    what the support gave is what the untrained network makes of it by the same steps.

    Raises:
      ValueError: an adaptation that finite networks do not have, or that diverges.
    """
    by_operator = network.loss == "squared" and adaptation.layers == "head"
    if not (by_operator or adaptation.loop == "steps" or adaptation.idle):
        raise ValueError(
            "finite networks adapt their head to an unseen task by any loop (with the "
            "squared loss), other layers by theory.gradient_steps, not "
            f"{adaptation.layers!r} by {adaptation.loop!r} with {network.loss!r}"
        )
    adapt = _by_operator if by_operator else _by_steps
    params, initial = at_start(params), at_start(initial)
    found = Predicted([], [])
    for index, task in enumerate(unseen):
        transferred, adapted = adapt(
            network, params, initial, task, adaptation,
            what=f"the support of unseen task {index}",
        )  # fmt: skip
        found.transferred.append(transferred)
        found.adapted.append(adapted)
    return found


def _by_operator(
    network: Network, params: Any, initial: Any, task: OneTask, adaptation: Inner,
    *, what: str,
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    inputs, queries = task.points(), len(task.query_x)
    features, values = _evaluate(network, params, initial, inputs)
    cross = features[:queries] @ features[queries:].T
    square = features[queries:] @ features[queries:].T
    A = operator(adaptation, Kernels(cross, cross), Kernels(square, square), what=what)
    return carried(adaptation, A, values), A @ task.support_y


def _evaluate(
    network: Network, params: Any, initial: Any, inputs: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Features under the head and centred outputs, in float64."""
    x = _cast(initial, inputs)
    features, values = (
        np.asarray(part, np.float64) for part in _evaluated(network, params, initial, x)
    )
    first, before = (
        np.asarray(part, np.float64)
        for part in _evaluated(network, initial, initial, x)
    )
    if network.linearised:
        return features, values - before
    # Products of the head in float64 keep digits that the difference loses.
    head, head_0 = (np.asarray(own["head"], np.float64) for own in (params, initial))
    return features, features @ head - first @ head_0


def _by_steps(
    network: Network, params: Any, initial: Any, task: OneTask, adaptation: Inner,
    *, what: str,
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    inner = Inner(adaptation.layers, "steps", lr=adaptation.lr, steps=adaptation.steps)
    support_x, support_y, query_x = (
        _cast(initial, part) for part in (task.support_x, task.support_y, task.query_x)
    )
    support_0 = _values(network, initial, initial, support_x)
    query_0 = _values(network, initial, initial, query_x)
    own = Centred(support_x, support_y, support_0, query_x, query_0, query_0)
    trained, untrained = (
        np.asarray(_adapted(network, inner, p, initial, own) - query_0, np.float64)
        for p in (params, initial)
    )
    if not (np.isfinite(trained).all() and np.isfinite(untrained).all()):
        raise ValueError(
            f"the gradient steps of {adaptation.layers!r} diverge on {what}: pass a "
            f"smaller lr than {adaptation.lr:g}"
        )
    return trained - untrained, untrained


def _cast(params: Any, array: np.ndarray) -> jax.Array:
    return jnp.asarray(array, params["head"].dtype)


_evaluated = jax.jit(Network.evaluate, static_argnums=0)
_values = jax.jit(Network.values, static_argnums=0)
_adapted = functools.partial(jax.jit, static_argnums=(0, 1))(adapted_outputs)


def kernel_of(network: Network) -> KernelFn:
    """The kernel of the body at infinite width.

    Raises:
      ValueError: a body whose limit is not known.
    """
    body = network.body
    if isinstance(body, MLP):
        b_std = float(body.b_std)
        if body == MLP(body.width, body.depth, b_std=body.b_std):
            kernel = relu_network(body.depth, b_std=b_std)
            return functools.partial(_without_output_bias, kernel) if b_std else kernel
    raise ValueError(
        "the infinite-width limit is known of metabridge.models.MLP with ReLU and its "
        f"usual scales, not of {type(body).__name__} as it is; pass kernel="
    )


def _without_output_bias(
    kernel: ReLUNetwork, x1: Array, x2: Array | None = None
) -> Kernels:
    """Kernels of a network with biases in all layers but the last, as ours are."""
    nngp, ntk = kernel(x1, x2)
    return Kernels(nngp - kernel.b_std**2, ntk - kernel.b_std**2)


def predict_limit(
    kernel: KernelFn,
    tasks: Tasks,
    unseen: Tasks,
    inner: Mapping[str, Inner | None],
    time: Mapping[str, float],
    adaptation: Mapping[str, Inner],
) -> dict[str, Predicted]:
    """Predictions of each method at infinite width, after its time of training.

    Methods without an inner loop are MTL's.
    """
    points, train = on_positions(tasks)
    own = precomputed(evaluate(kernel, points))
    trained = []
    for name, loop in inner.items():
        limit = (
            mtl_predictor(own, train, time=time[name])
            if loop is None
            else gbml_predictor(own, train, inner=loop, time=time[name])
        )
        trained.append(streaming.on_positions(limit, len(points), adaptation[name]))
    (found,) = streaming.predict(
        streaming.one_network(kernel), points, [trained], unseen.each()
    )
    return dict(zip(inner, found, strict=True))
