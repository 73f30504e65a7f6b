"""Kernels and solvers of many points: time, memory, accuracy, against neural-tangents.

    python -m benchmarks.kernels
    python -m benchmarks.kernels --dataset cifar_fs --data-dir DATA

Measures both kernels of a fully connected ReLU network on 20,000 points against
neural-tangents' batched kernel; training by products with the kernel against training
by its matrix where both fit; and training by products alone on up to 1,000 tasks of 5
ways, 5 shots and 15 queries (100,000 points). Writes results/kernels/results.json and a
picture.
"""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

import jax
import numpy as np
import tyro
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

import theory
from benchmarks.harness import Contender, race, report, write
from benchmarks.inputs import QUERIES, SHOTS, WAYS, separate_tasks, sphere
from experiments import arguments
from experiments.arguments import AtLeast
from metabridge.data import load_dataset
from metabridge.types import TaskShape
from theory import image_tasks

Part = Literal["matrix", "agreement", "scaling"]
Size = Annotated[int, AtLeast(1)]
_PROBES = 500
_TIMES = {"": None, ", time 0.01": 0.01}


@dataclasses.dataclass(frozen=True)
class Options:
    """Measure kernels and solvers of many points."""

    parts: tuple[Part, ...] = ("matrix", "agreement", "scaling")
    """What to measure."""
    points: Size = 20_000
    """Of the kernel matrix."""
    depth: Size = 3
    """Hidden layers of the network."""
    dimensions: Size = 64
    """Of the synthetic inputs."""
    batch: Size = 2000
    """Points a side of neural-tangents' batches, at most."""
    tasks: Annotated[tuple[int, ...], AtLeast(1)] = (20, 50, 100, 200, 500, 1000)
    """Of the scaling; each has 100 points."""
    agreement_tasks: Size = 40
    """Training tasks of the comparison of both solvers."""
    tolerance: float = 1e-6
    """Relative residual of the scaling."""
    dataset: str = ""
    """Draw the tasks of the scaling from its training split instead, with images that
    occur in several tasks."""
    data_dir: Path | None = None
    """TFDS folder of the dataset."""
    rounds: Size = 2
    """Timed rounds of the kernel matrix."""
    output_dir: Path = Path("results/kernels")
    """Where to write."""


def matrix(options: Options) -> dict[str, Any]:
    """Both kernels whole, in either type, and by neural-tangents in float64.

    The answer of ours is the largest relative difference of the NTK from that of
    neural-tangents.
    """
    sizes = {n: getattr(options, n) for n in ("points", "depth", "dimensions")}
    contenders = {
        dtype: Contender("kernels:whole", sizes | {"dtype": dtype})
        for dtype in ("float32", "float64")
    }
    library = Contender("kernels:whole_by_library", sizes | {"batch": options.batch})
    results = race(contenders | {"neural-tangents": library}, rounds=options.rounds)
    found = report("kernel matrix", results)
    for dtype in contenders:
        print(f"  {dtype}, largest relative difference: {results[dtype].answer:.3g}")
    return found


def whole(points: int, depth: int, dimensions: int, dtype: str) -> Callable[[], Any]:
    """Both kernels by `theory.kernel_matrix`."""
    x = sphere(points, dimensions)
    kernel = theory.relu_network(depth)
    rows = np.random.default_rng(1).choice(points, min(_PROBES, points), replace=False)
    expected = np.asarray(theory.fully_connected(depth)(x[rows]).ntk)

    def run() -> float:
        made = theory.kernel_matrix(kernel, x, dtype=dtype)  # type: ignore[arg-type]
        return float(np.abs(made.ntk[np.ix_(rows, rows)] / expected - 1).max())

    return run


def whole_by_library(
    points: int, depth: int, dimensions: int, batch: int
) -> Callable[[], None]:
    """Both kernels by neural-tangents' batched kernel in float64, compiled."""
    jax.config.update("jax_enable_x64", True)
    x = sphere(points, dimensions)
    nt = theory.neural_tangents()
    layers = [nt.stax.Dense(1, 2**0.5), nt.stax.Relu()] * depth
    kernel_fn = nt.stax.serial(*layers, nt.stax.Dense(1))[2]
    while points % batch:  # it takes equal batches alone
        batch -= 1
    compiled = jax.jit(kernel_fn, static_argnames=("get",))
    # What it makes stays on the host, as ours does.
    batched = nt.batch(compiled, batch_size=batch, store_on_device=False)

    def run() -> None:
        np.asarray(batched(x, None, ("nngp", "ntk")).ntk)

    return run


def agreement(options: Options) -> dict[str, Any]:
    """Predictions after training by products and by a matrix; largest differences."""
    found = {}
    for name in ("MTL", "GBML"):
        for suffix, time in _TIMES.items():
            build = {**_drawn(options), "name": name, "time": time}
            build["count"] = options.agreement_tasks
            contenders = {
                solver: Contender("kernels:trained", build | {"solver": solver})
                for solver in ("matrix", "products")
            }
            results = race(contenders, rounds=1)
            found[name + suffix] = report(f"training, {name}{suffix}", results)
            one, other = (np.asarray(each.answer) for each in results.values())
            error = float(np.abs(one - other).max() / np.abs(one).max())
            found[name + suffix]["largest relative difference"] = error
            print(f"  largest relative difference: {error:.3g}")
    return found


def trained(
    name: str, solver: str, time: float | None, depth: int, count: int, **drawn: Any
) -> Callable[[], list]:
    """Training of a predictor; its predictions on a task more."""
    *seen, new = _tasks(count + 1, **drawn).each()
    tasks = theory.Tasks(*map(list, zip(*seen, strict=True)))
    kernel = theory.relu_network(depth)
    options: dict[str, Any] = {
        "solver": theory.Iterative(tolerance=1e-9) if solver == "products" else "cholesky",
        "time": np.inf if time is None else time,
    }  # fmt: skip

    def run() -> list:
        if name == "MTL":
            made = theory.mtl_predictor(kernel, tasks, train_on="joint", **options)
        else:
            inner = theory.gradient_flow("head", time=1.0)
            made = theory.gbml_predictor(kernel, tasks, inner=inner, **options)
        return np.asarray(made.function(new.query_x)).tolist()

    return run


def scaling(options: Options) -> dict[str, Any]:
    """MTL trained on queries and supports of many tasks, by products alone, once."""
    found = {}
    for count in options.tasks:
        build = {**_drawn(options), "count": count, "tolerance": options.tolerance}
        (result,) = race({"": Contender("kernels:scaled", build)}, rounds=0).values()
        found[f"{count} tasks"] = {**result.answer, "peak_gb": result.peak_gigabytes}
        shown = [
            f"{name} {value:.4g}" for name, value in found[f"{count} tasks"].items()
        ]
        print(f"products, {count} tasks: {', '.join(shown)}", flush=True)
    return found


def scaled(
    depth: int, count: int, tolerance: float, **drawn: Any
) -> Callable[[], dict[str, float]]:
    """Training of MTL by products; what the solver reports."""
    tasks = _tasks(count, **drawn)

    def run() -> dict[str, float]:
        predictor = theory.mtl_predictor(
            theory.relu_network(depth),
            tasks,
            train_on="joint",
            solver=theory.Iterative(tolerance=tolerance, keep_bytes=4e9),
        )
        report = predictor.report
        assert report is not None
        return {
            "rows": report.rows,
            "different points": report.points,
            "seconds": report.seconds,
            "iterations": report.iterations,
            "relative residual, float64": report.relative_residual,
            "bound on the relative error": report.error_bound,
        }

    return run


def _drawn(options: Options) -> dict[str, Any]:
    """Arguments of `_tasks` as JSON, and the depth."""
    folder = None if options.data_dir is None else str(options.data_dir.absolute())
    return {
        "depth": options.depth,
        "dimensions": options.dimensions,
        "dataset": options.dataset,
        "data_dir": folder,
    }


def _tasks(
    count: int, *, dimensions: int, dataset: str, data_dir: str | None
) -> theory.Tasks:
    if not dataset:
        return separate_tasks(count, dimensions)
    images = load_dataset(dataset, data_dir=data_dir)
    shape = TaskShape(WAYS, SHOTS, QUERIES)
    return image_tasks.draw(images, images.train, shape, count, seed=0, apart=False)[0]


def draw(found: dict[str, Any], output: Path) -> None:
    """Draw time and peak memory against training points."""
    rows = [each["rows"] for each in found.values()]
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    left.loglog(rows, [each["seconds"] for each in found.values()], "o-")
    left.set(xlabel="training points", ylabel="seconds", title="Time")
    right.loglog(rows, [each["peak_gb"] for each in found.values()], "o-", label="here")
    right.loglog(rows, [8e-9 * n**2 for n in rows], "--", label="one float64 matrix")
    right.set(xlabel="training points", ylabel="GB", title="Peak memory")
    right.legend(frameon=False)
    for axes in (left, right):
        axes.grid(True, which="major", alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(output, dpi=160)


_PARTS: dict[Part, Callable[[Options], dict[str, Any]]] = {
    "matrix": matrix,
    "agreement": agreement,
    "scaling": scaling,
}


def main(options: Options) -> None:
    """Measure, print and write."""
    arguments.check(options)
    results = {part: _PARTS[part](options) for part in options.parts}
    write(options.output_dir / "results.json", results)
    if "scaling" in results:
        draw(results["scaling"], options.output_dir / "scaling.png")


if __name__ == "__main__":
    main(tyro.cli(Options, prog="python -m benchmarks.kernels"))
