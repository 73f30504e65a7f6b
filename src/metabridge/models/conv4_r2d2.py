"""The wider Conv4 of R2-D2.

Bertinetto, Henriques, Torr, Vedaldi. Meta-learning with differentiable closed-form
solvers. ICLR 2019, https://arxiv.org/abs/1805.08136 (section 4.1).
"""

import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from metabridge.models.conv4 import pooled_block


class Conv4R2D2(nn.Module):
    """Four times convolution 3x3, batch normalisation, 2x2 max pooling, leaky ReLU.

    The features are those of the last two blocks side by side.

    Attributes:
      widths: channels of the blocks.
      momentum: share of the old value in the running statistics.
      dtype: of the computation; parameters, statistics and features keep theirs.
        Default: that of the images.
    """

    widths: tuple[int, int, int, int] = (96, 192, 384, 512)
    momentum: float = 0.9
    dtype: DTypeLike | None = None

    @nn.compact
    def __call__(
        self, images: Float[Array, "N H W channels"], *, train: bool = False
    ) -> Float[Array, "N D"]:
        """Features of images, 8,192 of 32x32 pixels.

        Args:
          images: normalised, ``[N, H, W, channels]``, H and W at least 16.
          train: normalise with the statistics of these images, and update the
            running ones in ``batch_stats``; otherwise use the running ones.

        Returns:
          ``[N, (H // 8) * (W // 8) * widths[2] + (H // 16) * (W // 16) * widths[3]]``.
        """
        x, maps = images, []
        for width in self.widths:
            x = pooled_block(
                x, width, train=train, momentum=self.momentum, dtype=self.dtype
            )
            x = nn.leaky_relu(x, negative_slope=0.1)
            maps.append(x)
        flat = [part.reshape(part.shape[0], -1) for part in maps[-2:]]
        return jnp.concatenate(flat, axis=1).astype(images.dtype)
