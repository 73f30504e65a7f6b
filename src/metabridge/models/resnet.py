"""ResNet-18 and ResNet-50, the residual bodies of ImageNet, as torchvision has them.

He, Zhang, Ren, Sun. Deep residual learning for image recognition. CVPR 2016,
https://arxiv.org/abs/1512.03385. Two things differ from the paper, as in torchvision:
a bottleneck has its stride on the 3x3 convolution, and the shortcuts that change shape
are convolutions followed by batch normalisation.

Layers have torchvision's names, so that its weights are read by them.
"""

import functools
from collections.abc import Callable

from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from metabridge.models.convolution import layers

Layer = Callable[..., nn.Module]
_WIDTHS = (64, 128, 256, 512)
_EXPANSION = 4  # of the channels behind a bottleneck
# Kaiming's, of the outputs, as torchvision initialises.
_kernel_init = nn.initializers.variance_scaling(2.0, "fan_out", "normal")
_EDGE = ((1, 1), (1, 1))  # what "SAME" is not on every second pixel


class Block(nn.Module):
    """A residual block: two 3x3 convolutions, or a 3x3 between two of 1x1."""

    width: int
    stride: int
    bottleneck: bool
    conv: Layer
    norm: Layer

    @nn.compact
    def __call__(self, x: Float[Array, "N H W _"]) -> Float[Array, "N h w _"]:
        def spatial(x: Array, stride: int, number: int) -> Array:
            padding = "SAME" if stride == 1 else _EDGE
            layer = self.conv(
                self.width,
                (3, 3),
                strides=stride,
                padding=padding,
                name=f"conv{number}",
            )
            return self.norm(name=f"bn{number}")(layer(x))

        def pointwise(x: Array, channels: int, stride: int, name: str, norm: str):
            layer = self.conv(channels, (1, 1), strides=stride, name=name)
            return self.norm(name=norm)(layer(x))

        channels = self.width * (_EXPANSION if self.bottleneck else 1)
        shortcut = x
        if self.stride > 1 or x.shape[3] != channels:
            names = "downsample_0", "downsample_1"
            shortcut = pointwise(x, channels, self.stride, *names)
        if self.bottleneck:
            x = nn.relu(pointwise(x, self.width, 1, "conv1", "bn1"))
            x = nn.relu(spatial(x, self.stride, 2))
            x = pointwise(x, channels, 1, "conv3", "bn3")
        else:
            x = nn.relu(spatial(x, self.stride, 1))
            x = spatial(x, 1, 2)
        return nn.relu(x + shortcut)


class ResNet(nn.Module):
    """A stem that halves the image twice, four stages of blocks, the average.

    Attributes:
      sizes: blocks of the four stages; `bottleneck` says of which kind.
      widths: channels of the 3x3 convolutions of the stages; the stem has the first.
      momentum, dtype: see `Conv4`.
    """

    sizes: tuple[int, int, int, int]
    bottleneck: bool = False
    widths: tuple[int, int, int, int] = _WIDTHS
    momentum: float = 0.9
    dtype: DTypeLike | None = None

    @nn.compact
    def __call__(
        self, images: Float[Array, "N H W channels"], *, train: bool = False
    ) -> Float[Array, "N D"]:
        """Compute ``widths[-1]`` features, four times as many with bottlenecks.

        H and W are any. `train` normalises with the statistics of these images, and
        updates the running ones in ``batch_stats``.
        """
        conv, norm = layers(self, train, kernel_init=_kernel_init)
        stem = conv(
            self.widths[0], (7, 7), strides=2, padding=((3, 3), (3, 3)), name="conv1"
        )
        x = nn.relu(norm(name="bn1")(stem(images)))
        x = nn.max_pool(x, (3, 3), (2, 2), padding=_EDGE)  # pyright: ignore[reportArgumentType]
        for stage, (size, width) in enumerate(
            zip(self.sizes, self.widths, strict=True)
        ):
            for block in range(size):
                stride = 2 if stage and not block else 1
                name = f"layer{stage + 1}_{block}"
                x = Block(width, stride, self.bottleneck, conv, norm, name=name)(x)
            self.sow("intermediates", f"stage_{stage + 1}", x)
        return x.astype(images.dtype).mean((1, 2))


resnet18 = functools.partial(ResNet, (2, 2, 2, 2))
resnet50 = functools.partial(ResNet, (3, 4, 6, 3), bottleneck=True)
