"""Nearest centroid against squared distances."""

import jax.numpy as jnp
import numpy as np
import pytest

from metabridge.heads import centroid, logits
from tests.tolerance import assert_close
from tests.toy import Support, support

CASES = [support(5, 1, 640, unit=True), support(5, 5, 16), support(20, 3, 2)]


@pytest.mark.parametrize("task", CASES)
def test_logits_are_squared_distances_but_for_a_constant(task: Support) -> None:
    queries = support(task.ways, 4, task.features.shape[1], seed=3).features
    classifier = centroid().fit(
        jnp.asarray(task.features), jnp.asarray(task.labels), ways=task.ways
    )
    means = np.stack(
        [
            task.features[task.labels == way].astype(np.float64).mean(0)
            for way in range(task.ways)
        ]
    )
    wide = queries.astype(np.float64)
    distances = np.square(wide[:, None] - means).sum(-1)
    expected = np.square(wide).sum(-1, keepdims=True) - distances
    # Terms of a sum over up to 640 features cancel.
    assert_close(logits(classifier, jnp.asarray(queries)), expected, slack=10)


def test_classes_of_different_sizes() -> None:
    features = np.array([[0.0, 0.0], [2.0, 0.0], [0.0, 4.0]], np.float32)
    labels = np.array([0, 0, 1], np.int32)
    classifier = centroid().fit(jnp.asarray(features), jnp.asarray(labels), ways=2)
    np.testing.assert_array_equal(classifier.weights, [[2.0, 0.0], [0.0, 8.0]])
    np.testing.assert_array_equal(classifier.bias, [-1.0, -16.0])
