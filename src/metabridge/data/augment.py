"""Augmentation and normalisation on the device, as pure functions of a key.

"natural" is the augmentation of Lee et al. (random crop, colour jitter, horizontal
flip); "crop_flip" is that without the jitter, for bodies that are too small to profit
from it; "drawing" moves characters by a small random affine map and leaves their
handedness alone; "none" only normalises.

References:
  Lee, Maji, Ravichandran, Soatto. Meta-learning with differentiable convex
  optimization. CVPR 2019, https://arxiv.org/abs/1904.03758 (section 4.1).
"""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key, UInt8

from metabridge.data.dataset import AUGMENTATIONS as AUGMENTATIONS
from metabridge.types import Inputs, RawInputs

Image = Float[Array, "H W channels"]
Images = Float[Array, "N H W channels"]
Augment = Callable[[Key[Array, ""], RawInputs], Inputs]


def normalise(inputs: RawInputs, mean: Sequence[float], std: Sequence[float]) -> Inputs:
    """``(inputs - mean) / std`` as float32; images, of uint8, are divided by 255 first.

    Means and deviations are per entry of the last axis: channels or features.
    """
    scale = 255.0 if inputs.dtype == jnp.uint8 else 1.0
    return _standardise(inputs.astype(jnp.float32) / scale, mean, std)


def augmentation(name: str, mean: Sequence[float], std: Sequence[float]) -> Augment:
    """The augmentation of a name, one of `AUGMENTATIONS`.

    ``augment(key, images)`` changes every image independently, and normalises by the
    mean and the standard deviation of each channel of pixels in [0, 1].
    """
    if name not in AUGMENTATIONS:
        raise ValueError(
            f"unknown augmentation {name!r}; known are {', '.join(AUGMENTATIONS)}"
        )
    if name == "none":
        return lambda key, inputs: normalise(inputs, mean, std)
    change = {"natural": _natural, "crop_flip": _crop_flip, "drawing": _drawing}[name]

    def augment(key: Key[Array, ""], images: UInt8[Array, "N H W channels"]) -> Images:
        pixels = images.astype(jnp.float32) / 255.0
        changed = jax.vmap(change)(jax.random.split(key, images.shape[0]), pixels)
        return _standardise(changed, mean, std)

    return augment


def reduce_size(
    images: Float[Array, "N size size channels"], side: int
) -> Float[Array, "N side side channels"]:
    """Square images of a smaller side: each pixel the mean of the area it stands for.

    Half the side is the mean of 2x2 pixels; a pixel between two areas counts in each by
    its share.
    """
    size = images.shape[1]
    edges = np.arange(side + 1) * (size / side)
    pixels = np.arange(size)
    overlap = np.minimum(edges[1:, None], pixels + 1)
    overlap = overlap - np.maximum(edges[:-1, None], pixels)
    weights = jnp.asarray(overlap.clip(0) * (side / size), images.dtype)
    shape = "ih,jw,nhwc->nijc"
    return jnp.einsum(shape, weights, weights, images, precision="highest")


def _standardise(inputs: Inputs, mean: Sequence[float], std: Sequence[float]) -> Inputs:
    of_last = (len(mean),)  # not broadcast by itself: ranks are strict
    rows = jnp.asarray([mean, std], jnp.float32)
    mean_row, std_row = rows.reshape(2, *(1,) * (inputs.ndim - 1), *of_last)
    return (inputs - mean_row) / std_row


def _natural(key: Key[Array, ""], image: Image) -> Image:
    """Crop, flip and colour jitter, the last for colour images only."""
    key_crop_flip, key_jitter = jax.random.split(key)
    image = _crop_flip(key_crop_flip, image)
    return _jitter(key_jitter, image) if image.shape[-1] == 3 else image


def _crop_flip(key: Key[Array, ""], image: Image) -> Image:
    """Crop after padding by an eighth of 32 pixels (a tenth of 84), flip at random."""
    key_crop, key_flip = jax.random.split(key)
    padding = 8 if image.shape[0] >= 64 else 4
    padded = jnp.pad(image, ((padding, padding), (padding, padding), (0, 0)))
    corner = jax.random.randint(key_crop, (2,), 0, 2 * padding + 1, jnp.int32)
    zero = jnp.zeros((), corner.dtype)
    image = jax.lax.dynamic_slice(padded, (corner[0], corner[1], zero), image.shape)
    flip = jax.random.bernoulli(key_flip, jnp.asarray(0.5, jnp.float32))
    return jnp.where(flip, image[:, ::-1], image)


def _jitter(key: Key[Array, ""], image: Float[Array, "H W 3"]) -> Float[Array, "H W 3"]:
    """Brightness, contrast and saturation by factors in [0.6, 1.4].

    torchvision draws the order of the three; here it is fixed, as under `vmap` a
    drawn order would compute all six.
    """
    brightness, contrast, saturation = jax.random.uniform(
        key, (3,), jnp.float32, minval=0.6, maxval=1.4
    )
    image = jnp.clip(image * brightness, 0.0, 1.0)
    image = _blend(image, _grey(image).mean(keepdims=True), contrast)
    return _blend(image, _grey(image), saturation)


def _grey(image: Float[Array, "H W 3"]) -> Float[Array, "H W 1"]:
    """Luma of ITU-R BT.601, as Pillow and torchvision have it."""
    weights = jnp.asarray([0.299, 0.587, 0.114], image.dtype)
    return (image * weights[None, None]).sum(-1, keepdims=True)


def _blend(image: Image, other: Float[Array, "..."], factor: Float[Array, ""]) -> Image:
    return jnp.clip(other + (image - other) * factor, 0.0, 1.0)


def _drawing(key: Key[Array, ""], image: Image) -> Image:
    """A random affine map: turn, scale, shear and shift, sampled bilinearly.

    Turns up to 12 degrees, scales and shears up to 0.15, shifts up to 2 of 28 pixels.
    """
    height, width, _ = image.shape
    turn, shear_x, shear_y, scale_x, scale_y, shift_x, shift_y = jax.random.uniform(
        key, (7,), jnp.float32, minval=-1.0, maxval=1.0
    )
    angle = turn * jnp.deg2rad(12.0)
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    rotation = jnp.stack([cos, -sin, sin, cos]).reshape(2, 2)
    stretch = jnp.stack(
        [1.0 + 0.15 * scale_y, 0.15 * shear_y, 0.15 * shear_x, 1.0 + 0.15 * scale_x]
    ).reshape(2, 2)
    centre = jnp.asarray([(height - 1) / 2, (width - 1) / 2], image.dtype)
    grid = jnp.indices((height, width), dtype=image.dtype).reshape(2, -1)
    shift = jnp.stack([shift_y * height, shift_x * width]) / 14.0
    source = rotation @ stretch @ (grid - centre[:, None]) + (centre + shift)[:, None]
    return _bilinear(image, source).reshape(image.shape)


def _bilinear(image: Image, source: Float[Array, "2 P"]) -> Float[Array, "P channels"]:
    """Values of an image at real positions; 0 outside it."""
    height, width, channels = image.shape
    # A border of zeros answers for everything outside.
    padded = jnp.pad(image, ((1, 2), (1, 2), (0, 0))).reshape(-1, channels)
    limit = jnp.asarray([[height], [width]], image.dtype)
    source = jnp.clip(source + 1.0, 0.0, limit + 1.0)
    corner = jnp.floor(source)
    row_weight, column_weight = source - corner
    row, column = corner.astype(jnp.int32)
    stride = width + 3
    total = jnp.zeros((source.shape[1], channels), image.dtype)
    for down, by_row in enumerate((1.0 - row_weight, row_weight)):
        for right, by_column in enumerate((1.0 - column_weight, column_weight)):
            value = padded[(row + down) * stride + column + right]
            total = total + (by_row * by_column)[:, None] * value
    return total
