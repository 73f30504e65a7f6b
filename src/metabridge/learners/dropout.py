"""Dropout switched off in a pass that is of training in all else."""

import contextlib
from collections.abc import Iterator
from typing import Any

from flax import linen as nn

from metabridge.models import DropBlock


@contextlib.contextmanager
def without_dropout() -> Iterator[None]:
    """Within, `flax.linen.Dropout` and `DropBlock` give their inputs as they are."""

    def intercept(call: Any, args: Any, kwargs: Any, context: Any) -> Any:
        drops = isinstance(context.module, nn.Dropout | DropBlock)
        if not drops or context.method_name != "__call__":
            return call(*args, **kwargs)
        return args[0] if args else kwargs.get("inputs", kwargs.get("x"))

    with nn.intercept_methods(intercept):
        yield
