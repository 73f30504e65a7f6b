"""Fully connected, convolutional and residual networks, by neural-tangents.

It is imported when a kernel is first asked for.

References:
  Arora et al. On exact computation with an infinitely wide neural net. NeurIPS 2019,
    https://arxiv.org/abs/1904.11955 (convolutions, pooling).
"""

import dataclasses
import functools
import inspect
import warnings
from collections.abc import Callable
from typing import Any, Literal, ParamSpec, get_args

import numpy as np

from metabridge.theory.kernels.activations import MOMENTS, Activation
from metabridge.theory.kernels.neural_tangents import neural_tangents
from metabridge.theory.kernels.stax import StaxKernel, evaluate_stax, from_stax
from metabridge.theory.types import Kernels, check_choice, check_scale, check_whole

Pooling = Literal["flatten", "global_average"]
P = ParamSpec("P")


def _of_any_depth(factory: Callable[P, StaxKernel]) -> Callable[P, StaxKernel]:
    """Let kernels know their depth, a factory's first argument, and make others."""
    signature = inspect.signature(factory)
    first = next(iter(signature.parameters))

    @functools.wraps(factory)
    def made(*arguments: P.args, **options: P.kwargs) -> StaxKernel:
        given = signature.bind(*arguments, **options).arguments
        depth = given.pop(first)
        again = functools.partial(made, **given)
        kernel = factory(*arguments, **options)
        return dataclasses.replace(kernel, depth=depth, with_depth=again)

    return made


@_of_any_depth
def fully_connected(
    depth: int,
    *,
    activation: Activation = "relu",
    W_std: float = 2.0**0.5,
    b_std: float = 0.0,
    last_W_std: float = 1.0,
) -> StaxKernel:
    """A fully connected network; inputs of any shape are flattened.

    The kernel between an input and itself is made by a recursion of its own, exact in
    the chaotic phase too.

    Args:
      depth: hidden layers, at least 0.
      activation: "relu", "leaky_relu", "abs", "erf", "gelu", "sin", "cos", "gaussian";
        scales that are critical for each come from `critical`.
      W_std: scale of the weights of the hidden layers; `last_W_std` of the output's.
      b_std: scale of all biases, at least 0.

    Raises:
      ImportError: neural-tangents is not installed.
    """
    check_whole("depth", depth, 0)
    _check_scales(W_std=W_std, b_std=b_std, last_W_std=last_W_std)
    stax = neural_tangents().stax
    hidden = [stax.Dense(1, W_std, b_std), _activation(stax, activation)] * depth
    network = stax.serial(stax.Flatten(), *hidden, stax.Dense(1, last_W_std, b_std))
    moments, weights = MOMENTS[activation], [*[W_std**2] * depth, last_W_std**2]

    def diagonal(square: float) -> tuple[float, float]:
        passed, slope, nngp, ntk = square, 0.0, 0.0, 0.0
        for weight in weights:
            nngp = weight * passed + b_std**2
            ntk = nngp + weight * slope * ntk
            passed, slope = moments.value(nngp), moments.slope(nngp)
        return nngp, ntk

    name = f"fully_connected(depth={depth}, activation={activation!r})"
    run = functools.partial(
        evaluate_stax, network[2], name, None, ("nngp", "ntk"), diagonal=diagonal
    )
    return StaxKernel(run)


@_of_any_depth
def convolutional(
    depth: int,
    *,
    pooling: Pooling = "flatten",
    activation: Activation = "relu",
    filter_size: int = 3,
    W_std: float = 2.0**0.5,
    b_std: float = 0.0,
    last_W_std: float = 1.0,
    block: int | None = None,
) -> StaxKernel:
    """Convolutions of stride 1 with "SAME" padding; inputs are images [N, H, W, c].

    Args:
      depth: convolutional layers, at least 1.
      pooling: what stands between the last of them and the output; "flatten" is cheap.
      activation: as in `fully_connected`.
      filter_size: side of the filters.
      W_std: scale of the weights of the convolutions; `last_W_std` of the output's.
      b_std: scale of their biases; the output has none.
      block: see `from_stax`.
    """
    check_whole("depth", depth, 1)
    _check_scales(W_std=W_std, b_std=b_std, last_W_std=last_W_std)
    stax = neural_tangents().stax
    conv = _conv(stax, filter_size, W_std, b_std)
    hidden = [conv, _activation(stax, activation)] * depth
    last = [_pooling(stax, pooling), stax.Dense(1, last_W_std)]
    return from_stax(
        stax.serial(*hidden, *last)[2],
        name=f"convolutional(depth={depth}, pooling={pooling!r})",
        block=block,
    )


@_of_any_depth
def residual(
    blocks: int,
    *,
    layer: Literal["dense", "conv"] = "dense",
    pooling: Pooling = "flatten",
    activation: Activation = "relu",
    filter_size: int = 3,
    W_std: float = 2.0**0.5,
    b_std: float = 0.0,
    last_W_std: float = 1.0,
    block: int | None = None,
) -> StaxKernel:
    """A layer, then residual blocks ``x + layer(act(layer(act(x))))``.

    He, Zhang, Ren, Sun. Identity mappings in deep residual networks. ECCV 2016,
    https://arxiv.org/abs/1603.05027, without its normalisation.

    Args:
      blocks: residual blocks, at least 1.
      layer: "dense" takes inputs of any shape, "conv" images ``[N, H, W, c]`` and the
        pooling and filters of `convolutional`.
      b_std: scale of the biases, of which the output has none.
      block: see `from_stax`.
    """
    check_whole("blocks", blocks, 1)
    check_choice("layer", layer, ("dense", "conv"))
    _check_scales(W_std=W_std, b_std=b_std, last_W_std=last_W_std)
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
        stax.serial(*first, linear, *repeated, *last, stax.Dense(1, last_W_std))[2],
        name=f"residual(blocks={blocks}, layer={layer!r})",
        block=block,
    )

    def quiet(x1: np.ndarray, x2: np.ndarray | None) -> Kernels:
        with warnings.catch_warnings():
            # Asks for a layer in each branch; ours has one before the branches.
            warnings.filterwarnings("ignore", message="`FanIn` layers assume")
            return kernel.evaluate(x1, x2)

    return StaxKernel(quiet)


def _check_scales(*, b_std: float, **weights: float) -> None:
    for name, value in weights.items():
        check_scale(name, value)
    check_scale("b_std", b_std, zero=True)


def _conv(stax: Any, filter_size: int, W_std: float, b_std: float) -> Any:
    check_whole("filter_size", filter_size, 1)
    return stax.Conv(1, (filter_size,) * 2, padding="SAME", W_std=W_std, b_std=b_std)


def _activation(stax: Any, activation: Activation) -> Any:
    check_choice("activation", activation, tuple(MOMENTS))
    return MOMENTS[activation].layer(stax)


def _pooling(stax: Any, pooling: Pooling) -> Any:
    check_choice("pooling", pooling, get_args(Pooling))
    return stax.Flatten() if pooling == "flatten" else stax.GlobalAvgPool()
