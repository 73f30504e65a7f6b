"""A learner's adaptation to a user's task, compiled and in batches.

Where a learner fits a head on frozen features, images are embedded in batches, and the
score of one does not depend on the others. Where it adapts the body, or normalises by
the images at hand, all support images pass through it together, and those to score as
many at once as `BATCH` allows.
"""

import functools
import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from metabridge.apply.inputs import Arrays, Images
from metabridge.heads import Head
from metabridge.learners import Learner
from metabridge.parallel import devices
from metabridge.training.guards.memory import needed_bytes
from metabridge.types import Examples, Variables
from metabridge.units import format_bytes

BATCH = 512
"""Images to score at once, at most."""
_PIXELS = 512 * 32 * 32  # of a batch, on a CPU

Normalise = Callable[[Any], Any]
"""Inputs, such as uint8 images, as the body takes them."""

Inputs = Images | Arrays
"""Inputs of a user, checked."""


class Adaptation(NamedTuple):
    """Two functions that adapt a body to a task and score images."""

    fit: Callable[[Inputs, np.ndarray, int], Any]
    """``fit(images, labels, ways)``, labels int32 in [0, ways).

    Raises ValueError if the support needs more memory than there is.
    """
    scores: Callable[[Any, Inputs], np.ndarray]
    """float32 ``[N, ways]`` of images, with what `fit` returned."""
    features: Callable[[Inputs], np.ndarray] | None = None
    """Features ``[N, D]`` that a frozen body computes first; None without one."""
    on_features: "Adaptation | None" = None
    """The same two functions of these features, to fit many heads to one support."""


def make_adaptation(
    learner: Learner, variables: Variables, normalise: Normalise
) -> Adaptation:
    """Compile a learner's adaptation, with a head on frozen features or of the body."""
    if learner.frozen_body is None:
        return _adapt_body(learner, variables, normalise)
    head = learner.frozen_body.head_of(variables)
    features = make_embedder(learner, variables, normalise)
    return adapt_head(head, features)._replace(
        features=features, on_features=adapt_head(head, read_all)
    )


def adapt_head(head: Head, features: Callable[[Inputs], np.ndarray]) -> Adaptation:
    """Compile the adaptation of a head on features that a function computes."""
    fit_head = _within_memory(head.fit)
    logits = jax.jit(head.logits)

    def fit(inputs: Inputs, labels: np.ndarray, ways: int) -> Any:
        return fit_head(ways, features(inputs), labels)

    def scores(classifier: Any, inputs: Inputs) -> np.ndarray:
        rows = features(inputs)
        parts = (rows[i : i + BATCH] for i in range(0, len(rows), BATCH))
        return _in_batches(functools.partial(logits, classifier), parts, BATCH)

    return Adaptation(fit, scores)


def read_all(inputs: Inputs) -> np.ndarray:
    """All inputs as they are, which are features."""
    return inputs.read(0, len(inputs))


def make_embedder(
    learner: Learner, variables: Variables, normalise: Normalise
) -> Callable[[Inputs], np.ndarray]:
    """Compile the features of inputs, float32 ``[N, D]``."""
    embed = learner.frozen_body.embed if learner.frozen_body else learner.embed
    if embed is None:
        raise ValueError(f"{learner.name} has no features apart from its adaptation")
    compiled = jax.jit(lambda variables, inputs: embed(variables, normalise(inputs)))
    variables = jax.device_put(variables)

    def features(inputs: Inputs) -> np.ndarray:
        size = _batch_size(inputs)
        embed_batch = functools.partial(compiled, variables)
        return _in_batches(embed_batch, _batches(inputs, size), size)

    return features


def _adapt_body(
    learner: Learner, variables: Variables, normalise: Normalise
) -> Adaptation:
    def adapt(variables: Variables, inputs: Array, labels: Array, *, ways: int) -> Any:
        return learner.adapt(variables, Examples(normalise(inputs), labels), ways=ways)

    adapt_all = _within_memory(adapt)
    logits = jax.jit(lambda adapted, rows: learner.logits(adapted, normalise(rows)))
    variables = jax.device_put(variables)

    def fit(inputs: Inputs, labels: np.ndarray, ways: int) -> Any:
        return adapt_all(ways, variables, inputs.read(0, len(inputs)), labels)

    def scores(adapted: Any, inputs: Inputs) -> np.ndarray:
        # Not filled up: with batch statistics every image of a batch counts.
        batches = _batches(inputs, _batch_size(inputs), even=True)
        return np.concatenate([np.asarray(logits(adapted, b)) for b in batches])

    return Adaptation(fit, scores)


def _within_memory(adapt: Callable[..., Any]) -> Callable[..., Any]:
    """``function(ways, *arrays)``, compiled once a shape, refused beyond the memory."""
    jitted = jax.jit(adapt, static_argnames="ways")

    @functools.lru_cache(maxsize=8)
    def compiled(ways: int, structure: Any, *leaves: Any) -> jax.stages.Compiled:
        shapes = [jax.ShapeDtypeStruct(*leaf) for leaf in leaves]
        arrays = jax.tree.unflatten(structure, shapes)
        program = jitted.lower(*arrays, ways=ways).compile()
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


def _batch_size(inputs: Inputs) -> int:
    """A power of two; fewer large images on a CPU, whose memory they share."""
    if jax.default_backend() != "cpu":
        return BATCH
    pixels = math.prod(inputs.shape[:2])
    return 1 << max(min(_PIXELS // pixels, BATCH).bit_length() - 1, 0)


def _batches(inputs: Inputs, size: int, *, even: bool = False) -> Iterator[np.ndarray]:
    """Inputs a batch at a time; `even` makes all about as large as the last."""
    if even:
        size = -(-len(inputs) // -(-len(inputs) // size))
    for start in range(0, len(inputs), size):
        yield inputs.read(start, min(start + size, len(inputs)))


def _in_batches(
    function: Callable[[Array], Array], batches: Iterable[np.ndarray], size: int
) -> np.ndarray:
    """Rows of all batches, each filled up so that few shapes are compiled."""
    results = []
    for batch in batches:
        wanted = min(1 << (len(batch) - 1).bit_length(), size)  # a power of two
        filled = jnp.asarray(batch[np.arange(wanted) % len(batch)])
        results.append(np.asarray(function(filled))[: len(batch)])
    return np.concatenate(results)
