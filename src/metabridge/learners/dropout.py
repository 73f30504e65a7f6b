"""Dropout switched off in a pass that is of training in all else."""

import contextlib
from collections.abc import Iterator
from typing import Any

from flax import linen as nn


@contextlib.contextmanager
def without_dropout() -> Iterator[None]:
    """Within, every `flax.linen.Dropout` gives its inputs as they are."""

    def intercept(call: Any, args: Any, kwargs: Any, context: Any) -> Any:
        is_dropout = isinstance(context.module, nn.Dropout)
        if not is_dropout or context.method_name != "__call__":
            return call(*args, **kwargs)
        return args[0] if args else kwargs["inputs"]

    with nn.intercept_methods(intercept):
        yield
