"""The dictionary of conventions in docs/theory.md: times, scales, jitter."""

import math

import numpy as np
import pytest
from sklearn.kernel_ridge import KernelRidge

from metabridge import theory
from metabridge.theory.kernels.evaluate import float64
from metabridge.theory.types import Array
from tests.theory.cases import equal_tasks, textbook
from tests.tolerance import assert_close

NONE = theory.gradient_flow("all", time=0.0)


def stacked(tasks: theory.Tasks) -> tuple[np.ndarray, np.ndarray]:
    """All queries and their labels."""
    each = tasks.each()
    labels = [np.asarray(task.query_y) for task in each]
    return np.concatenate([task.query_x for task in each]), np.concatenate(labels)


@pytest.mark.extended
@pytest.mark.parametrize("time", [0.01, 0.3, 5.0])
def test_time_of_neural_tangents_is_ours_times_labels(time: float) -> None:
    """``t = time N K``: its loss is the mean over N points and K outputs."""
    nt = theory.neural_tangents()
    tasks, (unseen,) = equal_tasks(0), equal_tasks(1, 1).each()
    kernel = textbook(2)
    x, y = stacked(tasks)

    def flow(k_train: Array, k_test: Array, labels: np.ndarray) -> np.ndarray:
        with float64():
            fit = nt.predict.gradient_descent_mse(k_train, labels)
            return np.asarray(fit(time * labels.size, 0.0, 0.0, k_test)[1])

    # Training: GBML without an inner loop is regression with Theta on all queries.
    trained = theory.gbml_predictor(kernel, tasks, inner=NONE, time=time)
    expected = flow(kernel(x).ntk, kernel(unseen.query_x, x).ntk, y)
    assert_close(trained.function(unseen.query_x), expected, slack=10.0)

    # Adaptation: the head's flow on a support is regression with Sigma.
    head = theory.gradient_flow("head", time=time)
    (adapted,) = trained.parts(equal_tasks(1, 1), adaptation=head).adapted
    support, query = unseen.support_x, unseen.query_x
    k_test = kernel(query, support).nngp
    expected = flow(kernel(support).nngp, k_test, unseen.support_y)
    assert_close(adapted, expected, slack=10.0)


def test_time_is_rate_times_steps_over_the_size_of_a_mean_loss() -> None:
    """Small steps on the mean of squares, without 1/2: ``time = 2 lr steps / N K``."""
    rng = np.random.default_rng(0)
    phi, new, y = (rng.standard_normal(s) for s in ((6, 9), (4, 9), (6, 2)))
    lr, steps = 1e-4, 4000
    w = np.zeros((9, 2))
    for _ in range(steps):
        w -= lr * 2.0 / y.size * phi.T @ (phi @ w - y)
    time = 2.0 * lr * steps / y.size
    square, cross = phi @ phi.T, new @ phi.T
    values, vectors = np.linalg.eigh(square)
    evolved = vectors * (-np.expm1(-time * values) / values) @ vectors.T
    np.testing.assert_allclose(new @ w, cross @ evolved @ y, rtol=1e-3, atol=1e-4)


def test_jitter_is_the_penalty_of_a_ridge() -> None:
    tasks, (unseen,) = equal_tasks(0), equal_tasks(1, 1).each()
    kernel, (x, y) = textbook(2), stacked(tasks)
    ridge = KernelRidge(kernel="precomputed").set_params(alpha=0.3)
    ridge.fit(kernel(x).ntk, y)
    expected = ridge.predict(kernel(unseen.query_x, x).ntk)
    found = theory.gbml_predictor(kernel, tasks, inner=NONE, jitter=0.3)
    assert_close(found.function(unseen.query_x), expected, slack=10.0)


def test_scale_of_the_last_layer_scales_times_and_jitter() -> None:
    """``last_W_std = a`` multiplies both kernels by ``a^2``, without biases."""
    tasks, unseen = equal_tasks(0), equal_tasks(1, 2)

    def predict(scale: float) -> np.ndarray:
        kernel = textbook(2, last_W_std=scale)
        found = theory.gbml_predictor(
            kernel, tasks, inner=theory.gradient_flow("head", time=0.4 / scale**2),
            time=3.0 / scale**2, jitter=0.1 * scale**2,
        )  # fmt: skip
        head = theory.ridge("head", penalty=0.2 * scale**2)
        return np.stack(found.parts(unseen, adaptation=head).predictions)

    assert_close(predict(math.sqrt(2.0)), predict(1.0), slack=10.0)
