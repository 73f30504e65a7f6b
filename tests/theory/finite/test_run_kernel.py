"""Kernels of trained bodies against Jacobians of their network by JAX."""

import dataclasses
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import metabridge
from metabridge import build, theory
from metabridge.data import Dataset
from metabridge.theory.kernels.evaluate import float64
from tests.apply import bodies

BODY = "omniglot-conv4"
IMAGES = np.random.default_rng(0).integers(0, 256, (3, 28, 28, 1)).astype(np.uint8)


def by_jax(body: Any, variables: Any, weights: np.ndarray) -> theory.Kernels:
    """Both kernels of a body with a new head, from the whole Jacobian."""
    model = build.model(body.config.model, 28)
    # Float64 throughout, statistics too.
    stats, trained = (
        jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), tree)
        for tree in (variables["batch_stats"], variables["params"]["body"])
    )
    x = (IMAGES / 255.0 - np.asarray(body.mean)) / np.asarray(body.std)

    def features(params: Any) -> Any:
        return model.apply({"params": params, "batch_stats": stats}, jnp.asarray(x))

    with float64():
        phi, pull = jax.vjp(features, trained)
        rows = []
        for image in range(len(x)):
            cotangent = np.zeros(phi.shape)
            cotangent[image] = weights / len(weights) ** 0.5
            (row,) = pull(jnp.asarray(cotangent))
            rows.append(
                np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(row)])
            )
    phi, J = np.asarray(phi), np.stack(rows)
    head = phi @ phi.T / phi.shape[1]
    return theory.Kernels(head, head + J @ J.T)


@pytest.mark.slow
def test_an_exported_body() -> None:
    body = metabridge.load_body(BODY)
    weights = np.random.default_rng(7).standard_normal((64, 2))
    kernel = theory.empirical_of_run(BODY, ways=2, outputs=1, head_seed=7, block=2)
    wanted = by_jax(body, body.variables, weights[:, 1])
    found = kernel(IMAGES)
    np.testing.assert_allclose(found.nngp, wanted.nngp, rtol=1e-10)
    np.testing.assert_allclose(found.ntk, wanted.ntk, rtol=1e-10)
    np.testing.assert_array_equal(kernel(IMAGES.astype(np.float64)), found)
    assert kernel.function(IMAGES).shape == (3, 2)


@pytest.mark.extended
def test_a_body_before_its_training() -> None:
    body = metabridge.load_body(BODY)
    seed = body.config.train.seed
    example = jnp.zeros((1, *body.shapes.input_shape))
    key = jax.random.split(jax.random.key(seed), 3)[0]
    state = jax.jit(body.learner().init)(key, example)
    weights = np.random.default_rng(0).standard_normal((64, 5))
    wanted = by_jax(body, state._asdict(), weights[:, 2])
    kernel = theory.empirical_of_run(BODY, "init", outputs=2)
    np.testing.assert_allclose(kernel(IMAGES).ntk, wanted.ntk, rtol=1e-10)
    assert dataclasses.replace(kernel, block=1)(IMAGES).ntk.shape == (3, 3)


def test_a_body_of_arrays_that_are_no_images(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    arrays = 4 * rng.random((60, 7))
    labels = np.repeat(np.arange(20), 3)
    split = np.repeat(["train", "validation", "test"], [30, 15, 15])
    data = Dataset.from_arrays(arrays, labels, split)
    body = bodies.body("mtl", data)
    file = tmp_path / "arrays-mlp.safetensors"
    metabridge.export_body(body, file)
    kernel = theory.empirical_of_run(file)
    features = body.embed(arrays[:9]).astype(np.float64)
    found = kernel(arrays[:9]).nngp
    norms = np.sqrt(np.diagonal(found))  # MTL's features are of unit norm
    cosines = found / np.outer(norms, norms)
    np.testing.assert_allclose(cosines, features @ features.T, rtol=1e-4, atol=1e-5)
    with pytest.raises(
        ValueError, match=r"inputs are \[N, 7\], but these are \[2, 3\]"
    ):
        kernel(np.zeros((2, 3)))


def test_images_of_any_integers() -> None:
    kernel = theory.empirical_of_run(BODY, block=3)
    wide = kernel(IMAGES.astype(np.int64))
    np.testing.assert_array_equal(wide.nngp, kernel(IMAGES).nngp)


def test_bad_input() -> None:
    with pytest.raises(ValueError, match="neither a run's folder nor a file"):
        theory.empirical_of_run("no-such-run")
    kernel = theory.empirical_of_run(BODY)
    with pytest.raises(ValueError, match=r"images are \[N, 28, 28, 1\], but these are"):
        kernel(IMAGES.reshape(3, -1))
    with pytest.raises(ValueError, match="pixels must be from 0 to 255"):
        kernel(IMAGES / 255.0)
