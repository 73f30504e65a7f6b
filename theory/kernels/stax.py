"""Kernels of architectures that neural-tangents computes.

It is imported when a kernel is first asked for. All networks end in one linear output
in the NTK parametrisation: that makes ``Sigma`` the last layer's part of ``Theta``.

References:
  Arora et al. On exact computation with an infinitely wide neural net. NeurIPS 2019,
    https://arxiv.org/abs/1904.11955 (convolutions, pooling).
"""

import functools
import inspect
import warnings
from collections.abc import Callable
from typing import Any, Literal, get_args

import numpy as np

from metabridge.theory.kernels import last_layer
from metabridge.theory.kernels.evaluate import fill_blocks, float64
from metabridge.theory.kernels.neural_tangents import neural_tangents
from metabridge.theory.types import Array, KernelFn, Kernels, check_choice, check_whole

Activation = Literal["relu", "erf"]
Pooling = Literal["flatten", "global_average"]


class NoTangentKernelError(ValueError):
    """An architecture has no tangent kernel, or none with a linear last layer."""


def from_stax(
    kernel_fn: Callable[..., Any],
    *,
    name: str = "this architecture",
    block: int | None = None,
) -> KernelFn:
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
    call = functools.partial(_call, kernel_fn, name)

    def kernel(x1: Array, x2: Array | None = None) -> Kernels:
        first = np.asarray(x1, np.float64)
        second = None if x2 is None else np.asarray(x2, np.float64)
        with float64():
            # On equal inputs, given once, neural-tangents is exact on the diagonal.
            if block is None:
                kernels = call(first, second)
            else:
                kernels = fill_blocks(call, first, second, block)
        if not all(np.isfinite(part).all() for part in kernels):
            raise NoTangentKernelError(
                f"{name} has no finite tangent kernel on these inputs"
            )
        if x2 is None and not _may_be_covariance(kernels.of("body"), kernels.ntk):
            fault = "Sigma is no part of its Theta"
            raise NoTangentKernelError(_not_linear(name, fault))
        return kernels

    return kernel


def fully_connected(
    depth: int,
    *,
    activation: Activation = "relu",
    W_std: float = 2.0**0.5,
    b_std: float = 0.0,
    last_W_std: float = 1.0,
) -> KernelFn:
    """A fully connected network; inputs of any shape are flattened.

    Args:
      depth: hidden layers, at least 0.
      W_std: scale of the weights of the hidden layers; `last_W_std` of the output's.
      b_std: scale of all biases, at least 0.

    Raises:
      ImportError: neural-tangents is not installed.
    """
    check_whole("depth", depth, 0)
    stax = neural_tangents().stax
    hidden = [stax.Dense(1, W_std, b_std), _activation(stax, activation)] * depth
    return from_stax(
        stax.serial(stax.Flatten(), *hidden, stax.Dense(1, last_W_std, b_std))[2],
        name=f"fully_connected(depth={depth}, activation={activation!r})",
    )


def convolutional(
    depth: int,
    *,
    pooling: Pooling = "flatten",
    activation: Activation = "relu",
    filter_size: int = 3,
    W_std: float = 2.0**0.5,
    b_std: float = 0.0,
    block: int | None = None,
) -> KernelFn:
    """Convolutions of stride 1 with "SAME" padding; inputs are images [N, H, W, c].

    Args:
      depth: convolutional layers, at least 1.
      pooling: what stands between the last of them and the output; "flatten" is cheap.
      filter_size: side of the filters.
      W_std: scale of the weights.
      b_std: scale of the biases.
      block: see `from_stax`.
    """
    check_whole("depth", depth, 1)
    stax = neural_tangents().stax
    conv = _conv(stax, filter_size, W_std, b_std)
    hidden = [conv, _activation(stax, activation)] * depth
    return from_stax(
        stax.serial(*hidden, _pooling(stax, pooling), stax.Dense(1))[2],
        name=f"convolutional(depth={depth}, pooling={pooling!r})",
        block=block,
    )


def residual(
    blocks: int,
    *,
    layer: Literal["dense", "conv"] = "dense",
    pooling: Pooling = "flatten",
    activation: Activation = "relu",
    filter_size: int = 3,
    W_std: float = 2.0**0.5,
    b_std: float = 0.0,
    block: int | None = None,
) -> KernelFn:
    """A layer, then residual blocks ``x + layer(act(layer(act(x))))``.

    He, Zhang, Ren, Sun. Identity mappings in deep residual networks. ECCV 2016,
    https://arxiv.org/abs/1603.05027, without its normalisation.

    Args:
      blocks: residual blocks, at least 1.
      layer: "dense" takes inputs of any shape, "conv" images ``[N, H, W, c]`` and the
        pooling and filters of `convolutional`.
      block: see `from_stax`.
    """
    check_whole("blocks", blocks, 1)
    check_choice("layer", layer, ("dense", "conv"))
    stax = neural_tangents().stax
    act = _activation(stax, activation)
    if layer == "dense":
        first, last = [stax.Flatten()], [act]
        linear = stax.Dense(1, W_std, b_std)
    else:
        first, last = [], [act, _pooling(stax, pooling)]
        linear = _conv(stax, filter_size, W_std, b_std)
    branches = stax.parallel(stax.serial(*[act, linear] * 2), stax.Identity())
    repeated = [stax.FanOut(2), branches, stax.FanInSum()] * blocks
    kernel = from_stax(
        stax.serial(*first, linear, *repeated, *last, stax.Dense(1))[2],
        name=f"residual(blocks={blocks}, layer={layer!r})",
        block=block,
    )

    def quiet(x1: Array, x2: Array | None = None) -> Kernels:
        with warnings.catch_warnings():
            # Asks for a layer in each branch; ours has one before the branches.
            warnings.filterwarnings("ignore", message="`FanIn` layers assume")
            return kernel(x1, x2)

    return quiet


def _conv(stax: Any, filter_size: int, W_std: float, b_std: float) -> Any:
    check_whole("filter_size", filter_size, 1)
    return stax.Conv(1, (filter_size,) * 2, padding="SAME", W_std=W_std, b_std=b_std)


def _activation(stax: Any, activation: Activation) -> Any:
    check_choice("activation", activation, get_args(Activation))
    return stax.Relu() if activation == "relu" else stax.Erf()


def _pooling(stax: Any, pooling: Pooling) -> Any:
    check_choice("pooling", pooling, get_args(Pooling))
    return stax.Flatten() if pooling == "flatten" else stax.GlobalAvgPool()


def _call(
    kernel_fn: Callable[..., Any], name: str, x1: np.ndarray, x2: np.ndarray | None
) -> Kernels:
    """Both kernels, or an error that names the architecture."""
    try:
        result = kernel_fn(x1, x2, ("nngp", "ntk"))
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
    return Kernels(nngp, ntk)


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
