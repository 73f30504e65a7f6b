"""Sampling few-shot tasks on the device, as pure functions of a key.

A split lives on the device as a `Bank`; a task is drawn from it inside the compiled
step, so no Python loader stands between the data and the step. Classes are drawn
uniformly without replacement, then the examples of each class likewise; support and
query never share one.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key, UInt8

from metabridge.data.dataset import Split
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
    """One task as rows of a bank, before any input is touched."""

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
    ways, shots, queries = (prefix + name for name in TaskShape._fields)
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
    needed = shape.shots + shape.queries
    smallest = int(split.images_per_class.argmin())
    available = int(split.images_per_class[smallest])
    if needed > available:
        raise ValueError(
            f"a task takes {shape.shots} shots and {shape.queries} queries, {needed} "
            f"images of a class, but class {split.class_names[smallest]!r} of {what} "
            f"has {available}; pass {shots} + {queries} <= {available}"
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
    needed = shape.shots + shape.queries
    _, places = jax.lax.top_k(jnp.where(exists, numbers, -1.0), needed)
    rows = classes.first[base][:, None] + places
    return Episode(drawn, rows[:, : shape.shots], rows[:, shape.shots :], turns)


def labels(ways: int, per_class: int) -> Int[Array, "N"]:
    """Labels of examples that stand class by class, ``[ways * per_class]``."""
    return jnp.repeat(jnp.arange(ways, dtype=jnp.int32), per_class)
