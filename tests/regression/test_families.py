"""Families of tasks against their formulas in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metabridge.regression.families import (
    FAMILIES,
    Family,
    harmonics,
    lines,
    shared_linear,
    sinusoids,
)
from metabridge.types import Task


def draw(family: Family, count: int, shots: int = 6, queries: int = 4) -> Task:
    keys = jax.random.split(jax.random.key(0), count)
    of_task = lambda number, key: family.task("train", number, key, shots, queries)  # noqa: E731
    return jax.jit(jax.vmap(of_task))(jnp.arange(count), keys)


def examples(family: Family, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Inputs and targets of tasks in their units, ``[T, N, ...]``, in float64."""
    task = draw(family, count)
    inputs = np.concatenate([task.support.inputs, task.query.inputs], axis=1)
    targets = np.concatenate([task.support.labels, task.query.labels], axis=1)
    scale = family.scale
    mean, std = np.asarray(scale.input_mean), np.asarray(scale.input_std)
    return inputs.astype(np.float64) * std + mean, targets.astype(np.float64)


def residual(columns: list[np.ndarray], y: np.ndarray) -> float:
    """Largest distance of targets from the span of functions of their inputs."""
    design = np.concatenate(columns, axis=1)
    found = design @ np.linalg.lstsq(design, y, rcond=None)[0]
    return float(np.abs(found - y).max())


def test_sinusoids_are_in_the_span_of_sine_and_cosine() -> None:
    amplitudes, phases = [], []
    for x, y in zip(*examples(sinusoids(), 300), strict=True):
        assert np.abs(x).max() <= 5
        design = np.concatenate([np.sin(x), np.cos(x)], axis=1)
        (a, b), *_ = np.linalg.lstsq(design, y[:, 0], rcond=None)
        assert np.abs(design @ [a, b] - y[:, 0]).max() < 1e-5
        # a sin(x) + b cos(x) = A sin(x - phase): a = A cos(phase), b = -A sin(phase).
        amplitudes.append(np.hypot(a, b))
        phases.append(np.arctan2(-b, a))
    assert 0.1 <= min(amplitudes) < 0.3
    assert 4.8 < max(amplitudes) <= 5.0
    assert -1e-3 <= min(phases) < 0.1
    assert 3.0 < max(phases) <= np.pi + 1e-3


def test_lines_are_lines() -> None:
    for x, y in zip(*examples(lines(), 50), strict=True):
        assert residual([x, np.ones_like(x)], y) < 1e-5


def test_harmonics_have_two_frequencies_and_noise() -> None:
    family = harmonics()
    made_of = family.draw(jax.random.key(3))
    x = family.inputs_of(jax.random.key(4), made_of, 2000)
    a, b, w = (np.asarray(made_of[name], np.float64) for name in ("a", "b", "w"))
    assert 5 <= w <= 7
    angle = np.float64(x) * w
    expected = a[0] * np.sin(angle + b[0]) + a[1] * np.sin(2 * angle + b[1])
    np.testing.assert_allclose(family.targets_of(made_of, x), expected, atol=1e-4)
    np.testing.assert_allclose(np.mean(x), made_of["centre"], atol=0.1)
    task = family.task("test", jnp.asarray(5), jax.random.key(1), 2000, 0)
    of = family.draw(jax.random.fold_in(jax.random.key(2), 5))
    noise = task.support.labels - family.targets_of(
        of, task.support.inputs * family.scale.input_std[0]
    )
    assert 0.09 < float(noise.std()) < 0.11


def test_shared_linear_tasks_depend_on_the_subspace_alone() -> None:
    family = shared_linear(7, 3, noise=0.0)
    assert family.subspace is not None
    gram = family.subspace.T @ family.subspace
    np.testing.assert_allclose(gram, np.eye(3), atol=1e-12)
    for x, y in zip(*examples(family, 20), strict=True):
        assert residual([x @ family.subspace], y) < 1e-5
    x, y = examples(shared_linear(7, 3, noise=0.5), 1)
    assert residual([x[0] @ family.subspace], y[0]) > 0.1
    described = [shared_linear(seed=seed).describe() for seed in (0, 0, 5)]
    assert described[0] == described[1] != described[2]


def test_a_number_is_a_task_whatever_its_examples() -> None:
    family = shared_linear(3, 3, noise=0.0)
    found = [
        family.task("train", jnp.asarray(number), jax.random.key(seed), 5, 0).support
        for number, seed in ((4, 0), (4, 1), (5, 0))
    ]
    weights = [np.linalg.lstsq(t.inputs, t.labels, rcond=None)[0] for t in found]
    np.testing.assert_allclose(weights[0], weights[1], atol=1e-4)
    assert np.abs(weights[0] - weights[2]).max() > 0.1
    assert np.abs(found[0].inputs - found[1].inputs).max() > 0.1


@pytest.mark.extended
@pytest.mark.parametrize("name", FAMILIES)
def test_inputs_are_normalised_and_splits_differ(name: str) -> None:
    family = FAMILIES[name]()
    support = draw(family, 400, 10, 10).support
    inputs = np.asarray(support.inputs).reshape(-1, family.num_inputs)
    assert np.abs(inputs.mean(0)).max() < 0.12
    assert np.abs(inputs.std(0) - 1).max() < 0.08
    key, number = jax.random.key(0), jnp.asarray(1)
    one, other = (family.task(s, number, key, 3, 2) for s in ("validation", "test"))
    assert np.abs(one.support.labels - other.support.labels).max() > 1e-3
    assert one.support.labels.shape == (3, 1)
    assert one.query.inputs.shape == (2, family.num_inputs)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"inputs": 3, "rank": 4}, "`rank` is 4, but must be from 1 to .*, 3"),
        ({"rank": 0}, "`rank` is 0"),
        ({"noise": -1.0}, "`noise` is -1.0"),
        ({"noise": float("inf")}, "`noise` is inf"),
    ],
)
def test_families_that_cannot_be(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        shared_linear(**options)
