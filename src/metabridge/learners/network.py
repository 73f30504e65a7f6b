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
from typing import Any, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from jaxtyping import Array, Float, Int, Key

from metabridge.heads import Head
from metabridge.heads.base import unit_norm
from metabridge.learners import inner_loop
from metabridge.learners.base import Embed, FrozenBody, Init, State
from metabridge.learners.body import embedder, initialiser, train_features
from metabridge.learners.inner_loop import InnerLoop
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


@dataclasses.dataclass(frozen=True)
class Network:
    """A body with a linear head, and how the two adapt to a task.

    Parameters are ``{"body": ..., "head": {"linear": {"weights": [D, ways], "bias":
    [ways]}, "rates": learned inner rates, if any}}``; those of one task have for
    ``"head"`` what stands under ``"linear"``. The methods are pure functions.

    Raises:
      ValueError: an option out of its range.
    """

    name: str
    """For messages."""
    model: nn.Module
    """The body, ``[N, *X]`` to ``[N, D]``, called with `train`."""
    loop: InnerLoop
    """How it adapts."""
    ways: int
    """Classes of every task; the head has as many."""
    batch_norm: BatchNorm = "batch"
    """Which statistics normalise at test time."""
    joint: bool = False
    """Adapt to support and query together, and judge on both."""
    zero_head: bool = False
    """Adapt from a head of zeros instead of the meta-learned one."""

    def __post_init__(self) -> None:
        inner_loop.check(self.loop)
        if not isinstance(self.ways, int) or self.ways < 2:
            raise ValueError(
                f"`ways` is {self.ways}, but a head needs at least 2 classes"
            )
        if self.batch_norm not in get_args(BatchNorm):
            known = ", ".join(get_args(BatchNorm))
            raise ValueError(f"`batch_norm` is {self.batch_norm!r}; known are {known}")
        if self.zero_head and self.loop.layers == "body":
            raise ValueError(
                f"{self.name} leaves its head as it is, so it cannot start from zeros "
                "(`zero_head`)"
            )

    def init(self, optimizer: optax.GradientTransformation) -> Init:
        """Makes a learner's `init`."""

        def init_head(key: Key[Array, ""], dimension: int) -> Params:
            bound = dimension**-0.5
            weights = jax.random.uniform(
                key, (dimension, self.ways), minval=-bound, maxval=bound
            )
            return {"linear": {"weights": weights, "bias": jnp.zeros(self.ways)}}

        init_without_rates = initialiser(self.model, optax.identity(), init_head)

        def init(key: Key[Array, ""], example: Float[Array, "N *X"]) -> State:
            state = init_without_rates(key, example)
            params = state.params
            rates = inner_loop.init_rates(self.loop, self._of_task(params))
            if rates is not None:
                params = {**params, "head": {**params["head"], "rates": rates}}
            return state._replace(params=params, optimizer=optimizer.init(params))

        return init

    def score(
        self,
        params: Params,
        batch_stats: Params,
        key: Key[Array, ""],
        examples: Examples,
    ) -> Score:
        """How one task's parameters do on its examples, in training mode."""
        features, stats = train_features(
            self.model, params["body"], batch_stats, examples.inputs, key
        )
        return _score(params["head"], features, examples.labels, stats)

    def adapt_in_training(
        self,
        params: Params,
        batch_stats: Params,
        key: Key[Array, ""],
        examples: Examples,
    ) -> tuple[Params, inner_loop.Trace]:
        """The adapted parameters of a task, and the trace with a `Score` a step."""

        def loss_fn(part: Params, number: Int[Array, ""]):
            result = self.score(
                part, batch_stats, jax.random.fold_in(key, number), examples
            )
            return result.loss, result

        return self._run(loss_fn, params, self.loop.steps)

    def adapted_score(
        self, params: Params, batch_stats: Params, key: Key[Array, ""], task: Task
    ) -> tuple[Score, inner_loop.Trace]:
        """How the parameters adapted to a training task do on what it is judged on.

        The running statistics are those of the body before adaptation.
        """
        inner, outer = self.split(task)
        if self.loop.layers != "head":
            key_inner, key_outer = jax.random.split(key)
            adapted, trace = self.adapt_in_training(
                params, batch_stats, key_inner, inner
            )
            judged = self.score(adapted, batch_stats, key_outer, outer)
            stats = first_statistics(trace, judged)
            return judged._replace(batch_stats=stats), trace
        support, query, stats = self._both_features(
            params["body"], batch_stats, key, inner, outer
        )
        adapted, trace = self._adapt_head(
            params, support, inner.labels, self.loop.steps
        )
        return _score(adapted["head"], query, outer.labels, stats), trace

    def split(self, task: Task) -> tuple[Examples, Examples]:
        """What a training task is adapted to and what it is judged on.

        Raises:
          ValueError: a task of other ways, or without queries unless `joint`.
        """
        self._check_ways(task.classes.shape[-1])
        if self.joint:
            everything = merged(task)
            return everything, everything
        if task.query.labels.shape[-1] == 0:
            raise ValueError(
                f"{self.name} is judged on the queries of a training task, but there "
                "are none; give training tasks queries (`train_queries` >= 1), or "
                "adapt and judge on all examples (`joint`)"
            )
        return task.support, task.query

    def adapt(self, variables: Variables, support: Examples, *, ways: int) -> Any:
        """A learner's `adapt`: the adapted parameters, and the running statistics.

        Raises:
          ValueError: a task of other ways.
        """
        self._check_ways(ways)
        params, batch_stats = variables["params"], variables["batch_stats"]
        steps = self.loop.test_steps
        if self.loop.layers == "head":
            features = self._test_features(params["body"], batch_stats, support.inputs)
            adapted, _ = self._adapt_head(params, features, support.labels, steps)
            return {"params": adapted, "batch_stats": batch_stats}

        def loss_fn(part: Params, number: Int[Array, ""]):
            del number
            features = self._test_features(part["body"], batch_stats, support.inputs)
            return _cross_entropy(_scores(part["head"], features), support.labels), None

        adapted, _ = self._run(loss_fn, params, steps)
        return {"params": adapted, "batch_stats": batch_stats}

    def logits(
        self, adapted: Any, inputs: Float[Array, "Q *X"]
    ) -> Float[Array, "Q ways"]:
        """A learner's `logits`."""
        params = adapted["params"]
        features = self._test_features(params["body"], adapted["batch_stats"], inputs)
        return _scores(params["head"], features)

    @property
    def frozen_body(self) -> FrozenBody | None:
        """A learner's `frozen_body`."""
        if self.loop.layers != "head" or self.batch_norm != "running":
            return None
        return FrozenBody(embedder(self.model), self._head_of)

    @property
    def embed(self) -> Embed:
        """Features of the body before adaptation, for another head: of unit norm."""
        return embedder(self.model, unit_norm)

    def _head_of(self, variables: Variables) -> Head:
        def fit(
            features: Float[Array, "S D"], labels: Int[Array, "S"], *, ways: int
        ) -> Params:
            self._check_ways(ways)
            params, steps = variables["params"], self.loop.test_steps
            return self._adapt_head(params, features, labels, steps)[0]["head"]

        return Head(self.name, fit, _scores)

    def _run(
        self, loss_fn: inner_loop.LossFn, params: Params, steps: int
    ) -> tuple[Params, inner_loop.Trace]:
        rates = params["head"].get("rates")
        return inner_loop.run(
            self.loop, loss_fn, self._of_task(params), rates=rates, steps=steps
        )

    def _of_task(self, params: Params) -> Params:
        """Where a task's parameters start."""
        head = params["head"]["linear"]
        if self.zero_head:
            head = jax.tree.map(jnp.zeros_like, head)
        return {"body": params["body"], "head": head}

    def _adapt_head(
        self,
        params: Params,
        features: Float[Array, "S D"],
        labels: Int[Array, "S"],
        steps: int,
    ) -> tuple[Params, inner_loop.Trace]:
        """For loops that leave the body alone: one pass of it serves all steps."""

        def loss_fn(part: Params, number: Int[Array, ""]):
            del number
            return _cross_entropy(_scores(part["head"], features), labels), None

        return self._run(loss_fn, params, steps)

    def _both_features(
        self,
        body: Params,
        batch_stats: Params,
        key: Key[Array, ""],
        inner: Examples,
        outer: Examples,
    ) -> tuple[Float[Array, "S D"], Float[Array, "Q D"], Params]:
        """Features of what a task adapts to and is judged on, and the statistics."""

        def passed(key: Key[Array, ""], inputs: Float[Array, "N *X"]):
            return train_features(self.model, body, batch_stats, inputs, key)

        if self.joint:
            features, stats = passed(key, inner.inputs)
            return features, features, stats
        if self.batch_norm == "running":
            features, stats = passed(key, jnp.concatenate([inner.inputs, outer.inputs]))
            return features[: len(inner.labels)], features[len(inner.labels) :], stats
        key_inner, key_outer = jax.random.split(key)
        support, stats = passed(key_inner, inner.inputs)
        query, _ = passed(key_outer, outer.inputs)
        return support, query, stats

    def _test_features(
        self, body: Params, batch_stats: Params, inputs: Float[Array, "N *X"]
    ) -> Float[Array, "N D"]:
        variables = {"params": body, "batch_stats": batch_stats}
        if self.batch_norm == "running":
            return jnp.asarray(self.model.apply(variables, inputs, train=False))
        # Training mode is wanted for its statistics alone.
        features, _ = _without_dropout(self.model).apply(
            variables, inputs, train=True, mutable=["batch_stats"]
        )
        return jnp.asarray(features)

    def _check_ways(self, ways: int) -> None:
        if ways != self.ways:
            raise ValueError(
                f"{self.name} has a meta-learned head of {self.ways} ways, but the "
                f"task has {ways}; train with `ways={ways}`, or fit another head on "
                "its features (`with_head`)"
            )


def first_statistics(trace: inner_loop.Trace, judged: Score) -> Params:
    """Running statistics after the first pass of the loop: the unadapted body's."""
    if trace.kept is None:
        return judged.batch_stats
    return jax.tree.map(lambda leaf: leaf[0], trace.kept.batch_stats)


def merged(task: Task) -> Examples:
    """Support and query of a task together."""
    return Examples(
        jnp.concatenate([task.support.inputs, task.query.inputs]),
        jnp.concatenate([task.support.labels, task.query.labels]),
    )


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
