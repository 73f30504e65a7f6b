"""A learner with another head: nearest centroid on features computed in NumPy."""

import jax
import numpy as np
import optax
import pytest

from metabridge import heads
from metabridge.learners import class_table, mtl, variables_of
from metabridge.learners.body import with_head
from metabridge.models import MLP
from metabridge.types import Examples
from tests.learners import toy
from tests.models import reference
from tests.tolerance import assert_close


def test_another_head_is_fitted_on_the_same_features() -> None:
    learner = with_head(
        mtl(MLP(16, 2), optax.sgd(0.1), heads=class_table(6)), heads.centroid()
    )
    task = toy.tasks(1, (5,), shots=5)
    state = learner.init(jax.random.key(0), task.support.inputs[0])
    support = Examples(task.support.inputs[0], task.support.labels[0])
    queries = task.query.inputs[0]
    adapted = learner.adapt(variables_of(state), support, ways=toy.WAYS)

    def features(inputs) -> np.ndarray:
        f = reference.mlp(
            reference.wide(state.params["body"]),
            np.asarray(inputs, np.float64),
            depth=2,
            W_std=2**0.5,
            b_std=0.0,
        )
        return f / np.linalg.norm(f, axis=1, keepdims=True)

    labels = np.asarray(support.labels)
    f = features(support.inputs)
    means = np.stack([f[labels == way].mean(0) for way in range(toy.WAYS)])
    distances = np.square(features(queries)[:, None] - means).sum(-1)
    assert_close(learner.logits(adapted, queries), 1 - distances, slack=10)  # cancels
    assert learner.frozen_body is not None
    assert learner.frozen_body.head_of({}).name == "centroid"


def test_a_learner_without_features_takes_no_head() -> None:
    learner = mtl(MLP(16, 2), optax.sgd(0.1), heads=class_table(6))
    bare = learner._replace(frozen_body=None, embed=None)
    with pytest.raises(ValueError, match="mtl has no features to fit a ridge head on"):
        with_head(bare, heads.ridge())
