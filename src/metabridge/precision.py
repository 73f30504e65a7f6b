"""JAX's 64-bit mode, which the library leaves to those who need it, as the theory does.

Parameters, statistics, heads and labels are float32 and int32. Under
``JAX_ENABLE_X64=1`` what Flax, Optax and JAX make by default has 64 bits: draws differ,
and a checkpoint no longer fits. So whatever trains, evaluates or applies a body runs
with that mode off, the learners of users and those libraries included.
"""

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import jax

_P = ParamSpec("_P")
_T = TypeVar("_T")


def in_32_bits(function: Callable[_P, _T]) -> Callable[_P, _T]:
    """A function that runs with JAX's 64-bit mode off, whatever the caller has set.

    The mode is a thread's own: what `function` lets other threads do is not covered.
    """

    @functools.wraps(function)
    def wrapped(*args: _P.args, **kwargs: _P.kwargs) -> _T:
        with jax.enable_x64(False):
            return function(*args, **kwargs)

    return wrapped
