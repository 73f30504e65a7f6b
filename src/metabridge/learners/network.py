"""A body with a meta-learned linear head, before and after an inner loop.

Batch normalisation, by `batch_norm`. In training, every pass of the body normalises
with the statistics of its own images, the support's or the query's of one task.

- ``"batch"``: at test time too, as in the original MAML. This is transductive: the
  score of a query depends on the other queries it is scored with.
- ``"running"``: at test time, running statistics, in adaptation and in scoring. So that
  these serve both, support and query pass together in training if only the head adapts.

The running ones are those of the body before adaptation, on what it adapts to, averaged
over the tasks; features for another head are normalised by them in either case.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from jaxtyping import Array, Float, Int, Key

from metabridge.heads import Head, Linear
from metabridge.heads.base import unit_norm
from metabridge.learners import inner_loop
from metabridge.learners.base import (
    FrozenBody,
    Init,
    Learner,
    MovingBody,
    State,
    TaskLoss,
    average_over_tasks,
)
from metabridge.learners.body import make_embed, make_init, merge, train_features
from metabridge.learners.dropout import without_dropout
from metabridge.learners.inner_loop import InnerLoop, Trace
from metabridge.learners.losses import CROSS_ENTROPY, Loss, draw_weights
from metabridge.masks import Mask, masked_batch_norm
from metabridge.types import (
    Examples,
    Features,
    Inputs,
    Params,
    Scalar,
    Targets,
    Task,
    Variables,
)

BatchNorm = Literal["batch", "running"]

FeaturesOf = Callable[[Params, Int[Array, ""]], tuple[Features, Any]]
"""``features_of(body, number)`` at inner step `number`, with running statistics."""

Evaluation = tuple[Scalar, tuple[Scalar, Params]]
"""Of one task's parameters on examples, as `TaskLoss` has it: mean loss, score, and
running statistics after the pass."""


@dataclasses.dataclass(frozen=True)
class Network:
    """A body with a linear head, and how the two adapt to a task.

    Parameters are ``{"body": ..., "head": {"linear": {"weights": [D, ways], "bias":
    [ways]}, "rates": learned inner rates, if any}}``; those of one task have for
    ``"head"`` what stands under ``"linear"``.

    Raises:
      ValueError: an option out of its range.
    """

    name: str
    """For messages."""
    model: nn.Module
    """The body, ``[N, *X]`` to ``[N, D]``, called with `train`."""
    loop: InnerLoop
    ways: int
    """Classes of every task; the head has as many outputs."""
    batch_norm: BatchNorm = "batch"
    joint: bool = False
    """Adapt to support and query together, and evaluate on both."""
    zero_head: bool = False
    """Adapt from a head of zeros instead of the meta-learned one."""
    loss: Loss = CROSS_ENTROPY
    """Of adaptation and of training."""
    in_turn: bool | None = None
    """Take the gradient of one task after another; see `average_over_tasks`."""

    def __post_init__(self) -> None:
        inner_loop.check(self.loop)
        least = 2 if self.loss is CROSS_ENTROPY else 1
        if not isinstance(self.ways, int) or self.ways < least:
            raise ValueError(
                f"`ways` is {self.ways}, but a head needs at least {least}"
            )
        if self.batch_norm not in get_args(BatchNorm):
            known = ", ".join(get_args(BatchNorm))
            raise ValueError(f"`batch_norm` is {self.batch_norm!r}; known are {known}")
        if self.zero_head and self.loop.layers == "body":
            raise ValueError(
                f"{self.name} leaves its head as it is, so it cannot start from zeros "
                "(`zero_head`)"
            )

    def check_ways(self, ways: int) -> None:
        if ways != self.ways:
            raise ValueError(
                f"{self.name} has a meta-learned head of {self.ways} ways, but the "
                f"task has {ways}; train with `ways={ways}`, or fit another head on "
                "its features (`with_head`)"
            )

    def split(self, task: Task) -> tuple[Examples, Examples]:
        """Splits a training task into what is adapted to and what is evaluated on."""
        self.check_ways(task.classes.shape[-1])
        if self.joint:
            return merge(task), merge(task)
        if task.query.labels.shape[-1] == 0:
            raise ValueError(
                f"{self.name} is evaluated on the queries of a training task, but "
                "there are none; give training tasks queries (`train_queries` >= 1), "
                "or adapt and evaluate on all examples (`joint`)"
            )
        return task.support, task.query

    def take_start(self, params: Params) -> Params:
        """Selects the parameters from which a task adapts."""
        head = params["head"]["linear"]
        if self.zero_head:
            head = jax.tree.map(jnp.zeros_like, head)
        return {"body": params["body"], "head": head}


def assemble(
    net: Network, optimizer: optax.GradientTransformation, task_loss: TaskLoss
) -> Learner:
    """Assembles the learner of a network and the loss of one of its tasks."""
    return Learner(
        net.name,
        _make_init(net, optimizer),
        average_over_tasks(task_loss, in_turn=net.in_turn),
        optimizer,
        _make_adaptation(net),
    )


def adapt(
    net: Network,
    params: Params,
    features_of: FeaturesOf,
    labels: Targets,
    steps: int,
    mask: Mask = None,
) -> tuple[Params, Trace]:
    """Runs the inner loop on one task; the trace keeps the running statistics."""

    def loss_fn(task_params: Params, number: Int[Array, ""]):
        features, stats = features_of(task_params["body"], number)
        logits = _logits(task_params["head"], features)
        return net.loss.of(logits, labels, mask), stats

    rates = params["head"].get("rates")
    start = net.take_start(params)
    return inner_loop.run(net.loop, loss_fn, start, rates=rates, steps=steps)


def adapted_head_loss(
    net: Network, params: Params, batch_stats: Params, key: Key[Array, ""], task: Task
) -> Evaluation:
    """Loss after adaptation of the head: one pass of the body serves all steps."""
    inner, outer = net.split(task)

    def embed(key: Key[Array, ""], of: Examples):
        body, inputs = params["body"], of.inputs
        return train_features(net.model, body, batch_stats, inputs, key, of.mask)

    if net.joint:
        support, stats = embed(key, inner)
        query = support
    elif net.batch_norm == "running":
        both, stats = embed(key, merge(task))
        support, query = both[: len(inner.labels)], both[len(inner.labels) :]
    else:
        key_inner, key_outer = jax.random.split(key)
        support, stats = embed(key_inner, inner)
        query, _ = embed(key_outer, outer)
    _, labels, mask = inner
    adapted, trace = adapt(
        net, params, lambda *_: (support, None), labels, net.loop.steps, mask
    )
    logits, (_, labels, mask) = _logits(adapted["head"], query), outer
    loss = inner_loop.poison(net.loss.of(logits, labels, mask), trace)
    return loss, (net.loss.score(logits, labels, mask), stats)


def adapted_body_loss(
    net: Network, params: Params, batch_stats: Params, key: Key[Array, ""], task: Task
) -> Evaluation:
    """Loss after adaptation of the body, with or without the head."""
    inner, outer = net.split(task)
    key_inner, key_outer = jax.random.split(key)
    adapted, trace = adapt_in_training(net, params, batch_stats, key_inner, inner)
    loss, rest = evaluate(net, adapted, batch_stats, key_outer, outer)
    return finish(loss, rest, trace)


def adapt_in_training(
    net: Network,
    params: Params,
    batch_stats: Params,
    key: Key[Array, ""],
    examples: Examples,
) -> tuple[Params, Trace]:
    """Adapts to a training task by passing its examples through the body each step."""

    def features_of(body: Params, number: Int[Array, ""]):
        key_step = jax.random.fold_in(key, number)
        return train_features(net.model, body, batch_stats, inputs, key_step, mask)

    inputs, labels, mask = examples
    return adapt(net, params, features_of, labels, net.loop.steps, mask)


def evaluate(
    net: Network,
    task_params: Params,
    batch_stats: Params,
    key: Key[Array, ""],
    examples: Examples,
) -> Evaluation:
    """Evaluates one task's parameters on its examples, in training mode."""
    inputs, labels, mask = examples
    features, stats = train_features(
        net.model, task_params["body"], batch_stats, inputs, key, mask
    )
    logits = _logits(task_params["head"], features)
    score = net.loss.score(logits, labels, mask)
    return net.loss.of(logits, labels, mask), (score, stats)


def finish(loss: Scalar, rest: Any, trace: Trace) -> Evaluation:
    """Take the statistics of the first pass; make the loss NaN where the loop diverged.

    The first pass is that of the unadapted body.
    """
    right, stats = rest
    if len(trace.losses):
        stats = jax.tree.map(lambda leaf: leaf[0], trace.kept)
    return inner_loop.poison(loss, trace), (right, stats)


def _make_init(net: Network, optimizer: optax.GradientTransformation) -> Init:
    def init_head(key: Key[Array, ""], dimension: int) -> Params:
        weights = draw_weights(key, (dimension, net.ways), dimension)
        return {"linear": {"weights": weights, "bias": jnp.zeros(net.ways)}}

    init_without_rates = make_init(net.model, optax.identity(), init_head)

    @jax.jit
    def init(key: Key[Array, ""], example: Inputs) -> State:
        state = init_without_rates(key, example)
        params = state.params
        rates = inner_loop.init_rates(net.loop, net.take_start(params))
        if rates is not None:
            params["head"]["rates"] = rates
        return state._replace(optimizer=optimizer.init(params))

    return init


def _make_adaptation(net: Network) -> FrozenBody | MovingBody:
    """Adaptation to an unseen task."""
    transfer = make_embed(net.model, unit_norm)
    if net.loop.layers == "head" and net.batch_norm == "running":
        return FrozenBody(make_embed(net.model), lambda v: _head(net, v), transfer)

    def adapt_to(variables: Variables, support: Examples, *, ways: int) -> Variables:
        net.check_ways(ways)
        params, batch_stats = variables["params"], variables["batch_stats"]
        mask = support.mask

        def embed(body: Params) -> Features:
            return _test_features(net, body, batch_stats, support.inputs, mask)

        # Where the body stays, one pass serves all steps.
        fixed = embed(params["body"]) if net.loop.layers == "head" else None

        def features_of(body: Params, _: Any) -> tuple[Features, None]:
            return (embed(body) if fixed is None else fixed), None

        steps = net.loop.test_steps
        adapted, _ = adapt(net, params, features_of, support.labels, steps, mask)
        return {"params": adapted, "batch_stats": batch_stats}

    def logits(
        adapted: Variables, inputs: Inputs, mask: Mask = None
    ) -> Float[Array, "N ways"]:
        params, batch_stats = adapted["params"], adapted["batch_stats"]
        features = _test_features(net, params["body"], batch_stats, inputs, mask)
        return _logits(params["head"], features)

    def weights(adapted: Variables) -> Float[Array, "D ways"]:
        return adapted["params"]["head"]["weights"]

    return MovingBody(adapt_to, logits, transfer, lambda adapted: adapted, weights)


def _head(net: Network, variables: Variables) -> Head:
    """The meta-learned head, which adapts alone."""

    def fit(
        features: Features, labels: Targets, *, ways: int, mask: Mask = None
    ) -> Linear:
        net.check_ways(ways)
        params, steps = variables["params"], net.loop.test_steps
        features_of: FeaturesOf = lambda *_: (features, None)  # noqa: E731
        adapted, _ = adapt(net, params, features_of, labels, steps, mask)
        return Linear(**adapted["head"])

    return Head(net.name, fit)


def _test_features(
    net: Network,
    body: Params,
    batch_stats: Params,
    inputs: Inputs,
    mask: Mask = None,
) -> Features:
    variables = {"params": body, "batch_stats": batch_stats}
    if net.batch_norm == "running":
        return jnp.asarray(net.model.apply(variables, inputs, train=False))
    # Training mode is wanted for its statistics alone, without dropout.
    with without_dropout(), masked_batch_norm(mask if batch_stats else None):
        features, _ = net.model.apply(
            variables, inputs, train=True, mutable=["batch_stats"]
        )
    return jnp.asarray(features)


def _logits(head: Params, features: Features) -> Float[Array, "N ways"]:
    return features @ head["weights"] + head["bias"][None]
