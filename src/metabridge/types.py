"""Value types that every part of the library shares, and its dimension letters.

One letter means one thing everywhere: T tasks, S support examples, Q query
examples, N examples, C classes, D features, H W image height and width, and
``ways`` the classes of one task. Images are NHWC; labels are int32 in [0, ways).
"""

from typing import Any, NamedTuple

from jaxtyping import Array, Bool, Float, Int, UInt8

from metabridge.task_shape import TaskShape as TaskShape

Params = Any
"""A pytree of arrays: what a model learns."""

Variables = dict[str, Any]
"""What a Flax model is applied with: ``{"params": ..., "batch_stats": ...}``."""

Scalar = Float[Array, ""]
"""One number, such as a loss."""

Inputs = Float[Array, "N *X"]
"""Model inputs of one task, ``[N, H, W, channels]`` for images."""

RawInputs = UInt8[Array, "N H W channels"] | Float[Array, "N *X"]
"""Inputs as a dataset holds them, before they are normalised: images as uint8."""

RawQueries = UInt8[Array, "Q H W channels"] | Float[Array, "Q *X"]
"""The same of a task's queries, beside those of its support."""

Features = Float[Array, "N D"]
"""Features of examples, one a row."""

Targets = Int[Array, "N"] | Float[Array, "N K"]
"""What the outputs of one task's examples should say: labels, or K values each."""


class Examples(NamedTuple):
    """Images (or any inputs) with their labels; leading axes are batched."""

    inputs: Float[Array, "*batch"]
    """Model inputs, ``[..., N, H, W, channels]`` for images, normalised."""
    labels: Int[Array, "..."] | Float[Array, "..."]
    """``[..., N]``, the row of the class within its task, in [0, ways); in regression
    the targets ``[..., N, K]``; -1 for a filler."""
    mask: Bool[Array, "..."] | None = None
    """``[..., N]``, False for the fillers of unequal tasks (`metabridge.masks`); None
    if all are examples."""


class Task(NamedTuple):
    """One few-shot task, or T of them with a leading axis on every field."""

    support: Examples
    """What a learner may adapt on: ``ways * shots`` examples, class by class."""
    query: Examples
    """What it is then evaluated on: ``ways * queries`` examples, class by class."""
    classes: Int[Array, "..."]
    """``[..., ways]``: the dataset class that label 0, 1, ... stands for; in regression
    the numbers ``[..., K]`` of the outputs. -1 for a class that is not there."""
    task_id: Int[Array, "..."]
    """``[...]``: which task of a fixed set this is; -1 for a freshly drawn one."""
