"""Frozen bodies that are not ours: features as they are, or of a user's function."""

import dataclasses
import functools
import os
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from metabridge import build
from metabridge.apply.adaptation import Adaptation, adapt_head, read_all
from metabridge.apply.inputs import Arrays, check_arrays
from metabridge.config import (
    Config,
    DataConfig,
    ModelConfig,
    ResolvedConfig,
    ResolvedEvaluation,
    resolve,
)
from metabridge.plugins import import_own

Embed = Callable[[Any], Any]
"""``embed(inputs)``: features ``[N, D]`` of N inputs, in an array of any library that
NumPy can read."""


@dataclasses.dataclass(frozen=True)
class Frozen:
    """Features, with the heads that are fitted on them."""

    embed: Embed | None = None
    """Computes the features; None where the inputs are features."""

    @property
    def config(self) -> ResolvedConfig:
        """Defaults of the adaptation."""
        return _config()

    def adaptation(self, evaluation: ResolvedEvaluation) -> Adaptation:
        """A head on the features, compiled once for these options.

        Raises:
          ValueError: an adaptation that trains a body, or is a learner's own.
        """
        return _adaptation(evaluation)

    def checked(self, inputs: Any) -> Arrays:
        """Features of a user's inputs, checked."""
        if self.embed is None:
            return check_arrays(inputs)
        return Arrays(embed_with(self.embed, inputs))


def embed_with(embed: Embed, inputs: Any) -> np.ndarray:
    """Features of a user's function, float32 ``[N, D]``, checked.

    Raises:
      ValueError: features of another shape or number, or NaN or infinity among them.
    """
    given = embed(inputs)
    if hasattr(given, "detach"):  # a tensor of PyTorch, of any device and precision
        given = given.detach().cpu().float()
    features = np.asarray(given)
    if features.dtype.name == "bfloat16":  # which NumPy itself does not know
        features = features.astype(np.float32)
    if features.ndim != 2 or features.dtype.kind not in "fiu" or 0 in features.shape:
        raise ValueError(
            f"the body gave {features.dtype} {list(features.shape)}, but must give "
            "features [N, D]: pool or flatten its output"
        )
    # A mapping has a length of its own: that of its names.
    has_rows = hasattr(inputs, "__len__") and not isinstance(inputs, Mapping)
    if has_rows and len(features) != len(inputs):
        raise ValueError(
            f"the body gave {len(features)} rows of features for {len(inputs)} inputs"
        )
    with np.errstate(over="ignore"):
        features = features.astype(np.float32)
    if not np.isfinite(features).all():
        raise ValueError("the body gave NaN or infinity (inf), or more than float32")
    return features


def find_function(name: str) -> Embed | None:
    """The function that "module:function" names; None for another name.

    The module is found in the working folder, too.

    Raises:
      ValueError: no such module, or no function of that name in it.
    """
    module, _, function = name.partition(":")
    parts = (*module.split("."), function)
    if not function or not all(part.isidentifier() for part in parts):
        return None
    if (home := import_own(module)) is None:
        raise ValueError(f"there is no module {module!r} in {os.getcwd()}")
    found = getattr(home, function, None)
    if not callable(found):
        raise ValueError(f"the module {module!r} has no function {function!r}")
    return found


@functools.cache
def _config() -> ResolvedConfig:
    data, model = DataConfig("features:"), ModelConfig("identity")
    return resolve(Config(data=data, model=model), images=False)


@functools.lru_cache(maxsize=8)
def _adaptation(evaluation: ResolvedEvaluation) -> Adaptation:
    head = build.head(evaluation)
    if head is None:
        raise ValueError(
            f"`head` is {evaluation.head}, which adapts a body of ours, but features "
            "are given: choose a head, for example logistic"
        )
    return adapt_head(head, read_all)
