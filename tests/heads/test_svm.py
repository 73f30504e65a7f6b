"""The support vector machine against scikit-learn, and its gradient."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.svm import LinearSVC

from metabridge.heads import Linear, svm
from metabridge.heads.svm import Info, solve
from tests.toy import support

WEIGHTS = 1e-4  # the agreement in the weights that the project promises
GRADIENT = 1e-3  # and in the gradient, relative

TASKS = {
    "1-shot-640d": (support(5, 1, 640), 0.1),
    "5-shot-64d": (support(5, 5, 64), 1.0),
    "5-shot-640d-unit": (support(5, 5, 640, unit=True), 1.0),
    # more examples than features: the kernel has no inverse
    "10-shot-6d": (support(3, 10, 6), 0.1),
    "10-shot-6d-unit": (support(3, 10, 6, unit=True), 10.0),
    "20-way-100d": (support(20, 3, 100), 0.1),
}
_TIERS: dict[str, Any] = {
    "5-shot-64d": (),
    "10-shot-6d": (),
    "20-way-100d": pytest.mark.slow,
}
each_task = pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=_TIERS.get(name, pytest.mark.extended))
        for name in TASKS
    ],
)


class Answer(NamedTuple):
    classifier: Linear
    info: Info
    judged: np.ndarray
    """The loss is the sum of its products with the weights."""
    gradient: np.ndarray
    """In the features."""


@functools.cache
def ours(name: str) -> Answer:
    """Solution and gradient, by one program."""
    task, C = TASKS[name]
    judged = np.random.default_rng(0).normal(size=(task.features.shape[1], task.ways))

    def loss(features: jax.Array) -> tuple[jax.Array, tuple[Linear, Info]]:
        found = solve(features, jnp.asarray(task.labels), ways=task.ways, C=C)
        return (found[0].weights * judged.astype(np.float32)).sum(), found

    gradient, (classifier, info) = jax.jit(jax.grad(loss, has_aux=True))(
        jnp.asarray(task.features)
    )
    return Answer(classifier, info, judged, np.asarray(gradient, np.float64))


def scikit(features: np.ndarray, labels: np.ndarray, C: float) -> np.ndarray:
    """Weights ``[D, ways]`` that LIBLINEAR finds in float64; three classes or more."""
    model = LinearSVC(
        C=C,
        multi_class="crammer_singer",
        fit_intercept=False,
        tol=1e-10,
        max_iter=1_000_000,
    )
    return model.fit(features.astype(np.float64), labels).coef_.T


def objective(features: np.ndarray, labels, weights: np.ndarray, C: float) -> float:
    """``||W||^2 / 2 + C sum_i max_k(x_i.w_k - x_i.w_y + [k != y])``."""
    scores = features @ weights
    rows = np.arange(len(labels))
    margins = scores - scores[rows, labels][:, None] + 1
    margins[rows, labels] = 0
    return 0.5 * np.square(weights).sum() + C * margins.max(1).sum()


@pytest.mark.extended
@each_task
def test_weights_equal_scikit_learns(name: str) -> None:
    task, C = TASKS[name]
    classifier, info, *_ = ours(name)
    expected = scikit(task.features, task.labels, C)
    assert isinstance(info, Info)
    assert float(info.residual) < 1e-4
    scale = np.abs(expected).max()
    np.testing.assert_allclose(
        classifier.weights, expected, atol=WEIGHTS * min(1.0, scale), rtol=0
    )
    assert not np.any(classifier.bias)


@pytest.mark.extended
@each_task
def test_no_change_of_the_weights_lowers_the_objective(name: str) -> None:
    task, C = TASKS[name]
    features = task.features.astype(np.float64)
    weights = np.asarray(ours(name).classifier.weights, np.float64)
    least = objective(features, task.labels, weights, C)
    generator = np.random.default_rng(0)
    for size in (1e-1, 1e-2, 1e-3):
        for _ in range(20):
            change = generator.normal(size=weights.shape)
            change *= size * np.linalg.norm(weights) / np.linalg.norm(change)
            # Half the square of the change, by strong convexity, but for rounding.
            gained = objective(features, task.labels, weights + change, C) - least
            assert gained > 0.4 * np.square(change).sum() - 1e-6 * least


def test_two_classes_by_hand() -> None:
    # x = +-2: the margin 2 * 2 w = 1 is met by w = +-1/4, if C allows it: the slope of
    # w^2 there is 1/2, that of the two hinge losses 8 C.
    labels = jnp.asarray([0, 1], jnp.int32)
    fit = jax.jit(functools.partial(svm(1.0).fit, ways=2))
    wide = fit(jnp.asarray([[2.0], [-2.0]]), labels).weights
    np.testing.assert_allclose(wide, [[0.25, -0.25]], atol=1e-6)
    # Otherwise the dual is at its bound, and W = C X^T Y with the means taken off.
    narrow = fit(jnp.asarray([[0.2], [-0.2]]), labels).weights
    np.testing.assert_allclose(narrow, [[0.4, -0.4]], atol=1e-6)


@pytest.mark.slow
@each_task
def test_gradient_equals_finite_differences_of_scikit_learn(name: str) -> None:
    task, C = TASKS[name]
    direction = np.random.default_rng(1).normal(size=task.features.shape)
    _, _, judged, gradient = ours(name)
    # Along the gradient too: nothing cancels there.
    for along in (direction / np.linalg.norm(direction), gradient):
        along = along / np.linalg.norm(along)
        step = 1e-4 * np.linalg.norm(task.features) / np.sqrt(len(task.labels))
        moved = [
            (scikit(task.features + sign * step * along, task.labels, C) * judged).sum()
            for sign in (1.0, -1.0)
        ]
        expected = (moved[0] - moved[1]) / (2 * step)
        np.testing.assert_allclose(
            (gradient * along).sum(),
            expected,
            rtol=GRADIENT,
            atol=float(GRADIENT * np.linalg.norm(gradient)),
        )


@pytest.mark.extended
def test_a_penalty_of_the_dual_is_one_more_feature_an_example() -> None:
    task, C = TASKS["10-shot-6d"]
    wider = np.concatenate(
        [task.features, np.sqrt(0.5) * np.eye(len(task.labels))], axis=1
    )
    expected = scikit(wider, task.labels, C)[: task.features.shape[1]]
    compiled = jax.jit(functools.partial(solve, ways=task.ways, C=C, dual_penalty=0.5))
    classifier, _ = compiled(jnp.asarray(task.features), jnp.asarray(task.labels))
    np.testing.assert_allclose(classifier.weights, expected, atol=WEIGHTS)


def test_one_class_is_refused() -> None:
    features, labels = jnp.ones((4, 3)), jnp.zeros(4, jnp.int32)
    with pytest.raises(ValueError, match="`ways` is 1: pass tasks of at least 2"):
        svm().fit(features, labels, ways=1)


def test_a_negative_penalty_is_refused() -> None:
    task, C = TASKS["10-shot-6d"]
    with pytest.raises(ValueError, match="`dual_penalty` must be at least 0"):
        solve(
            jnp.asarray(task.features),
            jnp.asarray(task.labels),
            ways=task.ways,
            C=C,
            dual_penalty=-1.0,
        )
