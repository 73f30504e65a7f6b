"""Test tasks as rows of a split: drawn with replacement, or sharing no image."""

import functools
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Key

from metabridge.data import episodes
from metabridge.data.dataset import Split
from metabridge.types import TaskShape

_BATCH = 500


class Tasks(NamedTuple):
    """T tasks, in arrays of NumPy or on a device."""

    classes: Any
    """Class that each label stands for, int32 ``[T, ways]``."""
    support: Any
    """Rows of the support images, int32 ``[T, ways, shots]``."""
    query: Any
    """Rows of the query images, int32 ``[T, ways, queries]``."""


def draw_tasks(keys: Key[Array, "T"], split: Split, shape: TaskShape) -> Tasks:
    """Draw a task for each key; different tasks may share images (closed sampling)."""
    index, largest = episodes.class_index(split), int(split.images_per_class.max())
    count, size = len(keys), min(len(keys), _BATCH)
    filled = keys[np.arange(-(-count // size) * size) % count]
    batches = [
        _draw(batch, index, shape, largest) for batch in filled.reshape(-1, size)
    ]
    return Tasks(*(np.concatenate(rows)[:count] for rows in zip(*batches, strict=True)))


# Of the module, as each validation draws its tasks anew and must not compile again.
@functools.partial(jax.jit, static_argnames=("shape", "max_size"))
def _draw(
    keys: Key[Array, "T"],
    classes: episodes.ClassIndex,
    shape: TaskShape,
    max_size: int,
) -> Tasks:
    def draw(key: Key[Array, ""]) -> Tasks:
        drawn = episodes.sample_episode(key, classes, shape, max_size=max_size)
        return Tasks(drawn.classes, drawn.support, drawn.query)

    return jax.vmap(draw)(keys)


def draw_disjoint_tasks(seed: int, split: Split, shape: TaskShape) -> Tasks:
    """Draw tasks until the split is exhausted; no image is in two (open sampling).

    The images of each class are shuffled and cut into blocks of ``shots + queries``; a
    task takes a block of each of `ways` classes, drawn with probabilities in proportion
    to the blocks that they have left, until fewer than `ways` classes have one. Where
    all classes are of one size, each set of classes is as likely as any other.

    Lafargue, Smith, Vermet, Lowe, Reid, Rabin, Gripon, Rossi. Oops, I sampled it again:
    Reinterpreting confidence intervals in few-shot learning. TMLR 2024,
    https://arxiv.org/abs/2409.02850.
    """
    generator = np.random.default_rng([seed, 1])
    ways, size = shape.ways, shape.shots + shape.queries
    sizes = split.images_per_class
    first = np.cumsum(sizes) - sizes
    orders = [at + generator.permutation(n) for at, n in zip(first, sizes, strict=True)]
    left = sizes // size
    classes, rows = [], []
    while np.count_nonzero(left) >= ways:
        chosen = generator.choice(len(left), ways, replace=False, p=left / left.sum())
        left[chosen] -= 1
        classes.append(chosen)
        rows.append([orders[c][left[c] * size : (left[c] + 1) * size] for c in chosen])
    blocks = np.asarray(rows, np.int32).reshape(-1, ways, size)
    of_task = np.asarray(classes, np.int32).reshape(-1, ways)
    return Tasks(of_task, blocks[..., : shape.shots], blocks[..., shape.shots :])
