"""Adapting a body to a user's task and scoring images, compiled and in batches.

Where a learner fits a head on frozen features, images are embedded in batches, and the
score of one does not depend on the others. Where it adapts the body, or normalises by
the images at hand, all support images pass through it together, and those to score as
many at once as `BATCH` allows.
"""

import functools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt8

from metabridge.apply.body import Body
from metabridge.apply.images import Images
from metabridge.config import EvaluationConfig
from metabridge.data import augment
from metabridge.learners import Learner
from metabridge.parallel import devices
from metabridge.training.guards.memory import needed_bytes
from metabridge.types import Examples
from metabridge.units import format_bytes

BATCH = 512
"""Images to score at once, at most."""
_PIXELS = 512 * 32 * 32  # of a batch, on a CPU
_KEPT = 4  # bodies with an adaptation, for which what is compiled is kept


class Adaptation(NamedTuple):
    """How a body adapts to a task and scores images."""

    fit: Callable[[Images, np.ndarray, int], Any]
    """``fit(images, labels, ways)``, labels int32 in [0, ways)."""
    scores: Callable[[Any, Images], np.ndarray]
    """float32 ``[N, ways]`` of images, with what `fit` returned."""


@functools.lru_cache(maxsize=_KEPT)
def adaptation_of(body: Body, evaluation: EvaluationConfig) -> Adaptation:
    """The adaptation of a body; of the same one, what is compiled is compiled once.

    Raises (`fit` does):
      ValueError: the support needs more memory than there is.
    """
    learner = body.learner(evaluation)
    if learner.frozen_body is None:
        return _of_all(body, learner)
    return _of_head(body, learner)


@functools.lru_cache(maxsize=_KEPT)
def features_of(body: Body) -> Callable[[Images], np.ndarray]:
    """Makes what embeds images, float32 ``[N, D]``.

    Raises:
      ValueError: the learner has no features apart from its adaptation.
    """
    learner = body.learner()
    embed = learner.embed
    if learner.frozen_body is not None:
        embed = learner.frozen_body.embed
    if embed is None:
        raise ValueError(f"{learner.name} has no features apart from its adaptation")
    return _embedder(body, embed)


def _embedder(body: Body, embed: Callable[..., Any]) -> Callable[[Images], np.ndarray]:
    compiled = jax.jit(
        lambda variables, images: embed(variables, _normalised(body, images))
    )
    variables = jax.device_put(body.variables)
    size = _batch_size(body)

    def features(images: Images) -> np.ndarray:
        return np.concatenate(
            [
                np.asarray(compiled(variables, _padded(batch, size)))[: len(batch)]
                for batch in _batches(images, size)
            ]
        )

    return features


def _of_head(body: Body, learner: Learner) -> Adaptation:
    assert learner.frozen_body is not None
    head = learner.frozen_body.head_of(body.variables)
    features = _embedder(body, learner.frozen_body.embed)
    fit_head = _checked(
        lambda ways: lambda rows, labels: head.fit(rows, labels, ways=ways)
    )
    logits = jax.jit(head.logits)

    def fit(images: Images, labels: np.ndarray, ways: int) -> Any:
        return fit_head(ways, features(images), labels)

    def scores(classifier: Any, images: Images) -> np.ndarray:
        rows = features(images)
        parts = [rows[i : i + BATCH] for i in range(0, len(rows), BATCH)]
        return np.concatenate(
            [
                np.asarray(logits(classifier, _padded(part, BATCH)))[: len(part)]
                for part in parts
            ]
        )

    return Adaptation(fit, scores)


def _of_all(body: Body, learner: Learner) -> Adaptation:
    def adapt(ways: int) -> Callable[..., Any]:
        def of_task(variables: Any, images: Any, labels: Any) -> Any:
            support = Examples(_normalised(body, images), labels)
            return learner.adapt(variables, support, ways=ways)

        return of_task

    variables = jax.device_put(body.variables)
    adapt_all = _checked(adapt)
    logits = jax.jit(
        lambda adapted, images: learner.logits(adapted, _normalised(body, images))
    )

    def fit(images: Images, labels: np.ndarray, ways: int) -> Any:
        return adapt_all(ways, variables, images.read(0, len(images)), labels)

    def scores(adapted: Any, images: Images) -> np.ndarray:
        # Not filled up: with batch statistics every image of a batch counts.
        batches = _batches(images, _batch_size(body), even=True)
        return np.concatenate([np.asarray(logits(adapted, b)) for b in batches])

    return Adaptation(fit, scores)


def _checked(function_of: Callable[[int], Callable[..., Any]]) -> Callable[..., Any]:
    """``function(ways, *arrays)``, compiled once a shape, and refused where its memory
    is not there."""

    @functools.lru_cache(maxsize=8)
    def compiled(ways: int, structure: Any, *leaves: Any) -> jax.stages.Compiled:
        arrays = jax.tree.unflatten(
            structure, [jax.ShapeDtypeStruct(*leaf) for leaf in leaves]
        )
        program = jax.jit(function_of(ways)).lower(*arrays).compile()
        needed, held = needed_bytes(program)
        free = devices.free_bytes()
        if needed - held > free:
            raise ValueError(
                f"adapting to these images needs {format_bytes(needed)} of memory, but "
                f"{format_bytes(free)} are free: pass fewer images, or another `head` "
                "(centroid needs the least)"
            )
        return program

    def function(ways: int, *arrays: Any) -> Any:
        leaves, structure = jax.tree.flatten(arrays)
        shapes = [(leaf.shape, leaf.dtype) for leaf in leaves]
        return jax.device_get(compiled(ways, structure, *shapes)(*arrays))

    return function


def _normalised(body: Body, images: UInt8[Array, "N H W c"]) -> Float[Array, "N H W c"]:
    return augment.normalise(images, body.mean, body.std)


def _batch_size(body: Body) -> int:
    """A power of two; fewer large images on a CPU, whose memory they share."""
    if jax.default_backend() != "cpu":
        return BATCH
    height, width, _ = body.shapes.image_shape
    return 1 << max(min(_PIXELS // (height * width), BATCH).bit_length() - 1, 0)


def _batches(images: Images, size: int, *, even: bool = False) -> Iterator[np.ndarray]:
    """Images a batch at a time; `even` makes all about as large as the last."""
    if even:
        size = -(-len(images) // -(-len(images) // size))
    for start in range(0, len(images), size):
        yield images.read(start, min(start + size, len(images)))


def _padded(rows: np.ndarray, size: int) -> Array:
    """Filled up with copies to a power of two, so that few shapes are compiled."""
    wanted = min(1 << (len(rows) - 1).bit_length(), size)
    return jnp.asarray(rows[np.arange(wanted) % len(rows)])
