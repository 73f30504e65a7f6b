"""What a learner is: four pure functions, seen alike by training and evaluation.

They initialise, take the gradient of a batch of tasks, adapt to a new task, and
classify. A step is that gradient and an update of an optax optimizer; the two are apart
because devices that share a batch take a mean of gradients in between.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import optax
from jaxtyping import Array, Float, Int, Key

from metabridge.heads import Head
from metabridge.optimizers import averaged_params
from metabridge.types import Examples, Params, Task, Variables


class State(NamedTuple):
    """What the next step needs, a pytree of arrays."""

    params: Params
    """``{"body": ..., "head": ...}``: everything that is learned."""
    batch_stats: Params
    """Running statistics of the body; empty if it keeps none."""
    optimizer: Any
    """State of the optax optimizer."""
    step: Int[Array, ""]
    """Steps taken."""


class Info(NamedTuple):
    """What a step tells people; nothing is computed from it."""

    loss: Float[Array, ""]
    """Mean over the tasks of the batch."""
    accuracy: Float[Array, ""]
    """Share of the batch's training examples classified right, in [0, 1]."""
    grad_norm: Float[Array, ""]
    """Euclidean norm of the gradient over all parameters."""


@runtime_checkable
class Init(Protocol):
    """Makes a state from a key and a batch of inputs of one task, ``[N, *X]``."""

    def __call__(self, key: Key[Array, ""], example: Float[Array, "..."]) -> State: ...


class Means(NamedTuple):
    """What the tasks of a batch say, in the mean over them."""

    loss: Float[Array, ""]
    """Of the training examples."""
    accuracy: Float[Array, ""]
    """Share of them that is classified right, in [0, 1]."""
    batch_stats: Params
    """Running statistics of the body as the tasks leave them."""
    gradient: Params
    """Of the loss, shaped as `State.params`."""


@runtime_checkable
class Gradient(Protocol):
    """Loss and gradient on a batch of T tasks (a leading axis on every field).

    Each task has a key for what is random in it, such as dropout.
    """

    def __call__(self, keys: Key[Array, "T"], state: State, batch: Task) -> Means: ...


@runtime_checkable
class Adapt(Protocol):
    """Adapts what was learned to the support set of one unseen task."""

    def __call__(
        self, variables: Variables, support: Examples, *, ways: int
    ) -> Any: ...


@runtime_checkable
class Logits(Protocol):
    """Scores the inputs ``[Q, *X]`` of one task with what `adapt` returned."""

    def __call__(
        self, adapted: Any, inputs: Float[Array, "..."]
    ) -> Float[Array, "Q ways"]: ...


@runtime_checkable
class Embed(Protocol):
    """Features ``[N, D]`` of inputs ``[N, *X]``, in inference mode."""

    def __call__(
        self, variables: Variables, inputs: Float[Array, "..."]
    ) -> Float[Array, "N D"]: ...


class FrozenBody(NamedTuple):
    """How a learner adapts that changes only a head.

    `adapt` is then `fit` of that head on the features of the support, and evaluation
    embeds every image of a split once instead of once a task.
    """

    embed: Embed
    head_of: Callable[[Variables], Head]
    """The head, given what was learned: ANIL's starts from a meta-learned one."""


class Learner(NamedTuple):
    """A way to learn from many tasks, and to adapt to a new one."""

    name: str
    init: Init
    gradient: Gradient
    optimizer: optax.GradientTransformation
    """Of everything that is learned."""
    adapt: Adapt
    logits: Logits
    frozen_body: FrozenBody | None = None
    """How adaptation splits into body and head; None if it changes the body, or if the
    features of an image depend on what else is in its batch."""
    embed: Embed | None = None
    """Features of the body before adaptation, on which a head of another kind can be
    fitted; None if they are those of `frozen_body`, or if there are none."""
    tasks_apart: bool = True
    """Whether `gradient` is the mean of the gradients of its tasks: not so where they
    share the statistics of batch normalisation."""

    def step(
        self, key: Key[Array, ""], state: State, batch: Task
    ) -> tuple[State, Info]:
        """Takes one optimisation step on a batch of T tasks.

        Args:
          key: for what is random in the step; see `keys_of_tasks`.
          state: from `init` or the step before.
          batch: a leading axis T on every field.
        """
        keys = keys_of_tasks(key, batch.classes.shape[0])
        return self.update(state, self.gradient(keys, state, batch))

    def update(self, state: State, means: Means) -> tuple[State, Info]:
        """The state after an optimizer's step along a gradient."""
        updates, optimizer_state = self.optimizer.update(
            means.gradient, state.optimizer, state.params
        )
        params = optax.apply_updates(state.params, updates)
        info = Info(means.loss, means.accuracy, optax.global_norm(means.gradient))
        return State(params, means.batch_stats, optimizer_state, state.step + 1), info


def keys_of_tasks(key: Key[Array, ""], num_tasks: int) -> Key[Array, "T"]:
    """The keys of the tasks of a step, from that of the step."""
    return jax.random.split(key, num_tasks)


def variables_of(state: State) -> Variables:
    """What `adapt` takes, from a state: parameters and running statistics.

    The parameters are averages if the optimizer keeps them; see `averaging`.
    """
    means = averaged_params(state.optimizer)
    params = state.params if means is None else means
    return {"params": params, "batch_stats": state.batch_stats}
