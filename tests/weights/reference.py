"""Bodies in NumPy, float64, from state dicts under PyTorch's names: loops, no tricks.

Images are ``[N, c, H, W]`` and kernels ``[out, in, h, w]``, as PyTorch has them.
"""

from collections.abc import Mapping

import numpy as np
from scipy.special import erf

Arrays = Mapping[str, np.ndarray]


def convolve(x: np.ndarray, kernel: np.ndarray, stride: int = 1) -> np.ndarray:
    """Zeros are outside, half a kernel wide."""
    _, _, rows, columns = kernel.shape
    edges = (rows // 2, rows // 2), (columns // 2, columns // 2)
    padded = np.pad(x, ((0, 0), (0, 0), *edges))
    height = (padded.shape[2] - rows) // stride + 1
    width = (padded.shape[3] - columns) // stride + 1
    total = np.zeros((len(x), kernel.shape[0], height, width))
    for i in range(rows):
        for j in range(columns):
            window = padded[:, :, i : i + stride * height : stride]
            window = window[:, :, :height, j : j + stride * width : stride]
            total += np.einsum("nchw,oc->nohw", window, kernel[:, :, i, j])
    return total


def batch_norm(x: np.ndarray, name: str, arrays: Arrays) -> np.ndarray:
    def of(leaf: str) -> np.ndarray:
        return arrays[f"{name}.{leaf}"][:, None, None]

    normal = (x - of("running_mean")) / np.sqrt(of("running_var") + 1e-5)
    return normal * of("weight") + of("bias")


def pool(x: np.ndarray, side: int, stride: int, edge: int) -> np.ndarray:
    """Maxima; what is left over at the end is dropped."""
    around = ((0, 0), (0, 0), (edge, edge), (edge, edge))
    padded = np.pad(x, around, constant_values=-np.inf)
    height = (padded.shape[2] - side) // stride + 1
    width = (padded.shape[3] - side) // stride + 1
    shifted = [
        padded[:, :, i : i + stride * height : stride, j : j + stride * width : stride]
        for i in range(side)
        for j in range(side)
    ]
    return np.max([part[:, :, :height, :width] for part in shifted], axis=0)


def resnet(images: np.ndarray, arrays: Arrays, sizes: tuple[int, ...]) -> np.ndarray:
    """ResNet of basic blocks, or of bottlenecks if there is a third convolution."""
    x = batch_norm(convolve(images, arrays["conv1.weight"], 2), "bn1", arrays)
    x = pool(np.maximum(x, 0), 3, 2, 1)
    for stage, size in enumerate(sizes, 1):
        for block in range(size):
            stride = 2 if stage > 1 and block == 0 else 1
            x = _block(x, f"layer{stage}.{block}", arrays, stride)
    return x.mean((2, 3))


def _block(x: np.ndarray, name: str, arrays: Arrays, stride: int) -> np.ndarray:
    bottleneck = f"{name}.conv3.weight" in arrays
    last = 3 if bottleneck else 2
    y = x
    for number in range(1, last + 1):
        strided = number == (2 if bottleneck else 1)
        kernel = arrays[f"{name}.conv{number}.weight"]
        y = convolve(y, kernel, stride if strided else 1)
        y = batch_norm(y, f"{name}.bn{number}", arrays)
        y = np.maximum(y, 0) if number < last else y
    if f"{name}.downsample.0.weight" in arrays:
        x = convolve(x, arrays[f"{name}.downsample.0.weight"], stride)
        x = batch_norm(x, f"{name}.downsample.1", arrays)
    return np.maximum(x + y, 0)


def resnet12(images: np.ndarray, arrays: Arrays) -> np.ndarray:
    def leaky(x: np.ndarray) -> np.ndarray:
        return np.where(x > 0, x, 0.1 * x)

    x = images
    for stage in range(1, 5):
        name, y = f"layer{stage}.0", x
        for number in (1, 2, 3):
            y = convolve(y, arrays[f"{name}.conv{number}.weight"])
            y = batch_norm(y, f"{name}.bn{number}", arrays)
            y = leaky(y) if number < 3 else y
        x = convolve(x, arrays[f"{name}.downsample.0.weight"])
        x = batch_norm(x, f"{name}.downsample.1", arrays)
        x = pool(leaky(x + y), 2, 2, 0)
    return x.mean((2, 3))


def vit(images: np.ndarray, arrays: Arrays, *, heads: int) -> np.ndarray:
    """The class token of a vision transformer, whose positions fit the images."""
    kernel = arrays["patch_embed.proj.weight"]
    width, _, side, _ = kernel.shape
    rows, columns = images.shape[2] // side, images.shape[3] // side
    patches = [
        np.einsum(
            "nchw,dchw->nd",
            images[:, :, i * side : (i + 1) * side, j * side : (j + 1) * side],
            kernel,
        )
        for i in range(rows)
        for j in range(columns)
    ]
    x = np.stack(patches, axis=1) + arrays["patch_embed.proj.bias"]
    token = np.broadcast_to(arrays["cls_token"], (len(x), 1, width))
    positions = arrays["pos_embed"]
    named = positions.shape[1] - x.shape[1]  # those of the class token and registers
    registers = arrays.get("reg_token", arrays.get("register_tokens"))
    before = [token]
    if registers is not None:
        shape = (len(x), *registers.shape[1:])
        before.append(np.broadcast_to(registers, shape))
    first = np.concatenate(before, axis=1).copy()
    first[:, :named] += positions[:, :named]
    x = np.concatenate([first, x + positions[:, named:]], axis=1)
    block = 0
    while f"blocks.{block}.norm1.weight" in arrays:
        name = f"blocks.{block}"
        y = _attention(_layer_norm(x, f"{name}.norm1", arrays), name, arrays, heads)
        x = x + y * arrays.get(f"{name}.ls1.gamma", 1.0)
        y = _linear(_layer_norm(x, f"{name}.norm2", arrays), f"{name}.mlp.fc1", arrays)
        y = _linear(y * 0.5 * (1 + erf(y / np.sqrt(2))), f"{name}.mlp.fc2", arrays)
        x = x + y * arrays.get(f"{name}.ls2.gamma", 1.0)
        block += 1
    return _layer_norm(x, "norm", arrays)[:, 0]


def _linear(x: np.ndarray, name: str, arrays: Arrays) -> np.ndarray:
    return x @ arrays[f"{name}.weight"].T + arrays[f"{name}.bias"]


def _layer_norm(x: np.ndarray, name: str, arrays: Arrays) -> np.ndarray:
    centred = x - x.mean(-1, keepdims=True)
    normal = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-6)
    return normal * arrays[f"{name}.weight"] + arrays[f"{name}.bias"]


def _attention(x: np.ndarray, name: str, arrays: Arrays, heads: int) -> np.ndarray:
    each = x.shape[2] // heads
    parts = np.split(_linear(x, f"{name}.attn.qkv", arrays), 3, axis=2)
    mixed = []
    for head in range(heads):
        q, k, v = (part[:, :, head * each : (head + 1) * each] for part in parts)
        scores = np.exp(q @ k.transpose(0, 2, 1) / np.sqrt(each))
        mixed.append(scores / scores.sum(-1, keepdims=True) @ v)
    return _linear(np.concatenate(mixed, axis=2), f"{name}.attn.proj", arrays)
