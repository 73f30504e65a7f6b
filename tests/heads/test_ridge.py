"""Ridge regression against scikit-learn, and its gradient."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.linear_model import Ridge

from metabridge.heads import ridge
from tests.tolerance import assert_close
from tests.toy import Support, support

CASES = [
    pytest.param(support(5, 1, 640, unit=True), id="dual-640d"),
    pytest.param(support(4, 5, 20), id="dual-square"),
    pytest.param(support(4, 25, 6), id="primal-6d"),
    pytest.param(support(3, 9, 26), id="primal-26d"),
]


@pytest.mark.parametrize("penalty", [0.1, 1.0, 50.0])
@pytest.mark.parametrize("task", CASES)
def test_weights_equal_scikit_learns(task: Support, penalty: float) -> None:
    classifier = ridge(penalty).fit(
        jnp.asarray(task.features), jnp.asarray(task.labels), ways=task.ways
    )
    model = Ridge(alpha=penalty, fit_intercept=False, solver="svd")
    model.fit(task.features.astype(np.float64), np.eye(task.ways)[task.labels])
    # A system of condition number up to some hundreds is solved in float32.
    assert_close(classifier.weights, model.coef_.T, slack=30)
    assert not np.any(classifier.bias)


@pytest.mark.parametrize("task", [support(3, 2, 9), support(3, 8, 4)])
def test_gradient_equals_finite_differences(task: Support) -> None:
    targets = np.eye(task.ways)[task.labels]
    generator = np.random.default_rng(0)
    direction = generator.normal(size=task.features.shape)
    judged = generator.normal(size=(task.features.shape[1], task.ways))

    def loss(features: np.ndarray) -> float:
        system = features.T @ features + np.eye(features.shape[1])
        return float((np.linalg.solve(system, features.T @ targets) * judged).sum())

    base = task.features.astype(np.float64)
    expected = (loss(base + 1e-6 * direction) - loss(base - 1e-6 * direction)) / 2e-6

    def our_loss(features: jax.Array) -> jax.Array:
        classifier = ridge(1.0).fit(features, jnp.asarray(task.labels), ways=task.ways)
        return (classifier.weights * judged.astype(np.float32)).sum()

    slope = np.asarray(jax.grad(our_loss)(jnp.asarray(task.features)))
    # The sum cancels: its terms are some ten times its size.
    assert_close(np.float32((slope * direction).sum()), expected, slack=50)
