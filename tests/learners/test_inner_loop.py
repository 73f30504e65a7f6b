"""The inner loop on a quadratic worked out by hand; what it refuses."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metabridge.learners import inner_loop
from metabridge.learners.inner_loop import InnerLoop
from tests.tolerance import assert_close

START = {"body": jnp.asarray([3.0, 4.0]), "head": jnp.asarray([12.0])}


def half_square(params, number):
    del number
    squares = [jnp.square(leaf).sum() for leaf in jax.tree.leaves(params)]
    return 0.5 * jnp.stack(squares).sum(), None


def loop(**options) -> InnerLoop:
    defaults = {"layers": "all", "steps": 2, "test_steps": 2, "rate": 0.5}
    return InnerLoop(**{**defaults, **options})  # type: ignore[arg-type]


@pytest.mark.parametrize("layers", ["head", "body", "all"])
def test_only_the_named_layers_move(layers) -> None:
    adapted, trace = inner_loop.run(loop(layers=layers), half_square, START)
    # The gradient of a half square is itself: each step halves what is adapted.
    for name, value in START.items():
        factor = 0.25 if layers in (name, "all") else 1.0
        assert_close(adapted[name], factor * np.asarray(value))
    assert_close(trace.losses[0], 84.5)  # (9 + 16 + 144) / 2


def test_clipping_is_by_the_norm_over_all_adapted_layers() -> None:
    # |(3, 4, 12)| = 13: cut to 6.5, the gradient is half itself.
    adapted, _ = inner_loop.run(loop(max_grad_norm=6.5, steps=1), half_square, START)
    assert_close(adapted["head"], [9.0])
    adapted, _ = inner_loop.run(loop(max_grad_norm=13.5, steps=1), half_square, START)
    assert_close(adapted["head"], [6.0])


def test_clipping_has_a_derivative_at_a_gradient_of_zero() -> None:
    def end(x):
        adapted, _ = inner_loop.run(
            loop(max_grad_norm=1.0), half_square, {"body": x, "head": x}
        )
        return adapted["body"].sum()

    assert_close(jax.grad(end)(jnp.zeros(2)), [0.25, 0.25])


def test_first_order_sees_only_the_start() -> None:
    def end(x, first_order):
        adapted, _ = inner_loop.run(
            loop(first_order=first_order), half_square, {"body": x, "head": x}
        )
        return adapted["body"].sum()

    x = jnp.asarray([1.0, 2.0])
    assert_close(jax.grad(end)(x, True), [1.0, 1.0])
    assert_close(jax.grad(end)(x, False), [0.25, 0.25])


def test_proximity_pulls_back_to_the_start() -> None:
    # Fixed point of p - 0.2 (p + 3 (p - s)): p = 3/4 s.
    adapted, _ = inner_loop.run(
        loop(proximity=3.0, rate=0.2, steps=40), half_square, START
    )
    assert_close(adapted["body"], [2.25, 3.0])


def test_a_scan_gives_what_the_written_out_loop_gives(monkeypatch) -> None:
    options = loop(steps=4, rates="per_step", max_grad_norm=5.0)
    rates = jnp.asarray([0.1, 0.2, 0.3, 0.4])
    written = inner_loop.run(options, half_square, START, rates=rates)
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    scanned = inner_loop.run(options, half_square, START, rates=rates)
    for a, b in zip(jax.tree.leaves(scanned), jax.tree.leaves(written), strict=True):
        assert_close(a, np.asarray(b))


@pytest.mark.parametrize("inner", [jnp.nan, jnp.inf])
def test_a_diverged_loop_poisons_the_outer_loss(inner: float) -> None:
    bad = inner_loop.Trace(jnp.asarray([1.0, inner, 1.0]), None)
    fine = inner_loop.Trace(jnp.asarray([1.0, 2.0]), None)
    assert np.isnan(inner_loop.poison(jnp.asarray(0.5), bad))
    assert inner_loop.poison(jnp.asarray(0.5), fine) == 0.5


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layers": "neck"}, "`layers` is 'neck'; known are head, body, all"),
        ({"rates": "learned"}, "`rates` is 'learned'; known are fixed, per_step"),
        ({"rate": float("inf")}, "`inner_lr` is inf, but must be positive and finite"),
        ({"proximity": -1.0}, "`proximity` is -1.0"),
        ({"steps": -1}, "`inner_steps` is -1"),
    ],
)
def test_bad_options(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        inner_loop.check(loop(**options))
