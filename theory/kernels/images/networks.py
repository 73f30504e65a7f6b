"""Kernels of convolutional and residual ReLU networks, fast and in bounded memory.

The networks are those of `theory.convolutional` and `theory.residual`, without
neural-tangents: convolutions of stride 1 with "SAME" padding, ReLU, flattening or
global average pooling, one linear output, in the NTK parametrisation.

References:
  Arora et al. On exact computation with an infinitely wide neural net. NeurIPS 2019,
    https://arxiv.org/abs/1904.11955.
  He, Zhang, Ren, Sun. Identity mappings in deep residual networks. ECCV 2016,
    https://arxiv.org/abs/1603.05027.
"""

from metabridge.theory.kernels.architectures import Pooling
from metabridge.theory.kernels.images.kernel import ImageKernel, Layer, Precision
from metabridge.theory.types import check_whole


def relu_convolutional(
    depth: int,
    *,
    pooling: Pooling = "flatten",
    pool_stride: int = 1,
    filter_size: int = 3,
    W_std: float = 2.0**0.5,
    b_std: float = 0.0,
    last_W_std: float = 1.0,
    dtype: Precision = "float64",
    max_bytes: int = 2**29,
) -> ImageKernel:
    """Kernels of `theory.convolutional` with ReLU; inputs are images [N, H, W, c].

    Args:
      depth: convolutional layers, at least 1.
      pooling: what stands between the last of them and the output: "flatten" costs
        ``H W`` operations a pair of images and layer, "global_average" ``(H W)^2``.
      pool_stride: sampled pooling: "global_average" takes the mean of the pixels in
        every `pool_stride`-th row and column only, at ``1 / pool_stride^2`` of the
        cost. It must divide H and W. This is the exact kernel of that network, and as
        one positive semi-definite, but only an approximation of global average pooling:
        the Frobenius norm of the difference in Theta is 0.4 % of it for 2, 6.5 % for 4
        and 33 % for 8 (depth 4, 16 images of CIFAR-FS; measured by ``python -m
        benchmarks.kernels --parts images --data-dir DIR``).
      filter_size: side of the filters, odd.
      W_std: scale of the weights of the convolutions.
      b_std: scale of their biases; the output has none.
      last_W_std: scale of the output layer's weights.
      dtype: of the recursion; results are float64 all the same. "float32" is faster;
        its largest relative error, by the same command, is 3e-7. Images that are each
        other's negative lose a digit more.
      max_bytes: what one step may hold besides images and results. Less is used on a
        CPU, whose caches are smaller.
    """
    check_whole("depth", depth, 1)
    return ImageKernel(
        "convolutional", depth, "conv", pooling, pool_stride, filter_size,
        W_std, b_std, last_W_std, dtype, max_bytes,
    )  # fmt: skip


def relu_residual(
    blocks: int,
    *,
    layer: Layer = "conv",
    pooling: Pooling = "flatten",
    pool_stride: int = 1,
    filter_size: int = 3,
    W_std: float = 2.0**0.5,
    b_std: float = 0.0,
    last_W_std: float = 1.0,
    dtype: Precision = "float64",
    max_bytes: int = 2**29,
) -> ImageKernel:
    """Kernels of `theory.residual` with ReLU.

    Args:
      blocks: residual blocks ``x + layer(relu(layer(relu(x))))``, at least 1.
      layer: "conv" takes images ``[N, H, W, c]`` and all that `relu_convolutional`
        does; "dense" inputs of any shape, which it flattens, and no pooling.
    """
    check_whole("blocks", blocks, 1)
    if layer == "dense":
        if pooling != "flatten":
            raise ValueError(
                f"layer='dense' has no pixels to pool, but pooling={pooling!r} was "
                "given: leave it out, or pass layer='conv'"
            )
        filter_size = 1
    return ImageKernel(
        "residual", blocks, layer, pooling, pool_stride, filter_size,
        W_std, b_std, last_W_std, dtype, max_bytes,
    )  # fmt: skip
