"""The optimizer of a configuration: rule, schedule, decay, averages of the parameters.

A warm-up before the cosine makes it a one-cycle schedule: Smith, Topin.
Super-convergence: Very fast training of neural networks using large learning rates.
2018, https://arxiv.org/abs/1708.07120. Theirs goes up and down linearly, lower still at
the end, and their momentum goes down and up meanwhile; here it stays what it is.

Weight decay without scales and biases is that of He, Zhang, Zhang, Zhang, Xie, Li. Bag
of tricks for image classification with convolutional neural networks. CVPR 2019,
https://arxiv.org/abs/1812.01187, section 3.1.

Averages over the last steps are those of Izmailov, Podoprikhin, Garipov, Vetrov,
Wilson. Averaging weights leads to wider optima and better generalization. UAI 2018,
https://arxiv.org/abs/1803.05407. They compute the running statistics of batch
normalisation anew for the average; here those of the last steps serve, which are near
where the learning rate has become small. Exponential averages are those of Kingma, Ba.
Adam: A method for stochastic optimization. ICLR 2015, https://arxiv.org/abs/1412.6980,
section 7.2, corrected for their start as they do it. For them, too, the running
statistics are those of the last steps, with the parameters that these had; while the
learning rate is large, they fit the average less well.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Int

from metabridge.config import ResolvedTrain, TrainConfig
from metabridge.types import Params


def make_optimizer(config: ResolvedTrain) -> optax.GradientTransformation:
    """The optimizer of a configuration.

    Its state holds the learning rate, for the plateau rule to change, and
    `decay_steps`, so that one compiled step serves any number of steps.
    """

    def make(learning_rate: Any, decay_steps: Any) -> optax.GradientTransformation:
        def scheduled(count: Any) -> Any:
            return learning_rate * rate_factor(config, count, decay_steps)

        varies = config.warmup or config.schedule in ("cosine", "staircase")
        momentum = optax.trace(decay=0.9, nesterov=True)
        adam, radam = optax.scale_by_adam(), optax.scale_by_radam()
        chain = optax.chain(
            {"sgd": momentum, "adam": adam, "radam": radam}[config.optimizer],
            optax.add_decayed_weights(
                config.weight_decay, None if config.decay_all else _is_weight
            ),
            optax.scale_by_learning_rate(scheduled if varies else learning_rate),
        )
        if config.max_grad_norm is not None:
            chain = optax.chain(optax.clip_by_global_norm(config.max_grad_norm), chain)
        if config.average_decay is not None:
            return averaged(chain, exponential(config.average_decay))
        if not config.average:
            return chain
        first = jnp.floor((1.0 - config.average) * decay_steps)
        return averaged(chain, uniform(first))

    return optax.inject_hyperparams(make)(
        learning_rate=config.learning_rate,
        decay_steps=float(config.steps or 1),  # open until timed, with `minutes`
    )


def rate_factor(config: TrainConfig, count: Any, decay_steps: Any) -> Any:
    """Factor on the learning rate in step `count`, from 0, of `decay_steps`.

    With a warm-up of ``w = warmup * decay_steps`` steps it is ``(count + 1) / (w + 1)``
    up to step w, from which on the cosine falls.
    """
    # Schedules of optax would have their length compiled in.
    warm, factor = config.warmup * decay_steps, jnp.ones(())
    if config.schedule == "cosine":
        done = jnp.clip((count - warm) / (decay_steps - warm), 0.0, 1.0)
        factor = 0.5 * (1.0 + jnp.cos(jnp.pi * done))
    for share, dropped in config.drops:
        factor = jnp.where(count >= share * decay_steps, dropped, factor)
    if config.warmup:
        factor = factor * jnp.minimum((count + 1) / (warm + 1), 1.0)
    return factor


def _is_weight(params: Params) -> Params:
    """Mask of weights, arrays of two axes or more: no biases, scales, scalars.

    Nor learned rates of an inner loop, which have the shapes of what they move.
    """

    def decays(path: tuple[Any, ...], leaf: jax.Array) -> bool:
        return leaf.ndim > 1 and jax.tree_util.DictKey("rates") not in path

    return jax.tree_util.tree_map_with_path(decays, params)


Share = Callable[[Float[Array, ""]], Float[Array, ""]]
"""``share(t)``: weight in the mean of the parameters after step t, from 1."""


class AveragedState(NamedTuple):
    """State of `averaged`."""

    averaged_params: Params
    """Mean of the parameters after the steps that count; before, the last ones."""
    steps: Int[Array, ""]
    """Steps taken."""
    inner: Any
    """State of the optimizer itself."""


def uniform(first: ArrayLike) -> Share:
    """Weights of the plain mean of the parameters after the `first` steps."""
    return lambda t: 1.0 / jnp.maximum(t - first, 1.0)


def exponential(decay: float) -> Share:
    """Weights of an exponential moving average, corrected for its start.

    The mean after step t is ``sum_s decay^(t - s) params_s / sum_s decay^(t - s)`` over
    the steps s from 1 to t: after the first step these parameters, not the initial.
    """
    # The denominator is 1 - decay^t, which 32 bits would cancel.
    return lambda t: (1.0 - decay) / -jnp.expm1(t * math.log(decay))


def averaged(
    optimizer: optax.GradientTransformation, share_of: Share
) -> optax.GradientTransformation:
    """An optimizer that keeps a mean of the parameters after its steps."""

    def init(params: Params) -> AveragedState:
        copy = jax.tree.map(jnp.copy, params)
        return AveragedState(copy, jnp.zeros((), jnp.int32), optimizer.init(params))

    def update(
        updates: Params, state: Any, params: Params | None = None
    ) -> tuple[Params, AveragedState]:
        if params is None:
            raise ValueError("averages of parameters need `params` in `update`")
        updates, inner = optimizer.update(updates, state.inner, params)
        steps = state.steps + 1
        share = share_of(steps.astype(jnp.float32))
        means = jax.tree.map(
            lambda mean, new: mean + share.astype(mean.dtype) * (new - mean),
            state.averaged_params,
            optax.apply_updates(params, updates),
        )
        return updates, AveragedState(means, steps, inner)

    return optax.GradientTransformation(init, update)


def averaged_params(optimizer_state: Any) -> Params | None:
    """The mean that an optimizer state holds, however deep; None if it holds none."""
    return optax.tree.get(optimizer_state, "averaged_params")
