"""Logistic regression against scikit-learn, and its residual against NumPy."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import log_softmax, softmax
from sklearn.linear_model import LogisticRegression

from metabridge.heads import Linear
from metabridge.heads.logistic import Info, solve
from tests.toy import Support, support

WEIGHTS = 1e-4  # the agreement in the weights that the project promises
# Nothing but the loss curves the objective along the bias, and on separable classes
# that is little: a gradient of 1e-5 leaves more freedom there than in the weights.
BIAS = 1e-3

TASKS = {
    # few examples of many features, as in tests on ResNet-12: the dual is the smaller
    "1-shot-640d-unit": support(5, 1, 640, unit=True),
    "5-shot-640d-unit": support(5, 5, 640, unit=True),
    "20-way-64d-unit": support(20, 2, 64, unit=True),
    "3-way-30d": support(3, 4, 30),
    # more than twice as many examples as features: the Gram matrix is never formed
    "4-way-6d": support(4, 25, 6),
    "3-way-2d": support(3, 40, 2),
}


@functools.cache
def _compiled(ways: int, C: float, **options):
    return jax.jit(functools.partial(solve, ways=ways, C=C, **options))


def ours(task: Support, C: float, **options) -> tuple[Linear, Info]:
    """`solve`, compiled: one call is then many times faster than op by op."""
    compiled = _compiled(task.ways, C, **options)
    return compiled(jnp.asarray(task.features), jnp.asarray(task.labels))


def scikit(
    task: Support, C: float, *, intercept: bool = True
) -> tuple[np.ndarray, np.ndarray]:
    """Weights ``[D, ways]`` and bias that scikit-learn finds in float64."""
    model = LogisticRegression(
        C=C, fit_intercept=intercept, solver="newton-cg", tol=1e-10, max_iter=1000
    )  # the default solver stops at a small change of the loss, long before `tol`
    model.fit(task.features.astype(np.float64), task.labels)
    return model.coef_.T, np.broadcast_to(model.intercept_, task.ways)


def gradient(task: Support, weights, bias, C: float) -> tuple[np.ndarray, np.ndarray]:
    """Of ``||W||^2 / 2 + C sum_i cross_entropy``, in float64."""
    features = task.features.astype(np.float64)
    weights, bias = np.asarray(weights, np.float64), np.asarray(bias, np.float64)
    errors = softmax(features @ weights + bias, axis=1) - np.eye(task.ways)[task.labels]
    return weights + C * features.T @ errors, C * errors.sum(0)


FIRST = [
    ("5-shot-640d-unit", 3.0, True),
    ("4-way-6d", 3.0, True),
    ("4-way-6d", 0.1, False),
]
LATER = [
    ("1-shot-640d-unit", 3.0, True),
    ("1-shot-640d-unit", 100.0, True),
    ("5-shot-640d-unit", 0.1, True),
    ("5-shot-640d-unit", 3.0, False),
    ("5-shot-640d-unit", 100.0, True),
    ("20-way-64d-unit", 3.0, True),
    ("20-way-64d-unit", 100.0, False),
    ("3-way-30d", 0.1, True),
    ("3-way-30d", 10.0, True),
    ("3-way-2d", 0.1, True),
    ("3-way-2d", 10.0, True),
]


@pytest.mark.parametrize(
    ("name", "C", "intercept"),
    FIRST + [pytest.param(*case, marks=pytest.mark.extended) for case in LATER],
)
def test_weights_equal_scikit_learns(name: str, C: float, intercept: bool) -> None:
    task = TASKS[name]
    options = {} if intercept else {"intercept": False}
    classifier, info = ours(task, C, **options)
    weights, bias = scikit(task, C, intercept=intercept)
    np.testing.assert_allclose(classifier.weights, weights, rtol=WEIGHTS, atol=WEIGHTS)
    np.testing.assert_allclose(classifier.bias, bias, rtol=BIAS, atol=BIAS)
    assert 0 < int(info.newton_steps) < 30


def test_two_classes_equal_scikit_learns_binary_form() -> None:
    # Its one weight vector w stands for ours as (-w / 2, w / 2), whose squared norm is
    # half: the same minimum at twice the C.
    task = support(2, 6, 20)
    classifier, _ = ours(task, 1.5)
    model = LogisticRegression(C=3.0, solver="newton-cg", tol=1e-10, max_iter=1000)
    model.fit(task.features.astype(np.float64), task.labels)
    halves = np.stack([-model.coef_[0] / 2, model.coef_[0] / 2], 1)
    np.testing.assert_allclose(classifier.weights, halves, rtol=WEIGHTS, atol=WEIGHTS)
    difference = classifier.bias[1] - classifier.bias[0]
    np.testing.assert_allclose([difference], model.intercept_, rtol=BIAS)


@pytest.mark.parametrize(
    "name", ["4-way-6d", pytest.param("5-shot-640d-unit", marks=pytest.mark.extended)]
)
def test_residual_is_the_norm_of_the_gradient(name: str) -> None:
    task = TASKS[name]
    # Stopped early, so that the gradient is no rounding error.
    classifier, info = ours(task, 3.0, max_newton_steps=1, max_cg_steps=2)
    slopes = gradient(task, classifier.weights, classifier.bias, 3.0)
    expected = np.sqrt(sum(np.square(slope).sum() for slope in slopes))
    assert expected > 1e-2
    np.testing.assert_allclose(info.residual, expected, rtol=1e-3)
    assert int(info.newton_steps) == 1


@pytest.mark.parametrize("name", ["5-shot-640d-unit", "4-way-6d"])
def test_residual_of_the_solution_bounds_its_error(name: str) -> None:
    classifier, info = ours(TASKS[name], 3.0)
    weights, _ = scikit(TASKS[name], 3.0)
    # The objective is 1-strongly convex in the weights; rounding comes on top.
    error = np.linalg.norm(np.asarray(classifier.weights) - weights)
    assert error <= float(info.residual) + 1e-5 * np.linalg.norm(weights)


def test_constant_features_leave_only_the_class_frequencies() -> None:
    labels = np.array([0, 0, 0, 1, 1, 2], np.int32)
    task = Support(np.full((6, 12), 0.5, np.float32), labels, 3)
    classifier, _ = ours(task, 1.0)
    scores = task.features @ np.asarray(classifier.weights) + np.asarray(
        classifier.bias
    )
    # The intercept is free and a weight costs, so the weights are 0 at the minimum.
    np.testing.assert_allclose(classifier.weights, 0.0, atol=WEIGHTS)
    np.testing.assert_allclose(
        log_softmax(scores, axis=1)[0], np.log([1 / 2, 1 / 3, 1 / 6]), atol=1e-3
    )


def test_features_of_zero_and_repeated_features() -> None:
    once = support(3, 1, 12)
    twice = Support(np.tile(once.features, (2, 1)), np.tile(once.labels, 2), 3)
    double, _ = ours(twice, 1.0)
    weights, _ = scikit(once, 2.0)  # each example twice is C twice
    np.testing.assert_allclose(double.weights, weights, rtol=WEIGHTS, atol=WEIGHTS)
    classifier, _ = ours(twice._replace(features=np.zeros_like(twice.features)), 1.0)
    assert not np.any(classifier.weights)
    np.testing.assert_allclose(classifier.bias, 0.0, atol=1e-6)


def test_float64_features_give_float64_weights() -> None:
    task = support(3, 4, 30)
    with jax.enable_x64(True):
        wide = Support(task.features.astype(np.float64), task.labels, 3)
        classifier, _ = ours(wide, 3.0, tolerance=1e-11)
        assert classifier.weights.dtype == jnp.float64
        slopes = gradient(task, classifier.weights, classifier.bias, 3.0)
    assert max(np.abs(slope).max() for slope in slopes) < 1e-9


@pytest.mark.parametrize(
    ("shots", "C"),
    [
        (10, 100.0),
        pytest.param(1, 3.0, marks=pytest.mark.extended),
        pytest.param(10, 0.1, marks=pytest.mark.extended),
    ],
)
def test_every_one_of_a_thousand_tasks_converges(shots: int, C: float) -> None:
    """Rounding differs from batch to batch; a few tasks in a thousand once diverged."""
    generator = np.random.default_rng(1)
    centres = generator.normal(size=(1000, 5, 1, 64)) + 1
    features = centres + 0.5 * generator.normal(size=(1000, 5, shots, 64))
    features = features.reshape(1000, -1, 64)
    features /= np.linalg.norm(features, axis=-1, keepdims=True)
    labels = jnp.repeat(jnp.arange(5, dtype=jnp.int32), shots)
    _, info = jax.jit(jax.vmap(lambda x: solve(x, labels, ways=5, C=C)))(
        jnp.asarray(features, jnp.float32)
    )
    assert np.asarray(info.residual).max() < 1e-3
