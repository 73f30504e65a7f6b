"""The bodies once more in NumPy, float64, written for reading: loops, no tricks.

Parameters come as the Flax trees of the bodies under test; layers are numbered in the
order of their calls, as Flax names them.
"""

from typing import Any

import numpy as np

EPSILON = 1e-5  # what batch normalisation adds to the variance
Statistics = dict[str, dict[str, np.ndarray]]


def wide(tree: Any) -> Any:
    """A tree of dicts and arrays as dicts and float64 arrays."""
    if hasattr(tree, "items"):
        return {name: wide(value) for name, value in tree.items()}
    return np.asarray(tree, np.float64)


def conv(x: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """Convolution of stride 1 that keeps the size: zeros outside, no bias."""
    size = kernel.shape[0]
    edge = size // 2
    padded = np.pad(x, ((0, 0), (edge, edge), (edge, edge), (0, 0)))
    height, width = x.shape[1:3]
    total = np.zeros((*x.shape[:3], kernel.shape[3]))
    for row in range(size):
        for column in range(size):
            window = padded[:, row : row + height, column : column + width]
            total += window @ kernel[row, column]
    return total


def batch_norm(x, params, stats, *, train: bool) -> np.ndarray:
    """By the statistics of `x` over all but channels in training, else by `stats`."""
    mean = x.mean((0, 1, 2)) if train else stats["mean"]
    variance = x.var((0, 1, 2)) if train else stats["var"]
    normal = (x - mean) / np.sqrt(variance + EPSILON)
    return normal * params["scale"] + params["bias"]


def max_pool(x: np.ndarray) -> np.ndarray:
    """The largest of each 2x2 square; what is left over at the end is dropped."""
    count, height, width, channels = x.shape
    x = x[:, : height // 2 * 2, : width // 2 * 2]
    return x.reshape(count, height // 2, 2, width // 2, 2, channels).max((2, 4))


def conv4(params, stats, images, *, train: bool) -> np.ndarray:
    x = images
    for layer in range(4):
        x = conv(x, params[f"Conv_{layer}"]["kernel"])
        name = f"BatchNorm_{layer}"
        x = batch_norm(x, params[name], stats[name], train=train)
        x = max_pool(np.maximum(x, 0))
    return x.reshape(len(x), -1)


def conv4_r2d2(params, stats, images, *, train: bool) -> np.ndarray:
    x, maps = images, []
    for layer in range(4):
        x = conv(x, params[f"Conv_{layer}"]["kernel"])
        name = f"BatchNorm_{layer}"
        x = batch_norm(x, params[name], stats[name], train=train)
        x = max_pool(np.where(x > 0, x, 0.1 * x))
        maps.append(x.reshape(len(x), -1))
    return np.concatenate(maps[2:], axis=1)


def resnet12(
    params, stats, images, *, train: bool, average_pool: bool = True
) -> np.ndarray:
    """Without dropout."""

    def layer(x: np.ndarray, number: int) -> np.ndarray:
        x = conv(x, params[f"Conv_{number}"]["kernel"])
        name = f"BatchNorm_{number}"
        return batch_norm(x, params[name], stats[name], train=train)

    def leaky(x: np.ndarray) -> np.ndarray:
        return np.where(x > 0, x, 0.1 * x)

    x = images
    for stage in range(4):
        first = 4 * stage  # the shortcut, then the three convolutions
        shortcut = layer(x, first)
        x = leaky(layer(x, first + 1))
        x = leaky(layer(x, first + 2))
        x = max_pool(leaky(layer(x, first + 3) + shortcut))
    return x.mean((1, 2)) if average_pool else x.reshape(len(x), -1)


def mlp(params, inputs, *, depth: int, W_std: float, b_std: float) -> np.ndarray:
    """ReLU layers in NTK parametrisation, features over the root of their number."""
    x = inputs.reshape(len(inputs), -1)
    for number in range(depth):
        layer = params[f"NTKDense_{number}"]
        x = W_std / np.sqrt(x.shape[1]) * x @ layer["kernel"]
        if b_std:
            x = x + b_std * layer["bias"]
        x = np.maximum(x, 0)
    return x / np.sqrt(x.shape[1])
