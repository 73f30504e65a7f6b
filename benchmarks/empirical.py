"""Speed and memory of empirical tangent kernels beside those of neural-tangents.

    python -m benchmarks.empirical

``beside``: the kernel of the mean output of a Conv4 with 64 channels and 5 outputs on
images of 28x28, by `theory.empirical` and by neural-tangents, which contracts Jacobians
too; then the largest difference between the two, and what XLA says that the program of
neural-tangents takes for 500 images, which may be more than the machine has. ``large``:
Conv4-64 on 500 and 2,000 images and ResNet-12 on 200 of 32x32, ours alone. Memory is
how far the kernel raised the peak of its process, where all had been imported and the
kernel of two images been made. Writes results/empirical.json.
"""

import dataclasses
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from benchmarks.harness import Contender, Result, race, report, write
from experiments.arguments import AtLeast, check, parse
from metabridge import theory
from metabridge.models.resnet12 import ResNet12 as Body

Size = Annotated[int, AtLeast(1)]
Part = Literal["beside", "large"]
LIBRARY = "neural-tangents"
OUTPUTS = 5
_PROBES = 20
SHAPES = {"conv4": (28, 28, 1), "resnet12": (32, 32, 3)}
LARGE = (
    ("conv4", 500, "float64"), ("conv4", 2000, "float32"), ("resnet12", 200, "float32")
)  # fmt: skip
"""Networks, images, and types of the Jacobian."""
PLANNED = 500
"""Images for which memory of neural-tangents is planned."""


@dataclasses.dataclass(frozen=True)
class Options:
    """Measure empirical kernels beside those of neural-tangents."""

    parts: tuple[Part, ...] = ("beside", "large")
    """What to measure."""
    images: Size = 50
    """Images of ``beside``; those of ``large`` stand in `LARGE`."""
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


def pictures(name: str, count: int, dtype: str) -> np.ndarray:
    """Gaussian images for a network."""
    rng = np.random.default_rng(0)
    return rng.standard_normal((count, *SHAPES[name])).astype(dtype)


def initialised(name: str, dtype: str) -> tuple[nn.Module, Any]:
    """A network and its variables in the type of the Jacobian."""
    network = NETWORKS[name]()
    variables = network.init(jax.random.key(0), jnp.zeros((1, *SHAPES[name])))
    return network, jax.tree.map(lambda leaf: np.asarray(leaf, dtype), variables)


def peak() -> float:
    """Largest resident memory so far, in gigabytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def ours(name: str, count: int, dtype: Any) -> Callable[[], dict[str, Any]]:
    """The kernel by `theory.empirical`."""
    kernel = theory.empirical(*initialised(name, dtype), dtype=dtype)
    return _measured(lambda x: np.asarray(kernel(x).ntk), pictures(name, count, dtype))


def library(name: str, count: int, dtype: str) -> Callable[[], dict[str, Any]]:
    """The kernel by neural-tangents, compiled."""
    jax.config.update("jax_enable_x64", dtype == "float64")
    network, variables = initialised(name, dtype)
    made = theory.neural_tangents().empirical_ntk_fn(
        network.apply, vmap_axes=0, implementation=1
    )
    compiled = jax.jit(lambda x: made(x, None, variables))
    many = compiled.lower(pictures(name, PLANNED, dtype)).compile()
    planned: Any = many.memory_analysis()
    return _measured(
        lambda x: np.asarray(compiled(x)), pictures(name, count, dtype),
        planned=planned.temp_size_in_bytes / 2**30,
    )  # fmt: skip


def _measured(
    kernel: Callable[[np.ndarray], np.ndarray], x: np.ndarray, **more: Any
) -> Callable[[], dict[str, Any]]:
    kernel(x[:2])
    before = peak()

    def run() -> dict[str, Any]:
        made = kernel(x)
        return {"before": before, "values": made[:_PROBES].tolist(), **more}

    return run


def beside(options: Options) -> dict[str, Any]:
    """Ours and the library's, type by type."""
    found: dict[str, Any] = {}
    for dtype in options.dtypes:
        given = {"name": "conv4", "count": options.images, "dtype": dtype}
        contenders = {
            name: Contender(f"empirical:{build}", given)
            for name, build in (("ours", "ours"), (LIBRARY, "library"))
        }
        results = race(contenders, rounds=options.rounds)
        title = f"Conv4-64, {options.images} images, {dtype}"
        found[dtype] = own = _reported(title, results)
        if LIBRARY not in results:
            continue
        one, two = (np.asarray(result.answer["values"]) for result in results.values())
        own["difference"] = float(np.abs(one - two).max() / np.abs(two).max())
        own["planned"] = results[LIBRARY].answer["planned"]
        print(f"  largest difference over the largest entry {own['difference']:.2g}")
        print(f"  {LIBRARY} plans {own['planned']:.3g} GB for {PLANNED} images")
    return found


def large(options: Options) -> dict[str, Any]:
    """Ours on many images: once with what is compiled, and once timed."""
    del options
    found = {}
    for name, count, dtype in LARGE:
        given = {"name": name, "count": count, "dtype": dtype}
        contender = Contender("empirical:ours", given)
        made = race({name: contender}, rounds=1, warm_up=0)
        title = f"{name}, {count} images, {dtype}"
        found[title] = _reported(title, made)
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
    main(parse(Options, "benchmarks.empirical"))
