"""Speed and accuracy of the kernels of convolutional networks on images.

    python -m benchmarks.image_kernels --data-dir DATA/tfds

Images of CIFAR-FS, scaled to [0, 1] and normalised. Measures our kernels in float32 and
neural-tangents', compiled: on fewer images, since they take so much longer, and
therefore compared by the time of a pair of images. A symmetric matrix of N images has
N (N + 1) / 2 pairs: both evaluate only these, ours in blocks, which are rounded up,
neural-tangents in square tiles on and below the diagonal, whose pairs are all counted.
Then the largest relative difference of the two in float64, the error of float32, and
that of `pool_stride`. Writes results/image-kernels.json.
"""

import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import jax
import numpy as np
import tyro

import theory
from benchmarks.harness import Contender, race, report, write
from experiments import arguments
from experiments.arguments import AtLeast
from metabridge.data import load_dataset
from theory.architectures import Pooling
from theory.kernels import float64

Size = Annotated[int, AtLeast(1)]
POOLINGS: tuple[Pooling, ...] = ("flatten", "global_average")


@dataclasses.dataclass(frozen=True)
class Options:
    """Measure kernels of convolutional networks on images."""

    data_dir: Path
    """TFDS folder with CIFAR-FS."""
    points: Size = 5000
    """Images of the flattened network."""
    pooled_points: Size = 200
    """Images of global average pooling."""
    depth: Size = 4
    """Convolutions."""
    library_points: Size = 128
    """Images of the flattened network that neural-tangents is given."""
    library_pooled_points: Annotated[int, AtLeast(2)] = 4
    """Images of global average pooling that neural-tangents is given."""
    library_block: Size = 32
    """Images of a side of its tiles; with global average pooling it is 2."""
    accuracy_points: Size = 64
    """Images of the accuracy of the flattened network."""
    accuracy_pooled_points: Size = 16
    """Images of the accuracy of global average pooling and of `pool_stride`."""
    rounds: Size = 1
    """Timed rounds of the kernels, after one that compiles."""
    seed: Annotated[int, AtLeast(0)] = 0
    """Of the choice of images."""
    output: Path = Path("results/image-kernels.json")
    """Where to write."""


def images(data_dir: str, count: int, seed: int) -> np.ndarray:
    """Images of the training classes, normalised, in float32."""
    dataset = load_dataset("cifar_fs", data_dir=data_dir)
    every = dataset.train.images
    if count > len(every):
        raise ValueError(f"cifar_fs has {len(every)} images, but {count} are wanted")
    chosen = np.random.default_rng(seed).choice(len(every), count, replace=False)
    pixels = np.asarray(every[np.sort(chosen)], np.float32) / 255.0
    # Sorted for the memory map, shuffled again: classes stand together.
    np.random.default_rng(seed).shuffle(pixels)
    mean, std = (np.asarray(s, np.float32) for s in (dataset.mean, dataset.std))
    return (pixels - mean) / std


def speed(options: Options, pooling: Pooling) -> dict[str, Any]:
    """Time of a pair of images, ours and neural-tangents', float32."""
    flat = pooling == "flatten"
    points = options.points if flat else options.pooled_points
    fewer = options.library_points if flat else options.library_pooled_points
    block = _block(options, pooling)
    common = {
        "data_dir": str(options.data_dir.absolute()), "seed": options.seed,
        "depth": options.depth, "pooling": pooling,
    }  # fmt: skip
    contenders = {
        "ours": Contender("image_kernels:ours", common | {"count": points}),
        "neural-tangents": Contender(
            "image_kernels:library", common | {"count": fewer, "block": block}
        ),
    }
    results = race(contenders, rounds=options.rounds)
    found = report(f"kernel of {points} and of {fewer} images, {pooling}", results)
    tiles = fewer // block * (fewer // block + 1) // 2
    pairs = {"ours": points * (points + 1) / 2, "neural-tangents": tiles * block**2}
    each = {n: 1e6 * min(r.seconds) / pairs[n] for n, r in results.items()}
    for name, value in each.items():
        found[name]["microseconds a pair"] = value
        print(f"  {name}: {value:.4g} µs a pair, {value / each['ours']:.3g} of ours")
    return found


def _block(options: Options, pooling: Pooling) -> int:
    flat = pooling == "flatten"
    return min(options.library_block, options.library_points) if flat else 2


def ours(depth: int, pooling: Pooling, **chosen: Any) -> Callable[[], None]:
    """Our kernels in float32."""
    x = images(**chosen)
    kernel = theory.relu_convolutional(depth, pooling=pooling, dtype="float32")

    def run() -> None:
        kernel(x)

    return run


def library(
    depth: int, pooling: Pooling, block: int, **chosen: Any
) -> Callable[[], None]:
    """Tiles of neural-tangents, float32."""
    x, evaluate = images(**chosen), library_tile(depth, pooling)
    parts = [x[i : i + block] for i in range(0, len(x) - block + 1, block)]

    def run() -> None:
        for i, a in enumerate(parts):
            for b in parts[: i + 1]:
                jax.block_until_ready(evaluate(a, b))

    return run


def library_tile(depth: int, pooling: Pooling) -> Callable[..., Any]:
    """Both kernels of a tile by neural-tangents, compiled, in the inputs' type."""
    stax = theory.neural_tangents().stax
    layers = [
        stax.Conv(1, (3, 3), padding="SAME", W_std=2**0.5, b_std=0.0),
        stax.Relu(),
    ] * depth
    pool = stax.Flatten() if pooling == "flatten" else stax.GlobalAvgPool()
    kernel = stax.serial(*layers, pool, stax.Dense(1))[2]
    return jax.jit(functools.partial(kernel, get=("nngp", "ntk")))


def difference(options: Options, x: np.ndarray, pooling: Pooling) -> dict[str, float]:
    """Largest relative difference between ours and neural-tangents' in float64."""
    block = _block(options, pooling)
    ours = theory.relu_convolutional(options.depth, pooling=pooling)
    with float64():
        # Compiled: run operation by operation, neural-tangents has crashed here.
        tile = library_tile(options.depth, pooling)
        tile = tile(x[:block].astype(np.float64), x[-block:].astype(np.float64))
    library = theory.Kernels(np.asarray(tile.nngp), np.asarray(tile.ntk))
    name = f"largest relative difference, {pooling}, float64, {block} x {block}"
    return _errors(name, ours(x[:block], x[-block:]), library)


def rounding(options: Options, x: np.ndarray, pooling: Pooling) -> dict[str, float]:
    """Largest relative errors of float32."""
    flat = pooling == "flatten"
    points = options.accuracy_points if flat else options.accuracy_pooled_points
    single, double = (
        theory.relu_convolutional(options.depth, pooling=pooling, dtype=dtype)(
            x[:points]
        )
        for dtype in ("float32", "float64")
    )
    return _errors(f"float32 error, {pooling}, {points} points", single, double)


def strides(options: Options, x: np.ndarray) -> dict[str, float]:
    """Errors of averaging fewer pixels."""

    def kernels(stride: int) -> theory.Kernels:
        return theory.relu_convolutional(
            options.depth, pooling="global_average", pool_stride=stride, dtype="float32"
        )(x[: options.accuracy_pooled_points])

    full, found = kernels(1), {}
    for stride in (2, 4, 8):
        sampled = kernels(stride)
        found |= _errors(f"error of pool_stride={stride}", sampled, full)
        for name in ("nngp", "ntk"):
            wrong = getattr(sampled, name) - getattr(full, name)
            norm = np.linalg.norm(wrong) / np.linalg.norm(getattr(full, name))
            found[f"error of pool_stride={stride}, {name}, Frobenius"] = float(norm)
    return found


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


def main(options: Options) -> None:
    """Measure, print and write."""
    arguments.check(options)
    results: dict[str, Any] = {pooling: speed(options, pooling) for pooling in POOLINGS}
    most = max(
        options.accuracy_points, options.accuracy_pooled_points, options.library_block
    )
    x = images(str(options.data_dir), most, options.seed)
    errors = strides(options, x)
    for pooling in POOLINGS:
        errors |= difference(options, x, pooling) | rounding(options, x, pooling)
    for name, value in errors.items():
        print(f"{name:72} {value:.4g}")
    write(options.output, results | {"errors": errors})


if __name__ == "__main__":
    main(tyro.cli(Options, prog="python -m benchmarks.image_kernels"))
