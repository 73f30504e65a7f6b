"""ResNet-12, the residual body of the paper's tables.

Lee, Maji, Ravichandran, Soatto. Meta-learning with differentiable convex optimization.
CVPR 2019, https://arxiv.org/abs/1904.03758 (section 4.1); used with global average
pooling by Wang, Zhao, Li. Bridging multi-task learning and meta-learning. ICML 2021,
https://arxiv.org/abs/2106.09017.
"""

import functools

from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from metabridge.models.convolution import layers
from metabridge.models.dropblock import DropBlock
from metabridge.models.pooling import max_pool

_leaky_relu = functools.partial(nn.leaky_relu, negative_slope=0.1)
# Kaiming's initialisation for a leaky ReLU, as in the published code.
_kernel_init = nn.initializers.variance_scaling(2.0 / 1.01, "fan_out", "normal")


class ResNet12(nn.Module):
    """Four residual stages of three 3x3 convolutions; 12,424,320 parameters.

    Attributes:
      widths: channels of the four stages.
      drop_rate: share of values dropped after each stage in training.
      block_size, ramp_steps: of `DropBlock` in the last two stages; the first two drop
        single values at the full rate from the start.
      average_pool: average the last map, as the paper does; otherwise flatten it, as
        Lee et al. do.
      momentum, dtype: see `Conv4`.
    """

    widths: tuple[int, int, int, int] = (64, 160, 320, 640)
    drop_rate: float = 0.1
    block_size: int = 2
    ramp_steps: int = 40_000
    momentum: float = 0.9
    average_pool: bool = True
    dtype: DTypeLike | None = None

    @nn.compact
    def __call__(
        self, images: Float[Array, "N H W channels"], *, train: bool = False
    ) -> Float[Array, "N D"]:
        """Compute ``widths[-1]`` features, times the pixels of a last map that is kept.

        H and W are at least 16. `train` normalises with the statistics of these images
        and drops values (needs a ``dropout`` key in `rngs`).
        """
        conv, norm = layers(self, train, kernel_init=_kernel_init)
        x = images
        for stage, width in enumerate(self.widths):
            shortcut = norm()(conv(width, (1, 1))(x))
            x = _leaky_relu(norm()(conv(width, (3, 3))(x)))
            x = _leaky_relu(norm()(conv(width, (3, 3))(x)))
            x = norm()(conv(width, (3, 3))(x))
            x = max_pool(_leaky_relu(x + shortcut))
            block_size = self.block_size if stage >= 2 else 1
            ramp_steps = self.ramp_steps if stage >= 2 else 0
            x = DropBlock(self.drop_rate, block_size, ramp_steps)(x, train=train)
            self.sow("intermediates", f"stage_{stage + 1}", x)
        x = x.astype(images.dtype)
        return x.mean((1, 2)) if self.average_pool else x.reshape(x.shape[0], -1)


def resnet12(
    *,
    image_size: int,
    drop_rate: float,
    drop_ramp: int,
    average_pool: bool,
    dtype: DTypeLike | None,
) -> ResNet12:
    """A `ResNet12` of the options of a run, for images of this height."""
    # The paper's blocks: 5 pixels of the last maps of 84x84 images, 2 of 32x32.
    return ResNet12(
        drop_rate=drop_rate,
        block_size=5 if image_size >= 64 else 2,
        ramp_steps=drop_ramp,
        average_pool=average_pool,
        dtype=dtype,
    )
