"""Spectral filters: a linear iteration as a function g of the kernel's eigenvalues.

Whatever moves the predictions from 0 to ``K g(K) y`` is its g: ``(1 - exp(-t s)) / s``
of gradient flow, and the ones below, of methods in discrete steps. With ``1 - s c`` the
residual along an eigenvector of eigenvalue s after a method's steps, c is ``g(s)``; the
loss is ``1/2 ||f - y||^2``, summed.
"""

import dataclasses
import math
from collections.abc import Callable

import numpy as np
from jaxtyping import Float

from metabridge.theory.types import check_whole

Filter = Callable[[Float[np.ndarray, "N"]], Float[np.ndarray, "N"]]
"""``g``: eigenvalues, at least 0, to its values; finite at 0, too."""


def apply(
    g: Filter, values: Float[np.ndarray, "N"], *, what: str
) -> Float[np.ndarray, "N"]:
    """``g`` at the eigenvalues of a kernel, checked; `what` names the kernel.

    Raises:
      TypeError: it gives no real numbers.
      ValueError: it gives other than one finite number an eigenvalue, or is of an
        iteration that diverges.
    """
    check_limit(g, float(values.max(initial=0.0)), what=what)
    result = np.asarray(g(values.copy()))
    if result.dtype.kind not in "fiu":
        raise TypeError(
            f"a spectral filter must give real numbers, but {g} gave {result.dtype}"
        )
    if result.shape != values.shape:
        raise ValueError(
            f"a spectral filter must give one number an eigenvalue, {values.shape}, "
            f"but {g} gave {result.shape}"
        )
    if not np.isfinite(result).all():
        where = int(np.argmin(np.isfinite(result)))
        raise ValueError(
            f"{g} gave {result[where]} at the eigenvalue {values[where]:.4g} of "
            f"{what}: a spectral filter must be finite from 0 (where a kernel is "
            "singular) to the largest eigenvalue"
        )
    return result.astype(np.float64)


def check_limit(g: Filter | None, largest: float, *, what: str) -> None:
    """Raises for steps that diverge on a kernel, by its largest eigenvalue."""
    limit = getattr(g, "limit", math.inf)
    # Round-off in the eigenvalue must not refuse the limit itself.
    if largest <= limit * (1.0 + 1e-12):
        return
    lr = getattr(g, "lr", None)
    raise ValueError(
        f"the steps of {g} are too large: they diverge on {what}, whose largest "
        f"eigenvalue {largest:.4g} is above their limit {limit:.4g}; "
        + (
            "take smaller steps"
            if lr is None
            else f"pass lr below {lr * limit / largest:.4g}"
        )
    )


@dataclasses.dataclass(frozen=True)
class Descent:
    """Gradient steps, stopped early: ``g(s) = (1 - (1 - lr s)^steps) / s``.

    Attributes:
      lr: step size.
      steps: how many.
    """

    lr: float
    steps: int

    def __post_init__(self) -> None:
        _check(self.lr, self.steps)

    @property
    def limit(self) -> float:
        """Eigenvalue above which the steps diverge, ``2 / lr``."""
        return 2.0 / self.lr if self.lr else math.inf

    def __call__(self, values: Float[np.ndarray, "N"]) -> Float[np.ndarray, "N"]:
        lr, steps = self.lr, self.steps
        shrink = lr * values
        # I - (1 - shrink)^steps, without cancellation where shrink is small.
        moved = np.where(
            shrink < 0.5,
            -np.expm1(steps * np.log1p(-np.minimum(shrink, 0.5))),
            1.0 - (1.0 - shrink) ** steps,
        )
        positive = values > 0
        return np.where(positive, moved / np.where(positive, values, 1.0), lr * steps)


@dataclasses.dataclass(frozen=True)
class _Momentum:
    lr: float
    momentum: float
    steps: int

    def __post_init__(self) -> None:
        _check(self.lr, self.steps, self.momentum)


@dataclasses.dataclass(frozen=True)
class HeavyBall(_Momentum):
    """Gradient steps with momentum, as ``optax.sgd(lr, momentum)`` takes them.

    ``c_{k+1} = c_k + lr (1 - s c_k) + momentum (c_k - c_{k-1})`` from
    ``c_0 = c_{-1} = 0``.

    Attributes:
      lr: step size.
      momentum: share of the last move that is kept, in [0, 1).
      steps: how many.

    References:
      Polyak. Some methods of speeding up the convergence of iteration methods. USSR
        Comput. Math. Math. Phys. 1964.
    """

    @property
    def limit(self) -> float:
        """Eigenvalue above which the steps diverge, ``2 (1 + momentum) / lr``."""
        return 2.0 * (1.0 + self.momentum) / self.lr if self.lr else math.inf

    def __call__(self, values: Float[np.ndarray, "N"]) -> Float[np.ndarray, "N"]:
        c, move = np.zeros(values.shape), np.zeros(values.shape)
        for _ in range(self.steps):
            move = self.momentum * move + self.lr * (1.0 - values * c)
            c = c + move
        return c


@dataclasses.dataclass(frozen=True)
class Nesterov(_Momentum):
    """Nesterov's accelerated steps, as ``optax.sgd(lr, momentum, nesterov=True)``.

    ``c_{k+1} = d_k + lr (1 - s d_k)`` and ``d_{k+1} = c_{k+1} + momentum (c_{k+1} -
    c_k)`` from ``c_0 = d_0 = 0``. The weights of optax and PyTorch, and the result
    here, are the points d at which gradients are taken.

    Attributes:
      lr: step size.
      momentum: constant, in [0, 1).
      steps: how many.

    References:
      Nesterov. A method for solving the convex programming problem with convergence
        rate O(1/k^2). Dokl. Akad. Nauk SSSR 1983.
      Sutskever, Martens, Dahl, Hinton. On the importance of initialization and momentum
        in deep learning. ICML 2013.
    """

    @property
    def limit(self) -> float:
        """Eigenvalue above which the steps diverge.

        ``2 (1 + momentum) / (1 + 2 momentum) / lr``.
        """
        highest = 2.0 * (1.0 + self.momentum) / (1.0 + 2.0 * self.momentum)
        return highest / self.lr if self.lr else math.inf

    def __call__(self, values: Float[np.ndarray, "N"]) -> Float[np.ndarray, "N"]:
        c, d = np.zeros(values.shape), np.zeros(values.shape)
        for _ in range(self.steps):
            before, c = c, d + self.lr * (1.0 - values * d)
            d = c + self.momentum * (c - before)
        return d


@dataclasses.dataclass(frozen=True)
class Chebyshev:
    """Chebyshev's semi-iteration: the least residual for eigenvalues in an interval.

    After so many steps the residual is ``T((upper + lower - 2 s) / (upper - lower))``
    over its value at s = 0, T being Chebyshev's polynomial of that degree.

    Attributes:
      lower: end of the interval, above 0.
      upper: other end; eigenvalues above it diverge, so it is to be at least the
        largest.
      steps: how many.

    References:
      Golub, Van Loan. Matrix computations, section 11.2.8.
    """

    lower: float
    upper: float
    steps: int

    def __post_init__(self) -> None:
        check_whole("steps", self.steps, 0)
        if not 0 < self.lower < self.upper < math.inf:
            raise ValueError(
                "`lower` and `upper` must be 0 < lower < upper, but are "
                f"{self.lower} and {self.upper}"
            )

    @property
    def limit(self) -> float:
        """Eigenvalue above which the steps diverge, `upper`."""
        return self.upper

    def __call__(self, values: Float[np.ndarray, "N"]) -> Float[np.ndarray, "N"]:
        middle, half = (self.upper + self.lower) / 2.0, (self.upper - self.lower) / 2.0
        c, move, rho = np.zeros(values.shape), np.zeros(values.shape), half / middle
        for step in range(self.steps):
            left = 1.0 - values * c
            if step:
                before, rho = rho, 1.0 / (2.0 * middle / half - rho)
                move = rho * before * move + 2.0 * rho / half * left
            else:
                move = left / middle
            c = c + move
        return c


def _check(lr: float, steps: int, momentum: float = 0.0) -> None:
    check_whole("steps", steps, 0)
    if not 0 <= lr < math.inf:
        raise ValueError(f"`lr` must be at least 0 and finite, but is {lr}")
    if not 0 <= momentum < 1:
        raise ValueError(f"`momentum` must lie in [0, 1), but is {momentum}")
