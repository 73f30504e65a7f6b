"""Conv4, the four-block convolutional body of few-shot learning.

Vinyals, Blundell, Lillicrap, Kavukcuoglu, Wierstra. Matching networks for one shot
learning. NeurIPS 2016, https://arxiv.org/abs/1606.04080.
"""

from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from metabridge.models.convolution import conv, inference_conv
from metabridge.models.pooling import max_pool


class Conv4(nn.Module):
    """Four times convolution 3x3, batch normalisation, ReLU, 2x2 max pooling.

    Attributes:
      width: channels of every block.
      momentum: share of the old value in the running statistics.
      dtype: of the computation; parameters, statistics and features keep theirs.
        Default: that of the images.
    """

    width: int = 64
    momentum: float = 0.9
    dtype: DTypeLike | None = None

    @nn.compact
    def __call__(
        self, images: Float[Array, "N H W channels"], *, train: bool = False
    ) -> Float[Array, "N D"]:
        """Features of images: 256 of 32x32 pixels at width 64, 64 of 28x28.

        Args:
          images: normalised, ``[N, H, W, channels]``, H and W at least 16.
          train: normalise with the statistics of these images, and update the
            running ones in ``batch_stats``; otherwise use the running ones.

        Returns:
          ``[N, (H // 16) * (W // 16) * width]``.
        """
        x = images
        for _ in range(4):
            x = nn.Conv(
                self.width,
                (3, 3),
                use_bias=False,
                dtype=self.dtype,
                conv_general_dilated=conv if train else inference_conv,
            )(x)
            x = nn.BatchNorm(
                use_running_average=not train, momentum=self.momentum, dtype=self.dtype
            )(x)
            # Pooling first gives the same values on a quarter of the work.
            x = nn.relu(max_pool(x))
        return x.reshape(x.shape[0], -1).astype(images.dtype)
