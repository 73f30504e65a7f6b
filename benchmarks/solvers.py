"""Training of the infinite-width predictors: time, memory and accuracy by task count.

    python -m benchmarks.solvers [--parts products]

Training by products with the kernel against training by its matrix where both fit;
MTL and GBML on 200 tasks of 5 ways, 5 shots and 15 queries (20,000 points) by the
matrix, once; and MTL by products alone on up to 1,000 tasks (100,000 points). Writes
results/solvers/results.json and a picture.
"""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from benchmarks.harness import Contender, race, report, write
from experiments.arguments import AtLeast, check, parse
from metabridge import theory

Part = Literal["agreement", "matrix", "products"]
Size = Annotated[int, AtLeast(1)]
_DIMENSIONS, _DEPTH = 64, 3
WAYS, SHOTS, QUERIES = 5, 5, 15
"""Of the tasks that are trained on; each has 100 points."""


@dataclasses.dataclass(frozen=True)
class Options:
    """Measure the training of infinite-width predictors."""

    parts: tuple[Part, ...] = ("agreement", "matrix", "products")
    """What to measure."""
    agreement_tasks: Size = 40
    """Training tasks of the comparison of both solvers."""
    matrix_tasks: Size = 200
    """Training tasks of the predictors by the matrix."""
    tasks: Annotated[tuple[int, ...], AtLeast(1)] = (20, 50, 100, 200, 500, 1000)
    """Training tasks by products; each has 100 points."""
    tolerance: float = 1e-6
    """Relative residual by products alone."""
    output_dir: Path = Path("results/solvers")
    """Where to write."""


def train(
    name: str, count: int, *, time: float | None = None, tolerance: float | None = None
) -> Callable[[], dict[str, Any]]:
    """Training of MTL or GBML on so many tasks, by products if there is a tolerance.

    The answer has the predictions on a task more, and what the solver reports.
    """
    *seen, new = separate_tasks(count + 1).each()
    tasks = theory.Tasks(*(list(field) for field in zip(*seen, strict=True)))
    kernel = theory.relu_network(_DEPTH)
    options: dict[str, Any] = {"time": np.inf if time is None else time}
    if tolerance is not None:
        options["solver"] = theory.Iterative(tolerance=tolerance, keep_bytes=4e9)

    def run() -> dict[str, Any]:
        if name == "MTL":
            made = theory.mtl_predictor(kernel, tasks, train_on="joint", **options)
        else:
            inner = theory.gradient_flow("head", time=1.0)
            made = theory.gbml_predictor(kernel, tasks, inner=inner, **options)
        found: dict[str, Any] = {"predictions": made.function(new.query_x).tolist()}
        return found | (dataclasses.asdict(made.report) if made.report else {})

    return run


def separate_tasks(count: int) -> theory.Tasks:
    """Tasks of Gaussian classes round Gaussian means; no two share an input."""
    rng = np.random.default_rng(0)
    means = rng.standard_normal((count, WAYS, 1, _DIMENSIONS))

    def inputs(each: int) -> np.ndarray:
        x = means + rng.standard_normal((count, WAYS, each, _DIMENSIONS))
        return x.reshape(count, WAYS * each, _DIMENSIONS)

    def labels(each: int) -> np.ndarray:
        own = theory.one_hot(np.repeat(np.arange(WAYS), each), WAYS, centred=True)
        return np.broadcast_to(own, (count, *own.shape))

    return theory.Tasks(inputs(SHOTS), labels(SHOTS), inputs(QUERIES), labels(QUERIES))


def agreement(options: Options) -> dict[str, Any]:
    """Predictions after training by products and by a matrix; largest differences."""
    found = {}
    for name in ("MTL", "GBML"):
        for suffix, time in (("", None), (", time 0.01", 0.01)):
            build = {"name": name, "count": options.agreement_tasks, "time": time}
            contenders = {
                "matrix": Contender("solvers:train", build),
                "products": Contender("solvers:train", build | {"tolerance": 1e-9}),
            }
            results = race(contenders, rounds=1)
            found[name + suffix] = report(f"training, {name}{suffix}", results)
            one, other = (np.asarray(r.answer["predictions"]) for r in results.values())
            error = float(np.abs(one - other).max() / np.abs(one).max())
            found[name + suffix]["largest relative difference"] = error
            print(f"  largest relative difference: {error:.3g}")
    return found


def by_matrix(options: Options) -> dict[str, Any]:
    """MTL and GBML on many tasks by Cholesky of blocks, once."""
    return {
        name: _once(f"{name} by the matrix", options.matrix_tasks, name=name)
        for name in ("GBML", "MTL")
    }


def by_products(options: Options) -> dict[str, Any]:
    """MTL trained on queries and supports of many tasks, by products alone, once."""
    build = {"name": "MTL", "tolerance": options.tolerance}
    found = {str(n): _once("MTL by products", n, **build) for n in options.tasks}
    draw(found, options.output_dir / "scaling.png")
    return found


def _once(title: str, count: int, **build: Any) -> dict[str, Any]:
    contender = Contender("solvers:train", build | {"count": count})
    (result,) = race({title: contender}, rounds=0).values()
    found = {"peak_gb": result.peak_gigabytes, "seconds": result.ready_seconds}
    found |= {k: v for k, v in result.answer.items() if k != "predictions"}
    print(f"{title}, {count} tasks")
    for name, value in found.items():
        print(f"  {name:24} {value}", flush=True)
    return found


def draw(found: dict[str, Any], output: Path) -> None:
    """Draw time and peak memory against training points."""
    rows = [each["rows"] for each in found.values()]
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    for axes, title, key, unit in (
        (left, "Time", "seconds", "seconds"),
        (right, "Peak memory", "peak_gb", "GB"),
    ):
        axes.loglog(rows, [each[key] for each in found.values()], "o-", label="here")
        axes.set(xlabel="training points", ylabel=unit, title=title)
        axes.grid(True, which="major", alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    right.loglog(rows, [8e-9 * n**2 for n in rows], "--", label="one float64 matrix")
    right.legend(frameon=False)
    output.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(output, dpi=160)


def main(options: Options) -> None:
    """Measure, print and write."""
    check(options)
    parts = {"agreement": agreement, "matrix": by_matrix, "products": by_products}
    results = {part: parts[part](options) for part in options.parts}
    write(options.output_dir / "results.json", results)


if __name__ == "__main__":
    main(parse(Options, "benchmarks.solvers"))
