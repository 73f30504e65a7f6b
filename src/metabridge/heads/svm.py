"""The multi-class support vector machine, differentiable, for all tasks at once.

Crammer, Singer. On the algorithmic implementation of multiclass kernel-based vector
machines. JMLR 2001, https://www.jmlr.org/papers/v2/crammer01a.html. A head inside
training since Lee, Maji, Ravichandran, Soatto. Meta-learning with differentiable convex
optimization. CVPR 2019, https://arxiv.org/abs/1904.03758, equations 7 to 9.

With ``W = C X^T A`` the dual has S * ways unknowns, however wide the features are.
`metabridge.heads.crammer_singer` solves it for ``K = C (X X^T + dual_penalty)``.

The derivative is the implicit one. Where an entry of ``Y - A`` is zero it stays so; the
other equations ``K A + v 1^T = Y``, with ``A 1 = 0``, are linear, and with P their
inverse, ``dA = -P dK A``. It holds where no entry of ``Y - A`` and its multiplier are
both zero, which is almost everywhere.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from metabridge.heads import crammer_singer
from metabridge.heads.base import Head, Linear, check_positive, full_precision
from metabridge.masks import Mask, present_classes


class Info(NamedTuple):
    """Convergence of the solver."""

    residual: Float[Array, ""]
    """The largest change of B that a projected gradient step of size 1 makes: 0 at the
    solution alone. Entries of B are in [0, 1], gradients in units of the margin."""


def svm(C: float = 0.1, *, num_steps: int = 20) -> Head:
    """A multi-class support vector machine; `solve` has the options."""
    _check(C, 0.0, num_steps)

    def fit(features: Array, labels: Array, *, ways: int, mask: Mask = None) -> Linear:
        options = {"ways": ways, "C": C, "num_steps": num_steps, "mask": mask}
        return solve(features, labels, **options)[0]

    return Head("svm", fit)


@full_precision
def solve(
    features: Float[Array, "S D"],
    labels: Int[Array, "S"],
    *,
    ways: int,
    C: float = 0.1,
    dual_penalty: float = 0.0,
    num_steps: int = 20,
    mask: Mask = None,
) -> tuple[Linear, Info]:
    """Minimise ``||W||^2 / 2 + C sum_i max_k(x_i.w_k - x_i.w_y + [k != y])``.

    No intercept: `LinearSVC(C=C, multi_class="crammer_singer", fit_intercept=False)` of
    scikit-learn. Differentiable once in the features, in reverse mode, implicitly.

    The bias is zero, and C positive. `dual_penalty` is added to the diagonal of
    ``X X^T``: the code of MetaOptNet has 1, which matters only to short features; 0 is
    the machine above. The interior point method takes at most `num_steps`, at least 1,
    and stops when there is nothing to gain in the precision of the features. Where
    `mask` is False there is no example; its features must be zeros.
    """
    if ways < 2:
        raise ValueError(
            f"a support vector machine separates classes, but `ways` is {ways}: "
            "pass tasks of at least 2 classes, or take another head"
        )
    _check(C, dual_penalty, num_steps)
    gram = features @ features.T
    diagonal = dual_penalty * jnp.eye(len(gram), dtype=gram.dtype)
    margins = None
    if mask is not None:
        margins = _margins_of_absent(gram, labels, ways, C)
        # An example of zeros meets no other, whatever its class: one that is there.
        labels = jnp.where(mask, labels, labels[mask.argmax()])
    targets = jax.nn.one_hot(labels, ways, dtype=features.dtype)
    solved: Any = _solve_dual(C * (gram + diagonal), targets, margins, num_steps)
    dual, residual = solved
    weights = C * (features.T @ dual)
    return Linear(weights, jnp.zeros(ways, features.dtype)), Info(residual)


def _check(C: float, dual_penalty: float, num_steps: int) -> None:
    check_positive(C=C)
    if not dual_penalty >= 0:
        raise ValueError(f"`dual_penalty` must be at least 0, but it is {dual_penalty}")
    if num_steps < 1:
        raise ValueError(f"`num_steps` must be at least 1, but it is {num_steps}")


def _margins_of_absent(
    gram: Any, labels: Int[Array, "S"], ways: int, C: float
) -> Float[Array, "ways"]:
    """Less of a margin for classes that are not there than any score could make up.

    With W = 0 the loss is C S, so that at the solution ``||W||^2 <= 2 C S``.
    """
    longest = jnp.sqrt(jnp.diagonal(gram).max() * (2.0 * C * len(gram)))
    there = present_classes(labels, ways)
    never = jnp.full(ways, 1.0, gram.dtype) + 2.0 * longest
    return jnp.where(there, jnp.zeros_like(never), never)


@functools.partial(jax.custom_vjp, nondiff_argnums=(3,))
def _solve_dual(
    kernel: Any, targets: Any, margins: Any, num_steps: int
) -> tuple[Any, Any]:
    """The solution A, and its residual, which counts as a constant."""
    return _solve_forward(kernel, targets, margins, num_steps)[0]


def _solve_forward(kernel: Any, targets: Any, margins: Any, num_steps: int) -> Any:
    solution = crammer_singer.solve(kernel, targets, num_steps, margins)
    return solution[:2], (kernel, solution.dual, solution.factors, margins)


@full_precision
def _solve_backward(_: int, saved: Any, cotangents: Any) -> Any:
    kernel, dual, factors, margins = saved
    no_excess = jnp.zeros_like(dual[:, 0])
    change = crammer_singer.free_solve(kernel, factors, cotangents[0], no_excess)[0]
    none = None if margins is None else jnp.zeros_like(margins)
    return -change @ dual.T, jnp.zeros_like(dual), none


_solve_dual.defvjp(_solve_forward, _solve_backward)
