"""Convolutions of any JAX function written as products of patches and kernels.

The Jacobian of a network has a gradient of each kernel for every input and output. As
convolutions, which have a kernel of its own for each of them, XLA computes these on a
CPU many times slower than as matrix products, patches times cotangents, that all
outputs of an input share.
"""

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.extend import core

_MOST_TAPS = 25
"""Each is a slice in the program, which is long to compile, and a copy of the maps."""
_INLINED = ("pjit", "jit", "closed_call", "core_call", "checkpoint", "remat2")
"""Calls whose function is written out where convolutions are in it."""


def convolve_by_products(function: Callable[..., Any]) -> Callable[..., Any]:
    """The same function, its convolutions replaced by products of patches.

    Values and derivatives are equal up to rounding. Convolutions in groups or of more
    than 25 taps stay as they are, likewise those in loops, branches, and functions with
    derivatives of their own, and all of them where the backend is no CPU. Patches are
    as many times the maps as a kernel has taps, and calls under `jax.checkpoint` that
    are written out keep what they have computed for their derivatives.
    """
    if jax.default_backend() != "cpu":
        return function

    def replaced(*arguments: Any) -> Any:
        closed, shapes = jax.make_jaxpr(function, return_shape=True)(*arguments)
        if not _has_convolution(closed.jaxpr):
            return function(*arguments)
        found = _evaluate(closed.jaxpr, closed.consts, jax.tree.leaves(arguments))
        return jax.tree.unflatten(jax.tree.structure(shapes), found)

    return replaced


def _evaluate(jaxpr: Any, consts: Sequence[Any], arguments: Sequence[Any]) -> list:
    values = dict(zip(jaxpr.constvars, consts, strict=True))
    values |= dict(zip(jaxpr.invars, arguments, strict=True))

    def read(variable: Any) -> Any:
        literal = isinstance(variable, core.Literal)
        return variable.val if literal else values[variable]

    for equation in jaxpr.eqns:
        operands = [read(variable) for variable in equation.invars]
        inner = _inlined(equation)
        with equation.ctx.manager:  # settings that it was traced under
            if _replaceable(equation):
                made = [_convolve(*operands, **equation.params)]
            elif inner is not None:
                made = _evaluate(*inner, operands)
            else:
                made = _bind(equation, operands)
        values |= dict(zip(equation.outvars, made, strict=True))
    return [read(variable) for variable in jaxpr.outvars]


def _bind(equation: Any, operands: Sequence[Any]) -> Sequence[Any]:
    """The results of an equation as it stands."""
    primitive = equation.primitive
    found = primitive.get_bind_params(equation.params)
    # Older JAX has the functions of a call apart.
    functions, params = found if isinstance(found, tuple) else ((), found)
    made = primitive.bind(*functions, *operands, **params)
    return made if primitive.multiple_results else [made]


def _inlined(equation: Any) -> tuple[Any, Sequence[Any]] | None:
    """The function that is called, open, and its constants, if it is written out."""
    if equation.primitive.name not in _INLINED:
        return None
    inner = equation.params.get("jaxpr", equation.params.get("call_jaxpr"))
    if isinstance(inner, core.ClosedJaxpr):
        inner, consts = inner.jaxpr, inner.consts
    else:
        consts = ()
    return (inner, consts) if _has_convolution(inner) else None


def _has_convolution(jaxpr: Any) -> bool:
    return any(_replaceable(e) or _inlined(e) is not None for e in jaxpr.eqns)


def _replaceable(equation: Any) -> bool:
    params = equation.params
    return (
        equation.primitive.name == "conv_general_dilated"
        and params["feature_group_count"] == params["batch_group_count"] == 1
        and _count_taps(equation) <= _MOST_TAPS
        # Where 64 bits were switched on for a part of the function, and are off here.
        and all(jax.dtypes.canonicalize_dtype(t) == t for t in _types(equation))
    )


def _types(equation: Any) -> list[Any]:
    return [variable.aval.dtype for variable in (*equation.invars, *equation.outvars)]


def _count_taps(equation: Any) -> int:
    shape = equation.invars[1].aval.shape
    return math.prod(
        shape[axis] for axis in equation.params["dimension_numbers"][1][2:]
    )


def _convolve(
    inputs: Any,
    kernel: Any,
    *,
    window_strides: Sequence[int],
    padding: Sequence[tuple[int, int]],
    lhs_dilation: Sequence[int],
    rhs_dilation: Sequence[int],
    dimension_numbers: Any,
    precision: Any,
    preferred_element_type: Any,
    **_: Any,
) -> jax.Array:
    """`lax.conv_general_dilated` of one group."""
    of_inputs, of_kernel, of_outputs = dimension_numbers
    # Batch, space, channels; space, channels in, channels out.
    maps = inputs.transpose(of_inputs[0], *of_inputs[2:], of_inputs[1])
    taps = kernel.transpose(*of_kernel[2:], of_kernel[1], of_kernel[0])
    edges = [(*edge, d - 1) for edge, d in zip(padding, lhs_dilation, strict=True)]
    edges = [(0, 0, 0), *edges, (0, 0, 0)]
    maps = lax.pad(maps, np.zeros((), maps.dtype), edges)
    sizes = maps.shape[1:-1], taps.shape[:-2], rhs_dilation, window_strides
    windows = itertools.product(*map(_windows, *sizes))
    patches = [maps[(slice(None), *window)] for window in windows]
    joined = jnp.concatenate(patches, axis=-1)
    outputs = lax.dot_general(
        joined, taps.reshape(-1, taps.shape[-1]),
        (((joined.ndim - 1,), (0,)), ((), ())),
        precision=precision, preferred_element_type=preferred_element_type,
    )  # fmt: skip
    places = of_outputs[0], *of_outputs[2:], of_outputs[1]
    return jnp.moveaxis(outputs, range(outputs.ndim), places)


def _windows(size: int, side: int, dilation: int, stride: int) -> list[slice]:
    """What each tap of a kernel meets along an axis of the padded maps."""
    count = max((size - (side - 1) * dilation - 1) // stride + 1, 0)
    extent = max((count - 1) * stride + 1, 0)
    starts = range(0, side * dilation, dilation)
    return [slice(start, start + extent, stride) for start in starts]
