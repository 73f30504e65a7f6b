"""Scores of regression against NumPy, scikit-learn and simulation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.metrics import mean_squared_error, r2_score

from metabridge.regression import ANIL, RegressionConfig, TaskOptions
from metabridge.regression.evaluation import (
    TaskScores,
    draw_tasks,
    make_evaluate,
    summarise,
)
from metabridge.regression.families import sinusoids
from metabridge.regression.learners import make_learner

KEY = jax.random.key(0)


@pytest.mark.extended
def test_scores_of_each_task() -> None:
    config = RegressionConfig(ANIL(test_steps=2), TaskOptions())
    source = sinusoids()
    learner = make_learner(config, source)
    tasks = draw_tasks(source, "test", KEY, 103, 5, 8)  # more than a chunk
    state = learner.init(KEY, tasks.support.inputs[0])
    variables = {"params": state.params, "batch_stats": state.batch_stats}
    found = make_evaluate(learner, source)(variables, tasks)
    assert len(found.errors) == 103
    adapt = jax.jit(learner.adapt, static_argnames="ways")
    for t in (0, 57, 102):
        support = jax.tree.map(lambda leaf, t=t: leaf[t], tasks.support)
        adapted = adapt(variables, support, ways=1)
        predicted = learner.logits(adapted, tasks.query.inputs[t])
        y = np.asarray(tasks.query.labels[t])
        error = mean_squared_error(y, predicted)
        np.testing.assert_allclose(found.errors[t], error, rtol=1e-4)
        r2 = 1 - found.errors[t] / found.variances[t]
        np.testing.assert_allclose(r2, r2_score(y, predicted), atol=1e-4)
        mean = np.full_like(y, np.mean(support.labels))
        baseline = mean_squared_error(y, mean)
        np.testing.assert_allclose(found.baseline[t], baseline, rtol=1e-4)


def test_intervals_cover_the_truth_in_simulated_tests() -> None:
    """Errors are a chi-squared times a task's variance; both means are known."""
    generator, inside = np.random.default_rng(0), np.zeros(2)
    for _ in range(4000):
        variances = generator.gamma(4.0, 0.5, 300)  # mean 2
        errors = variances * generator.gamma(2.0, 0.15, 300)  # mean 0.3 of it
        score = summarise(TaskScores(errors, variances, errors))
        inside += [
            abs(score.mse - 0.6) <= score.mse_ci95,
            abs(score.r2 - 0.7) <= score.r2_ci95,
        ]
    assert (np.abs(inside / 4000 - 0.95) < 0.015).all()


def test_a_run_of_equal_targets_has_no_explained_variance() -> None:
    score = summarise(TaskScores(np.ones(3), np.zeros(3), np.ones(3)))
    assert np.isnan(score.r2)
    assert score.mse == 1


def test_tasks_do_not_depend_on_what_else_is_drawn() -> None:
    one, same = (draw_tasks(sinusoids(), "test", KEY, 3, 4, 2) for _ in range(2))
    np.testing.assert_array_equal(one.query.labels, same.query.labels)
    assert len(jnp.unique(one.task_id)) == 3
