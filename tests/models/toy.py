"""Variables of a body with nothing left at 0 or 1, so that every one of them counts."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

KEYS = {"params": jax.random.key(0), "dropout": jax.random.key(1)}


def images(count: int, size: int, channels: int, *, seed: int = 0) -> np.ndarray:
    generator = np.random.default_rng(seed)
    return generator.normal(size=(count, size, size, channels)).astype(np.float32)


def variables(model: nn.Module, inputs: np.ndarray, *, seed: int = 0) -> dict[str, Any]:
    """Random variables of the model's shapes, its counters at 0; compiles nothing."""
    shapes = jax.eval_shape(model.init, KEYS, jnp.asarray(inputs))
    generator = np.random.default_rng(seed)

    def draw(path, leaf):
        name = path[-1].key
        if name in ("scale", "var"):
            drawn = generator.uniform(0.5, 1.5, leaf.shape)
        elif name in ("bias", "mean"):
            drawn = generator.normal(0, 0.3, leaf.shape)
        elif name == "kernel":
            drawn = generator.normal(0, np.prod(leaf.shape[:-1]) ** -0.5, leaf.shape)
        else:
            drawn = np.zeros(leaf.shape)
        return jnp.asarray(drawn, leaf.dtype)

    return jax.tree_util.tree_map_with_path(draw, shapes)


def num_parameters(model: nn.Module, shape: tuple[int, ...]) -> int:
    """Counted without computing anything."""
    tree = jax.eval_shape(model.init, KEYS, jax.ShapeDtypeStruct(shape, jnp.float32))
    return sum(leaf.size for leaf in jax.tree.leaves(tree["params"]))
