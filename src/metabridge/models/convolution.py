"""Convolution for training, with derivatives that are fast on a CPU too.

What `jax.lax.conv_general_dilated` does, but where XLA's CPU backend is slow:

- 3x3 kernels with many channels go by `winograd`, in half the time.
- Of other kernels, the gradient in the kernel takes longer for a hundred images at once
  than for ten times ten: it is summed over groups of them.
- Second derivatives hold the derivative of that gradient in the images, which JAX
  writes as a convolution of a 3x3 image with a kernel as large as the feature map. It
  is itself a convolution with the flipped kernel, and so it is written here.

The derivatives are closed under differentiation: `same` and `gradients` have each other
for derivatives. Reverse mode of any order works, forward mode does not;
`inference_conv` is for where it is needed. Other backends use JAX's own.

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
    if inputs.dtype == jnp.float64:
        return _by_shifts(inputs, kernel)
    return jax.lax.conv_general_dilated(
        inputs, kernel, (1, 1), "SAME", dimension_numbers=_LAYOUT
    )


def _by_shifts(inputs: Maps, kernel: Kernel) -> Outputs:
    """One product with shifted copies of the maps side by side, as channels.

    XLA has no fast convolution in float64: of 32 images and a kernel of each it takes
    eight times as long.
    """
    rows, columns, *channels = kernel.shape
    height, width = inputs.shape[1:3]
    edges = [(side // 2, side // 2) for side in (rows, columns)]
    padded = jnp.pad(inputs, [(0, 0), *edges, (0, 0)])
    shifted = [
        padded[:, i : i + height, j : j + width]
        for i in range(rows)
        for j in range(columns)
    ]
    return jnp.concatenate(shifted, axis=3) @ kernel.reshape(-1, channels[1])


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def same(inputs: Maps, kernel: Kernel, products: Products = None) -> Outputs:
    """Convolution of stride 1 that keeps the size, of kernels of odd sides."""
    return _same(inputs, kernel, products)


@functools.partial(jax.custom_vjp, nondiff_argnums=(3,))
def gradients(
    inputs: Maps, kernel: Kernel, cotangent: Outputs, products: Products = None
) -> tuple[Maps, Kernel]:
    """Derivatives of ``sum(cotangent * same(inputs, kernel))`` in inputs and kernel."""
    if _by_winograd(inputs, kernel, products):
        return winograd.gradients(inputs, kernel, cotangent, products)
    flipped = kernel[::-1, ::-1].swapaxes(2, 3)
    by_inputs = _same(cotangent, flipped, products)
    return by_inputs, _kernel_gradient(inputs, kernel, cotangent, products)


def _kernel_gradient(
    inputs: Maps, kernel: Kernel, cotangent: Outputs, products: Products
) -> Kernel:
    count, height, width, channels = inputs.shape
    if _by_product(kernel, products):
        rows = inputs.reshape(-1, channels), cotangent.reshape(-1, kernel.shape[3])
        return winograd.product(*rows, products, (0, 0))[None, None]
    images = max(_GROUP_IMAGES, _GROUP_PIXELS // (height * width))
    num_groups = math.ceil(count / images)
    edges = [(side // 2, side // 2) for side in kernel.shape[:2]]
    numbers = "CHWN", "IHWO", "HWNC"  # images stand for channels, channels for images
    groups = (jnp.array_split(x, num_groups) for x in (inputs, cotangent))
    found = [
        jax.lax.conv_general_dilated(x, y, (1, 1), edges, dimension_numbers=numbers)
        for x, y in zip(*groups, strict=True)
    ]
    return found[0] if num_groups == 1 else jnp.stack(found).sum(0)


# ``sum(cotangent * same(inputs, kernel))`` is linear in each of the three, so that the
# derivatives of these two functions are the same functions again.
def _same_forward(inputs: Maps, kernel: Kernel, products: Products):
    return same(inputs, kernel, products), (inputs, kernel)


def _same_backward(products: Products, saved: Any, cotangent: Any) -> Any:
    return gradients(*saved, cotangent, products)


def _gradients_forward(
    inputs: Maps, kernel: Kernel, cotangent: Outputs, products: Products
):
    saved = inputs, kernel, cotangent
    return gradients(*saved, products), saved


def _gradients_backward(products: Products, saved: Any, changes: Any) -> Any:
    inputs, kernel, cotangent = saved
    of_inputs, of_kernel = changes
    found: Any = gradients(of_inputs, of_kernel, cotangent, products)
    parts: Any = same(of_inputs, kernel, products), same(inputs, of_kernel, products)
    return *found, parts[0] + parts[1]


same.defvjp(_same_forward, _same_backward)
gradients.defvjp(_gradients_forward, _gradients_backward)


def _pixelwise(inputs: Maps, matrix: Any, products: Products) -> Outputs:
    rows = winograd.product(inputs.reshape(-1, len(matrix)), matrix, products)
    return rows.reshape(*inputs.shape[:3], -1)


def _by_product(kernel: Kernel, products: Products) -> bool:
    many = min(kernel.shape[2:]) >= winograd.FEW_CHANNELS
    return kernel.shape[:2] == (1, 1) and many and products is not None


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
