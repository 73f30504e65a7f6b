"""Steps that diverge: what is said, and of whom."""

import dataclasses
from pathlib import Path

import jax.numpy as jnp
import pytest

from metabridge.config import EvaluationConfig, MAMLConfig, ProtoNetConfig
from metabridge.learners import Info
from metabridge.training import DivergenceError, train
from metabridge.training.guards.divergence import check_steps, summary
from tests import toy


def told(*losses: float) -> Info:
    half = jnp.full(len(losses), 0.5)
    return Info(jnp.asarray(losses), half, half)


def test_means_of_the_records() -> None:
    means = summary(told(1.0, 2.0))
    assert means == {
        "loss": 1.5,
        "accuracy": 0.5,
        "grad_norm": 0.5,
        "loss_max": 2.0,
        "grad_norm_max": 0.5,
    }


def test_further_measures_are_recorded() -> None:
    info = told(1.0, 2.0)._replace(measures={"share": jnp.asarray([0.25, 0.75])})
    assert summary(info)["share"] == 0.5
    assert "measures" not in summary(info)


def test_the_first_step_that_is_not_finite_is_named() -> None:
    with pytest.raises(DivergenceError, match="at step 7; ") as error:
        check_steps(told(1.0, float("nan"), float("inf")), 5, ProtoNetConfig())
    assert "--learning-rate" in str(error.value)
    assert "inner" not in str(error.value)


def test_a_spike_is_told_from_what_is_usual() -> None:
    losses = [2.0, 1.0, 2.5, 1.5]
    usual = losses[0]
    for loss in losses:
        usual = 0.98 * usual + 0.02 * loss
    options = {"learner": ProtoNetConfig(), "spike": 2.0}
    assert check_steps(told(*losses), 0, **options) == pytest.approx(usual, rel=1e-6)
    # However the steps are grouped.
    first = check_steps(told(*losses[:1]), 0, **options)
    after = check_steps(told(*losses[1:]), 1, **options, usual=first)
    assert after == check_steps(told(*losses), 0, **options)
    with pytest.raises(
        DivergenceError, match=r"the loss is 5 at step 6, .*`spike` is 2"
    ):
        check_steps(told(1.0, 5.0), 4, **options, usual=usual)
    check_steps(told(1.0, 5.0), 4, ProtoNetConfig(), usual=usual)  # no matter unasked


@pytest.mark.extended
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
