"""iMAML: the outer gradient by the implicit function theorem, whatever the inner path.

Rajeswaran, Finn, Kakade, Levine. Meta-learning with implicit gradients. NeurIPS 2019,
https://arxiv.org/abs/1909.04630.

A task is solved near the start p: ``q = argmin loss(q, support) + proximity / 2 |q -
p|^2``, by gradient descent. Where that has converged,

    d loss(q, query) / dp = (I + H / proximity)^-1 gradient(loss(q, query))

with H the Hessian of the support's loss at q. Conjugate gradients solve it with
products of H and vectors, and nothing of the descent is kept in memory. They are cut
short in a direction of negative curvature, where the system has no minimum.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from jaxtyping import Array, Float, Key

from metabridge.learners import inner_loop
from metabridge.learners.base import Learner
from metabridge.learners.gradient_based import assemble
from metabridge.learners.inner_loop import InnerLoop
from metabridge.learners.network import BatchNorm, Network, first_statistics
from metabridge.learners.outer import with_gradient
from metabridge.types import Params, Task


def imaml(
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    *,
    ways: int,
    inner_lr: float = 0.1,
    inner_steps: int = 10,
    test_steps: int | None = None,
    proximity: float = 2.0,
    cg_steps: int = 5,
    batch_norm: BatchNorm = "batch",
    max_inner_grad_norm: float | None = None,
    joint: bool = False,
) -> Learner:
    """iMAML of body and head.

    Args:
      model: the body, ``[N, *X]`` to ``[N, D]``, called with `train`.
      optimizer: an optax optimizer of everything that is meta-learned.
      ways: classes of every task; the head has as many.
      inner_lr: step size of adaptation, positive.
      inner_steps: of adaptation in training, at least 1.
      test_steps: of adaptation to an unseen task; as many as in training unless given.
      proximity: weight of half the squared distance to the start, positive; the
        paper's lambda.
      cg_steps: of conjugate gradients, at least 0; 0 takes the query's gradient as it
        is.
      batch_norm: at test time, by the statistics of the batch at hand (transductive,
        the original's) or by running ones; see `network`.
      max_inner_grad_norm: inner gradients are cut to this norm.
      joint: adapt to support and query together, and judge on both: the joint training
        of Wang et al., ICML 2021 (https://arxiv.org/abs/2106.09017), section 4.


    Returns:
      The learner. Its parameters are ``{"body": ..., "head": {"linear": ...}}``. The
      loss of a step is NaN where an inner loop diverged.

    Raises:
      ValueError: an option out of its range; later, tasks of other `ways`, or training
        tasks without queries.
    """
    if not proximity > 0:
        raise ValueError(f"`proximity` must be positive, but it is {proximity}")
    if not isinstance(cg_steps, int) or cg_steps < 0:
        raise ValueError(f"`cg_steps` is {cg_steps}, but must be an integer >= 0")
    loop = InnerLoop(
        layers="all",
        steps=inner_steps,
        test_steps=inner_steps if test_steps is None else test_steps,
        rate=inner_lr,
        max_grad_norm=max_inner_grad_norm,
        proximity=proximity,
    )
    net = Network("imaml", model, loop, ways, batch_norm, joint)

    def task_loss(
        params: Params, batch_stats: Params, key: Key[Array, ""], task: Task
    ) -> tuple[Float[Array, ""], tuple[Float[Array, ""], Params]]:
        key_inner, key_outer = jax.random.split(key)
        inner, outer = net.split(task)
        start = jax.lax.stop_gradient(params)
        adapted, trace = net.adapt_in_training(start, batch_stats, key_inner, inner)

        def query_loss(params: Params):
            judged = net.score(params, batch_stats, key_outer, outer)
            return judged.loss, judged

        def support_loss(params: Params) -> Float[Array, ""]:
            return net.score(params, batch_stats, key_inner, inner).loss

        slope, judged = jax.grad(query_loss, has_aux=True)(adapted)
        slope = implicit_gradient(
            support_loss, adapted, slope, proximity=proximity, cg_steps=cg_steps
        )
        gradient = {"body": slope["body"], "head": {"linear": slope["head"]}}
        loss = inner_loop.poisoned(judged.loss, trace)
        return with_gradient(params, loss, gradient), (
            judged.accuracy,
            first_statistics(trace, judged),
        )

    return assemble(net, task_loss, optimizer)


def implicit_gradient(
    loss_fn: Callable[[Params], Float[Array, ""]],
    params: Params,
    slope: Params,
    *,
    proximity: float,
    cg_steps: int,
) -> Params:
    """Solves ``(I + H / proximity) x = slope``, H the Hessian of `loss_fn`.

    Args:
      loss_fn: twice differentiable.
      params: where the Hessian is taken.
      slope: shaped as `params`.
      proximity: positive.
      cg_steps: the solution is exact after as many as there are parameters, up to
        rounding, if the system is positive definite.

    Returns:
      x, shaped as `params`. Not differentiable in reverse mode on accelerators.
    """
    # The Hessian is symmetric: its product with a vector is a pullback of the gradient,
    # whose forward pass is computed once for all steps.
    _, times_hessian = jax.vjp(jax.grad(loss_fn), params)

    def system(x: Params) -> Params:
        (product,) = times_hessian(x)
        return jax.tree.map(lambda a, b: a + b / proximity, x, product)

    def step(carry, _):
        x, r, p, rr = carry
        product = system(p)
        curvature = _dot(p, product)
        useful = (curvature > 0) & (rr > 0)
        alpha = jnp.where(useful, rr / jnp.where(useful, curvature, 1.0), 0.0)
        x = _axpy(alpha, p, x)
        r = _axpy(-alpha, product, r)
        rr_next = _dot(r, r)
        beta = jnp.where(useful, rr_next / jnp.where(useful, rr, 1.0), 0.0)
        return (x, r, _axpy(beta, p, r), rr_next), None

    # Started from the slope, which is the solution for a Hessian of zero.
    r = jax.tree.map(lambda a, b: a - b, slope, system(slope))
    carry = (slope, r, r, _dot(r, r))
    if jax.default_backend() != "cpu":
        carry, _ = jax.lax.scan(step, carry, None, length=cg_steps)
        return carry[0]
    for _ in range(cg_steps):
        carry, _ = step(carry, None)
    return carry[0]


def _dot(a: Params, b: Params) -> Float[Array, ""]:
    products = [
        (x * y).sum()
        for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    ]
    return jnp.stack(products).sum()


def _axpy(scale: Float[Array, ""], x: Params, y: Params) -> Params:
    return jax.tree.map(lambda a, b: scale * a + b, x, y)
