"""Networks whose Sigma is not the last layer's part of Theta are refused."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import pytest

from metabridge import theory

stax = theory.neural_tangents().stax
Standard = functools.partial(stax.Dense, parameterization="standard")
HIDDEN = (stax.Dense(8, 2**0.5, 0.1), stax.Relu())
CONV = (stax.Conv(8, (3, 3)), stax.Relu())


def _branches(*rows: Any) -> tuple[Any, ...]:
    return stax.FanOut(len(rows)), stax.parallel(*rows), stax.FanInSum()


REFUSED = {
    "standard": ((*HIDDEN, Standard(1)), "Dense, is in the standard"),
    "standard with a bias": ((*HIDDEN, Standard(1, 1.0, 0.3)), "in the standard"),
    "standard, nested": (
        (stax.serial(*HIDDEN), stax.serial(stax.Identity(), Standard(1))),
        "in the standard",
    ),
    "standard, repeated": (
        (stax.Dense(8), stax.repeat(stax.serial(stax.Relu(), Standard(8)), 3)),
        "in the standard",
    ),
    "standard, then pooled": (
        (*CONV, stax.Conv(1, (3, 3), parameterization="standard"), stax.Flatten()),
        "Conv, is in the standard",
    ),
    "one branch standard": (
        (*HIDDEN, *_branches(stax.Dense(1), Standard(1))), "in the standard"
    ),
    "a branch without weights": (
        (*HIDDEN, *_branches(stax.Dense(1), stax.Identity())), "goes around"
    ),
    "product of branches": (
        (
            *HIDDEN, stax.FanOut(2), stax.parallel(stax.Dense(1), stax.Dense(1)),
            stax.FanInProd(),
        ),
        "FanInProd",
    ),
    "activation": ((*HIDDEN, stax.Dense(1), stax.Erf()), "ends in Erf"),
    "normalisation": ((*HIDDEN, stax.Dense(1), stax.LayerNorm()), "LayerNorm"),
    "attention": (
        (
            stax.Dense(8),
            stax.GlobalSelfAttention(8, n_chan_key=4, n_chan_val=4, n_heads=2),
        ),
        "GlobalSelfAttention",
    ),
}  # fmt: skip

ACCEPTED = {
    "hidden layers in the standard one": (Standard(8), stax.Relu(), stax.Dense(1)),
    "nested": (stax.serial(*HIDDEN), stax.serial(stax.Dense(1))),
    "repeated": (
        stax.Dense(8),
        stax.repeat(stax.serial(stax.Relu(), stax.Dense(8)), 3),
    ),
    "convolution, then pooled": (*CONV, stax.Conv(1, (3, 3)), stax.GlobalAvgPool()),
    "two branches": (
        *HIDDEN,
        *_branches(stax.Dense(1), stax.serial(*HIDDEN, stax.Dense(1))),
    ),
    "residual": (
        stax.Dense(8),
        *_branches(stax.serial(stax.Relu(), stax.Dense(8)), stax.Identity()),
        stax.Relu(),
        stax.Dense(1),
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str) -> None:
    layers, says = REFUSED[name]
    kernel_fn = stax.serial(*layers)[2]
    with pytest.raises(theory.NoTangentKernelError, match=f"mine .*{says}"):
        theory.from_stax(kernel_fn, name="mine")


@pytest.mark.parametrize("name", ACCEPTED)
def test_accepted(name: str) -> None:
    theory.from_stax(stax.serial(*ACCEPTED[name])[2])


NETWORK = stax.serial(*HIDDEN, Standard(1))


def _by_a_global(x1: Any, x2: Any, get: Any) -> Any:
    return NETWORK[2](x1, x2, get)


def _wrappers() -> dict[str, Callable[..., Any]]:
    kernel_fn, network = NETWORK[2], NETWORK
    return {
        "partial": functools.partial(kernel_fn),
        "closure": lambda *arguments: kernel_fn(*arguments),
        "closure over the whole network": lambda *arguments: network[2](*arguments),
        "global": _by_a_global,
        "compiled": jax.jit(kernel_fn, static_argnums=2),
        "in batches": theory.neural_tangents().batch(kernel_fn, 4),
    }


@pytest.mark.parametrize("name", _wrappers())
def test_refused_behind_a_function(name: str) -> None:
    with pytest.raises(theory.NoTangentKernelError, match="standard"):
        theory.from_stax(_wrappers()[name])


def test_other_kernel_functions_are_taken() -> None:
    kernel = theory.from_stax(lambda x1, x2, get: theory.Kernels(*[x1 @ x1.T] * 2))
    np.testing.assert_allclose(kernel(np.eye(3)).ntk, np.eye(3))
