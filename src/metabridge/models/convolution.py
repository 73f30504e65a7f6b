"""Convolution for training, with derivatives that are fast on a CPU too.

What `jax.lax.conv_general_dilated` does, but where XLA's CPU backend is slow:

- 3x3 kernels with many channels go by `winograd`, in half the time.
- Of other kernels, the gradient in the kernel takes longer for a hundred images at once
  than for ten times ten: it is summed over groups of them.
- Second derivatives hold the derivative of that gradient in the images, which JAX
  writes as a convolution of a 3x3 image with a kernel as large as the feature map. It
  is itself a convolution with the flipped kernel, and so it is written here.

The three derivatives are convolutions again, closed under differentiation: with ``y = x
* w``, ``dx = dy * flip(w)`` and ``dw = correlate(x, dy)``, the last of which is linear
in both and has the first two for derivatives. Reverse mode of any order works, forward
mode does not; `inference_conv` is for where it is needed. Other backends use JAX's own.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from metabridge.models import winograd

_LAYOUT = ("NHWC", "HWIO", "NHWC")
_NHWC = ((0, 3, 1, 2), (3, 2, 0, 1), (0, 3, 1, 2))  # the same as Flax writes it
# A group has so many images or pixels, whichever is more.
_GROUP_IMAGES = 10
_GROUP_PIXELS = 2000


def conv(
    inputs: Float[Array, "N H W D"],
    kernel: Float[Array, "a b D E"],
    window_strides: Any = (1, 1),
    padding: Any = "SAME",
    **kw: Any,
) -> Float[Array, "N h w E"]:
    """Convolves as `jax.lax.conv_general_dilated`, for `nn.Conv`, with its arguments.

    Equal to it up to rounding, derivatives in reverse mode included. On a CPU,
    convolutions of stride 1 that keep the size go the faster way, others JAX's.
    """
    if _is_ours(window_strides, padding, kernel, kw):
        return same(inputs, kernel)
    return jax.lax.conv_general_dilated(inputs, kernel, window_strides, padding, **kw)


def inference_conv(
    inputs: Float[Array, "N H W D"],
    kernel: Float[Array, "a b D E"],
    window_strides: Any = (1, 1),
    padding: Any = "SAME",
    **kw: Any,
) -> Float[Array, "N h w E"]:
    """Convolve for inference.

    Differentiable in forward mode too, but no faster in reverse mode than JAX makes it.
    """
    if _is_ours(window_strides, padding, kernel, kw):
        return _same(inputs, kernel)
    return jax.lax.conv_general_dilated(inputs, kernel, window_strides, padding, **kw)


def _same(
    inputs: Float[Array, "N H W D"], kernel: Float[Array, "a b D E"]
) -> Float[Array, "N H W E"]:
    if _by_winograd(inputs, kernel):
        return winograd.convolve(inputs, kernel)
    return jax.lax.conv_general_dilated(
        inputs, kernel, (1, 1), "SAME", dimension_numbers=_LAYOUT
    )


@jax.custom_vjp
def same(
    inputs: Float[Array, "N H W D"], kernel: Float[Array, "a b D E"]
) -> Float[Array, "N H W E"]:
    """Convolution of stride 1 that keeps the size, of kernels of odd sides."""
    return _same(inputs, kernel)


@jax.custom_vjp
def kernel_gradient(
    inputs: Float[Array, "N H W D"],
    cotangent: Float[Array, "N H W E"],
    example: Float[Array, "a b D E"],
) -> Float[Array, "a b D E"]:
    """Derivative of ``sum(cotangent * same(inputs, kernel))`` in the kernel.

    `example` has the shape of the kernel.
    """
    count, height, width, _ = inputs.shape
    if _by_winograd(inputs, example):
        return winograd.kernel_gradient(inputs, cotangent)
    images = max(_GROUP_IMAGES, _GROUP_PIXELS // (height * width))
    num_groups = math.ceil(count / images)
    edges = [(side // 2, side // 2) for side in example.shape[:2]]

    def of_group(x: Float[Array, "n H W D"], y: Float[Array, "n H W E"]):
        # Images stand for channels, and channels for images.
        return jax.lax.conv_general_dilated(
            x, y, (1, 1), edges, dimension_numbers=("CHWN", "IHWO", "HWNC")
        )

    groups = zip(
        jnp.array_split(inputs, num_groups),
        jnp.array_split(cotangent, num_groups),
        strict=True,
    )
    gradients = [of_group(x, y) for x, y in groups]
    return gradients[0] if num_groups == 1 else jnp.stack(gradients).sum(0)


def _flipped(kernel: Float[Array, "a b D E"]) -> Float[Array, "a b E D"]:
    return kernel[::-1, ::-1].swapaxes(2, 3)


def _same_forward(inputs: Any, kernel: Any):
    return same(inputs, kernel), (inputs, kernel)


def _same_backward(saved: Any, cotangent: Any):
    inputs, kernel = saved
    return same(cotangent, _flipped(kernel)), kernel_gradient(inputs, cotangent, kernel)


def _kernel_gradient_forward(inputs: Any, cotangent: Any, example: Any):
    return kernel_gradient(inputs, cotangent, example), (inputs, cotangent)


def _kernel_gradient_backward(saved: Any, change: Any):
    inputs, cotangent = saved
    return (
        same(cotangent, _flipped(change)),
        same(inputs, change),
        jnp.zeros_like(change),
    )


same.defvjp(_same_forward, _same_backward)
kernel_gradient.defvjp(_kernel_gradient_forward, _kernel_gradient_backward)


def _by_winograd(
    inputs: Float[Array, "N H W D"], kernel: Float[Array, "a b D E"]
) -> bool:
    """Not in half precision, in which sums of sums would lose too much."""
    precise = inputs.dtype in (jnp.float32, jnp.float64)
    return precise and winograd.is_worthwhile(inputs.shape, kernel.shape)


def _is_ours(
    strides: Any, padding: Any, kernel: Float[Array, "a b D E"], options: dict[str, Any]
) -> bool:
    """Tell whether a convolution is one of those computed here.

    It keeps the size, with a kernel of odd sides, on a CPU; NHWC, not dilated, in one
    group.
    """
    numbers = options.get("dimension_numbers")
    factors = {
        *(options.get("lhs_dilation") or ()),
        *(options.get("rhs_dilation") or ()),
        options.get("feature_group_count", 1),
        options.get("batch_group_count", 1),
        *strides,
        *(side % 2 for side in kernel.shape[:2]),
    }
    nhwc = numbers is not None and tuple(numbers) in (_LAYOUT, _NHWC)
    return (
        jax.default_backend() == "cpu" and padding == "SAME" and nhwc and factors == {1}
    )
