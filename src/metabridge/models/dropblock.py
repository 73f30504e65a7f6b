"""DropBlock: dropout of square blocks of a feature map.

Ghiasi, Lin, Le. DropBlock: A regularization method for convolutional networks. NeurIPS
2018, https://arxiv.org/abs/1810.12890.
"""

import itertools

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float


class DropBlock(nn.Module):
    """Zero random square blocks of every feature map, and rescale the rest.

    The rate ramps up linearly over `ramp_steps` training calls, counted in the
    ``batch_stats`` collection.

    Attributes:
      rate: share of values dropped at the end of the ramp, in [0, 1).
      block_size: side of a block, in pixels of the feature map; cut to the map.
      ramp_steps: training calls until the full rate; 0 starts with it.
    """

    rate: float
    block_size: int = 1
    ramp_steps: int = 0

    @nn.compact
    def __call__(
        self, x: Float[Array, "N H W D"], *, train: bool
    ) -> Float[Array, "N H W D"]:
        calls = self.variable("batch_stats", "calls", lambda: jnp.zeros(()))
        if not train or self.rate == 0.0:
            return x
        wide = jnp.promote_types(x.dtype, jnp.float32)
        rate = jnp.asarray(self.rate, wide)
        if self.ramp_steps:
            rate = rate * jnp.minimum(calls.value / self.ramp_steps, 1.0)
        if not self.is_initializing():
            calls.value = calls.value + 1.0
        size = min(self.block_size, x.shape[1], x.shape[2])
        # A block may start wherever it fits, so seeds are rarer than dropped values.
        seeds_shape = (x.shape[0], x.shape[1] - size + 1, x.shape[2] - size + 1)
        area = x.shape[1] * x.shape[2] / (seeds_shape[1] * seeds_shape[2])
        seeds = jax.random.bernoulli(
            self.make_rng("dropout"), rate * area / size**2, (*seeds_shape, x.shape[3])
        )
        grow = size - 1
        padded = jnp.pad(seeds, ((0, 0), (grow, grow), (grow, grow), (0, 0)))
        dropped = jnp.zeros(x.shape, bool)
        for row, column in itertools.product(range(size), repeat=2):
            dropped |= padded[:, row : row + x.shape[1], column : column + x.shape[2]]
        kept = jnp.maximum((~dropped).sum(dtype=wide), 1.0)
        return jnp.where(dropped, 0, x * (dropped.size / kept).astype(x.dtype))
