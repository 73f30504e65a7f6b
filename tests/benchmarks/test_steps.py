"""The operations that the benchmark counts, against those of the traced body."""

import json
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend import core

from benchmarks import steps
from benchmarks.steps import Options
from metabridge.models import ResNet12


def convolutions(jaxpr: core.Jaxpr) -> float:
    """Multiplications and additions of all convolutions in a program."""
    total = 0.0
    for equation in jaxpr.eqns:
        if equation.primitive.name == "conv_general_dilated":
            kernel, outputs = (
                getattr(variable.aval, "shape", ())
                for variable in (equation.invars[1], equation.outvars[0])
            )
            total += 2.0 * np.prod(outputs) * np.prod(kernel[:3])
        for value in equation.params.values():
            inner = getattr(value, "jaxpr", value)
            if isinstance(inner, core.Jaxpr):
                total += convolutions(inner)
    return total


@pytest.mark.parametrize("size", [32, 84])
def test_operations_are_thrice_those_of_the_forward_pass(size: int) -> None:
    model, image = ResNet12(), jnp.zeros((1, size, size, 3))
    variables = jax.eval_shape(model.init, jax.random.key(0), image)
    traced = jax.make_jaxpr(lambda v, x: model.apply(v, x, train=False))
    forward = convolutions(traced(variables, image).jaxpr)
    assert steps.operations(size, 10) == pytest.approx(30 * forward)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (Options(images=7), "`images` must be a multiple of 5"),
        (Options(size=8), "`size` must be finite and at least 16"),
        (Options(only=()), "`only` is empty"),
    ],
)
def test_bad_options(options: Options, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        steps.main(options)


@pytest.mark.slow
def test_steps_are_timed_beside_those_of_another_checkout(tmp_path: Path) -> None:
    root = Path(__file__).parents[2]
    options = Options(
        only=("mtl", "anil"), against=root, python=Path(sys.executable), width=4,
        rounds=2, output=tmp_path / "steps.json",
    )  # fmt: skip
    steps.main(options)
    found = json.loads((tmp_path / "steps.json").read_text())
    for name in options.only:
        assert found[name]["against"]["ratio to ours"] > 0
        assert found[name]["against"]["answer"] == found[name]["ours"]["answer"]
