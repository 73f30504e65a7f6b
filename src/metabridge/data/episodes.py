"""Sampling few-shot tasks on the device, as pure functions of a key.

A split lives on the device as a `Bank`; a task is drawn from it inside the compiled
step, so no Python loader stands between the data and the step. Classes are drawn
uniformly without replacement, then the examples of each class likewise; support and
query never share one. Tasks of unequal sizes are filled up with -1; see
`metabridge.masks`.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key, UInt8

from metabridge.data.dataset import Split
from metabridge.masks import FILLER, Mask
from metabridge.types import RawInputs, TaskShape


class ClassIndex(NamedTuple):
    """The first row and the size of each class in an array sorted by class."""

    first: Int[Array, "C"]
    size: Int[Array, "C"]


class Bank(NamedTuple):
    """A split on the device."""

    inputs: RawInputs
    classes: ClassIndex


class TaskInputs(NamedTuple):
    """The inputs of tasks drawn on the host, in the order of their episodes.

    They take the place of a bank that the device cannot hold.
    """

    support: UInt8[Array, "*T S H W channels"] | Float[Array, "*batch"]
    query: UInt8[Array, "*T Q H W channels"] | Float[Array, "*batch"]
    classes: ClassIndex


class Episode(NamedTuple):
    """One task as rows of a bank, before any input is touched; -1 is a filler."""

    classes: Int[Array, "ways"]
    """Classes of the task; with rotations, class + C * quarter turns."""
    support: Int[Array, "ways shots"]
    query: Int[Array, "ways queries"]
    turns: Int[Array, "ways"]
    """Quarter turns that make each class what it is; 0 without rotations."""


def class_index(split: Split) -> ClassIndex:
    """The class index of a split."""
    size = split.images_per_class
    first = np.concatenate([[0], np.cumsum(size)[:-1]])
    return ClassIndex(jnp.asarray(first, jnp.int32), jnp.asarray(size, jnp.int32))


def make_bank(split: Split) -> Bank:
    """Copy a split to the device, as it is stored."""
    return Bank(jnp.asarray(np.asarray(split.inputs)), class_index(split))


def check_shape(
    shape: TaskShape,
    split: Split,
    *,
    what: str,
    rotations: bool = False,
    prefix: str = "",
) -> None:
    """Raise a ValueError unless tasks of this shape can be drawn from this split.

    An error calls the split `what`, e.g. "split 'test' of 'fc100'", and gives options
    the prefix, e.g. "train_". With `rotations` quarter turns of a class are classes.
    """
    ways, shots, queries = (prefix + name for name in TaskShape._fields[:3])
    if shape.ways < 2:
        raise ValueError(f"`{ways}` is {shape.ways}, but a task needs at least 2")
    if shape.shots < 1 or shape.queries < 0:
        raise ValueError(
            f"`{shots}` is {shape.shots} and `{queries}` {shape.queries}, but a task "
            "needs at least 1 support image a class and no negative number of queries"
        )
    classes = split.num_classes * (4 if rotations else 1)
    if shape.ways > classes:
        raise ValueError(
            f"`{ways}` is {shape.ways}, but {what} has {classes} classes; "
            f"pass {ways} <= {classes}"
        )
    least = shape.least
    needed = least.shots + least.queries
    smallest = int(split.images_per_class.argmin())
    available = int(split.images_per_class[smallest])
    if needed > available:
        few, sizes = "", f"{shots} + {queries}"
        also = f", or {prefix}min_{TaskShape._fields[2]} for classes that have fewer"
        if shape.unequal:
            sizes = " + ".join(prefix + name for name in TaskShape._fields[4:6])
            few, also = "at least ", ""
        raise ValueError(
            f"a task takes {few}{least.shots} shots and {least.queries} queries, "
            f"{needed} images of a class, but class {split.class_names[smallest]!r} of "
            f"{what} has {available}; pass {sizes} <= {available}{also}"
        )


def sample_episode(
    key: Key[Array, ""],
    classes: ClassIndex,
    shape: TaskShape,
    *,
    max_size: int,
    rotations: bool = False,
    chosen: Int[Array, "ways"] | None = None,
) -> Episode:
    """Draw one task of a shape that `check_shape` has let pass.

    `max_size` is the largest of `classes.size`, a static number. With `rotations` each
    quarter turn of a class counts as a class of its own, as is customary on Omniglot
    (Santoro et al., ICML 2016). `chosen` are the classes where they are settled.
    """
    key_classes, key_examples = jax.random.split(key)
    num_classes = classes.size.shape[0]
    drawn = chosen
    if drawn is None:
        every = num_classes * (4 if rotations else 1)
        drawn = jax.random.choice(key_classes, every, (shape.ways,), replace=False)
        drawn = drawn.astype(jnp.int32)
    turns, base = drawn // num_classes, drawn % num_classes
    # The images with the largest random numbers are a uniform draw without
    # replacement; places behind the end of a smaller class get no number.
    numbers = jax.random.uniform(key_examples, (shape.ways, max_size), jnp.float32)
    exists = jnp.arange(max_size)[None] < classes.size[base][:, None]
    needed = min(shape.shots + shape.queries, max_size)
    _, places = jax.lax.top_k(jnp.where(exists, numbers, -1.0), needed)
    rows = classes.first[base][:, None] + places
    if not shape.unequal:
        return Episode(drawn, rows[:, : shape.shots], rows[:, shape.shots :], turns)
    sizes = draw_sizes(jax.random.fold_in(key, 1), classes.size[base], shape)
    there = sizes.shots > 0
    support = _take(rows, jnp.zeros_like(sizes.shots), sizes.shots, shape.shots)
    query = _take(rows, sizes.shots, sizes.queries, shape.queries)
    return Episode(jnp.where(there, drawn, FILLER), support, query, turns)


class Sizes(NamedTuple):
    """Examples of each class of one task; 0 of a class that is not there."""

    shots: Int[Array, "ways"]
    queries: Int[Array, "ways"]


def draw_sizes(
    key: Key[Array, ""], available: Int[Array, "ways"], shape: TaskShape
) -> Sizes:
    """Draw the sizes of one of unequal tasks, of classes with so many examples each."""
    key_ways, key_shots, key_queries = jax.random.split(key, 3)
    least, each = shape.least, jnp.arange(shape.ways, dtype=jnp.int32)

    def draw(key: Key[Array, ""], least: int, most: int, *of: int) -> Int[Array, "*of"]:
        return jax.random.randint(key, of, least, most + 1, jnp.int32)

    ways = draw(key_ways, least.ways, shape.ways)
    if shape.imbalance == "random":
        shots = draw(key_shots, least.shots, shape.shots, shape.ways)
    elif shape.imbalance == "linear":
        span = shape.shots - least.shots
        shots = least.shots + (2 * each * span + ways - 1) // (2 * (ways - 1))
    elif shape.imbalance == "step":
        shots = jnp.where(each < ways // 2, least.shots, shape.shots)
    else:
        drawn = draw(key_shots, least.shots, shape.shots)
        shots = jnp.broadcast_to(drawn, (shape.ways,))
    shots = jnp.minimum(shots, available - least.queries)
    queries = draw(key_queries, least.queries, shape.queries)
    queries = jnp.minimum(queries, available - shots)
    there = each < ways
    return Sizes(jnp.where(there, shots, 0), jnp.where(there, queries, 0))


def _take(
    rows: Int[Array, "ways n"],
    first: Int[Array, "ways"],
    counts: Int[Array, "ways"],
    most: int,
) -> Int[Array, "ways _"]:
    """So many of the rows of each class from the first on, then fillers: `most`."""
    each = jnp.arange(most, dtype=jnp.int32)[None]
    places = jnp.minimum(first[:, None] + each, rows.shape[1] - 1)
    taken = jnp.take_along_axis(rows, places, axis=1)
    return jnp.where(each < counts[:, None], taken, FILLER)


def labels(ways: int, per_class: int) -> Int[Array, "N"]:
    """Labels of examples that stand class by class, ``[ways * per_class]``."""
    return jnp.repeat(jnp.arange(ways, dtype=jnp.int32), per_class)


def labels_of(
    rows: Int[Array, "ways n"], shape: TaskShape
) -> tuple[Int[Array, "N"], Mask]:
    """Labels of the examples in these rows, and which are no fillers if some may be."""
    of_all = labels(*rows.shape)
    if not shape.unequal:
        return of_all, None
    there = rows.reshape(-1) != FILLER
    return jnp.where(there, of_all, FILLER), there
