"""Masks of unequal tasks, which stand in arrays of one shape, filled up.

A task of fewer classes or examples than another has fillers in their places, so that
one compiled function serves all. A filler has the label -1 and is False in
`Examples.mask`; a class that no example of a task has is not among those of the task.
Losses, heads and batch normalisation leave fillers out: what they give is that of the
task alone, up to rounding. Equal tasks have no mask, and nothing is computed for one.
"""

import contextlib
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Bool, Float, Int, Shaped

from metabridge.types import Scalar

FILLER = -1
"""Label, row or class in the place of one that is not there."""
ABSENT = -1e9
"""Logit of a class that is not there: its softmax is 0, its gradient finite."""

Mask = Bool[Array, "N"] | None
"""True for the examples that are there; None if all are."""


def present_classes(labels: Int[Array, "N"], ways: int) -> Bool[Array, "ways"]:
    """Which classes any of the labels names; -1 is that of a filler."""
    return jax.nn.one_hot(labels, ways, dtype=bool).any(0)


def hide_absent(
    logits: Float[Array, "N ways"], labels: Int[Array, "_"]
) -> Float[Array, "N ways"]:
    """Give classes that none of the labels names the logit `ABSENT`."""
    there = present_classes(labels, logits.shape[-1])
    return jnp.where(there[None], logits, jnp.asarray(ABSENT, logits.dtype))


def masked_mean(values: Float[Array, "N"], mask: Mask) -> Scalar:
    """The mean over the examples that are there; 0 without any."""
    if mask is None:
        return values.mean()
    there = jnp.where(mask, values, jnp.zeros_like(values)).sum()
    return there / jnp.maximum(mask.sum(dtype=values.dtype), 1)


def clear_fillers(rows: Shaped[Array, "N *X"], mask: Mask) -> Shaped[Array, "N *X"]:
    """Set the rows of fillers to 0, with no gradient."""
    if mask is None:
        return rows
    there = mask.reshape(-1, *(1,) * (rows.ndim - 1))
    return jnp.where(there, rows, jnp.zeros_like(rows))


@contextlib.contextmanager
def masked_batch_norm(mask: Mask) -> Iterator[None]:
    """Within, every `flax.linen.BatchNorm` takes its statistics without fillers.

    Raises:
      ValueError: one whose inputs do not have an example a row; at the end, no
        `BatchNorm` was called (the caller knows that there are batch statistics).
    """
    if mask is None:
        yield
        return
    calls = 0

    def intercept(call: Any, args: Any, kwargs: Any, context: Any) -> Any:
        nonlocal calls
        is_norm = isinstance(context.module, nn.BatchNorm)
        if not is_norm or context.method_name != "__call__":
            return call(*args, **kwargs)
        calls += 1
        inputs = args[0] if args else kwargs["x"]
        if len(inputs) != len(mask):
            raise ValueError(
                f"batch normalisation of {len(inputs)} rows for {len(mask)} examples "
                "cannot leave out the fillers of unequal tasks: train and test this "
                "body on equal ones (without `min_ways`, `train_min_ways` and the like)"
            )
        there = mask.reshape(-1, *(1,) * (inputs.ndim - 1))
        return call(*args, **{**kwargs, "mask": there})

    with nn.intercept_methods(intercept):
        yield
    if not calls:
        raise ValueError(
            "the body keeps batch statistics, but not by flax.linen.BatchNorm, so that "
            "fillers of unequal tasks would count: train and test it on equal ones "
            "(without `min_ways`, `train_min_ways` and the like)"
        )
