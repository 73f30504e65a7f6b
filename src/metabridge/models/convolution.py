"""Convolution for training, with derivatives that are fast on a CPU too.

What `jax.lax.conv_general_dilated` does, but where XLA's CPU backend is slow:

- 3x3 kernels with many channels go by `winograd`, in half the time.
- Of other kernels, the gradient in the kernel takes longer for a hundred images at once
  than for ten times ten: it is summed over groups of them.
- Second derivatives hold the derivative of that gradient in the images, which JAX
  writes as a convolution of a 3x3 image with a kernel as large as the feature map. It
  is itself a convolution with the flipped kernel, and so it is written here.

The derivatives are closed under differentiation: `same`, `input_gradient` and
`kernel_gradient` are linear in both of their arguments, and have one another for
derivatives. Reverse mode of any order works, forward mode does not; `inference_conv` is
for where it is needed. Other backends use JAX's own.

A CPU with instructions for bfloat16 is fast in one thing alone: products of bfloat16
matrices that are summed in float32. So ``dtype=bfloat16`` of a body means these there,
and float32 for all that lies between (`layers`).
"""

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from metabridge.models import winograd

Maps = Float[Array, "N H W D"]
Outputs = Float[Array, "N H W E"]
Kernel = Float[Array, "a b D E"]
Products = winograd.Products

_LAYOUT = ("NHWC", "HWIO", "NHWC")
_NHWC = ((0, 3, 1, 2), (3, 2, 0, 1), (0, 3, 1, 2))  # the same as Flax writes it
# A group has so many images or pixels, whichever is more.
_GROUP_IMAGES = 10
_GROUP_PIXELS = 2000


def conv(
    inputs: Maps,
    kernel: Kernel,
    window_strides: Any = (1, 1),
    padding: Any = "SAME",
    *,
    inference: bool = False,
    products: Products = None,
    **kw: Any,
) -> Float[Array, "N h w E"]:
    """Convolve as `jax.lax.conv_general_dilated`, for `nn.Conv`, up to rounding.

    On a CPU, convolutions of stride 1 that keep the size go the faster way, others
    JAX's. For `inference`, derivatives are JAX's, in forward mode too. The operands of
    matrix products are rounded to the type `products`, if one is given.
    """
    if _is_ours(window_strides, padding, kernel, kw):
        return (_same if inference else same)(inputs, kernel, products)
    return jax.lax.conv_general_dilated(inputs, kernel, window_strides, padding, **kw)


inference_conv = functools.partial(conv, inference=True)


def layers(
    body: Any, train: bool, **options: Any
) -> tuple[Callable[..., nn.Module], Callable[..., nn.Module]]:
    """Convolution without bias and batch normalisation as a body's options have them.

    The body has `momentum` and `dtype`; `options` are more of `nn.Conv`.
    """
    dtype, products = body.dtype, None
    if dtype == jnp.bfloat16 and jax.default_backend() == "cpu":
        dtype, products = None, jnp.bfloat16
    norm = functools.partial(
        nn.BatchNorm,
        use_running_average=not train,
        momentum=body.momentum,
        dtype=dtype,
    )
    ours = functools.partial(conv, inference=not train, products=products)
    options |= {"conv_general_dilated": ours}
    return functools.partial(nn.Conv, use_bias=False, dtype=dtype, **options), norm


def _same(inputs: Maps, kernel: Kernel, products: Products = None) -> Outputs:
    if _by_winograd(inputs, kernel, products):
        return winograd.convolve(inputs, kernel, products)
    if _by_product(kernel, products):
        return _pixelwise(inputs, kernel[0, 0], products)
    return jax.lax.conv_general_dilated(
        inputs, kernel, (1, 1), "SAME", dimension_numbers=_LAYOUT
    )


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def same(inputs: Maps, kernel: Kernel, products: Products = None) -> Outputs:
    """Convolution of stride 1 that keeps the size, of kernels of odd sides."""
    return _same(inputs, kernel, products)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def input_gradient(
    kernel: Kernel, cotangent: Outputs, products: Products = None
) -> Maps:
    """Derivative of ``sum(cotangent * same(inputs, kernel))`` in the inputs."""
    if _by_winograd(cotangent, kernel, products):
        return winograd.input_gradient(kernel, cotangent, products)
    return _same(cotangent, kernel[::-1, ::-1].swapaxes(2, 3), products)


@functools.partial(jax.custom_vjp, nondiff_argnums=(3,))
def kernel_gradient(
    inputs: Maps, cotangent: Outputs, example: Kernel, products: Products = None
) -> Kernel:
    """Derivative of ``sum(cotangent * same(inputs, kernel))`` in the kernel.

    `example` has the shape of the kernel.
    """
    count, height, width, channels = inputs.shape
    if _by_winograd(inputs, example, products):
        return winograd.kernel_gradient(inputs, cotangent, products)
    if _by_product(example, products):
        rows = inputs.reshape(-1, channels), cotangent.reshape(-1, example.shape[3])
        return winograd.product(*rows, products, (0, 0))[None, None]
    images = max(_GROUP_IMAGES, _GROUP_PIXELS // (height * width))
    num_groups = math.ceil(count / images)
    edges = [(side // 2, side // 2) for side in example.shape[:2]]
    numbers = "CHWN", "IHWO", "HWNC"  # images stand for channels, channels for images
    groups = (jnp.array_split(x, num_groups) for x in (inputs, cotangent))
    gradients = [
        jax.lax.conv_general_dilated(x, y, (1, 1), edges, dimension_numbers=numbers)
        for x, y in zip(*groups, strict=True)
    ]
    return gradients[0] if num_groups == 1 else jnp.stack(gradients).sum(0)


# ``sum(cotangent * same(inputs, kernel))`` is linear in each of the three, so that any
# two of these functions have the third for derivatives.
def _same_forward(inputs: Maps, kernel: Kernel, products: Products):
    return same(inputs, kernel, products), (inputs, kernel)


def _same_backward(products: Products, saved: Any, cotangent: Any):
    inputs, kernel = saved
    by_inputs = input_gradient(kernel, cotangent, products)
    return by_inputs, kernel_gradient(inputs, cotangent, kernel, products)


def _input_gradient_forward(kernel: Kernel, cotangent: Outputs, products: Products):
    return input_gradient(kernel, cotangent, products), (kernel, cotangent)


def _input_gradient_backward(products: Products, saved: Any, change: Any):
    kernel, cotangent = saved
    by_kernel = kernel_gradient(change, cotangent, kernel, products)
    return by_kernel, same(change, kernel, products)


def _kernel_gradient_forward(
    inputs: Maps, cotangent: Outputs, example: Kernel, products: Products
):
    return kernel_gradient(inputs, cotangent, example, products), (inputs, cotangent)


def _kernel_gradient_backward(products: Products, saved: Any, change: Any):
    inputs, cotangent = saved
    by_inputs = input_gradient(change, cotangent, products)
    return by_inputs, same(inputs, change, products), jnp.zeros_like(change)


same.defvjp(_same_forward, _same_backward)
input_gradient.defvjp(_input_gradient_forward, _input_gradient_backward)
kernel_gradient.defvjp(_kernel_gradient_forward, _kernel_gradient_backward)


def _pixelwise(inputs: Maps, matrix: Any, products: Products) -> Outputs:
    rows = winograd.product(inputs.reshape(-1, len(matrix)), matrix, products)
    return rows.reshape(*inputs.shape[:3], -1)


def _by_product(kernel: Kernel, products: Products) -> bool:
    return kernel.shape[:2] == (1, 1) and products is not None


def _by_winograd(
    maps: Float[Array, "N H W _"], kernel: Kernel, products: Products
) -> bool:
    # Not in half precision, in which sums of sums would lose too much.
    precise = maps.dtype in (jnp.float32, jnp.float64)
    return precise and winograd.is_worthwhile(maps.shape, kernel.shape, products)


def _is_ours(strides: Any, padding: Any, kernel: Kernel, kw: dict[str, Any]) -> bool:
    """Tell whether it keeps the size, on a CPU; NHWC, not dilated, in one group."""
    numbers = kw.get("dimension_numbers")
    factors = {
        *(kw.get("lhs_dilation") or ()),
        *(kw.get("rhs_dilation") or ()),
        kw.get("feature_group_count", 1),
        kw.get("batch_group_count", 1),
        *strides,
        *(side % 2 for side in kernel.shape[:2]),
    }
    nhwc = numbers is not None and tuple(numbers) in (_LAYOUT, _NHWC)
    on_cpu = jax.default_backend() == "cpu"
    return on_cpu and padding == "SAME" and nhwc and factors == {1}
