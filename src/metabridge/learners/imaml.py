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

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn

from metabridge.config import IMAMLConfig
from metabridge.heads.base import check_positive
from metabridge.learners.base import Learner
from metabridge.learners.inner_loop import InnerLoop
from metabridge.learners.losses import CROSS_ENTROPY, Loss
from metabridge.learners.network import BatchNorm, Evaluation, Network, assemble
from metabridge.learners.outer import Evaluate, make_task_loss
from metabridge.types import Params, Scalar


def imaml(
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    *,
    ways: int,
    inner_lr: float = IMAMLConfig.inner_lr,
    inner_steps: int = IMAMLConfig.inner_steps,
    test_steps: int | None = None,
    proximity: float = IMAMLConfig.proximity,
    cg_steps: int = IMAMLConfig.cg_steps,
    batch_norm: BatchNorm = IMAMLConfig.batch_norm,
    max_inner_grad_norm: float | None = IMAMLConfig.max_inner_grad_norm,
    joint: bool = IMAMLConfig.joint,
    loss: Loss = CROSS_ENTROPY,
    in_turn: bool | None = None,
) -> Learner:
    """IMAML of body and head.

    Options and errors are as for `maml`, and besides `proximity`, the paper's lambda:
    weight of half the squared distance to the start; `cg_steps` of conjugate gradients,
    0 of which take the query's gradient as it is.
    """
    check_positive(proximity=proximity)
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
    net = Network(
        "imaml", model, loop, ways, batch_norm, joint, loss=loss, in_turn=in_turn
    )

    solve = functools.partial(implicit_gradient, proximity=proximity, cg_steps=cg_steps)

    def gradient_of(
        _: Params, adapted: Params, inner: Evaluate, outer: Evaluate
    ) -> tuple[Evaluation, Params]:
        evaluation, direct = jax.value_and_grad(outer, has_aux=True)(adapted)
        return evaluation, solve(lambda params: inner(params)[0], adapted, direct)

    return assemble(net, optimizer, make_task_loss(net, gradient_of))


def implicit_gradient(
    loss_fn: Callable[[Params], Scalar],
    params: Params,
    cotangent: Params,
    *,
    proximity: float,
    cg_steps: int,
) -> Params:
    """Solves ``(I + H / proximity) x = cotangent``, H the Hessian of `loss_fn`.

    Exact, up to rounding, after as many `cg_steps` as there are parameters, if the
    system is positive definite. Not differentiable in reverse mode on accelerators.
    """
    # The Hessian is symmetric: its product with a vector is a pullback of the gradient,
    # whose forward pass is computed once for all steps.
    _, times_hessian = jax.vjp(jax.grad(loss_fn), params)

    def system(x: Params) -> Params:
        return jax.tree.map(lambda a, b: a + b / proximity, x, times_hessian(x)[0])

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

    # Started from the solution for a Hessian of zero.
    r = optax.tree.sub(cotangent, system(cotangent))
    carry = (cotangent, r, r, _dot(r, r))
    if jax.default_backend() != "cpu":
        return jax.lax.scan(step, carry, length=cg_steps)[0][0]
    for _ in range(cg_steps):
        carry, _ = step(carry, None)
    return carry[0]


def _axpy(scale: Scalar, x: Params, y: Params) -> Params:
    return jax.tree.map(lambda a, b: scale * a + b, x, y)


def _dot(a: Params, b: Params) -> Scalar:
    products = jax.tree.map(lambda x, y: (x * y).sum(), a, b)
    return jnp.stack(jax.tree.leaves(products)).sum()
