"""Test tasks as rows of a split: drawn with replacement, or sharing no image."""

import functools
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Int, Key

from metabridge.data import episodes
from metabridge.data.dataset import Split
from metabridge.masks import FILLER
from metabridge.types import TaskShape

_BATCH = 500
"""Tasks drawn at once, whatever their number, so that one program serves all."""
_PLACES = 20_000_000
"""Random numbers of a batch at most: one for each image of each of its classes."""


class Tasks(NamedTuple):
    """T tasks, in arrays of NumPy or on a device; -1 is a filler of unequal tasks."""

    classes: Any
    """Class that each label stands for, int32 ``[T, ways]``."""
    support: Any
    """Rows of the support images, int32 ``[T, ways, shots]``."""
    query: Any
    """Rows of the query images, int32 ``[T, ways, queries]``."""


def draw_tasks(keys: Key[Array, "T"], split: Split, shape: TaskShape) -> Tasks:
    """Draw a task for each key; different tasks may share images (closed sampling)."""
    index, largest = episodes.class_index(split), int(split.images_per_class.max())
    count, size = len(keys), max(min(_BATCH, _PLACES // (shape.ways * largest)), 1)
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

    Of unequal tasks each takes blocks of the sizes drawn for it, of classes that have
    as many images left, until there are too few for the next. A class that never had as
    many gives a block once, of all that it has, as in tasks that may share images.
    """
    if shape.unequal:
        return _draw_disjoint_unequal(seed, split, shape)
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


def _draw_disjoint_unequal(seed: int, split: Split, shape: TaskShape) -> Tasks:
    generator = np.random.default_rng([seed, 1])
    sizes = split.images_per_class
    first = np.cumsum(sizes) - sizes
    orders = [at + generator.permutation(n) for at, n in zip(first, sizes, strict=True)]
    left, found = sizes.copy(), []
    while True:
        shots, queries = _draw_sizes(generator, shape)
        able = np.flatnonzero(left >= np.minimum(shots.max() + queries, sizes))
        if len(able) < len(shots):
            break
        weights = left[able] / left[able].sum()
        chosen = generator.choice(able, len(shots), replace=False, p=weights)
        classes = np.full(shape.ways, FILLER, np.int32)
        support, query = (
            np.full((shape.ways, n), FILLER, np.int32)
            for n in (shape.shots, shape.queries)
        )
        classes[: len(chosen)] = chosen
        for way, (c, wanted) in enumerate(zip(chosen, shots, strict=True)):
            count = min(wanted, sizes[c] - shape.least.queries)
            asked = min(queries, sizes[c] - count)
            left[c] -= count + asked
            rows = orders[c][left[c] : left[c] + count + asked]
            support[way, :count], query[way, :asked] = rows[:count], rows[count:]
        found.append((classes, support, query))
    if not found:
        empty = (0, shape.ways)
        blank = (np.zeros((*empty, n), np.int32) for n in (shape.shots, shape.queries))
        return Tasks(np.zeros(empty, np.int32), *blank)
    return Tasks(*map(np.stack, zip(*found, strict=True)))


def _draw_sizes(
    generator: np.random.Generator, shape: TaskShape
) -> tuple[Int[np.ndarray, "ways"], int]:
    """Shots of each class of a task, and its queries, as `episodes.draw_sizes`."""
    key = jax.random.key(int(generator.integers(2**31)))
    plenty = np.full(shape.ways, shape.shots + shape.queries, np.int32)
    shots, queries = map(np.asarray, _sizes(key, plenty, shape))
    return shots[shots > 0], int(queries.max())


@functools.partial(jax.jit, static_argnames="shape")
def _sizes(key: Key[Array, ""], available: Any, shape: TaskShape) -> episodes.Sizes:
    return episodes.draw_sizes(key, available, shape)
