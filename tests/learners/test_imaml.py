"""iMAML: the implicit gradient on quadratics, and of tasks solved to convergence."""

import itertools

import jax.numpy as jnp
import numpy as np
import optax
import pytest

from metabridge.learners import imaml
from metabridge.learners.imaml import implicit_gradient
from metabridge.types import Task
from tests import toy
from tests.learners import gbml, reference
from tests.tolerance import assert_close


@pytest.mark.parametrize("proximity", [0.5, 2.0, 10.0])
def test_implicit_gradient_on_a_quadratic(proximity: float) -> None:
    generator = np.random.default_rng(0)
    root = generator.normal(size=(6, 6))
    hessian = root @ root.T
    slope = generator.normal(size=6)
    with gbml.double():
        found = implicit_gradient(
            lambda x: 0.5 * x @ jnp.asarray(hessian) @ x,
            jnp.asarray(generator.normal(size=6)),
            jnp.asarray(slope),
            proximity=proximity,
            cg_steps=12,
        )
    expected = np.linalg.solve(np.eye(6) + hessian / proximity, slope)
    assert_close(found, expected, slack=100)  # conjugate gradients round


def test_fewer_steps_come_closer_step_by_step() -> None:
    # In the norm of the system, conjugate gradients never step away.
    generator = np.random.default_rng(1)
    root = generator.normal(size=(8, 8))
    hessian, slope = root @ root.T, generator.normal(size=8)
    system = np.eye(8) + hessian
    exact = np.linalg.solve(system, slope)
    errors = []
    with gbml.double():
        for cg_steps in range(8):
            x = implicit_gradient(
                lambda x: 0.5 * x @ jnp.asarray(hessian) @ x,
                jnp.zeros(8),
                jnp.asarray(slope),
                proximity=1.0,
                cg_steps=cg_steps,
            )
            off = np.asarray(x) - exact
            errors.append(off @ system @ off)
    np.testing.assert_allclose(
        errors[0], (slope - exact) @ system @ (slope - exact), rtol=1e-10
    )
    assert all(b < a for a, b in itertools.pairwise(errors))


def test_negative_curvature_ends_the_solution() -> None:
    # I + H is -3 along the slope: the slope is what it is started from, and stays.
    with gbml.double():
        found = implicit_gradient(
            lambda x: -2.0 * x @ x,
            jnp.ones(3),
            jnp.asarray([1.0, 2.0, 3.0]),
            proximity=1.0,
            cg_steps=5,
        )
    np.testing.assert_array_equal(found, [1.0, 2.0, 3.0])


@pytest.mark.slow
def test_gradient_equals_finite_differences_where_tasks_are_solved() -> None:
    # The theorem is about the minimum: NumPy's descent runs until it has converged.
    options = {"inner_lr": 0.5, "inner_steps": 120, "proximity": 1.0, "cg_steps": 27}

    def outer(p: reference.Parameters, batch: Task) -> float:
        inner = gbml.arrays(batch.support, 0)
        q = reference.adapted(p, *inner, rates=[0.5] * 120, proximity=1.0)
        return reference.loss(q, *gbml.arrays(batch.query, 0))

    gbml.check_gradient(lambda *a: imaml(*a, ways=toy.WAYS, **options), outer)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"proximity": 0.0}, "`proximity` must be positive, but it is 0.0"),
        ({"proximity": float("inf")}, "`proximity` is inf"),
        ({"cg_steps": -1}, "`cg_steps` is -1"),
        ({"inner_steps": -1}, "`inner_steps` is -1"),
    ],
)
def test_bad_options(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        imaml(gbml.BODY, optax.sgd(0.1), **{"ways": 3, **options})
