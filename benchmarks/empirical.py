"""Speed and memory of empirical tangent kernels beside those of neural-tangents.

    python -m benchmarks.empirical

``beside``: the kernel of the mean output of a Conv4 with 64 channels and 5 outputs on
500 images of 28x28, by `theory.empirical` and by neural-tangents, which contracts
Jacobians too; then the largest difference between the two. ``large``: Conv4-64 on 2,000
images and ResNet-12 on 200 of 32x32, ours alone. Memory is what a process held at its
peak beyond what it held before its first whole kernel, when all was imported and the
kernel of two images made. Writes results/empirical.json.
"""

import dataclasses
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import tyro
from flax import linen as nn

from benchmarks.harness import Contender, Result, race, report, write
from experiments.arguments import AtLeast, check
from metabridge import theory
from metabridge.models.resnet12 import ResNet12 as Body

Size = Annotated[int, AtLeast(1)]
Part = Literal["beside", "large"]
LIBRARY = "neural-tangents"
OUTPUTS = 5
_PROBES = 20
LARGE = {"conv4": (2000, (28, 28, 1)), "resnet12": (200, (32, 32, 3))}
"""Images and their shape."""


@dataclasses.dataclass(frozen=True)
class Options:
    """Measure empirical kernels beside those of neural-tangents."""

    parts: tuple[Part, ...] = ("beside", "large")
    """What to measure."""
    images: Size = 500
    """Images of both; those of ``large`` stand in `LARGE`."""
    dtypes: tuple[Literal["float32", "float64"], ...] = ("float32", "float64")
    """Types of the Jacobian in ``beside``."""
    rounds: Size = 3
    """Timed rounds of ``beside``."""
    output: Path = Path("results/empirical.json")
    """Where to write."""


class Conv4(nn.Module):
    """The plain network: what a user of either library writes, without their layers."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        for _ in range(4):
            x = nn.relu(nn.Conv(64, (3, 3))(x))
            x = nn.avg_pool(x, (2, 2), (2, 2))
        return nn.Dense(OUTPUTS, name="head")(x.reshape(len(x), -1))


class ResNet12(nn.Module):
    """That of the paper, its batch statistics frozen, with a linear head."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        features = Body()(x, train=False)
        return nn.Dense(OUTPUTS, name="head")(features)


NETWORKS = {"conv4": Conv4, "resnet12": ResNet12}


def pictures(count: int, shape: tuple[int, ...], dtype: str) -> np.ndarray:
    """Gaussian images."""
    return np.random.default_rng(0).standard_normal((count, *shape)).astype(dtype)


def initialised(name: str, shape: tuple[int, ...], dtype: str) -> tuple[nn.Module, Any]:
    """A network and its variables in the type of the Jacobian."""
    network = NETWORKS[name]()
    variables = network.init(jax.random.key(0), jnp.zeros((1, *shape)))
    return network, jax.tree.map(lambda leaf: np.asarray(leaf, dtype), variables)


def peak() -> float:
    """Largest resident memory so far, in gigabytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def ours(
    name: str, count: int, shape: tuple[int, ...], dtype: Any
) -> Callable[[], dict[str, Any]]:
    """The kernel by `theory.empirical`."""
    x = pictures(count, shape, dtype)
    kernel = theory.empirical(*initialised(name, shape, dtype), dtype=dtype)
    return _measured(lambda x: np.asarray(kernel(x).ntk), x)


def library(
    name: str, count: int, shape: tuple[int, ...], dtype: str
) -> Callable[[], dict[str, Any]]:
    """The kernel by neural-tangents, compiled."""
    jax.config.update("jax_enable_x64", dtype == "float64")
    x = pictures(count, shape, dtype)
    network, variables = initialised(name, shape, dtype)
    made = theory.neural_tangents().empirical_ntk_fn(
        network.apply, vmap_axes=0, implementation=1
    )
    compiled = jax.jit(lambda x: made(x, None, variables))
    return _measured(lambda x: np.asarray(compiled(x)), x)


def _measured(
    kernel: Callable[[np.ndarray], np.ndarray], x: np.ndarray
) -> Callable[[], dict[str, Any]]:
    kernel(x[:2])
    before = peak()

    def run() -> dict[str, Any]:
        made = kernel(x)
        return {"before": before, "values": made[:_PROBES, -_PROBES:].tolist()}

    return run


def beside(options: Options) -> dict[str, Any]:
    """Ours and the library's, type by type."""
    found: dict[str, Any] = {}
    for dtype in options.dtypes:
        given = {"name": "conv4", "count": options.images, "shape": (28, 28, 1)}
        results = race(
            {
                name: Contender(f"empirical:{build}", given | {"dtype": dtype})
                for name, build in (("ours", "ours"), (LIBRARY, "library"))
            },
            rounds=options.rounds,
        )
        found[dtype] = _reported(f"Conv4-64, {options.images} images, {dtype}", results)
        if LIBRARY in results:
            one, two = (np.asarray(r.answer["values"]) for r in results.values())
            difference = float(np.abs(one - two).max() / np.abs(two).max())
            memory = [found[dtype][name]["gigabytes"] for name in results]
            found[dtype] |= {
                "difference": difference,
                "memory ratio": memory[0] / memory[1],
            }
            print(f"  difference {difference:.2g}, memory {memory[0] / memory[1]:.3g}")
    return found


def large(options: Options) -> dict[str, Any]:
    """Ours on many images, once."""
    del options
    found = {}
    for name, (count, shape) in LARGE.items():
        given = {"name": name, "count": count, "shape": shape, "dtype": "float32"}
        made = race({name: Contender("empirical:ours", given)}, rounds=1)
        found[name] = _reported(f"{name}, {count} images, float32", made)
    return found


def _reported(title: str, results: dict[str, Result]) -> dict[str, Any]:
    found = report(title, results)
    for name, result in results.items():
        own = result.peak_gigabytes - result.answer["before"]
        found[name]["gigabytes"] = own
        print(f"  {name:24} {own:.3g} GB beyond {result.answer['before']:.2g}")
    return found


def main(options: Options) -> None:
    """Measure, print and write."""
    check(options)
    parts = {"beside": beside, "large": large}
    write(options.output, {part: parts[part](options) for part in options.parts})


if __name__ == "__main__":
    main(tyro.cli(Options, prog="python -m benchmarks.empirical"))
