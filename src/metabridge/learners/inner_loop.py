"""The inner loop: gradient descent on one task, of the layers that a learner adapts.

Gradient-based meta-learners differ in which layers they adapt, how far, at what rates,
and what of it the outer gradient sees: settings of `InnerLoop`. `run` is a pure
function of one task's parameters ``{"body": ..., "head": ...}``:

=============  =========  =====================================================
learner        layers     further settings
=============  =========  =====================================================
MAML           all        outer gradient through the loop, or (first order) not
ANIL           head       the body is shared by the tasks
BOIL           body       the head is shared by the tasks
Meta-SGD       all        a learned rate for every parameter
Reptile        all        no outer gradient: the displacement is one
iMAML          all        pulled back to the start; implicit outer gradient
=============  =========  =====================================================

The taxonomy is that of Wang, Zhao, Li. Bridging multi-task learning and meta-learning.
ICML 2021, https://arxiv.org/abs/2106.09017, section 3.
"""

import math
from collections.abc import Callable
from typing import Any, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from metabridge.types import Params, Scalar

Layers = Literal["head", "body", "all"]
Rates = Literal["fixed", "per_step", "per_parameter"]

_WRITTEN_OUT = 25

LossFn = Callable[[Params, Int[Array, ""]], tuple[Scalar, Any]]
"""``loss_fn(params, number)`` of one task before step `number`, with what the trace is
to keep of it."""


class InnerLoop(NamedTuple):
    """How a learner adapts to a task."""

    layers: Layers
    """Layers that adapt: the head, the body or both."""
    steps: int
    """Gradient steps in training, at least 0."""
    test_steps: int
    """Gradient steps on an unseen task, at least 0."""
    rate: float
    """Step size; the initial one where rates are learned."""
    rates: Rates = "fixed"
    """Learned step sizes: none, one for every step (of the training loop; further steps
    of a test take the last), or one for every adapted parameter."""
    first_order: bool = False
    """Treat the inner gradients as constants in the outer gradient."""
    max_grad_norm: float | None = None
    """Inner gradients are clipped to this norm, over all adapted layers."""
    rematerialise: bool = False
    """Recompute every step in the outer gradient: memory of one step instead of all,
    for a third more time. On a CPU it costs more: the steps are then a `lax.scan`, see
    `run`."""
    proximity: float = 0.0
    """Weight of half the squared distance to the start in the loss (iMAML)."""


class Trace(NamedTuple):
    """Record of the loop."""

    losses: Float[Array, "steps"]
    """The loss before each step."""
    kept: Any
    """Second result of `loss_fn`, stacked over the steps; None without steps."""


def check(loop: InnerLoop) -> None:
    """Refuses a loop with an option out of its range, by a ValueError."""
    for name, value, known in (
        ("layers", loop.layers, get_args(Layers)),
        ("rates", loop.rates, get_args(Rates)),
    ):
        if value not in known:
            raise ValueError(f"`{name}` is {value!r}; known are {', '.join(known)}")
    for name, value in (("inner_steps", loop.steps), ("test_steps", loop.test_steps)):
        if not isinstance(value, int) or value < 0:
            raise ValueError(f"`{name}` is {value}, but must be an integer >= 0")
    positive = {"inner_lr": loop.rate, "max_inner_grad_norm": loop.max_grad_norm}
    for name, value in positive.items():
        if value is not None and not 0 < value < math.inf:
            raise ValueError(f"`{name}` is {value}, but must be positive and finite")
    if not 0 <= loop.proximity < math.inf:
        raise ValueError(f"`proximity` is {loop.proximity}, but must be 0 or more")
    if loop.rates == "per_step" and loop.steps == 0:
        raise ValueError("rates per step need `inner_steps` of at least 1, but it is 0")


def init_rates(loop: InnerLoop, params: Params) -> Params | None:
    """Make learned rates; None if the rate is fixed.

    They are ``[steps]``, or shaped as the adapted part of one task's `params`.
    """
    if loop.rates == "fixed":
        return None
    if loop.rates == "per_step":
        leaf = jax.tree.leaves(params)[0]
        return jnp.full(loop.steps, loop.rate, leaf.dtype)
    adapted = take_adapted(loop, params)
    return jax.tree.map(lambda leaf: jnp.full_like(leaf, loop.rate), adapted)


def run(
    loop: InnerLoop,
    loss_fn: LossFn,
    params: Params,
    *,
    rates: Params | None = None,
    steps: int | None = None,
) -> tuple[Params, Trace]:
    """Adapts one task's parameters: ``p <- p - rate * gradient``, `steps` times.

    On a CPU up to 25 steps are written out one after another, since XLA runs
    convolutions inside a loop on one thread there. More would compile for minutes; they
    are a `lax.scan`, as are all steps elsewhere and those to be recomputed.

    `rates` are from `init_rates`, as the outer loop learned them; `steps` are
    `loop.steps` unless given. See `poison` for a loop that diverges.
    """
    steps = loop.steps if steps is None else steps
    start = take_adapted(loop, params)

    def loss_of(part: Params, number: Int[Array, ""]) -> tuple[Scalar, Any]:
        loss, kept = loss_fn({**params, **part}, number)
        if loop.proximity:
            distances = jax.tree.map(lambda a, b: jnp.square(a - b).sum(), part, start)
            loss = loss + 0.5 * loop.proximity * sum(jax.tree.leaves(distances))
        return loss, kept

    def move(part: Params, gradient: Params, number: Int[Array, ""]) -> Params:
        if loop.rates == "per_parameter":
            return jax.tree.map(lambda p, r, g: p - r * g, part, rates, gradient)
        rate: Any = loop.rate
        if loop.rates == "per_step":
            assert rates is not None
            rate = rates[jnp.minimum(number, loop.steps - 1)]
        return jax.tree.map(lambda p, g: p - rate * g, part, gradient)

    def step(part: Params, number: Int[Array, ""]) -> tuple[Params, Trace]:
        (loss, kept), gradient = jax.value_and_grad(loss_of, has_aux=True)(part, number)
        if loop.first_order:
            gradient = jax.lax.stop_gradient(gradient)
        if loop.max_grad_norm is not None:
            gradient = _clip(gradient, loop.max_grad_norm)
        return move(part, gradient, number), Trace(loss, kept)

    if loop.rematerialise:
        step = jax.checkpoint(step)
    if steps == 0:
        return params, Trace(jnp.zeros(0), None)
    written_out = jax.default_backend() == "cpu" and steps <= _WRITTEN_OUT
    # Written out, XLA would recognise what is recomputed, and keep it.
    if loop.rematerialise or not written_out:
        part, trace = jax.lax.scan(step, start, jnp.arange(steps, dtype=jnp.int32))
        return {**params, **part}, trace
    part, traces = start, []
    for number in range(steps):
        part, trace = step(part, jnp.asarray(number, jnp.int32))
        traces.append(trace)
    return {**params, **part}, jax.tree.map(lambda *xs: jnp.stack(xs), *traces)


def take_adapted(loop: InnerLoop, params: Params) -> Params:
    """Selects the entries of one task's parameters that the loop changes."""
    names = ("body", "head") if loop.layers == "all" else (loop.layers,)
    return {name: params[name] for name in names}


def poison(loss: Scalar, trace: Trace) -> Scalar:
    """Replaces the outer loss by NaN where an inner loss was not finite.

    A loop that diverged may end in finite scores by luck (normalisation hides the
    scale of weights). Training stops at a loss that is not finite, so let it see one.
    """
    return jnp.where(jnp.isfinite(trace.losses).all(), loss, jnp.nan)


def _clip(gradient: Params, max_norm: float) -> Params:
    """Differentiable everywhere, at a gradient of zero too."""
    square = sum(jnp.square(leaf).sum() for leaf in jax.tree.leaves(gradient))
    long = square > max_norm**2
    scale = jnp.where(long, max_norm * jax.lax.rsqrt(jnp.where(long, square, 1.0)), 1.0)
    return jax.tree.map(lambda leaf: scale * leaf, gradient)
