"""What a user does in Python: each call takes text and returns what JSON can hold."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

import metabridge
from metabridge import cli
from metabridge.runs.folder import read_result
from metabridge.training.verify import verify as verify_run

NUMBERS = ("accuracy", "ci95", "pixel_centroid_accuracy", "pixel_centroid_ci95")
"""Of a result, all of which depend on the tasks that were drawn."""


def command(*arguments: str) -> int:
    """The exit code of a command."""
    try:
        # Optax divides counts by numbers; what is ours is checked strictly elsewhere.
        with jax.numpy_dtype_promotion("standard"):
            cli.main(arguments)
    except SystemExit as stopped:
        return (
            stopped.code if isinstance(stopped.code, int) else int(bool(stopped.code))
        )
    return 0


def work(*given: object, **options: object) -> None:
    """What must not be called by a command that is refused."""
    pytest.fail("work has begun")


def task(size: int = 8, channels: int = 1) -> tuple[np.ndarray, list[str], np.ndarray]:
    """A task of three classes, unlike each other: support, labels and queries."""
    generator = np.random.default_rng(5)
    patterns = generator.uniform(60, 190, (3, 1, size, size, channels))

    def images(count: int) -> np.ndarray:
        noise = generator.normal(0, 5, (3, count, size, size, channels))
        pixels = np.clip(patterns + noise, 0, 255).astype(np.uint8)
        return pixels.reshape(-1, size, size, channels)

    return images(2), [name for name in "abc" for _ in range(2)], images(3)


def classify(body: str, data_dir: str | None = None, **options: Any) -> list[str]:
    """Labels of the queries of `task` by a run, a file or an included body."""
    channels, size = (3, 32) if body.startswith("cifar") else (1, 8)
    support, labels, queries = task(size, channels)
    classifier = metabridge.FewShotClassifier(body, data_dir=data_dir, **options)
    with jax.numpy_dtype_promotion("standard"):
        return classifier.fit(support, labels).predict(queries).tolist()


def features(body: str, data_dir: str | None = None) -> list[list[float]]:
    """Features of the queries of `task`."""
    loaded = metabridge.load_body(body, data_dir=data_dir)
    size, _, channels = loaded.shapes.input_shape
    return loaded.embed(task(size, channels)[2]).tolist()


def evaluated(run: str, **options: Any) -> dict[str, Any]:
    """The result of `metabridge.evaluate_run`."""
    with jax.numpy_dtype_promotion("standard"):
        return metabridge.evaluate_run(run, {}, **options)


def verified(run: str, **options: Any) -> bool:
    """Whether `metabridge.training.verify` finds a run reproduced."""
    with jax.numpy_dtype_promotion("standard"):
        return verify_run(run, **options)["reproduced"]


def result(run: str) -> dict[str, Any]:
    """What the result of a run says."""
    return read_result(Path(run))


CALLS = {
    call.__name__: call
    for call in (command, classify, features, evaluated, verified, result)
}


@contextlib.contextmanager
def cheap_compilation() -> Iterator[None]:
    """Programs that run a few times are not worth the compiler's optimisations."""
    before = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", True)
    try:
        yield
    finally:
        jax.config.update("jax_disable_most_optimizations", before)
