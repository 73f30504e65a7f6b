"""Losses of episodic learners once more in NumPy, float64, and their gradients."""

from collections.abc import Callable

import jax
import numpy as np
import optax
from flax import linen as nn
from scipy.special import log_softmax

from metabridge.learners import Learner
from metabridge.models import MLP, DropBlock
from metabridge.types import Examples, Task
from tests import toy
from tests.learners.gbml import in_double
from tests.models import reference

BODY = MLP(16, 1)
KEY = jax.random.key(0)
GRADIENT = 1e-5  # the agreement in the gradients that the project promises

Factory = Callable[[nn.Module, optax.GradientTransformation], Learner]
Loss = Callable[[dict, Task], float]
Scores = Callable[[dict, np.ndarray, np.ndarray, np.ndarray], np.ndarray]
"""``scores(head, support, labels, query)`` of one task, in float64."""


def features(params: dict, inputs: np.ndarray) -> np.ndarray:
    """What `BODY` says."""
    return reference.mlp(params["body"], inputs, depth=1, W_std=2**0.5, b_std=0.0)


def unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def cross_entropy(scores: np.ndarray, labels: np.ndarray, smoothing: float) -> float:
    """Mean loss of log-probabilities, smoothed as PyTorch's `CrossEntropyLoss` is."""
    true = -scores[np.arange(len(labels)), labels].mean()
    return float((1 - smoothing) * true - smoothing * scores.mean(1).mean())


def query_loss(scores: Scores, *, label_smoothing: float = 0.0) -> Loss:
    """Mean cross-entropy of the queries after adaptation to the supports."""

    def loss(params: dict, batch: Task) -> float:
        losses = []
        for number in range(len(batch.classes)):
            support, query = (
                np.asarray(part.inputs[number], np.float64)
                for part in (batch.support, batch.query)
            )
            labels = np.asarray(batch.support.labels[number])
            said = scores(
                params["head"],
                features(params, support),
                labels,
                features(params, query),
            )
            targets = np.eye(toy.WAYS)[np.asarray(batch.query.labels[number])]
            targets = (1 - label_smoothing) * targets + label_smoothing / toy.WAYS
            losses.append(-(targets * log_softmax(said, axis=1)).sum(1).mean())
        return float(np.mean(losses))

    return loss


def check_gradient(
    factory: Factory, loss: Loss, *, num_tasks: int = 1, rtol: float = GRADIENT
) -> None:
    """Asserts that loss and gradient of a step are those of `loss`, in float64.

    The gradient is compared along random directions of body and head each.
    """
    with jax.enable_x64(True):
        learner = factory(BODY, optax.sgd(1.0))
        narrow = toy.tasks(num_tasks, (5,), noise=1.0)
        state = in_double(learner.init(KEY, narrow.support.inputs[0]))
        batch = in_double(narrow)
        after, info = jax.jit(learner.step)(KEY, state, batch)
        slope = jax.tree.map(lambda a, b: np.asarray(a - b), state.params, after.params)
        params = reference.wide(state.params)
    np.testing.assert_allclose(float(info.loss), loss(params, batch), rtol=rtol)
    generator = np.random.default_rng(0)
    for part in ("body", "head"):
        leaves, structure = jax.tree.flatten(params[part])
        if not leaves:
            continue
        for _ in range(3):
            change = [generator.normal(size=np.shape(leaf)) for leaf in leaves]

            def along(step: float, part=part, s=structure, x=leaves, d=change) -> float:
                moved = [a + step * b for a, b in zip(x, d, strict=True)]
                return loss(params | {part: jax.tree.unflatten(s, moved)}, batch)

            expected = (along(1e-5) - along(-1e-5)) / 2e-5
            terms = [
                (a * b).sum()
                for a, b in zip(jax.tree.leaves(slope[part]), change, strict=True)
            ]
            assert abs(expected) > 1e-4
            np.testing.assert_allclose(sum(terms), expected, rtol=rtol)


def adapted_logits(learner: Learner, state, task: Task) -> np.ndarray:
    """Logits of the query of the first task, after `adapt` to its support."""
    variables = {"params": state.params, "batch_stats": state.batch_stats}

    @jax.jit
    def said(variables, support: Examples, inputs):
        adapted = learner.adapt(variables, support, ways=toy.WAYS)
        return learner.logits(adapted, inputs)

    support = Examples(task.support.inputs[0], task.support.labels[0])
    return np.asarray(said(variables, support, task.query.inputs[0]))


class Identity(nn.Module):
    """Features that are the inputs."""

    @nn.compact
    def __call__(self, inputs, *, train: bool = False):
        del train
        return inputs.reshape(len(inputs), -1)


class Dropped(nn.Module):
    """Features that are inputs of which some are dropped."""

    drop_rate: float = 0.5

    @nn.compact
    def __call__(self, inputs, *, train: bool = False):
        x = DropBlock(self.drop_rate)(inputs, train=train)
        return x.reshape(len(x), -1)


class WithDropout(nn.Module):
    """The same by Flax, with a rate of another name."""

    share: float = 0.5

    @nn.compact
    def __call__(self, inputs, *, train: bool = False):
        x = nn.Dropout(self.share, deterministic=not train)(inputs)
        return x.reshape(len(x), -1)
