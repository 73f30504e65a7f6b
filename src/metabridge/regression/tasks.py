"""Regression tasks: what draws them, and how inputs and targets are normalised."""

import dataclasses
from collections.abc import Iterable
from typing import Any, Literal, Protocol, TypeVar, runtime_checkable

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key

from metabridge.types import Examples, Task

SplitName = Literal["train", "validation", "test"]
SPLITS: tuple[SplitName, ...] = ("train", "validation", "test")
ENDLESS = 2**31 - 1
"""Tasks of a split without end are numbered from 0 to this."""

_Array = TypeVar("_Array", np.ndarray, Array)


@dataclasses.dataclass(frozen=True)
class Scale:
    """Means and standard deviations of inputs and targets, an entry a column."""

    input_mean: tuple[float, ...]
    input_std: tuple[float, ...]
    target_mean: tuple[float, ...]
    target_std: tuple[float, ...]

    @classmethod
    def of(cls, *values: Iterable[Any]) -> "Scale":
        """A scale of the four, in order."""
        return cls(*(tuple(float(v) for v in each) for each in values))

    def inputs(self, x: _Array) -> _Array:
        """Normalise inputs ``[..., d]``."""
        return (x - _row(self.input_mean, x)) / _row(self.input_std, x)

    def targets(self, y: _Array) -> _Array:
        """Normalise targets ``[..., K]``."""
        return (y - _row(self.target_mean, y)) / _row(self.target_std, y)

    def outputs(self, y: _Array) -> _Array:
        """Give predictions of normalised targets their units again."""
        return y * _row(self.target_std, y) + _row(self.target_mean, y)


def _row(values: tuple[float, ...], like: np.ndarray | Array) -> np.ndarray:
    """Values along the last axis of an array, in its type."""
    row = np.asarray(values, like.dtype)
    return row.reshape((1,) * (like.ndim - 1) + row.shape)


@runtime_checkable
class Source(Protocol):
    """Regression tasks of three splits: a `Family` or a `Table`."""

    @property
    def name(self) -> str:
        """For messages and folders."""
        ...

    @property
    def num_inputs(self) -> int:
        """Length of an input."""
        ...

    @property
    def num_outputs(self) -> int:
        """Length of a target, K."""
        ...

    @property
    def scale(self) -> Scale:
        """By which inputs and targets are normalised."""
        ...

    @property
    def subspace(self) -> np.ndarray | None:
        """Orthonormal ``[d, r]`` that all tasks depend on, where it is known."""
        ...

    def count(self, split: SplitName) -> int | None:
        """Tasks of a split; None if there is no end of them."""
        ...

    def check(self, shots: int, queries: int) -> None:
        """Refuse tasks of a size that it cannot draw, by a ValueError."""
        ...

    def describe(self) -> dict[str, Any]:
        """What decides the tasks, as JSON values."""
        ...

    def task(
        self,
        split: SplitName,
        number: Int[Array, ""],
        key: Key[Array, ""],
        shots: int,
        queries: int,
    ) -> Task:
        """Examples of one task, normalised; `key` draws which."""
        ...


def make_task(
    inputs: Float[Array, "N d"],
    targets: Float[Array, "N K"],
    shots: int,
    number: Int[Array, ""],
) -> Task:
    """Make a task of examples, the first `shots` of which are its support."""
    return Task(
        Examples(inputs[:shots], targets[:shots]),
        Examples(inputs[shots:], targets[shots:]),
        jnp.arange(targets.shape[1], dtype=jnp.int32),
        jnp.asarray(number, jnp.int32),
    )
