"""Speed and accuracy of our kernels beside those of neural-tangents.

    python -m benchmarks.kernels                          # fully connected networks
    python -m benchmarks.kernels --data-dir DATA          # and convolutional ones

``matrix``: both kernels of a ReLU network on 20,000 points, against neural-tangents'
batched kernel. ``recursion``: all depths of 1..64 and of 1..1000 in one pass, against
one kernel of neural-tangents a depth; the accuracy of float32 at depth 1000.
``images``: convolutional networks on CIFAR-FS in float32, compared by the time of a
pair of images, as neural-tangents gets fewer: ours evaluates the N (N + 1) / 2 pairs in
blocks, which are rounded up, neural-tangents in square tiles on and below the diagonal,
whose pairs are all counted; then errors, also those of `pool_stride`. Writes
results/kernels.json.
"""

import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

import jax
import numpy as np
from jaxtyping import Float

from benchmarks.harness import Contender, race, report, write
from experiments.arguments import AtLeast, check, parse
from metabridge import theory
from metabridge.data import load_dataset

Size = Annotated[int, AtLeast(1)]
Part = Literal["matrix", "recursion", "images"]
_PROBES = 500
_DEEP = 1000
LIBRARY = "neural-tangents"


IMAGES = {"flatten": (5000, 128, 32, 64), "global_average": (200, 4, 2, 16)}
"""Images of ours, of neural-tangents, on a side of its tiles, and of the errors."""


@dataclasses.dataclass(frozen=True)
class Options:
    """Measure kernels beside those of neural-tangents."""

    parts: tuple[Part, ...] = ("matrix", "recursion", "images")
    """What to measure."""
    points: Size = 20_000
    """Inputs of the kernel matrix."""
    recursion_points: Size = 500
    """Inputs of the recursion over depths."""
    library_depths: tuple[int, ...] = (1, 8, 16, 32, 48, 64)
    """Depths at which neural-tangents is timed; its time for 1..64 is interpolated."""
    data_dir: Path | None = None
    """TFDS folder with CIFAR-FS; without it images are left out, and said so."""
    rounds: Size = 2
    """Timed rounds."""
    output: Path = Path("results/kernels.json")
    """Where to write."""


def sphere(count: int, dimensions: int) -> Float[np.ndarray, "N D"]:
    """Inputs uniform on the sphere, with a mean square of 1."""
    x = np.random.default_rng(0).standard_normal((count, dimensions))
    return x / np.linalg.norm(x, axis=1, keepdims=True) * dimensions**0.5


def matrix(options: Options) -> dict[str, Any]:
    """Both kernels whole; the answer is the NTK's error against neural-tangents."""
    contenders = {
        dtype: Contender("kernels:whole", {"points": options.points, "dtype": dtype})
        for dtype in ("float32", "float64")
    }
    library = Contender("kernels:whole_by_library", {"points": options.points})
    results = race(contenders | {LIBRARY: library}, rounds=options.rounds)
    return report("kernel matrix", results)


def whole(points: int, dtype: Any) -> Callable[[], float]:
    """Both kernels of 3 hidden layers by `theory.kernel_matrix`."""
    x, kernel = sphere(points, 64), theory.relu_network(3)
    rows = np.random.default_rng(1).choice(points, min(_PROBES, points), replace=False)
    expected = np.asarray(theory.fully_connected(3)(x[rows]).ntk)

    def run() -> float:
        made = theory.kernel_matrix(kernel, x, dtype=dtype)
        return float(np.abs(made.ntk[np.ix_(rows, rows)] / expected - 1).max())

    return run


def whole_by_library(points: int) -> Callable[[], None]:
    """The same by neural-tangents' batched kernel in float64, compiled."""
    jax.config.update("jax_enable_x64", True)
    x, kernel = sphere(points, 64), jax.jit(_dense(3), static_argnames=("get",))
    # It takes equal batches alone. What it makes stays on the host, as ours does.
    batch = max(size for size in range(1, 2001) if points % size == 0)
    library = theory.neural_tangents()
    batched = library.batch(kernel, batch_size=batch, store_on_device=False)

    def run() -> None:
        np.asarray(batched(x, None, ("nngp", "ntk")).ntk)

    return run


def _dense(depth: int) -> Callable[..., Any]:
    """Fully connected ReLU network of neural-tangents."""
    stax = theory.neural_tangents().stax
    layers = [stax.Dense(1, 2**0.5), stax.Relu()] * depth
    return stax.serial(*layers, stax.Dense(1))[2]


def recursion(options: Options) -> dict[str, Any]:
    """Depths in one pass, against a neural-tangents kernel for each."""
    points = {"points": options.recursion_points}
    contenders = {
        f"1..{last}": Contender("kernels:depths", points | {"last": last})
        for last in (64, _DEEP)
    } | {
        f"{LIBRARY}, {depth}": Contender("kernels:one", points | {"depth": depth})
        for depth in options.library_depths
    }
    results = race(contenders, rounds=options.rounds)
    found = report("depths", results)
    ours, _, *library = (min(result.seconds) for result in results.values())
    if library:
        total = float(np.interp(range(1, 65), options.library_depths, library).sum())
        found["1..64 by neural-tangents"] = {"seconds": total, "ratio": total / ours}
        print(f"  1..64 by neural-tangents: {total:.3g} s, {total / ours:.3g} of ours")
    return found | _shown(_deep_errors(options.recursion_points))


def depths(points: int, last: int) -> Callable[[], None]:
    """Every kernel made, one depth after another."""
    x = sphere(points, 20)

    def run() -> None:
        for _ in theory.iterate_depths(x, depths=range(1, last + 1)):
            pass

    return run


def one(points: int, depth: int) -> Callable[[], None]:
    """One kernel of neural-tangents."""
    x, kernel = sphere(points, 20), theory.fully_connected(depth)

    def run() -> None:
        kernel(x)

    return run


def _deep_errors(points: int) -> dict[str, float]:
    """Largest relative errors of float32 at depth 1000, ours and the library's."""
    x = sphere(points, 20).astype(np.float32)
    exact, ours = (
        theory.Kernels(*(each[0] for each in theory.relu_depths(own, depths=[_DEEP])))
        for own in (x.astype(np.float64), x)
    )
    # Enough points to see its error, few enough to wait for.
    library = _dense(_DEEP)(x[:20], None, ("nngp", "ntk"))
    part = theory.Kernels(exact.nngp[:20, :20], exact.ntk[:20, :20])
    name = f"float32 error at depth {_DEEP}"
    return _errors(name, ours, exact) | _errors(f"{name}, {LIBRARY}", library, part)


def images(options: Options) -> dict[str, Any]:
    """Convolutional networks on images, by each pooling."""
    if options.data_dir is None:
        print("convolutional networks are left out: no --data-dir")
        return {}
    found: dict[str, Any] = {}
    for pooling, (count, fewer, block, accuracy) in IMAGES.items():
        common = {"data_dir": str(options.data_dir.absolute()), "pooling": pooling}
        theirs = common | {"count": fewer, "block": block}
        contenders = {
            "ours": Contender("kernels:pictures", common | {"count": count}),
            LIBRARY: Contender("kernels:tiles", theirs),
        }
        results = race(contenders, rounds=options.rounds)
        found[pooling] = report(f"{count} and {fewer} images, {pooling}", results)
        tiles = fewer // block * (fewer // block + 1) // 2
        pairs = {"ours": count * (count + 1) / 2, LIBRARY: tiles * block**2}
        seconds = {
            f"seconds a pair, {name}, {pooling}": min(results[name].seconds) / number
            for name, number in pairs.items()
        }
        x = load(common["data_dir"], max(block, accuracy))
        found |= _shown(seconds | _image_errors(x, pooling, block, accuracy))
    return found


def load(data_dir: str, count: int) -> np.ndarray:
    """Images of the training classes of CIFAR-FS, normalised, in float32."""
    dataset = load_dataset("cifar_fs", data_dir=data_dir)
    rng = np.random.default_rng(0)
    chosen = np.sort(rng.choice(len(dataset.train.inputs), count, replace=False))
    pixels = np.asarray(dataset.train.inputs[chosen], np.float32) / 255.0
    # Sorted for the memory map, shuffled again: classes stand together.
    rng.shuffle(pixels)
    mean, std = (np.asarray(each, np.float32) for each in (dataset.mean, dataset.std))
    return (pixels - mean) / std


def pictures(data_dir: str, pooling: Any, count: int) -> Callable[[], None]:
    """Our kernels in float32."""
    x = load(data_dir, count)
    kernel = theory.relu_convolutional(4, pooling=pooling, dtype="float32")

    def run() -> None:
        kernel(x)

    return run


def tiles(data_dir: str, pooling: Any, count: int, block: int) -> Callable[[], None]:
    """Tiles of neural-tangents, float32."""
    x, evaluate = load(data_dir, count), _tile(pooling)
    parts = [x[i : i + block] for i in range(0, count - block + 1, block)]

    def run() -> None:
        for i, a in enumerate(parts):
            for b in parts[: i + 1]:
                jax.block_until_ready(evaluate(a, b))

    return run


def _tile(pooling: str) -> Callable[..., Any]:
    """Both kernels of a tile by neural-tangents, compiled, in the inputs' type."""
    stax = theory.neural_tangents().stax
    conv = stax.Conv(1, (3, 3), padding="SAME", W_std=2**0.5, b_std=0.0)
    pool = stax.Flatten() if pooling == "flatten" else stax.GlobalAvgPool()
    kernel = stax.serial(*[conv, stax.Relu()] * 4, pool, stax.Dense(1))[2]
    return jax.jit(functools.partial(kernel, get=("nngp", "ntk")))


def _image_errors(
    x: np.ndarray, pooling: Any, block: int, count: int
) -> dict[str, float]:
    """Difference from neural-tangents in float64, errors of float32 and of strides."""

    def kernels(*inputs: np.ndarray, **options: Any) -> theory.Kernels:
        return theory.relu_convolutional(4, pooling=pooling, **options)(*inputs)

    double = kernels(x[:count])
    single = kernels(x[:count], dtype="float32")
    found = _errors(f"float32 error, {pooling}", single, double)
    two = x[:block], x[-block:]
    with jax.enable_x64(True):
        # Compiled: run operation by operation, neural-tangents has crashed here.
        library = _tile(pooling)(*(part.astype(np.float64) for part in two))
        library = theory.Kernels(*map(np.asarray, (library.nngp, library.ntk)))
    found |= _errors(f"difference in float64, {pooling}", kernels(*two), library)
    for stride in (2, 4, 8) if pooling != "flatten" else ():
        name, sampled = f"pool_stride={stride}", kernels(x[:count], pool_stride=stride)
        norm = np.linalg.norm(sampled.ntk - double.ntk) / np.linalg.norm(double.ntk)
        found |= _errors(f"error of {name}", sampled, double)
        found[f"error of {name}, ntk, Frobenius"] = float(norm)
    return found


def _errors(name: str, actual: Any, expected: theory.Kernels) -> dict[str, float]:
    """Largest errors, relative to each entry."""
    found = {}
    for kernel in ("nngp", "ntk"):
        ratio = np.asarray(getattr(actual, kernel)) / getattr(expected, kernel)
        found[f"{name}, {kernel}"] = float(np.abs(ratio - 1.0).max())
    return found


def _shown(values: dict[str, float]) -> dict[str, float]:
    for name, value in values.items():
        print(f"  {name:56} {value:.3g}", flush=True)
    return values


def main(options: Options) -> None:
    """Measure, print and write."""
    check(options)
    parts = {"matrix": matrix, "recursion": recursion, "images": images}
    write(options.output, {part: parts[part](options) for part in options.parts})


if __name__ == "__main__":
    main(parse(Options, "benchmarks.kernels"))
