"""Task2Vec embeddings, their distances, and the interval of the mean."""

import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from scipy.spatial.distance import cosine

import metabridge
from metabridge.diversity import (
    Probe,
    embedding,
    filter_fisher,
    mean_distance,
    task_distances,
)
from metabridge.heads.base import Linear
from metabridge.learners.body import make_embed
from metabridge.models import MLP
from metabridge.types import TaskShape
from tests import toy

GENERATOR = np.random.default_rng(2)


def normal(*shape: int) -> np.ndarray:
    return GENERATOR.normal(size=shape).astype(np.float32)


def test_fisher_of_a_linear_probe_is_that_by_hand() -> None:
    kernel, weights, bias, images = normal(6, 4), normal(4, 3), normal(3), normal(5, 6)
    variables = {"params": {"body": {"kernel": jnp.asarray(kernel)}}}

    def embed(variables: Any, inputs: Any) -> Any:
        return inputs @ variables["params"]["body"]["kernel"]

    classifier = Linear(jnp.asarray(weights), jnp.asarray(bias))
    found = filter_fisher(embed, variables, classifier, jnp.asarray(images))

    k, w, x = (array.astype(np.float64) for array in (kernel, weights, images))
    for image, information in zip(x, found, strict=True):
        logits = image @ k @ w + bias
        p = np.exp(logits) / np.exp(logits).sum()
        by_hand = np.zeros_like(k)
        for label in range(3):
            # d log p_c / d K = x (W (e_c - p))^T
            by_hand += p[label] * np.outer(image, w @ (np.eye(3)[label] - p)) ** 2
        np.testing.assert_allclose(information, by_hand.mean(0), rtol=1e-4)


class Mixed(nn.Module):
    """A convolution of the fast path, others that are not, and a dense layer."""

    @nn.compact
    def __call__(self, x: Any, *, train: bool = False) -> Any:
        x = nn.relu(nn.Conv(4, (3, 3), use_bias=False)(x))
        x = nn.BatchNorm(use_running_average=not train)(x)
        x = nn.relu(nn.Conv(3, (5, 3), use_bias=False)(x))
        x = nn.relu(nn.Conv(3, (3, 3), strides=(2, 2))(x))
        x = nn.relu(nn.Conv(3, (3, 3), padding="VALID", use_bias=False)(x))
        return nn.Dense(5)(x.reshape(len(x), -1))


@pytest.mark.extended
def test_fisher_is_that_of_one_image_and_class_after_the_other() -> None:
    model, images = Mixed(), toy.images(2, 8, 2)
    variables = toy.variables(model, images)
    embed = make_embed(model)
    whole = {**variables, "params": {"body": variables["params"]}}
    classifier = Linear(jnp.asarray(normal(5, 3)), jnp.zeros(3))
    found = jax.jit(filter_fisher, static_argnums=0)(
        embed, whole, classifier, jnp.asarray(images)
    )

    @jax.jit
    def gradient_and_p(params: Any, image: Any, label: Any) -> Any:
        def log_p(params: Any) -> Any:
            changed = {**whole, "params": {"body": params}}
            features = embed(changed, image[None])
            logits = features @ classifier.weights
            return jax.nn.log_softmax(logits[0])[label]

        value, gradient = jax.value_and_grad(log_p)(params)
        return gradient, jnp.exp(value)

    for image, information in zip(images, found, strict=True):
        expected = []
        pairs = [gradient_and_p(whole["params"]["body"], image, c) for c in range(3)]
        for leaves in zip(*(jax.tree.leaves(g) for g, _ in pairs), strict=True):
            if leaves[0].ndim > 1:
                weighted = [
                    float(p) * np.asarray(leaf, np.float64) ** 2
                    for leaf, (_, p) in zip(leaves, pairs, strict=True)
                ]
                squares = np.sum(weighted, axis=0)
                expected.append(squares.reshape(-1, squares.shape[-1]).mean(0))
        assert information.shape == (4 + 3 + 3 + 3 + 5,)
        largest = max(map(np.max, expected))
        np.testing.assert_allclose(
            information, np.concatenate(expected), rtol=1e-3, atol=1e-6 * largest
        )


def test_distances_are_those_of_scipy() -> None:
    embeddings = GENERATOR.gamma(1.0, size=(4, 9)).astype(np.float32)
    embeddings[:, 3] = 0.0  # a filter that matters to no task
    embeddings[3] = embeddings[1]
    found = task_distances(embeddings)
    for i, a in enumerate(embeddings.astype(np.float64)):
        for j, b in enumerate(embeddings.astype(np.float64)):
            kept = a + b > 0
            total = (a + b)[kept]
            expected = cosine(a[kept] / total, b[kept] / total)
            np.testing.assert_allclose(found[i, j], expected, atol=1e-12)
    assert found[1, 3] == pytest.approx(0.0, abs=1e-12)
    np.testing.assert_array_equal(np.diag(found), 0.0)
    np.testing.assert_allclose(found, found.T, atol=1e-12)
    # Scaled by their sum: what all tasks share of a filter counts for nothing.
    scaled = task_distances(embeddings * np.arange(1, 10, dtype=np.float32)[None])
    np.testing.assert_allclose(scaled, found, atol=1e-6)
    with pytest.raises(ValueError, match="no Fisher information"):
        task_distances(np.zeros((2, 3)))


def test_the_interval_is_over_tasks_not_over_pairs() -> None:
    # Where d_ij = (u_i + u_j) / 2, the mean over pairs is that of u.
    u = GENERATOR.uniform(size=200)
    distances = (u[:, None] + u[None]) / 2
    np.fill_diagonal(distances, 0.0)
    mean, (low, high) = mean_distance(distances)
    error = u.std(ddof=1) / np.sqrt(len(u))
    np.testing.assert_allclose(mean, u.mean(), rtol=1e-12)
    np.testing.assert_allclose(
        [low, high], u.mean() + 1.96 * error * np.array([-1, 1]), atol=0.25 * error
    )


@pytest.mark.extended
def test_a_task_is_embedded_whole_or_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    model = MLP(width=6, depth=1)
    images = GENERATOR.integers(0, 256, (6, 4, 4, 1), dtype=np.uint8)
    variables = toy.variables(model, toy.images(1, 4, 1))
    variables = {"params": {"body": variables["params"]}}
    probe = Probe("mlp", make_embed(model), variables, (0.5,), (0.2,))
    found = []
    for numbers in (1, 1 << 20):
        monkeypatch.setattr(embedding, "_GRADIENTS", numbers)
        found.append(embedding.make_task_embedder(probe, TaskShape(3, 2, 0))(images))
    assert found[0].shape == (6,)
    np.testing.assert_allclose(found[0], found[1], rtol=1e-4, atol=1e-9)


@pytest.mark.slow
def test_diversity_of_a_dataset(tmp_path: Path) -> None:
    data = toy.dataset(size=16)
    options: dict[str, Any] = {
        "random_body": 3,
        "tasks": 10,
        "ways": 3,
        "shots": 2,
        "split": "test",
    }
    output = tmp_path / "diversity.json"
    found = metabridge.task_diversity(data, output=output, **options)
    again = metabridge.task_diversity(data, **options)
    np.testing.assert_array_equal(found.embeddings, again.embeddings)
    assert found.embeddings.shape == (10, 4 * 64)
    assert 0 < found.ci95[0] < found.diversity < found.ci95[1] < 1
    pairs = found.distances[np.triu_indices(10, 1)]
    np.testing.assert_allclose(found.diversity, pairs.mean(), rtol=1e-9)
    assert all(name.startswith("test_") for names in found.classes for name in names)
    written = json.loads(output.read_text())
    assert written["diversity"] == found.diversity
    assert written["probe"] == "conv4 of random weights, seed 3"
    np.testing.assert_allclose(written["embeddings"], found.embeddings, rtol=1e-5)
    options["seed"] = 1
    other = metabridge.task_diversity(data, **options)
    assert other.diversity != found.diversity


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tasks": 9}, "`tasks` is 9, but must be at least 10"),
        ({"seed": -1}, "`seed` is -1"),
        ({"split": "all"}, "`split` is 'all', but must be one of train, validation"),
        ({"body": "x", "random_body": 0}, "both name a probe"),
        ({"ways": 9}, "`ways` is 9, but split 'train' of 'toy' has 8 classes"),
        ({"shots": 9}, "9 images of a class"),
        ({"body": "omniglot-conv4"}, r"probe omniglot-conv4 takes \[28, 28, 1\]"),
        ({"shots": 2}, "conv4 needs 16x16 pixels at least, but 'toy' has 8x8"),
    ],
)
def test_bad_input_is_refused(options: dict[str, Any], message: str) -> None:
    options.setdefault("shots", 2)
    with pytest.raises(ValueError, match=message):
        metabridge.task_diversity(toy.dataset(), **options)
