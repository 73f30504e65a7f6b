"""What finite networks are made of: tasks of one size, and parameters."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Float, Key

from metabridge.theory.predictors.predictor import require_queries
from metabridge.theory.types import Tasks, check_tasks


class Batch(NamedTuple):
    """Tasks of one size, in float32."""

    support_x: Float[jax.Array, "T S *X"]
    support_y: Float[jax.Array, "T S K"]
    query_x: Float[jax.Array, "T Q *X"]
    query_y: Float[jax.Array, "T Q K"]


def batch_of(tasks: Tasks, dtype: Any = jnp.float32) -> Batch:
    """Tasks as finite networks take them: of one size, with query labels."""
    each = check_tasks(tasks)
    require_queries(each)
    sizes = {(len(task.support_x), len(task.query_x)) for task in each}
    if len(sizes) > 1:
        raise ValueError(
            "finite networks take tasks of one size, but these have (support, query) "
            f"sizes {sorted(sizes)}"
        )
    columns = map(np.stack, zip(*each, strict=True))
    return Batch(*(jnp.asarray(column, dtype) for column in columns))


def initialise(
    key: Key[jax.Array, ""], batch: Batch, body: nn.Module, *, shared: bool
) -> dict[str, Any]:
    """Body, the head of a new task, and a head for each training task."""
    key_body, key_head = jax.random.split(key)
    count, outputs = len(batch.query_x), batch.query_y.shape[2]
    width, dtype = count_features(body, batch.query_x[0]), batch.query_x.dtype
    drawn = (1 if shared else count, width, outputs)
    heads = jax.random.normal(key_head, drawn, dtype)
    variables = body.init(key_body, batch.query_x[0])
    return {
        "body": jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype), variables),
        "head": heads[0],
        "heads": jnp.broadcast_to(heads, (count, width, outputs)),
    }


def count_features(body: nn.Module, x: Float[jax.Array, "N *X"]) -> int:
    """Number of features D of a body.

    Raises:
      ValueError: a body whose outputs for ``[N, *X]`` are not ``[N, D]``.
    """
    out, _ = jax.eval_shape(body.init_with_output, jax.random.key(0), x)
    shape = getattr(out, "shape", None)
    if shape is None or len(shape) != 2 or shape[0] != len(x):
        given = type(out).__name__ if shape is None else list(shape)
        raise ValueError(
            f"`body` must map inputs [N, *X] to features [N, D], but gave {given} for "
            f"inputs {list(x.shape)}: flatten or pool what it returns"
        )
    return shape[1]
