"""Vision transformers, ViT-S and ViT-B, as timm and DINOv2 have them.

Dosovitskiy, Beyer, Kolesnikov and others. An image is worth 16x16 words: Transformers
for image recognition at scale. ICLR 2021, https://arxiv.org/abs/2010.11929; ViT-S is of
Touvron, Cord, Douze, Massa, Sablayrolles, Jegou. Training data-efficient image
transformers and distillation through attention. ICML 2021,
https://arxiv.org/abs/2012.12877; register tokens of Darcet, Oquab, Mairal, Bojanowski.
Vision transformers need registers. ICLR 2024, https://arxiv.org/abs/2309.16588.

There is no dropout and no layer scale: weights with one are read with its factors
multiplied into the projections before it (`metabridge.weights.vit`).
"""

import functools

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Float

Tokens = Float[Array, "N tokens width"]
_init = nn.initializers.truncated_normal(0.02)
_EPSILON = 1e-6  # of layer normalisation, as in timm and DINOv2
_MLP_RATIO = 4


class Block(nn.Module):
    """Attention between the tokens, then two layers on each, both residual."""

    heads: int
    dtype: DTypeLike | None = None

    @nn.compact
    def __call__(self, x: Tokens) -> Tokens:
        dense = functools.partial(nn.Dense, dtype=self.dtype, kernel_init=_init)
        norm = functools.partial(nn.LayerNorm, epsilon=_EPSILON, dtype=self.dtype)
        count, tokens, width = x.shape
        qkv = dense(3 * width, name="attn_qkv")(norm(name="norm1")(x))
        parts = qkv.reshape(count, tokens, 3, self.heads, width // self.heads)
        query, key, value = (parts[:, :, part] for part in range(3))
        mixed = jax.nn.dot_product_attention(query, key, value)
        x = x + dense(width, name="attn_proj")(mixed.reshape(x.shape))
        hidden = dense(_MLP_RATIO * width, name="mlp_fc1")(norm(name="norm2")(x))
        hidden = nn.gelu(hidden, approximate=False)
        return x + dense(width, name="mlp_fc2")(hidden)


class VisionTransformer(nn.Module):
    """Patches of an image as tokens; the features are those of a token beside them.

    Attributes:
      width: numbers of a token.
      depth: blocks.
      heads: of attention, which share the width.
      patch_size: side of a patch in pixels.
      registers: further tokens beside the patches, which nothing reads.
      dtype: of the computation (default: of the images).
    """

    width: int
    depth: int
    heads: int
    patch_size: int = 16
    registers: int = 0
    dtype: DTypeLike | None = None

    @nn.compact
    def __call__(
        self, images: Float[Array, "N H W channels"], *, train: bool = False
    ) -> Float[Array, "N width"]:
        """Compute the class token behind the last normalisation.

        The embeddings of the positions are parameters, so that images have the size of
        those it was initialised with; that of the class token is part of the token.
        `train`, which other bodies need, changes nothing.

        Raises:
          ValueError: images that are not of whole patches.
        """
        del train
        count, side = len(images), self.patch_size
        height, width, channels = images.shape[1:]
        if height % side or width % side:
            raise ValueError(
                f"images of {height}x{width} are not of whole patches: make both sides "
                f"multiples of `patch_size`, which is {side}, or pass another"
            )
        grid = height // side, width // side
        patches = images.reshape(count, grid[0], side, grid[1], side, channels)
        patches = patches.swapaxes(2, 3).reshape(count, *grid, -1)
        x = nn.Dense(self.width, dtype=self.dtype, kernel_init=_init, name="patches")(
            patches
        )
        positions = self.param("positions", _init, (*grid, self.width))
        x = (x + positions[None].astype(x.dtype)).reshape(count, -1, self.width)
        beside = [self.param("class_token", _init, (1, self.width))]
        if self.registers:
            shape = self.registers, self.width
            beside.append(self.param("registers", _init, shape))
        first = jnp.concatenate(beside).astype(x.dtype)
        first = jnp.broadcast_to(first[None], (count, *first.shape))
        x = jnp.concatenate([first, x], axis=1)
        for block in range(self.depth):
            x = Block(self.heads, self.dtype, name=f"blocks_{block}")(x)
            self.sow("intermediates", f"block_{block + 1}", x[:, 0])
        norm = nn.LayerNorm(epsilon=_EPSILON, dtype=self.dtype, name="norm")
        return norm(x[:, 0]).astype(images.dtype)


def vit_small(
    *, patch_size: int, registers: int, dtype: DTypeLike | None
) -> VisionTransformer:
    """ViT-S: 384 features, 12 blocks of 6 heads."""
    return VisionTransformer(384, 12, 6, patch_size, registers, dtype)


def vit_base(
    *, patch_size: int, registers: int, dtype: DTypeLike | None
) -> VisionTransformer:
    """ViT-B: 768 features, 12 blocks of 12 heads."""
    return VisionTransformer(768, 12, 12, patch_size, registers, dtype)
