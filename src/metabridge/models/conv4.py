"""Conv4, the four-block convolutional body of few-shot learning, and a wider one.

Vinyals, Blundell, Lillicrap, Kavukcuoglu, Wierstra. Matching networks for one shot
learning. NeurIPS 2016, https://arxiv.org/abs/1606.04080. The wider one: Bertinetto,
Henriques, Torr, Vedaldi. Meta-learning with differentiable closed-form solvers. ICLR
2019, https://arxiv.org/abs/1805.08136 (section 4.1).
"""

import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from metabridge.models.convolution import layers
from metabridge.models.pooling import max_pool


class Conv4(nn.Module):
    """Four times convolution 3x3, batch normalisation, ReLU, 2x2 max pooling.

    `momentum` is the share of the old value in the running statistics, `dtype` that of
    the computation (default: of the images); what is kept and given has its own.
    """

    width: int = 64
    momentum: float = 0.9
    dtype: DTypeLike | None = None

    @nn.compact
    def __call__(
        self, images: Float[Array, "N H W channels"], *, train: bool = False
    ) -> Float[Array, "N D"]:
        """Compute ``(H // 16) * (W // 16) * width`` features: 256 of 32x32 pixels.

        H and W are at least 16. `train` normalises with the statistics of these images,
        and updates the running ones in ``batch_stats``.
        """
        conv, norm = layers(self, train)
        x = images
        for block in range(4):
            # Before the activation, which rises: the same on a quarter of the work.
            x = nn.relu(max_pool(norm()(conv(self.width, (3, 3))(x))))
            self.sow("intermediates", f"block_{block + 1}", x)
        return x.reshape(x.shape[0], -1).astype(images.dtype)


class Conv4R2D2(nn.Module):
    """The wider Conv4 of R2-D2: leaky ReLUs, the last two blocks' features abreast.

    Options are those of `Conv4`, but that each block has a width of its own.
    """

    widths: tuple[int, int, int, int] = (96, 192, 384, 512)
    momentum: float = 0.9
    dtype: DTypeLike | None = None

    @nn.compact
    def __call__(
        self, images: Float[Array, "N H W channels"], *, train: bool = False
    ) -> Float[Array, "N D"]:
        """Compute features as `Conv4` does: 8,192 of 32x32 pixels.

        ``(H // 8) * (W // 8) * widths[2] + (H // 16) * (W // 16) * widths[3]`` in all.
        """
        conv, norm = layers(self, train)
        x, maps = images, []
        for block, width in enumerate(self.widths):
            x = nn.leaky_relu(max_pool(norm()(conv(width, (3, 3))(x))), 0.1)
            self.sow("intermediates", f"block_{block + 1}", x)
            maps.append(x)
        flat = [part.reshape(part.shape[0], -1) for part in maps[-2:]]
        return jnp.concatenate(flat, axis=1).astype(images.dtype)
