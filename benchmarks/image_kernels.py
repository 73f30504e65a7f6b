"""Speed and accuracy of our kernels of convolutional networks.

    python -m experiments.image_kernel_benchmark --data-dir DATA/tfds

Images of CIFAR-FS, scaled to [0, 1] and normalised. Measures our kernels in float32 and
neural-tangents', compiled, in the same run: on fewer images, since they take so much
longer, and therefore compared by the time of a pair of images. A symmetric matrix of N
images has N (N + 1) / 2 pairs: both evaluate only these, ours in blocks, which are
rounded up, neural-tangents in square tiles on and below the diagonal, whose pairs are
all counted. Then the largest relative difference of the two in float64, the error of
float32, and that of `pool_stride`. Prints each figure and writes
results/image-kernel-benchmark.json. Each time is of one run; ours includes compilation,
that of neural-tangents does not.
"""

import dataclasses
import functools
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import tyro
from experiments.measuring import peak_gigabytes

import theory
from metabridge.data.registry import load_dataset
from theory.architectures import Pooling
from theory.kernels import float64


@dataclasses.dataclass(frozen=True)
class Config:
    """Measure kernels of convolutional networks on images."""

    data_dir: Path
    """TFDS folder with CIFAR-FS."""
    points: int = 5000
    """Images of the flattened network."""
    pooled_points: int = 200
    """Images of global average pooling."""
    depth: int = 4
    """Convolutions."""
    library_points: int = 128
    """Images of the flattened network that neural-tangents is given."""
    library_pooled_points: int = 4
    """Images of global average pooling that neural-tangents is given."""
    library_block: int = 32
    """Images of a side of its tiles; with global average pooling it is 2."""
    accuracy_points: int = 64
    """Images of the accuracy of the flattened network."""
    accuracy_pooled_points: int = 16
    """Images of the accuracy of global average pooling and of `pool_stride`."""
    seed: int = 0
    """Of the choice of images."""
    output: Path = Path("results/image-kernel-benchmark.json")
    """Where to write."""


def main(config: Config) -> None:
    """Measures, prints and writes."""
    counts = {k: v for k, v in vars(config).items() if isinstance(v, int)}
    if min(v for k, v in counts.items() if k != "seed") < 1:
        raise SystemExit("image_kernel_benchmark: all numbers must be at least 1")
    if config.library_pooled_points < 2:
        raise SystemExit("image_kernel_benchmark: `library_pooled_points` is below 2")
    most = max(v for k, v in counts.items() if k.endswith("points"))
    images = _images(config, most)
    results: dict[str, Any] = {"cores": os.cpu_count(), "jax": jax.__version__}
    for part in (_ours, _library, _factors, _difference, _float32, _strides):
        for name, value in part(config, images, results).items():
            print(f"{name:72} {value:.4g}", flush=True)
            results[name] = value
    config.output.parent.mkdir(parents=True, exist_ok=True)
    config.output.write_text(json.dumps(results, indent=2) + "\n")


def _images(config: Config, count: int) -> np.ndarray:
    """Images of the training classes, normalised, in float32."""
    dataset = load_dataset("cifar_fs", data_dir=config.data_dir)
    every = dataset.train.images
    if count > len(every):
        raise SystemExit(f"cifar_fs has {len(every)} images, but {count} are wanted")
    chosen = np.random.default_rng(config.seed).choice(len(every), count, replace=False)
    pixels = np.asarray(every[np.sort(chosen)], np.float32) / 255.0
    # Sorted for the memory map, shuffled again: classes stand together.
    np.random.default_rng(config.seed).shuffle(pixels)
    mean, std = (np.asarray(s, np.float32) for s in (dataset.mean, dataset.std))
    return (pixels - mean) / std


def _sizes(config: Config) -> dict[Pooling, tuple[int, int, int]]:
    """For each pooling: our images, neural-tangents' images, and its tiles."""
    block = min(config.library_block, config.library_points)
    return {
        "flatten": (config.points, config.library_points, block),
        "global_average": (config.pooled_points, config.library_pooled_points, 2),
    }


def _ours(
    config: Config, images: np.ndarray, results: dict[str, Any]
) -> dict[str, float]:
    """Seconds and memory of our kernels, float32."""
    result = {}
    for pooling, (points, _, _) in _sizes(config).items():
        kernel = theory.relu_convolutional(
            config.depth, pooling=pooling, dtype="float32"
        )
        start = time.perf_counter()
        kernel(images[:points])
        seconds = time.perf_counter() - start
        pairs = points * (points + 1) / 2
        pixels = images.shape[1] * images.shape[2]
        work = pairs * config.depth * pixels ** (1 if pooling == "flatten" else 2)
        name = f"ours, {pooling}, {points} points"
        result |= {
            f"seconds, {name}": seconds,
            f"microseconds a pair, {name}": seconds / pairs * 1e6,
            f"nanoseconds a pair, pixel (pair) and layer, {name}": seconds / work * 1e9,
            f"peak memory so far, GB, {name}": peak_gigabytes(),
        }
    return result


def _library(
    config: Config, images: np.ndarray, results: dict[str, Any]
) -> dict[str, float]:
    """Seconds a pair of neural-tangents, float32."""
    result = {}
    for pooling, (_, points, block) in _sizes(config).items():
        evaluate = _library_tile(config.depth, pooling)
        parts = [images[i : i + block] for i in range(0, points - block + 1, block)]
        tiles = [(a, b) for i, a in enumerate(parts) for b in parts[: i + 1]]
        jax.block_until_ready(evaluate(*tiles[0]))
        start = time.perf_counter()
        for a, b in tiles:
            jax.block_until_ready(evaluate(a, b))
        seconds = (time.perf_counter() - start) / (len(tiles) * block**2)
        name = f"neural-tangents, {pooling}, {len(parts) * block} points"
        result |= {
            f"microseconds a pair, {name}": seconds * 1e6,
            f"peak memory so far, GB, {name}": peak_gigabytes(),
        }
    return result


def _factors(
    config: Config, images: np.ndarray, results: dict[str, Any]
) -> dict[str, float]:
    """How many times as long as ours neural-tangents takes."""
    factors = {}
    for pooling in _sizes(config):
        ours, library = (
            next(v for k, v in results.items() if k.startswith(f"{what}, {pooling}"))
            for what in (
                "microseconds a pair, ours",
                "microseconds a pair, neural-tangents",
            )
        )
        factors[f"times as long, neural-tangents, a pair, {pooling}"] = library / ours
    return factors


def _library_tile(depth: int, pooling: Pooling) -> Callable[..., Any]:
    """Both kernels of a tile by neural-tangents, compiled, in the inputs' type."""
    stax = theory.neural_tangents().stax
    layers = [
        stax.Conv(1, (3, 3), padding="SAME", W_std=2**0.5, b_std=0.0),
        stax.Relu(),
    ] * depth
    pool = stax.Flatten() if pooling == "flatten" else stax.GlobalAvgPool()
    kernel = stax.serial(*layers, pool, stax.Dense(1))[2]
    return jax.jit(functools.partial(kernel, get=("nngp", "ntk")))


def _difference(
    config: Config, images: np.ndarray, results: dict[str, Any]
) -> dict[str, float]:
    """Largest relative difference between ours and neural-tangents' in float64."""
    result = {}
    for pooling, (_, _, block) in _sizes(config).items():
        x1, x2 = images[:block], images[-block:]
        ours = theory.relu_convolutional(config.depth, pooling=pooling)(x1, x2)
        with float64():
            # Compiled: run operation by operation, neural-tangents has crashed here.
            tile = _library_tile(config.depth, pooling)
            tile = tile(x1.astype(np.float64), x2.astype(np.float64))
        library = theory.Kernels(np.asarray(tile.nngp), np.asarray(tile.ntk))
        name = f"largest relative difference, {pooling}, float64, {block} x {block}"
        result |= _errors(name, ours, library)
    return result


def _float32(
    config: Config, images: np.ndarray, results: dict[str, Any]
) -> dict[str, float]:
    """Largest relative errors of float32."""
    result = {}
    sizes: dict[Pooling, int] = {
        "flatten": config.accuracy_points,
        "global_average": config.accuracy_pooled_points,
    }
    for pooling, points in sizes.items():
        single, double = (
            theory.relu_convolutional(config.depth, pooling=pooling, dtype=dtype)(
                images[:points]
            )
            for dtype in ("float32", "float64")
        )
        result |= _errors(f"float32 error, {pooling}, {points} points", single, double)
    return result


def _strides(
    config: Config, images: np.ndarray, results: dict[str, Any]
) -> dict[str, float]:
    """What averaging fewer pixels changes."""
    x = images[: config.accuracy_pooled_points]

    def kernels(stride: int) -> theory.Kernels:
        return theory.relu_convolutional(
            config.depth, pooling="global_average", pool_stride=stride, dtype="float32"
        )(x)

    full, result = kernels(1), {}
    for stride in (2, 4, 8):
        sampled = kernels(stride)
        result |= _errors(f"error of pool_stride={stride}", sampled, full)
        for name in ("nngp", "ntk"):
            wrong = getattr(sampled, name) - getattr(full, name)
            norm = np.linalg.norm(wrong) / np.linalg.norm(getattr(full, name))
            result[f"error of pool_stride={stride}, {name}, Frobenius"] = float(norm)
    return result


def _errors(
    name: str, actual: theory.Kernels, expected: theory.Kernels
) -> dict[str, float]:
    """Largest errors, relative to each entry."""
    return {
        f"{name}, {kernel}": float(
            np.abs(getattr(actual, kernel) / getattr(expected, kernel) - 1.0).max()
        )
        for kernel in ("nngp", "ntk")
    }


if __name__ == "__main__":
    main(tyro.cli(Config, prog="python -m experiments.image_kernel_benchmark"))
