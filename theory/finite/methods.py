"""MTL, MAML, BOIL and ANIL of a finite network: outputs of each on a task's queries.

A network is a Flax body ``[N, *X] -> [N, D]`` under a linear head ``[D, K]``, or the
linearisation of that at its initial parameters, ``f_0 + J (theta - theta_0)``, which
the theory is of. Both are centred: the initial outputs are subtracted, so that training
begins at 0. Inner loops are gradient flow of the head, in closed form for the squared
loss, or gradient steps of any layers, through which the outer derivative goes.
"""

import dataclasses
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Float

from metabridge.learners import inner_loop
from metabridge.theory import functional
from metabridge.theory.finite import networks
from metabridge.theory.predictors.inner_loop import Inner
from metabridge.theory.types import Layers

Method = Literal["MTL", "MAML", "BOIL", "ANIL"]
Loss = Literal["squared", "cross_entropy"]
Scalar = Float[jax.Array, ""]

LAYERS_OF: dict[str, Layers] = {"MAML": "all", "BOIL": "body", "ANIL": "head"}
"""Layers that each method adapts to a task."""


class Centred(NamedTuple):
    """Tasks, T of them or one without that axis, with the network's initial outputs."""

    support_x: Float[jax.Array, "..."]
    """``[T, S, *X]`` or ``[S, *X]``."""
    support_y: Float[jax.Array, "*T S K"]
    support_0: Float[jax.Array, "*T S K"]
    query_x: Float[jax.Array, "..."]
    """``[T, Q, *X]`` or ``[Q, *X]``."""
    query_y: Float[jax.Array, "*T Q K"]
    query_0: Float[jax.Array, "*T Q K"]


@dataclasses.dataclass(frozen=True)
class Network:
    """Body under a linear head; parameters are ``{"body": ..., "head": [D, K]}``.

    Attributes:
      body: Flax Linen module. What it keeps beside "params" is constant.
      loss: "squared", ``1/2 ||f - y||^2``, or "cross_entropy", both summed.
      linearised: at the initial parameters.
      first_order: the gradients of inner steps are constants in the outer gradient.
    """

    body: nn.Module
    loss: Loss = "squared"
    linearised: bool = False
    first_order: bool = False

    def evaluate(
        self, params: Any, initial: Any, x: Float[jax.Array, "N *X"]
    ) -> tuple[Float[jax.Array, "N D"], Float[jax.Array, "N K"]]:
        """Features whose kernel is the head's, and outputs that are not yet centred."""

        def plain(params: Any) -> tuple[jax.Array, jax.Array]:
            features = self._features(params["body"], x)
            return features, features @ params["head"]

        if not self.linearised:
            return plain(params)
        moved = jax.tree.map(jnp.subtract, params, initial)
        (features, value), (_, change) = jax.jvp(plain, (initial,), (moved,))
        return features, value + change

    def values(
        self, params: Any, initial: Any, x: Float[jax.Array, "N *X"]
    ) -> Float[jax.Array, "N K"]:
        """Outputs, not yet centred."""
        return self.evaluate(params, initial, x)[1]

    def cost(self, values: jax.Array, labels: jax.Array, initial: jax.Array) -> Scalar:
        """The summed loss of outputs that were `initial` before training."""
        if self.loss == "squared":
            return 0.5 * jnp.square(values - (labels + initial)).sum()
        return -(labels * jax.nn.log_softmax(values - initial)).sum()

    def centre(self, initial: Any, batch: networks.Batch) -> Centred:
        """The tasks with the initial outputs."""
        initial = at_start(initial)
        support, query = (
            jax.vmap(lambda x: self.values(initial, initial, x))(x)
            for x in (batch.support_x, batch.query_x)
        )
        return Centred(
            batch.support_x, batch.support_y, support,
            batch.query_x, batch.query_y, query,
        )  # fmt: skip

    def _features(self, variables: Any, x: jax.Array) -> jax.Array:
        constant = {
            name: part if name == "params" else jax.lax.stop_gradient(part)
            for name, part in variables.items()
        }
        return jnp.asarray(self.body.apply(constant, x), x.dtype)


def at_start(params: Any) -> Any:
    """The parameters of a new task: body and head, without those of training tasks."""
    return {"body": params["body"], "head": params["head"]}


def adapted_outputs(
    network: Network, inner: Inner, params: Any, initial: Any, task: Centred
) -> Float[jax.Array, "Q K"]:
    """Outputs for one task's queries after gradient steps on its support."""

    def loss_fn(params: Any, _: jax.Array) -> tuple[jax.Array, None]:
        values = network.values(params, initial, task.support_x)
        return network.cost(values, task.support_y, task.support_0), None

    loop = inner_loop.InnerLoop(
        inner.layers, inner.steps, inner.steps, inner.lr,
        first_order=network.first_order,
    )  # fmt: skip
    adapted, _ = inner_loop.run(loop, loss_fn, params)
    return network.values(adapted, initial, task.query_x)


def training_outputs(
    network: Network, inner: Inner | None, params: Any, initial: Any, tasks: Centred
) -> Float[jax.Array, "T Q K"]:
    """Outputs for the queries of all training tasks.

    Of MTL, which has no inner loop (None), under each task's own head.
    """
    start = at_start(initial)
    if inner is None:

        def joint(head: jax.Array, x: jax.Array) -> jax.Array:
            return network.values({"body": params["body"], "head": head}, start, x)

        return jax.vmap(joint)(params["heads"], tasks.query_x)

    new = at_start(params)
    if inner.loop == "flow":
        return _after_flow(network, inner.time, new, start, tasks)

    def adapt(task: Centred) -> jax.Array:
        return adapted_outputs(network, inner, new, start, task)

    return jax.vmap(adapt)(tasks)


def _after_flow(
    network: Network, time: float, params: Any, initial: Any, tasks: Centred
) -> Float[jax.Array, "T Q K"]:
    """Outputs for the queries after gradient flow of the head on the squared loss."""

    def evaluate(x: jax.Array) -> tuple[jax.Array, jax.Array]:
        return network.evaluate(params, initial, x)

    query, at_query = jax.vmap(evaluate)(tasks.query_x)
    support, at_support = jax.vmap(evaluate)(tasks.support_x)
    residual = tasks.support_y + tasks.support_0 - at_support
    kernels = jnp.einsum("tsd,trd->tsr", support, support)
    flowed = jax.vmap(lambda kernel: functional.flow(kernel, time))(kernels)
    moved = jnp.einsum("tqd,tsd,tsr,trk->tqk", query, support, flowed, residual)
    return at_query + moved
