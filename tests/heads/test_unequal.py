"""Heads on a support with fillers: they fit what they fit on the support alone."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.svm import LinearSVC

from metabridge import heads
from metabridge.heads import Head
from metabridge.heads.base import fit_examples
from metabridge.masks import FILLER

WAYS, PLACES, DIMENSION = 5, 4, 12
COUNTS = (3, 1, 4)  # of the classes that are there
GENERATOR = np.random.default_rng(0)
MEANS = GENERATOR.normal(size=(WAYS, 1, DIMENSION))
FEATURES = MEANS + 0.5 * GENERATOR.normal(size=(WAYS, PLACES, DIMENSION))
QUERIES = GENERATOR.normal(size=(7, DIMENSION))
LABELS = np.full((WAYS, PLACES), FILLER, np.int32)
for _way, _count in enumerate(COUNTS):
    LABELS[_way, :_count] = _way
MASK = LABELS.ravel() != FILLER
FILLED = np.where(MASK[:, None], FEATURES.reshape(-1, DIMENSION), 1e3)
X, Y = FILLED[MASK], LABELS.ravel()[MASK]

HEADS: dict[str, Callable[[], Head]] = {
    "logistic": lambda: heads.logistic(3.0),
    "logistic without intercept": lambda: heads.logistic(3.0, intercept=False),
    "ridge": lambda: heads.ridge(0.5),
    "svm": lambda: heads.svm(0.3),
    "centroid": heads.centroid,
    "attention": heads.attention,
}


def logits(head: Head, features: Any, labels: Any, **options: Any) -> np.ndarray:
    with jax.enable_x64(True):
        fitted = fit_examples(
            head, jnp.asarray(features), jnp.asarray(labels), **options
        )
        return np.asarray(head.logits(fitted, jnp.asarray(QUERIES)))


def filled(name: str) -> np.ndarray:
    """Logits of the classes that are there."""
    options: Any = {"ways": WAYS, "mask": jnp.asarray(MASK)}
    return logits(HEADS[name](), FILLED, LABELS.ravel(), **options)[:, : len(COUNTS)]


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(
            n, marks=[] if n in ("ridge", "centroid") else pytest.mark.extended
        )
        for n in HEADS
    ],
)
def test_a_filled_support_is_the_support(name: str) -> None:
    alone = logits(HEADS[name](), X, Y, ways=len(COUNTS))
    # Logistic regression stops at a small gradient, by another path.
    tolerance = 1e-3 if name.startswith("logistic") else 1e-8
    np.testing.assert_allclose(filled(name), alone, rtol=tolerance, atol=tolerance)


def test_logistic_is_that_of_scikit_learn() -> None:
    model = LogisticRegression(C=3.0, solver="newton-cg", tol=1e-10, max_iter=1000)
    expected = model.fit(X, Y).predict_proba(QUERIES)
    found = np.asarray(jax.nn.softmax(jnp.asarray(filled("logistic"))))
    np.testing.assert_allclose(found, expected, atol=1e-3)


def test_machine_is_that_of_scikit_learn() -> None:
    model = LinearSVC(
        C=0.3, multi_class="crammer_singer", fit_intercept=False, tol=1e-10,
        max_iter=1_000_000,
    )  # fmt: skip
    expected = model.fit(X, Y).decision_function(QUERIES)
    np.testing.assert_allclose(filled("svm"), expected, atol=1e-6)


@pytest.mark.extended
def test_gradient_through_the_machine_is_that_of_the_support() -> None:
    def loss(features: Any, labels: Any, ways: int, mask: Any) -> Any:
        head = heads.svm(0.3)
        fitted = fit_examples(head, features, labels, ways=ways, mask=mask)
        return jnp.sin(head.logits(fitted, jnp.asarray(QUERIES))[:, :3]).sum()

    with jax.enable_x64(True):
        whole = jax.grad(loss)(
            jnp.asarray(FILLED), jnp.asarray(LABELS.ravel()), WAYS, jnp.asarray(MASK)
        )
        alone = jax.grad(loss)(jnp.asarray(X), jnp.asarray(Y), 3, None)
    assert not np.any(whole[~MASK])
    np.testing.assert_allclose(whole[MASK], alone, rtol=1e-6, atol=1e-9)


def test_a_head_without_a_mask_is_refused() -> None:
    def fit(features: Any, labels: Any, *, ways: int) -> Any:
        return heads.Linear(jnp.zeros((DIMENSION, ways)), jnp.zeros(ways))

    with pytest.raises(ValueError, match="the head mine takes equal tasks alone"):
        logits(
            Head("mine", fit), FILLED, LABELS.ravel(), ways=WAYS, mask=jnp.asarray(MASK)
        )
