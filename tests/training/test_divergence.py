"""Steps that diverge: what is said, and of whom."""

import dataclasses
from pathlib import Path

import jax.numpy as jnp
import pytest

from metabridge.config import EvaluationConfig, MAMLConfig, ProtoNetConfig
from metabridge.learners import Info
from metabridge.training import DivergenceError, train
from metabridge.training.divergence import summary
from tests import toy


def told(*losses: float) -> Info:
    half = jnp.full(len(losses), 0.5)
    return Info(jnp.asarray(losses), half, half)


def test_means_of_the_records() -> None:
    means = summary(told(1.0, 2.0), 8, ProtoNetConfig())
    assert means == {"loss": 1.5, "accuracy": 0.5, "grad_norm": 0.5}


def test_the_first_step_that_is_not_finite_is_named() -> None:
    with pytest.raises(DivergenceError, match="at step 7; ") as error:
        summary(told(1.0, float("nan"), float("inf")), 8, ProtoNetConfig())
    assert "--learning-rate" in str(error.value)
    assert "inner" not in str(error.value)


def test_an_inner_loop_that_diverges_is_suspected(images: Path, tmp_path: Path) -> None:
    config = dataclasses.replace(
        toy.config(images, steps=1),
        learner=MAMLConfig(inner_lr=1e30, inner_steps=2),
        evaluation=EvaluationConfig(ways=4, shots=2, queries=2, tasks=12),
    )
    with pytest.raises(
        DivergenceError,
        match=r"at step 1; .*inner loop may have diverged: its `inner_lr` is 1e\+30\. "
        "Lower --inner-lr or pass --max-inner-grad-norm",
    ):
        train(config, tmp_path / "run")
