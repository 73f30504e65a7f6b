"""The contract of a learner: initialise, take a gradient, adapt, classify.

A step is the gradient of a batch of tasks and an update of an optax optimizer; the two
are apart because devices that share a batch average gradients in between.
"""

import inspect
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, Key

from metabridge.heads import Head, Linear
from metabridge.heads.base import fit_examples
from metabridge.masks import Mask
from metabridge.optimizers import averaged_params
from metabridge.types import Examples, Features, Params, Scalar, Task, Variables


class State(NamedTuple):
    """State of training, a pytree of arrays."""

    params: Params
    """``{"body": ..., "head": ...}``: everything that is learned."""
    batch_stats: Params
    """Running statistics of the body; empty if it keeps none."""
    optimizer: Any
    step: Int[Array, ""]
    """Steps taken."""


class Info(NamedTuple):
    """Metrics of a step; nothing is computed from them."""

    loss: Scalar
    """Mean over the tasks of the batch."""
    accuracy: Scalar
    """Share of the batch's training examples classified right, in [0, 1]."""
    grad_norm: Scalar
    """Euclidean norm of the gradient over all parameters."""
    measures: Mapping[str, Scalar] = {}
    """Further numbers to record, by name."""


class Gradients(NamedTuple):
    """Loss, accuracy, statistics and gradient averaged over the task batch."""

    loss: Scalar
    accuracy: Scalar
    """Share of the training examples classified right, in [0, 1]."""
    batch_stats: Params
    """Running statistics of the body after the tasks."""
    gradient: Params
    """Gradient of the loss, shaped as `State.params`."""
    measures: Mapping[str, Scalar] = {}
    """Further numbers to record, by name; see `Info`."""
    extra: Mapping[str, Array] = {}
    """Further arguments for the optimizer, by name; see
    `optax.GradientTransformationExtraArgs`."""


Init = Callable[[Key[Array, ""], Float[Array, "..."]], State]
"""``init(key, example)``: a state, for a batch of inputs of one task, ``[N, *X]``."""

Gradient = Callable[[Key[Array, "T"], State, Task], Gradients]
"""``gradient(keys, state, batch)`` on T tasks (a leading axis on every field), with a
key each for what is random in it, such as dropout."""

Logits = Callable[[Any, Float[Array, "..."]], Float[Array, "Q ways"]]
"""``logits(adapted, inputs)``: scores of the inputs ``[Q, *X]`` of one task. If they
depend on the other inputs, it may have a third parameter: their `mask`, or None."""

Embed = Callable[[Variables, Float[Array, "..."]], Features]
"""``embed(variables, inputs)``: features ``[N, D]`` in inference mode."""

Adapt = Callable[..., Any]
"""``adapt(variables, support, *, ways)``: what is made of the support of one task."""


class FrozenBody(NamedTuple):
    """Adaptation of a head alone: `fit` on the features of the support.

    Evaluation embeds every image of a split once instead of once a task, so the
    features of an image must not depend on what else is in its batch.
    """

    embed: Embed
    head_of: Callable[[Variables], Head]
    """The head, given what was learned: ANIL's starts from a meta-learned one."""
    transfer: Embed | None = None
    """Features for a head of another kind; those of `embed` unless given."""

    def adapt(self, variables: Variables, support: Examples, *, ways: int) -> Any:
        features = self.embed(variables, support.inputs)
        head = self.head_of(variables)
        return variables, fit_examples(
            head, features, support.labels, ways=ways, mask=support.mask
        )

    def logits(
        self, adapted: Any, inputs: Float[Array, "..."]
    ) -> Float[Array, "Q ways"]:
        variables, classifier = adapted
        features = self.embed(variables, inputs)
        return self.head_of(variables).logits(classifier, features)

    def weights(self, adapted: Any) -> Float[Array, "D ways"] | None:
        """Weights of the head that was fitted, if it is linear."""
        _, classifier = adapted
        return classifier.weights if isinstance(classifier, Linear) else None


class MovingBody(NamedTuple):
    """Adaptation that changes the body, or normalises with the batch at hand."""

    adapt: Adapt
    logits: Logits
    transfer: Embed | None = None
    """Features before adaptation, for a head of another kind; None without any."""
    body_of: Callable[[Any], Variables] | None = None
    """Parameters ``{"body": ...}`` and running statistics after adaptation, from what
    `adapt` returned, to compare the body with what it was; None if they are not known.
    """
    weights: Callable[[Any], Float[Array, "D ways"] | None] = lambda adapted: None
    """Weights of the linear head in what `adapt` returned; None without any."""


class Learner(NamedTuple):
    """A way to learn from many tasks, and to adapt to a new one."""

    name: str
    init: Init
    gradient: Gradient
    optimizer: optax.GradientTransformation
    """Optimizer of everything that is learned."""
    adaptation: FrozenBody | MovingBody
    separable_over_tasks: bool = True
    """`gradient` is the mean of the gradients of its tasks; not so where they share the
    statistics of batch normalisation."""
    training_heads: Callable[[Params], Float[Array, "T ways D"]] | None = None
    """Rows of the linear heads that are trained with the body, from
    ``State.params["head"]``: one table of all classes or a head a task; None without
    any. They are measured, see `metabridge.evaluation.measurements`."""

    @property
    def frozen_body(self) -> FrozenBody | None:
        """The adaptation, if it leaves the body alone."""
        return self.adaptation if isinstance(self.adaptation, FrozenBody) else None

    @property
    def embed(self) -> Embed | None:
        """Features on which a head of another kind is fitted; None without any."""
        if self.adaptation.transfer is None and self.frozen_body is not None:
            return self.frozen_body.embed
        return self.adaptation.transfer

    def adapt(self, variables: Variables, support: Examples, *, ways: int) -> Any:
        """Adapts what was learned to the support set of one unseen task."""
        return self.adaptation.adapt(variables, support, ways=ways)

    def logits(
        self, adapted: Any, inputs: Float[Array, "..."], mask: Mask = None
    ) -> Float[Array, "Q ways"]:
        """Scores the inputs ``[Q, *X]`` of one task with what `adapt` returned.

        The `mask` is that of unequal tasks, for learners to which other inputs matter.
        """
        score: Any = self.adaptation.logits
        if mask is None or "mask" not in inspect.signature(score).parameters:
            return score(adapted, inputs)
        return score(adapted, inputs, mask)

    def step(
        self, key: Key[Array, ""], state: State, batch: Task
    ) -> tuple[State, Info]:
        """Takes one optimisation step on T tasks, a leading axis of every field."""
        keys = jax.random.split(key, batch.classes.shape[0])
        return self.update(state, self.gradient(keys, state, batch))

    def update(self, state: State, averaged: Gradients) -> tuple[State, Info]:
        """Updates the state by a step of the optimizer."""
        loss, accuracy, batch_stats, gradient, measures, extra = averaged
        optimizer = optax.with_extra_args_support(self.optimizer)
        updates, optimizer_state = optimizer.update(
            gradient, state.optimizer, state.params, **extra
        )
        params = optax.apply_updates(state.params, updates)
        info = Info(loss, accuracy, optax.global_norm(gradient), measures)
        return State(params, batch_stats, optimizer_state, state.step + 1), info


def variables_of(state: State) -> Variables:
    """Collects what `adapt` takes: parameters and running statistics.

    The parameters are averages if the optimizer keeps them; see `averaged`.
    """
    means = averaged_params(state.optimizer)
    params = state.params if means is None else means
    return {"params": params, "batch_stats": state.batch_stats}


TaskLoss = Callable[
    [Params, Params, Key[Array, ""], Task], tuple[Scalar, tuple[Scalar, Params]]
]
"""``task_loss(params, batch_stats, key, task)`` of one task without a leading axis:
its loss, the share of examples classified right, and its new running statistics."""


def average_over_tasks(task_loss: TaskLoss, *, in_turn: bool | None = None) -> Gradient:
    """Makes the gradient of the mean of a loss over the tasks of a batch.

    Every task normalises with statistics of its own; the running ones become the mean
    of those after each task.

    `in_turn` takes the gradient of one task after another; the default on a CPU, where
    `vmap` would turn a convolution whose weights a task has for its own into a grouped
    one, for which XLA takes twice as long.
    """
    of_task = jax.value_and_grad(task_loss, has_aux=True)

    def mean_loss(params: Params, batch_stats: Params, keys: Any, batch: Task) -> Any:
        of_tasks = jax.vmap(task_loss, in_axes=(None, None, 0, 0))
        losses = of_tasks(params, batch_stats, keys, batch)
        return jax.tree.map(lambda leaf: leaf.mean(0), losses)

    def mean_of_gradients(params: Params, stats: Params, keys: Any, batch: Task) -> Any:
        num_tasks, total = keys.shape[0], None
        for t in range(num_tasks):
            task = jax.tree.map(lambda leaf, t=t: leaf[t], batch)
            result = of_task(params, stats, keys[t], task)
            total = result if t == 0 else jax.tree.map(jnp.add, total, result)
        return jax.tree.map(lambda leaf: leaf / num_tasks, total)

    def value_and_gradient(*arguments: Any) -> Any:
        if take_turns(in_turn):
            return mean_of_gradients(*arguments)
        return jax.value_and_grad(mean_loss, has_aux=True)(*arguments)

    return as_gradient(value_and_gradient)


def as_gradient(value_and_gradient: Callable[..., Any]) -> Gradient:
    """Makes a `Gradient` of what `jax.value_and_grad(..., has_aux=True)` returns."""

    def gradient(keys: Key[Array, "T"], state: State, batch: Task) -> Gradients:
        (loss, (accuracy, stats)), of_params = value_and_gradient(
            state.params, state.batch_stats, keys, batch
        )
        return Gradients(loss, accuracy, stats, of_params)

    return gradient


def take_turns(in_turn: bool | None) -> bool:
    """Resolves `in_turn`: by default tasks take turns on a CPU."""
    return jax.default_backend() == "cpu" if in_turn is None else in_turn
