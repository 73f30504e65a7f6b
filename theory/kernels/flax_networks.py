"""Networks of Flax as pure functions of their parameters."""

import sys
from collections.abc import Hashable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from metabridge.theory.kernels.jacobian import Apply


def pure_function(apply: Any, params: Any, dtype: str) -> tuple[Apply, Any]:
    """A function ``apply(params, x)``, and the parameters that it is differentiated in.

    Of a Linen module with its variables, or of an NNX module, everything else is kept
    as it is but for its type, batch statistics among it; Flax is not imported for it.

    Raises:
      TypeError: something else than a function or a module, or variables amiss.
    """
    linen, nnx = (sys.modules.get(f"flax.{name}") for name in ("linen", "nnx"))
    if linen is not None and isinstance(apply, linen.Module):
        return _of_linen(apply, params, dtype)
    if nnx is not None and isinstance(apply, nnx.Module):
        if params is not None:
            raise TypeError(
                "an NNX module holds its own parameters: leave out `params`"
            )
        graph, own, rest = nnx.split(apply, nnx.Param, ...)
        rest = cast(rest, dtype)

        def call(params: Any, x: Any) -> Any:
            # Of JAX, as a module in training mode changes them.
            return nnx.merge(graph, params, jax.tree.map(jnp.asarray, rest))(x)

        return call, own
    if not callable(apply):
        raise TypeError(
            "`apply` must be a function apply(params, x) -> [N, K] or a Flax module, "
            f"but is a {type(apply).__name__}"
        )
    if params is None:
        raise TypeError("`params` is missing: pass the parameters that `apply` takes")
    if not isinstance(apply, Hashable):
        own = apply  # JAX keeps what is compiled by the function
        return (lambda params, x: own(params, x)), params
    return apply, params


def cast(tree: Any, dtype: str) -> Any:
    """A tree whose floating-point arrays are NumPy's of another type."""

    def one(leaf: Any) -> Any:
        real = hasattr(leaf, "dtype") and jnp.issubdtype(leaf.dtype, jnp.floating)
        return np.asarray(leaf, dtype) if real else leaf

    return jax.tree.map(one, tree)


def _of_linen(module: Any, variables: Any, dtype: str) -> tuple[Apply, Any]:
    if not isinstance(variables, Mapping) or "params" not in variables:
        raise TypeError(
            "of a Linen module pass the variables, {'params': ..., other collections}, "
            f"as module.init returns them, not a {type(variables).__name__}"
            + (f" of {sorted(variables)}" if isinstance(variables, Mapping) else "")
        )
    rest = {k: cast(v, dtype) for k, v in variables.items() if k != "params"}

    def apply(params: Any, x: Any) -> Any:
        try:
            return module.apply({**rest, "params": params}, x)
        except Exception as error:
            if type(error).__module__ != "flax.errors":
                raise
            reason = str(error).split(". (")[0]
            raise ValueError(
                f"the module cannot be applied to inputs {list(x.shape)} as it stands: "
                f"{reason}. It must be as in evaluation, without dropout and with the "
                "statistics that it has kept"
            ) from error

    return apply, variables["params"]
