"""Inner loops that are linear in the predictions, as operators.

Adapting on a support ``(X', Y')`` changes the predictions at any Z to
``f(Z) + A (Y' - f(X'))`` with ``A = K(Z, X') g(K(X', X'))``. The layers that adapt
choose K, the loop chooses g, a function of the eigenvalues of K. The loss is
``1/2 ||f - y||^2`` summed over the support, and time is learning rate times steps.

References:
  Wang, Zhao, Li. Bridging multi-task learning and meta-learning: Towards efficient
    training and effective adaptation. ICML 2021, https://arxiv.org/abs/2106.09017.
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np
from jaxtyping import Float

from metabridge.theory.solvers import dense, filters
from metabridge.theory.types import LAYERS, Kernels, Layers, check_whole

Loop = Literal["flow", "steps", "ridge", "spectral"]


@dataclasses.dataclass(frozen=True)
class Inner:
    """An inner loop; made by `gradient_flow`, `gradient_steps`, `ridge` or `spectral`.

    Attributes:
      layers: which layers adapt.
      loop: how they adapt.
      time: of the flow, in learning rate times steps, up to infinity.
      lr: of the steps.
      steps: how many.
      penalty: of the ridge.
      g: of a loop of one's own, from eigenvalues to its values.
      zero_head: adapt from a head of zeros and not from the meta-learned one.
    """

    layers: Layers
    loop: Loop
    time: float = 0.0
    lr: float = 0.0
    steps: int = 0
    penalty: float = 0.0
    g: filters.Filter | None = None
    zero_head: bool = False

    def __post_init__(self) -> None:
        if self.layers not in LAYERS:
            raise ValueError(
                f"unknown layers {self.layers!r}; known are {', '.join(LAYERS)}"
            )
        if self.loop not in get_args(Loop):
            raise ValueError(
                f"unknown inner loop {self.loop!r}; known are "
                f"{', '.join(get_args(Loop))}, made by theory.gradient_flow, "
                "gradient_steps, ridge and spectral"
            )
        if (self.loop == "spectral") != callable(self.g):
            raise ValueError(
                "`g` must be a function of eigenvalues with loop='spectral', and None "
                f"with another, but is {self.g!r} with {self.loop!r}: call "
                "theory.spectral(layers, g=...)"
            )
        for name in ("time", "lr", "steps", "penalty"):
            value = getattr(self, name)
            if math.isnan(value) or value < 0:
                raise ValueError(f"`{name}` must be at least 0, but is {value}")
        if self.zero_head and self.layers != "head":
            raise ValueError(
                f"`zero_head` is for layers='head', not {self.layers!r}: under a head "
                "of zeros the body has no gradient"
            )

    @property
    def filter(self) -> filters.Filter | None:
        """G of gradient steps and of a loop of one's own; None of another."""
        return filters.Descent(self.lr, self.steps) if self.loop == "steps" else self.g

    @property
    def idle(self) -> bool:
        """Tell whether this loop changes nothing."""
        if self.loop == "ridge":
            return self.penalty == math.inf
        if self.loop == "spectral":
            return False
        return (self.time if self.loop == "flow" else self.lr * self.steps) == 0

    @property
    def initial_time(self) -> float:
        """``g(0)``: the time of the gradient flow that is the same to first order."""
        if self.loop == "ridge":
            return 1.0 / self.penalty if self.penalty else math.inf
        if self.g is not None:
            zero = np.zeros(1)
            return float(filters.apply(self.g, zero, what="a singular kernel")[0])
        return self.time if self.loop == "flow" else self.lr * self.steps

    @property
    def interpolates(self) -> bool:
        """Tell whether this loop fits the support exactly, which needs an inverse."""
        if self.loop == "ridge":
            return self.penalty == 0
        return self.loop == "flow" and self.time == math.inf


def check_inner(name: str, inner: object) -> None:
    """Raises for what is no inner loop."""
    if not isinstance(inner, Inner):
        made = "theory.gradient_flow('head', time=0.1)"
        if callable(inner):
            made = f"theory.spectral('head', g={inner!r})"
        raise TypeError(f"`{name}` must be an inner loop, as {made}, not {inner!r}")


def gradient_flow(layers: Layers, *, time: float) -> Inner:
    """Gradient flow: ANIL ("head"), BOIL ("body") or MAML ("all").

    ``g(K) = K^-1 (I - exp(-time K))``.

    The time is learning rate times steps, from 0 (no adaptation) to infinity
    (interpolation of the support).

    References:
      Raghu, Raghu, Bengio, Vinyals (ANIL). ICLR 2020, https://arxiv.org/abs/1909.09157.
      Oh, Yoo, Kim, Yun (BOIL). ICLR 2021, https://arxiv.org/abs/2008.08882.
      Finn, Abbeel, Levine (MAML). ICML 2017, https://arxiv.org/abs/1703.03400.
    """
    return Inner(layers, "flow", time=float(time))


def gradient_steps(layers: Layers, *, lr: float, steps: int) -> Inner:
    """Plain gradient steps: ``g(K) = K^-1 (I - (I - lr K)^steps)``.

    The rate is at most 2 over the largest eigenvalue of any support's kernel, or the
    steps diverge; what evaluates the loop raises ValueError then.
    """
    check_whole("steps", steps, 0)
    return Inner(layers, "steps", lr=float(lr), steps=int(steps))


def ridge(layers: Layers, *, penalty: float, zero_head: bool = False) -> Inner:
    """The ridge or proximal solution: ``g(K) = (K + penalty I)^-1``.

    With "head" this is R2-D2 and the ridge form of MetaOptNet, from the meta-learned
    head or, as in their papers, from a head of zeros; with "all" it is iMAML.

    It minimises ``1/2 ||f - y||^2 + penalty/2 ||w - w_0||^2``; a penalty of 0
    interpolates. With `zero_head`, ``w_0 = 0``: the predictions are ``A Y'``, in which
    nothing is left of f but the features behind A. These do not move at infinite width:
    each entry of A is a mean over the width n, whose gradient has a squared norm of
    order ``1 / n``, so that meta-training for a given time changes predictions by
    ``O(1 / n)``. An infinitely wide R2-D2 transfers nothing, whatever the tasks; a
    finite one learns features in a time of order n, which is outside this theory.

    References:
      Bertinetto, Henriques, Torr, Vedaldi (R2-D2). ICLR 2019,
        https://arxiv.org/abs/1805.08136.
      Lee, Maji, Ravichandran, Soatto (MetaOptNet). CVPR 2019,
        https://arxiv.org/abs/1904.03758.
      Rajeswaran, Finn, Kakade, Levine (iMAML). NeurIPS 2019,
        https://arxiv.org/abs/1909.04630.
    """
    return Inner(layers, "ridge", penalty=float(penalty), zero_head=zero_head)


def carried(
    inner: Inner, A: Float[np.ndarray, "Q S"], values: Float[np.ndarray, "P K"]
) -> Float[np.ndarray, "Q K"]:
    """``[I, -A] f`` of f at the queries, then the supports; 0 from a head of zeros."""
    queries = len(A)
    if inner.zero_head:
        return np.zeros((queries, values.shape[1]))
    return values[:queries] - A @ values[queries:]


def spectral(layers: Layers, *, g: filters.Filter) -> Inner:
    """An inner loop of one's own, given as a function g of the kernel's eigenvalues.

    Any adaptation that is linear in the labels and moves the predictions along the
    eigenvectors of the kernel: `theory.HeavyBall`, `theory.Nesterov`,
    `theory.Chebyshev` and `theory.Descent` are such functions.

    Args:
      layers: which layers adapt.
      g: from eigenvalues ``[N]``, at least 0, to values ``[N]``, finite at 0, too;
        ``(1 - exp(-time s)) / s`` is gradient flow.

    Example:
      >>> spectral("head", g=lambda s: 1.0 / (s + 0.1))  # ridge
    """
    return Inner(layers, "spectral", g=g)


def operator(
    inner: Inner, query_support: Kernels, support_support: Kernels, *, what: str
) -> Float[np.ndarray, "Q S"]:
    """``A = K(X, X') g(K(X', X'))`` for one task.

    `what` names the support in an error, as "the support of task 3".

    Raises:
      theory.SingularKernelError: the loop interpolates and the kernel is singular.
      ValueError: gradient steps that diverge.
    """
    cross = np.asarray(query_support.of(inner.layers))
    if inner.idle or not cross.shape[1]:
        return np.zeros(cross.shape)
    matrix = np.asarray(support_support.of(inner.layers))
    # An inner loop has no jitter.
    remedy = "pass a kernel that is positive semi-definite"
    if inner.interpolates:
        finite = inner.loop == "flow"
        remedy = "adapt for a finite time" if finite else "pass a penalty above 0"
    values, vectors = dense.eigenbasis(
        matrix,
        names=lambda row: f"{what}, example {row}",
        invertible=inner.interpolates,
        remedy=remedy,
    )
    return (cross @ vectors * _g(inner, values, what)) @ vectors.T


def check_rates(inner: Inner, supports: Sequence[Kernels]) -> None:
    """Raises unless steps converge on the kernels of every task's support.

    `operator` checks one support; here the limit is that of all of them.
    """
    if not hasattr(inner.filter, "limit") or inner.idle:
        return
    largest = [
        float(np.linalg.eigvalsh(kernels.of(inner.layers))[-1])
        if len(kernels.nngp)
        else 0.0
        for kernels in supports
    ]
    worst = int(np.argmax(largest))
    filters.check_limit(
        inner.filter, largest[worst], what=f"the kernel of the support of task {worst}"
    )


def _g(inner: Inner, values: np.ndarray, what: str) -> np.ndarray:
    """``g`` at the eigenvalues, which are at least 0; its limit where they are 0."""
    if inner.loop == "ridge":
        return 1.0 / (values + inner.penalty)
    if inner.filter is None:
        return dense.flow(values, inner.time)
    return filters.apply(inner.filter, values, what=f"the kernel of {what}")
