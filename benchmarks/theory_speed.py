"""Speed and accuracy of the depth recursion and of large predictors.

    python -m benchmarks.theory_speed

The depth recursion in float32 against float64, the recursion over all depths against
one neural-tangents kernel a depth, and predictors of 200 tasks of 5 ways, 5 shots and
15 queries (20,000 points) in float64, which run once. Writes results/theory-speed.json.
"""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro

import theory
from benchmarks.harness import Contender, race, report, write
from benchmarks.inputs import separate_tasks, sphere
from experiments import arguments
from experiments.arguments import AtLeast

Size = Annotated[int, AtLeast(1)]


@dataclasses.dataclass(frozen=True)
class Options:
    """Measure the speed and accuracy of the theory."""

    points: Size = 500
    """Inputs of the speed of the recursion."""
    dimensions: Size = 20
    """Of the inputs, uniform on the sphere."""
    library_depths: tuple[int, ...] = (1, 8, 16, 32, 48, 64)
    """Depths at which neural-tangents is timed; its time for 1..64 is interpolated."""
    tasks: Size = 200
    """Training tasks of the large predictors."""
    rounds: Size = 3
    """Timed rounds of the recursion."""
    output: Path = Path("results/theory-speed.json")
    """Where to write."""


def accuracy(options: Options) -> dict[str, float]:
    """Largest relative errors of float32 at depth 1000, ours and the library's."""
    x = sphere(options.points, options.dimensions).astype(np.float32)
    exact = theory.relu_depths(x.astype(np.float64), depths=[1000])
    ours = theory.relu_depths(x, depths=[1000])
    stax = theory.neural_tangents().stax
    layers = [stax.Dense(1, 2**0.5), stax.Relu()] * 1000 + [stax.Dense(1)]
    # Enough points to see its error, few enough to wait for.
    library = stax.serial(*layers)[2](x[:20], None, ("nngp", "ntk"))
    found = {}
    for name in ("nngp", "ntk"):
        expected = getattr(exact, name)[0]
        for whose, made in (
            ("", getattr(ours, name)[0]),
            (", neural-tangents", np.asarray(getattr(library, name))),
        ):
            part = expected[: len(made), : len(made)]
            error = float((np.abs(made - part) / np.abs(part)).max())
            found[f"float32 error at depth 1000, {name}{whose}"] = error
            print(f"float32 error at depth 1000, {name}{whose}: {error:.3g}")
    return found


def recursion(options: Options) -> dict[str, Any]:
    """Depths in one pass, against a neural-tangents kernel function for each."""
    sizes = {"points": options.points, "dimensions": options.dimensions}
    contenders = {
        f"depths 1..{last} in one pass": Contender(
            "theory_speed:depths", sizes | {"last": last}
        )
        for last in (64, 1000)
    } | {
        f"depth {depth}, one library kernel": Contender(
            "theory_speed:library_kernel", sizes | {"depth": depth}
        )
        for depth in options.library_depths
    }
    results = race(contenders, rounds=options.rounds)
    found = report("depth recursion", results)
    ours, _, *library = results.values()
    if len(library) == len(options.library_depths):
        least = [min(result.seconds) for result in library]
        total = float(np.interp(range(1, 65), options.library_depths, least).sum())
        found["depths 1..64, one library kernel each, seconds"] = total
        found["times as long as ours"] = total / min(ours.seconds)
        print(f"  one library kernel each of 1..64: {total:.3g} s")
    return found


def depths(points: int, dimensions: int, last: int) -> Callable[[], None]:
    """Every kernel made, one depth after another."""
    x = sphere(points, dimensions)

    def run() -> None:
        for _ in theory.iterate_depths(x, depths=range(1, last + 1)):
            pass

    return run


def library_kernel(points: int, dimensions: int, depth: int) -> Callable[[], None]:
    """One kernel of neural-tangents."""
    x, kernel = sphere(points, dimensions), theory.fully_connected(depth)

    def run() -> None:
        kernel(x)

    return run


def large(options: Options) -> dict[str, Any]:
    """Predictors of many tasks in float64, by Cholesky of blocks; each made once."""
    found = {}
    for name in ("GBML", "MTL, joint"):
        build = {"name": name, "count": options.tasks}
        (result,) = race(
            {name: Contender("theory_speed:predictor", build)}, rounds=0
        ).values()
        found[name] = result._asdict()
        print(
            f"{name} on {100 * options.tasks} points: {result.ready_seconds:.3g} s, "
            f"{result.peak_gigabytes:.2g} GB, residual {result.answer}"
        )
    return found


def predictor(name: str, count: int) -> Callable[[], float | None]:
    """The predictor; GBML's largest residual on training queries."""
    tasks, kernel = separate_tasks(count, 64), theory.relu_network(3)

    def run() -> float | None:
        if name != "GBML":
            theory.mtl_predictor(kernel, tasks, train_on="joint")
            return None
        inner = theory.gradient_flow("head", time=1.0)
        made = theory.gbml_predictor(kernel, tasks, inner=inner)
        # Adapted to a training task, it must fit its queries.
        fitted = made(tasks.support_x[:2], tasks.support_y[:2], tasks.query_x[:2])
        return float(np.abs(np.asarray(fitted) - tasks.query_y[:2]).max())

    return run


def main(options: Options) -> None:
    """Measure, print and write."""
    arguments.check(options)
    parts = {"accuracy": accuracy, "recursion": recursion, "large predictors": large}
    write(options.output, {name: part(options) for name, part in parts.items()})


if __name__ == "__main__":
    main(tyro.cli(Options, prog="python -m benchmarks.theory_speed"))
