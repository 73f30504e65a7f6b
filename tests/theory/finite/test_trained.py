"""Training of any body by any method: options, errors, and the limit of wide ones."""

from typing import Any

import flax.linen as nn
import jax
import numpy as np
import pytest
from flax import nnx

from metabridge import theory
from metabridge.models.mlp import MLP
from tests.theory.cases import tanh_tasks, textbook
from tests.theory.finite.test_train_pair import HEAD, tasks

STEPS = theory.gradient_steps("all", lr=0.05, steps=2)


class Normalised(nn.Module):
    """A body with batch statistics."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        return nn.BatchNorm(use_running_average=True)(nn.Dense(4)(x))


class OfNNX(nnx.Module):
    def __init__(self, size: int, rngs: nnx.Rngs) -> None:
        self.dense = nnx.Linear(size, 4, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        return nnx.tanh(self.dense(x))


@pytest.mark.slow
def test_seeds_share_their_time_and_the_first_is_that_of_one() -> None:
    options: Any = {"body": Normalised(), "inner": STEPS, "steps": 4, "momentum": 0.5}
    methods = ("MTL", "ANIL")
    found = theory.train_pair(tasks(0), methods=methods, seeds=2, **options)
    assert found.left.keys() == found.training_time.keys() == {"MTL", "ANIL"}
    assert found.inner["ANIL"] == theory.gradient_steps("head", lr=0.05, steps=2)
    assert all(((left > 0) & (left < 1)).all() for left in found.left.values())
    for name in methods:
        first, second = found.trained[name]
        stats = (one["body"]["batch_stats"] for one in (first, found.initial[0]))
        jax.tree.map(np.testing.assert_array_equal, *stats)
        assert not np.allclose(first["head"], second["head"])
    lr = found.training_time["ANIL"] * (1 - 0.5) / 4
    alone = theory.train_pair(
        tasks(0), methods=("ANIL",), seeds=1, seed=1, lr=lr, **options
    )
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6),
        alone.trained["ANIL"][0], found.trained["ANIL"][1],
    )  # fmt: skip
    table = found.compare(tasks(1), adaptation={"MTL": HEAD, "ANIL": STEPS})
    assert table.methods.keys() == {methods}
    assert table.seeds.keys() == set(methods)
    assert np.isfinite(table.methods[methods].gap).all()


@pytest.mark.slow
def test_modules_of_nnx() -> None:
    body = nnx.bridge.to_linen(OfNNX, 20)
    found = theory.train_pair(tasks(0), body=body, inner=STEPS, steps=3, seeds=1)
    assert all(left < 1 for left in found.left.values())


@pytest.mark.slow
def test_all_methods_near_their_limit_with_width() -> None:
    """Mean relative distance of the predictions to those at infinite width."""
    train, unseen = tanh_tasks(0, 3), tanh_tasks(1, 4)
    adaptation = theory.gradient_steps("all", lr=0.1, steps=2)
    distances = []
    for width in (32, 1024):
        found = theory.train_pair(
            train, inner=STEPS, steps=20, width=width, depth=1, seeds=2
        )
        methods: Any = found.compare(unseen, adaptation=adaptation).methods
        limits: Any = found.limit(train, unseen, adaptation=adaptation).methods
        distances.append([])
        for name in ("MAML", "BOIL", "ANIL"):
            (limit,) = limits["MTL", name].closeness
            for side in ("mtl", "gbml"):
                expected = np.stack(getattr(limit, side))
                errors = [
                    np.linalg.norm(np.stack(getattr(own, side)) - expected)
                    for own in methods["MTL", name].closeness
                ]
                distances[-1].append(np.mean(errors) / np.linalg.norm(expected))
    narrow, wide = np.asarray(distances)
    assert (wide < narrow / 2).all(), (narrow, wide)
    assert (wide < 0.15).all(), wide


@pytest.mark.extended
def test_limit_of_a_kernel_of_ones_own() -> None:
    train, unseen = tasks(2), tasks(3)
    inner = theory.gradient_flow("head", time=0.3)
    found = theory.train_pair(
        train, body=MLP(4, 1, W_std=1.0), inner=inner, steps=2,
        methods=("MTL", "ANIL"), seeds=1,
    )  # fmt: skip
    with pytest.raises(ValueError, match="pass kernel="):
        found.limit(train, unseen, adaptation=HEAD)
    limit = found.limit(train, unseen, adaptation=HEAD, kernel=textbook(1))
    (own,) = limit.methods["MTL", "ANIL"].closeness
    anil = theory.gbml_predictor(
        textbook(1), train, inner=inner, time=found.training_time["ANIL"]
    )
    expected = anil(unseen.support_x, unseen.support_y, unseen.query_x, adaptation=HEAD)
    np.testing.assert_allclose(own.gbml, expected, rtol=0, atol=1e-10)


@pytest.mark.extended
def test_first_order_training_has_no_limit() -> None:
    found = theory.train_pair(
        tasks(0), width=4, depth=1, inner=STEPS, steps=1, seeds=1, first_order=True,
        methods=("ANIL",),
    )  # fmt: skip
    with pytest.raises(ValueError, match="trained with first_order=True have no limit"):
        found.limit(tasks(0), tasks(1), adaptation=HEAD)


@pytest.mark.extended
def test_results_print_as_one_line() -> None:
    found = theory.train_pair(tasks(0), width=4, depth=1, inner=STEPS, steps=1, seeds=2)
    compared = found.compare(tasks(1), adaptation=HEAD)
    for result in (found, compared, *compared.methods.values()):
        text = repr(result)
        assert "\n" not in text
        assert len(text) < 150, text
        assert text.startswith(type(result).__name__ + "(")


@pytest.mark.extended
def test_divergence_and_bad_unseen_tasks() -> None:
    options: Any = {"width": 4, "depth": 1, "steps": 5, "seeds": 1}
    with pytest.raises(RuntimeError, match=r"MTL diverges.*smaller `lr`"):
        theory.train_pair(tasks(0), methods=("MTL",), lr=1e4, **options)
    found = theory.train_pair(tasks(0), methods=("MTL",), **options)
    with pytest.raises(ValueError, match="have inputs"):
        found.compare(tasks(1, outputs=2), adaptation=HEAD)
    with pytest.raises(ValueError, match="lacks MTL"):
        found.compare(tasks(1), adaptation={"ANIL": HEAD})
    with pytest.raises(ValueError, match="other layers by theory"):
        found.compare(tasks(1), adaptation=theory.gradient_flow("all", time=1.0))
    diverging = theory.gradient_steps("all", lr=1e3, steps=20)
    with pytest.raises(ValueError, match="diverge on the support of unseen task 0"):
        found.compare(tasks(1), adaptation=diverging)
