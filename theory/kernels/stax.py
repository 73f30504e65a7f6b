"""Kernels out of kernel functions of neural-tangents, with what it leaves unchecked.

All networks end in one linear output in the NTK parametrisation: that makes ``Sigma``
the last layer's part of ``Theta``.
"""

import dataclasses
import functools
import inspect
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from metabridge.parallel.devices import has_avx512
from metabridge.theory.kernels import last_layer
from metabridge.theory.kernels.evaluate import fill_blocks, float64
from metabridge.theory.types import Array, KernelFn, Kernels, check_whole

Diagonal = Callable[[float], tuple[float, float]]
"""``Sigma(x, x)`` and ``Theta(x, x)`` of an input's mean square."""

_POOLS = ("AvgPool", "GlobalAvgPool", "GlobalSumPool", "SumPool")
_CHAOTIC = 1e-6
"""Relative error of a variance above which rounding has been magnified."""


class NoTangentKernelError(ValueError):
    """An architecture has no tangent kernel, or none with a linear last layer."""


@dataclasses.dataclass(frozen=True)
class StaxKernel:
    """The kernel of an architecture that neural-tangents computes."""

    evaluate: Callable[[np.ndarray, np.ndarray | None], Kernels]
    depth: int | None = None
    """As its factory counts it."""
    with_depth: Callable[[int], KernelFn] | None = None
    """The kernel of the same network of another depth."""

    def __call__(self, x1: Array, x2: Array | None = None) -> Kernels:
        """Kernels ``[N, M]`` in float64; `x2` None means `x1`."""
        first = np.asarray(x1, np.float64)
        if x2 is None:
            return self.evaluate(first, None)
        second = np.asarray(x2, np.float64)
        if first.shape[1:] != second.shape[1:]:
            raise ValueError(
                f"the inputs differ in shape: {list(first.shape[1:])} and "
                f"{list(second.shape[1:])}"
            )
        return self.evaluate(first, second)


def from_stax(
    kernel_fn: Callable[..., Any],
    *,
    name: str = "this architecture",
    block: int | None = None,
) -> StaxKernel:
    """A kernel out of a neural-tangents kernel function.

    Get `stax` through ``theory.neural_tangents().stax``, which works on current JAX.

    Args:
      kernel_fn: third part of what a `neural_tangents.stax` layer returns. The last
        layer must be ``Dense(1)`` in the NTK parametrisation, the default; sums of such
        layers and averages of their outputs will do too.
      name: the architecture's name in an error.
      block: evaluate at most so many inputs against as many at a time; pooled
        convolutions need ``(H W)^2`` numbers a pair of images.

    Raises:
      NoTangentKernelError: the network does not end as it must, or, when the kernel is
        evaluated, it has none.
    """
    if not callable(kernel_fn):
        raise TypeError(
            "`kernel_fn` must be a neural-tangents kernel function, the third of "
            f"(init_fn, apply_fn, kernel_fn), but is a {type(kernel_fn).__name__}"
        )
    if block is not None:
        check_whole("block", block, 1)
    if "params" in inspect.signature(kernel_fn).parameters:
        raise TypeError(
            "`kernel_fn` is an empirical kernel function, which takes parameters and "
            "whose 'nngp' is a product of outputs, not the last layer's part: pass "
            "theory.empirical(apply, params, head=...) as the kernel instead"
        )
    fault = last_layer.find_fault(kernel_fn)
    if fault is not None:
        raise NoTangentKernelError(_not_linear(name, fault))
    run, layers = kernel_fn, last_layer.layer_names(kernel_fn)
    if layers.intersection(_POOLS):
        run = _runnable(kernel_fn)
    # A function of one's own around a network may know these two alone.
    get = ("nngp", "ntk", "cov1") if layers else ("nngp", "ntk")
    return StaxKernel(functools.partial(evaluate_stax, run, name, block, get))


def _runnable(kernel_fn: Callable[..., Any]) -> Callable[..., Any]:
    """The kernel function, compiled with AVX2 alone where more kills the process.

    jaxlib 0.10.2 ends with a segmentation fault in the pooling of large covariances
    between pixels, in float64 with AVX-512.
    """
    if jax.default_backend() != "cpu" or not has_avx512():
        return kernel_fn
    return jax.jit(
        lambda x1, x2, get: kernel_fn(x1, x2, get),
        static_argnums=2,
        compiler_options={"xla_cpu_max_isa": "AVX2"},
    )


def evaluate_stax(
    kernel_fn: Callable[..., Any],
    name: str,
    block: int | None,
    get: tuple[str, ...],
    x1: np.ndarray,
    x2: np.ndarray | None,
    *,
    diagonal: Diagonal | None = None,
) -> Kernels:
    """Both kernels, checked.

    Args:
      get: of the kernel function where there is no `x2`.
      diagonal: exact values between an input and itself.

    Raises:
      NoTangentKernelError: the network has none, or not with these inputs.
    """
    call = functools.partial(_call, kernel_fn, name, get, diagonal)
    with float64():
        # On equal inputs, given once, neural-tangents is exact on the diagonal.
        kernels = call(x1, x2) if block is None else fill_blocks(call, x1, x2, block)
    if not all(np.isfinite(part).all() for part in kernels):
        raise NoTangentKernelError(
            f"{name} has no finite tangent kernel on these inputs"
        )
    if x2 is None and not _may_be_covariance(kernels.of("body"), kernels.ntk):
        fault = "Sigma is no part of its Theta"
        raise NoTangentKernelError(_not_linear(name, fault))
    return kernels


def _call(
    kernel_fn: Callable[..., Any],
    name: str,
    get: tuple[str, ...],
    diagonal: Diagonal | None,
    x1: np.ndarray,
    x2: np.ndarray | None,
) -> Kernels:
    """Both kernels, or an error that names the architecture."""
    try:
        result = kernel_fn(x1, x2, ("nngp", "ntk") if x2 is not None else get)
    except NotImplementedError as error:
        raise NoTangentKernelError(
            f"{name} has no tangent kernel in closed form: neural-tangents does not "
            f"implement one of its layers ({error or 'no details given'})"
        ) from error
    nngp, ntk = np.asarray(result.nngp), np.asarray(result.ntk)
    if not ntk.ndim:
        raise NoTangentKernelError(f"{name} has no tangent kernel: it has no weights")
    expected = (len(x1), len(x1 if x2 is None else x2))
    if ntk.shape != expected or nngp.shape != expected:
        raise NoTangentKernelError(
            f"{name} gives kernels {list(ntk.shape)} for {expected} inputs: end it in "
            "stax.Flatten() or stax.GlobalAvgPool(), then stax.Dense(1)"
        )
    if diagonal is not None:
        return _with_exact(Kernels(nngp, ntk), diagonal, x1, x1 if x2 is None else x2)
    variances = getattr(result, "cov1", None)
    if x2 is None and variances is not None:
        _check_diagonal(name, nngp.diagonal(), np.asarray(variances))
    return Kernels(nngp, ntk)


def _with_exact(
    kernels: Kernels, diagonal: Diagonal, x1: np.ndarray, x2: np.ndarray
) -> Kernels:
    """The kernels with exact values between inputs that are equal."""
    places: dict[bytes, list[int]] = {}
    for column, x in enumerate(x2):
        places.setdefault(x.tobytes(), []).append(column)
    nngp, ntk = np.array(kernels.nngp), np.array(kernels.ntk)
    exact: dict[float, tuple[float, float]] = {}
    for row, x in enumerate(x1):
        columns = places.get(x.tobytes())
        if columns:
            square = float(np.square(x).mean())
            if square not in exact:
                exact[square] = diagonal(square)
            nngp[row, columns], ntk[row, columns] = exact[square]
    return Kernels(nngp, ntk)


def _check_diagonal(name: str, found: np.ndarray, variances: np.ndarray) -> None:
    """Raises where ``Sigma(x, x)`` is not the variance that is known by itself."""
    if variances.shape != found.shape or not np.isfinite(variances).all():
        return
    wrong = np.flatnonzero(~(np.abs(found - variances) <= _CHAOTIC * variances))
    if len(wrong):
        raise NoTangentKernelError(
            f"the kernel of {name} is lost to rounding: Sigma(x, x) of input "
            f"{wrong[0]} is {found[wrong[0]]:.4g}, and the variance of its output "
            f"{variances[wrong[0]]:.4g}. A chaotic network magnifies rounding in each "
            "layer: take fewer layers, or scales that are critical (theory.phase, "
            "theory.critical)"
        )


def _not_linear(name: str, fault: str) -> str:
    return (
        f"{name} does not end in a linear layer of the NTK parametrisation: {fault}. "
        "End it in stax.Dense(1), without `parameterization`"
    )


def _may_be_covariance(body: Array, whole: Array) -> bool:
    """Test the Cauchy-Schwarz inequality on each pair of points, up to round-off."""
    # neural-tangents loses half the digits on the diagonal.
    slack = 1e-6 * np.diagonal(whole).max(initial=0.0)
    variance = np.diagonal(body) + slack
    bound = np.outer(variance, variance)
    return bool((variance >= 0).all() and (body**2 <= bound).all())
