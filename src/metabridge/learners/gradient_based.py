"""What the gradient-based meta-learners share: a body with a meta-learned linear head.

`network` makes the forward passes, `learner` the whole of a learner whose outer
gradient is that of the loss after adaptation (MAML, ANIL, BOIL, Meta-SGD).

Batch normalisation, by `batch_norm`. In training, every pass of the body normalises
with the statistics of its own images, the support's or the query's of one task.
- ``"batch"``: at test time too, as in the original MAML. This is transductive: the
  score of a query depends on the other queries it is scored with.
- ``"running"``: at test time, running statistics, in adaptation and in scoring. So that
  these serve both, support and query pass together in training if only the head adapts.
The running ones are those of the body before adaptation, on what it adapts to, averaged
over the tasks; features for another head are normalised by them in either case.
"""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple, TypedDict, get_args

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from jaxtyping import Array, Float, Int, Key

from metabridge.heads import Head
from metabridge.heads.base import unit_norm
from metabridge.learners import inner_loop
from metabridge.learners.base import (
    Adapt,
    Embed,
    FrozenBody,
    Init,
    Learner,
    Logits,
)
from metabridge.learners.body import embedder, initialiser, train_features
from metabridge.learners.inner_loop import InnerLoop, Layers, Rates
from metabridge.learners.outer import TaskLoss, outer_step
from metabridge.types import Examples, Params, Task, Variables

BatchNorm = Literal["batch", "running"]


class Score(NamedTuple):
    """How one task's parameters do on examples."""

    loss: Float[Array, ""]
    """Mean cross-entropy."""
    accuracy: Float[Array, ""]
    """Share classified right, in [0, 1]."""
    batch_stats: Params
    """Running statistics after the pass."""


class Network(NamedTuple):
    """A body with a linear head, and a learner's functions that follow from it.

    Parameters are ``{"body": ..., "head": {"linear": {"weights": [D, ways], "bias":
    [ways]}, "rates": learned inner rates, if any}}``; those of one task have for
    ``"head"`` what stands under ``"linear"``.
    """

    init: Init
    score: Callable[[Params, Params, Key[Array, ""], Examples], Score]
    """``score(task_params, batch_stats, key, examples)`` in training mode."""
    adapt_in_training: Callable[..., tuple[Params, inner_loop.Trace]]
    """``adapt_in_training(params, batch_stats, key, examples)``: the adapted parameters
    of a task and the trace, which keeps a `Score` for every step."""
    adapted_score: Callable[
        [Params, Params, Key[Array, ""], Task], tuple[Score, inner_loop.Trace]
    ]
    """``adapted_score(params, batch_stats, key, task)``: how the parameters adapted to
    a training task do on what it is judged on. The running statistics are those of the
    body before adaptation."""
    adapt: Adapt
    logits: Logits
    frozen_body: FrozenBody | None
    embed: Embed
    split: Callable[[Task], tuple[Examples, Examples]]
    """What a training task is adapted to and what it is judged on."""


class Options(TypedDict, total=False):
    """What a factory hands on to `learner`, which says what each of them means."""

    inner_steps: int
    test_steps: int | None
    first_order: bool
    batch_norm: BatchNorm
    max_inner_grad_norm: float | None
    rematerialise: bool
    joint: bool


class OptionsWithRates(Options, total=False):
    """The same, for learners whose kind of inner rates is open."""

    rates: Rates


def learner(
    name: str,
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    *,
    layers: Layers,
    ways: int,
    inner_lr: float,
    inner_steps: int = 5,
    test_steps: int | None = None,
    first_order: bool = False,
    rates: Rates = "fixed",
    batch_norm: BatchNorm = "batch",
    max_inner_grad_norm: float | None = None,
    rematerialise: bool = False,
    joint: bool = False,
) -> Learner:
    """A learner that descends the loss after adaptation: the options of all of them.

    Args:
      name: for messages.
      model: the body, ``[N, *X]`` to ``[N, D]``, called with `train`.
      optimizer: an optax optimizer of everything that is meta-learned.
      layers: which layers adapt: "all" (MAML), "head" (ANIL) or "body" (BOIL).
      ways: classes of every task; the head has as many.
      inner_lr: step size of adaptation, positive.
      inner_steps: of adaptation in training, at least 0.
      test_steps: of adaptation to an unseen task; as many as in training unless given.
      first_order: take the inner gradients for constants.
      rates: keep the step size, or learn one for every step or every parameter, from
        `inner_lr` on.
      batch_norm: at test time, by the statistics of the batch at hand (transductive,
        as the original MAML) or by running ones.
      max_inner_grad_norm: inner gradients are cut to this norm.
      rematerialise: compute the inner steps again in the outer gradient: the memory of
        one of them, for a third more time, on a CPU more; see `InnerLoop`.
      joint: adapt to support and query together, and judge on both: the joint training
        of Wang et al., ICML 2021 (https://arxiv.org/abs/2106.09017), section 4.

    Returns:
      The learner. Its parameters are ``{"body": ..., "head": {"linear": ..., "rates":
      ... if learned}}``. The loss of a step is NaN where an inner loop diverged.

    Raises:
      ValueError: an option out of its range; later, tasks of other `ways`, or training
        tasks without queries.
    """
    loop = InnerLoop(
        layers=layers,
        steps=inner_steps,
        test_steps=inner_steps if test_steps is None else test_steps,
        rate=inner_lr,
        rates=rates,
        first_order=first_order,
        max_grad_norm=max_inner_grad_norm,
        rematerialise=rematerialise,
    )
    net = network(
        name, model, optimizer, loop, ways=ways, batch_norm=batch_norm, joint=joint
    )

    def task_loss(
        params: Params, batch_stats: Params, key: Key[Array, ""], task: Task
    ) -> tuple[Float[Array, ""], tuple[Float[Array, ""], Params]]:
        judged, trace = net.adapted_score(params, batch_stats, key, task)
        loss = inner_loop.poisoned(judged.loss, trace)
        return loss, (judged.accuracy, judged.batch_stats)

    return assemble(name, net, task_loss, optimizer)


def assemble(
    name: str,
    net: Network,
    task_loss: TaskLoss,
    optimizer: optax.GradientTransformation,
) -> Learner:
    """The learner of a network and the loss of one of its tasks."""
    return Learner(
        name,
        net.init,
        # Tasks have weights of their own, or adapt in a loop of many small steps.
        outer_step(task_loss, optimizer, one_by_one=True),
        net.adapt,
        net.logits,
        net.frozen_body,
        net.embed,
    )


def first_statistics(trace: inner_loop.Trace, judged: Score) -> Params:
    """Running statistics after the first pass of the loop: the unadapted body's."""
    if trace.kept is None:
        return judged.batch_stats
    return jax.tree.map(lambda leaf: leaf[0], trace.kept.batch_stats)


def network(
    name: str,
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    loop: InnerLoop,
    *,
    ways: int,
    batch_norm: BatchNorm,
    joint: bool,
) -> Network:
    """The functions of a body with a linear head that adapts by an inner loop.

    Raises:
      ValueError: an option out of its range.
    """
    inner_loop.check(loop)
    if not isinstance(ways, int) or ways < 2:
        raise ValueError(f"`ways` is {ways}, but a head needs at least 2 classes")
    if batch_norm not in get_args(BatchNorm):
        known = ", ".join(get_args(BatchNorm))
        raise ValueError(f"`batch_norm` is {batch_norm!r}; known are {known}")
    test_model = _without_dropout(model)

    def init_head(key: Key[Array, ""], dimension: int) -> Params:
        bound = dimension**-0.5
        weights = jax.random.uniform(
            key, (dimension, ways), minval=-bound, maxval=bound
        )
        return {"linear": {"weights": weights, "bias": jnp.zeros(ways)}}

    init_without_rates = initialiser(model, optax.identity(), init_head)

    def init(key: Key[Array, ""], example: Float[Array, "N *X"]):
        state = init_without_rates(key, example)
        params = state.params
        rates = inner_loop.init_rates(loop, _of_task(params))
        if rates is not None:
            params = {**params, "head": {**params["head"], "rates": rates}}
        return state._replace(params=params, optimizer=optimizer.init(params))

    def score(
        params: Params, batch_stats: Params, key: Key[Array, ""], examples: Examples
    ) -> Score:
        body, inputs = params["body"], examples.inputs
        embedded, stats = train_features(model, body, batch_stats, inputs, key)
        return _score(params["head"], embedded, examples.labels, stats)

    def adapt_in_training(
        params: Params, batch_stats: Params, key: Key[Array, ""], examples: Examples
    ) -> tuple[Params, inner_loop.Trace]:
        def loss_fn(part: Params, number: Int[Array, ""]):
            key_step = jax.random.fold_in(key, number)
            result = score(part, batch_stats, key_step, examples)
            return result.loss, result

        rates = params["head"].get("rates")
        return inner_loop.run(loop, loss_fn, _of_task(params), rates=rates)

    def adapt_head(
        params: Params,
        embedded: Float[Array, "S D"],
        labels: Int[Array, "S"],
        *,
        steps: int,
    ) -> tuple[Params, inner_loop.Trace]:
        """For loops that leave the body alone: one pass of it serves all steps."""

        def loss_fn(part: Params, number: Int[Array, ""]):
            del number
            return _cross_entropy(_scores(part["head"], embedded), labels), None

        rates = params["head"].get("rates")
        return inner_loop.run(loop, loss_fn, _of_task(params), rates=rates, steps=steps)

    def both_features(
        params: Params,
        batch_stats: Params,
        key: Key[Array, ""],
        inner: Examples,
        outer: Examples,
    ) -> tuple[Float[Array, "S D"], Float[Array, "Q D"], Params]:
        def passed(key: Key[Array, ""], inputs: Float[Array, "N *X"]):
            return train_features(model, params["body"], batch_stats, inputs, key)

        if joint:
            embedded, stats = passed(key, inner.inputs)
            return embedded, embedded, stats
        if batch_norm == "running":
            inputs = jnp.concatenate([inner.inputs, outer.inputs])
            embedded, stats = passed(key, inputs)
            return embedded[: len(inner.labels)], embedded[len(inner.labels) :], stats
        key_inner, key_outer = jax.random.split(key)
        support, stats = passed(key_inner, inner.inputs)
        query, _ = passed(key_outer, outer.inputs)
        return support, query, stats

    def adapted_score(
        params: Params, batch_stats: Params, key: Key[Array, ""], task: Task
    ) -> tuple[Score, inner_loop.Trace]:
        inner, outer = split(task)
        if loop.layers != "head":
            key_inner, key_outer = jax.random.split(key)
            adapted, trace = adapt_in_training(params, batch_stats, key_inner, inner)
            judged = score(adapted, batch_stats, key_outer, outer)
            stats = first_statistics(trace, judged)
            return judged._replace(batch_stats=stats), trace
        support, query, stats = both_features(params, batch_stats, key, inner, outer)
        adapted, trace = adapt_head(params, support, inner.labels, steps=loop.steps)
        return _score(adapted["head"], query, outer.labels, stats), trace

    def test_features(
        body: Params, batch_stats: Params, inputs: Float[Array, "N *X"]
    ) -> Float[Array, "N D"]:
        variables = {"params": body, "batch_stats": batch_stats}
        if batch_norm == "running":
            return jnp.asarray(test_model.apply(variables, inputs, train=False))
        embedded, _ = test_model.apply(
            variables, inputs, train=True, mutable=["batch_stats"]
        )
        return jnp.asarray(embedded)

    def adapt(variables: Variables, support: Examples, *, ways: int) -> Any:
        _check_ways(name, head_ways, ways)
        params, batch_stats = variables["params"], variables["batch_stats"]

        def loss_fn(part: Params, number: Int[Array, ""]):
            del number
            embedded = test_features(part["body"], batch_stats, support.inputs)
            return _cross_entropy(_scores(part["head"], embedded), support.labels), None

        steps = loop.test_steps
        if loop.layers == "head":
            embedded = test_features(params["body"], batch_stats, support.inputs)
            adapted, _ = adapt_head(params, embedded, support.labels, steps=steps)
        else:
            start, rates = _of_task(params), params["head"].get("rates")
            adapted, _ = inner_loop.run(loop, loss_fn, start, rates=rates, steps=steps)
        return {"params": adapted, "batch_stats": batch_stats}

    def head_of(variables: Variables) -> Head:
        def fit(
            features: Float[Array, "S D"], labels: Int[Array, "S"], *, ways: int
        ) -> Params:
            _check_ways(name, head_ways, ways)
            params, steps = variables["params"], loop.test_steps
            return adapt_head(params, features, labels, steps=steps)[0]["head"]

        return Head(name, fit, _scores)

    def logits(adapted: Any, inputs: Float[Array, "Q *X"]) -> Float[Array, "Q ways"]:
        params = adapted["params"]
        embedded = test_features(params["body"], adapted["batch_stats"], inputs)
        return _scores(params["head"], embedded)

    def split(task: Task) -> tuple[Examples, Examples]:
        _check_ways(name, head_ways, task.classes.shape[-1])
        if joint:
            everything = merged(task)
            return everything, everything
        if task.query.labels.shape[-1] == 0:
            raise ValueError(
                f"{name} is judged on the queries of a training task, but there are "
                "none; give training tasks queries (`train_queries` >= 1), or adapt "
                "and judge on all examples (`joint`)"
            )
        return task.support, task.query

    head_ways = ways
    frozen_body = None
    if loop.layers == "head" and batch_norm == "running":
        frozen_body = FrozenBody(embedder(test_model), head_of)
    return Network(
        init,
        score,
        adapt_in_training,
        adapted_score,
        adapt,
        logits,
        frozen_body,
        embedder(model, unit_norm),
        split,
    )


def merged(task: Task) -> Examples:
    """Support and query of a task together."""
    return Examples(
        jnp.concatenate([task.support.inputs, task.query.inputs]),
        jnp.concatenate([task.support.labels, task.query.labels]),
    )


def _of_task(params: Params) -> Params:
    return {"body": params["body"], "head": params["head"]["linear"]}


def _scores(head: Params, features: Float[Array, "N D"]) -> Float[Array, "N ways"]:
    return features @ head["weights"] + head["bias"][None]


def _score(
    head: Params, features: Float[Array, "N D"], labels: Int[Array, "N"], stats: Params
) -> Score:
    scores = _scores(head, features)
    right = scores.argmax(-1).astype(labels.dtype) == labels
    return Score(_cross_entropy(scores, labels), right.mean(dtype=jnp.float32), stats)


def _cross_entropy(
    scores: Float[Array, "N ways"], labels: Int[Array, "N"]
) -> Float[Array, ""]:
    return optax.softmax_cross_entropy_with_integer_labels(scores, labels).mean()


def _without_dropout(model: nn.Module) -> nn.Module:
    """The same body for a test in training mode, which is wanted for its statistics."""
    return model.clone(drop_rate=0.0) if hasattr(model, "drop_rate") else model


def _check_ways(name: str, head_ways: int, ways: int) -> None:
    if ways != head_ways:
        raise ValueError(
            f"{name} has a meta-learned head of {head_ways} ways, but the task has "
            f"{ways}; train with `ways={ways}`, or fit another head on its features "
            "(`with_head`)"
        )
