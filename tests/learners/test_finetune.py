"""Fine-tuning at test time: against Adam in NumPy, and its start."""

import jax
import numpy as np
import optax
import pytest
from scipy.special import softmax

from metabridge.learners import Learner, finetune, protonet
from tests import toy
from tests.learners import episodes, gbml


def tuned(**options) -> Learner:
    return finetune(protonet(episodes.BODY, optax.sgd(0.1)), episodes.BODY, **options)


def backpropagated(kernel, weights, bias, x, labels, scale: float):
    """Gradients of the cross-entropy of ``scale (u W + b)``, u the unit features."""
    before = np.sqrt(2.0 / x.shape[1]) * x @ kernel
    features = np.maximum(before, 0) / np.sqrt(kernel.shape[1])
    length = np.linalg.norm(features, axis=1, keepdims=True)
    u = features / length
    p = softmax(scale * (u @ weights + bias), axis=1)
    d_z = scale * (p - np.eye(toy.WAYS)[labels]) / len(x)
    d_u = d_z @ weights.T
    d_features = (d_u - u * (u * d_u).sum(1, keepdims=True)) / length
    d_before = d_features / np.sqrt(kernel.shape[1]) * (before > 0)
    return np.sqrt(2.0 / x.shape[1]) * x.T @ d_before, u.T @ d_z, d_z.sum(0)


def adam(parameters: list, gradients, num_steps: int, learning_rate: float) -> list:
    means = [np.zeros_like(value) for value in parameters]
    squares = [np.zeros_like(value) for value in parameters]
    for step in range(1, num_steps + 1):
        for i, slope in enumerate(gradients(*parameters)):
            means[i] = 0.9 * means[i] + 0.1 * slope
            squares[i] = 0.999 * squares[i] + 0.001 * slope**2
            mean = means[i] / (1 - 0.9**step)
            root = np.sqrt(squares[i] / (1 - 0.999**step)) + 1e-8
            parameters[i] = parameters[i] - learning_rate * mean / root
    return parameters


@pytest.mark.parametrize("num_steps", [0, 4])
def test_logits_equal_those_of_adam_in_numpy(num_steps: int) -> None:
    learner = tuned(num_steps=num_steps, learning_rate=0.01, logit_scale=5.0)
    task = toy.tasks(1, (5,), noise=1.0)
    state = learner.init(episodes.KEY, task.support.inputs[0])
    params = episodes.reference.wide(state.params)
    x, query = (
        np.asarray(part.inputs[0], np.float64) for part in (task.support, task.query)
    )
    labels = np.asarray(task.support.labels[0])
    u = episodes.unit(episodes.features(params, x))
    centres = np.stack([u[labels == k].mean(0) for k in range(toy.WAYS)])
    start = [
        params["body"]["NTKDense_0"]["kernel"],
        episodes.unit(centres).T,
        np.zeros(toy.WAYS),
    ]
    kernel, weights, bias = adam(
        start, lambda w, v, b: backpropagated(w, v, b, x, labels, 5.0), num_steps, 0.01
    )
    moved = {"body": {"NTKDense_0": {"kernel": kernel}}}
    u = episodes.unit(episodes.features(moved, query))
    said = episodes.adapted_logits(learner, state, task)
    np.testing.assert_allclose(said, 5.0 * (u @ weights + bias), rtol=2e-4, atol=2e-4)


def test_training_and_batch_statistics_stay_as_they_were() -> None:
    body = gbml.Normed()
    learner = protonet(body, optax.sgd(0.1))
    wrapped = finetune(learner, body, num_steps=1)
    assert wrapped.gradient is learner.gradient
    assert wrapped.init is learner.init
    assert wrapped.name == "protonet-finetune"
    assert wrapped.frozen_body is None
    task = toy.tasks(1, (5,))
    state = learner.init(episodes.KEY, task.support.inputs[0])
    variables = {"params": state.params, "batch_stats": state.batch_stats}
    support = jax.tree.map(lambda leaf: leaf[0], task.support)
    adapted = jax.jit(lambda v, s: wrapped.adapt(v, s, ways=toy.WAYS))(
        variables, support
    )
    jax.tree.map(np.testing.assert_array_equal, adapted.batch_stats, state.batch_stats)
    changed = jax.tree.map(
        lambda a, b: bool(np.any(a != b)), adapted.body, state.params["body"]
    )
    assert all(jax.tree.leaves(changed))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_steps": -1}, "`num_steps` must be at least 0"),
        ({"learning_rate": 0.0}, "`learning_rate` must be positive"),
        ({"logit_scale": 0.0}, "`logit_scale` must be positive"),
    ],
)
def test_bad_options(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tuned(**options)
