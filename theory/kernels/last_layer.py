"""Faults of the last layer of a neural-tangents network.

``Sigma`` is the last layer's part of ``Theta`` if the output is linear in weights drawn
from N(0, 1): the NTK parametrisation. The two kernels do not show it: in the standard
parametrisation that part is the number of hidden units times as large, and the rest of
Theta is a covariance all the same. So the layers and their options are read from the
closure of a `neural_tangents.stax` kernel function.
"""

import functools
import inspect
import types
from collections.abc import Iterator
from typing import Any, NamedTuple

_LINEAR = (
    "AvgPool", "DotGeneral", "FanInConcat", "FanInSum", "FanOut", "Flatten",
    "GlobalAvgPool", "GlobalSumPool", "Identity", "ImageResize", "Index", "SumPool",
)  # fmt: skip
"""Layers without weights that keep an output linear in the weights before them."""


class _Layer(NamedTuple):
    """A layer; without weights if it has no parametrisation."""

    name: str
    parametrisation: str | None


_Row = list[Any]
"""Layers one after another; rows side by side are a tuple of them among the layers."""


def find_fault(kernel_fn: Any) -> str | None:
    """The reason why Sigma is not the last layer's part of Theta.

    None without a fault, or if no layers are found. `kernel_fn` is the third part of a
    `stax` layer, or a function that calls one.
    """
    row = _parse(kernel_fn)
    return _find_fault(row) if _has_weights(row) else None


def layer_names(kernel_fn: Any) -> set[str]:
    """Names of all layers of a network, as "GlobalAvgPool"; none if none are found."""
    row = _parse(kernel_fn)
    return set(_names(row)) if _has_weights(row) else set()


def _names(row: _Row) -> Iterator[str]:
    for layer in row:
        if isinstance(layer, _Layer):
            yield layer.name
        else:
            for branch in layer:
                yield from _names(branch)


def _find_fault(row: _Row) -> str | None:
    for layer in reversed(row):
        if not isinstance(layer, _Layer):
            if not all(map(_has_weights, layer)):
                return "a branch without weights goes around its last layer"
            return next(filter(None, map(_find_fault, layer)), None)
        if layer.parametrisation == "ntk":
            return None
        if layer.parametrisation is not None:
            return (
                f"its last layer, {layer.name}, is in the {layer.parametrisation} "
                "parametrisation"
            )
        if layer.name not in _LINEAR:
            return f"it ends in {layer.name}"
    return None


def _has_weights(row: _Row) -> bool:
    return any(
        layer.parametrisation is not None
        if isinstance(layer, _Layer)
        else any(map(_has_weights, layer))
        for layer in row
    )


def _parse(function: Any) -> _Row:
    """The layers of a kernel function, read from its closure."""
    for inner in _called_functions(function):
        variables = _variables(inner)
        if "parameterization" in variables:
            name = inner.__qualname__.split(".")[0].lstrip("_")
            return [_Layer(name, variables["parameterization"])]
        if "kernel_fns" in variables:
            rows = [_parse(part) for part in variables["kernel_fns"]]
            if inner.__qualname__.startswith("parallel"):
                return [tuple(rows)]
            return [layer for row in rows for layer in row]
    return [_Layer(getattr(function, "__name__", "an unknown layer"), None)]


def _called_functions(function: Any) -> Iterator[types.FunctionType]:
    """The kernel function itself, then those that it calls."""
    waiting, seen = [function], set()
    while waiting:
        function = waiting.pop(0)
        if isinstance(function, functools.partial):
            waiting.append(function.func)
        elif not isinstance(function, types.FunctionType):
            # Compiled functions.
            waiting.extend(filter(None, [getattr(function, "__wrapped__", None)]))
        elif id(function) not in seen:
            seen.add(id(function))
            yield function
            for name, value in _variables(function).items():
                # A whole layer is (init_fn, apply_fn, kernel_fn).
                if isinstance(value, tuple) and len(value) == 3:
                    value = value[2]
                if callable(value) and name not in ("init_fn", "apply_fn", "mask_fn"):
                    waiting.append(value)


def _variables(function: types.FunctionType) -> dict[str, Any]:
    """The variables of a function's closure, and the globals that a user's names."""
    found = inspect.getclosurevars(function)
    if function.__module__.startswith("neural_tangents."):
        return dict(found.nonlocals)
    return {**found.nonlocals, **found.globals}
