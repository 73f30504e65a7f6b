"""Kernels and solvers of many points: time, memory, accuracy, against neural-tangents.

    python -m experiments.kernel_benchmark
    python -m experiments.kernel_benchmark --dataset cifar_fs --data-dir DATA

Measures both kernels of a fully connected ReLU network on 20,000 points against
neural-tangents' batched kernel; training by products with the kernel against training
by its matrix where both fit; and training by products alone on up to 1,000 tasks of 5
ways, 5 shots and 15 queries (100,000 points). Each measurement has a process of its
own, for its peak memory. Prints each figure, writes
results/kernel-benchmark/results.json and a picture.
"""

import dataclasses
import json
import os
import time
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np
import tyro
from experiments.measuring import (
    QUERIES,
    SHOTS,
    WAYS,
    peak_gigabytes,
    separate_tasks,
    sphere,
)

import theory
from metabridge.comparison.run import in_a_process
from metabridge.data import load_dataset
from metabridge.types import TaskShape
from theory import image_tasks

Part = Literal["matrix", "agreement", "scaling"]


@dataclasses.dataclass(frozen=True)
class Config:
    """Measure kernels and solvers of many points."""

    parts: tuple[Part, ...] = ("matrix", "agreement", "scaling")
    """What to measure."""
    points: int = 20_000
    """Of the kernel matrix."""
    depth: int = 3
    """Hidden layers of the network."""
    dimensions: int = 64
    """Of the synthetic inputs."""
    batch: int = 2000
    """Points a side of neural-tangents' batches."""
    tasks: tuple[int, ...] = (20, 50, 100, 200, 500, 1000)
    """Of the scaling; each has 100 points."""
    agreement_tasks: int = 40
    """Training tasks of the comparison of both solvers."""
    tolerance: float = 1e-6
    """Relative residual of the scaling."""
    dataset: str = ""
    """Draw the tasks of the scaling from its training split instead, with images that
    occur in several tasks."""
    data_dir: Path | None = None
    """TFDS folder of the dataset."""
    output_dir: Path = Path("results/kernel-benchmark")
    """Where to write."""


def main() -> None:
    """Entry point."""
    config = tyro.cli(Config, prog="python -m experiments.kernel_benchmark")
    if min(config.points, config.depth, config.batch, *config.tasks) < 1:
        raise SystemExit("kernel_benchmark: all numbers must be at least 1")
    results: dict[str, Any] = {"cores": os.cpu_count()}
    if "matrix" in config.parts:
        _show(results, "matrix", in_a_process(_matrix, config))
        _show(results, "neural-tangents", in_a_process(_library, config))
        theirs = results["neural-tangents"]["seconds"]
        ratios = {
            dtype: theirs / results["matrix"][f"seconds, {dtype}"]
            for dtype in ("float32", "float64")
        }
        _show(results, "times faster than neural-tangents in float64", ratios)
    if "agreement" in config.parts:
        _show(results, "agreement", in_a_process(_agreement, config))
    if "scaling" in config.parts:
        for tasks in config.tasks:
            name = f"products, {tasks} tasks"
            _show(results, name, in_a_process(_scaling, config, tasks))
    config.output_dir.mkdir(parents=True, exist_ok=True)
    text = json.dumps(results, indent=2) + "\n"
    (config.output_dir / "results.json").write_text(text, encoding="utf-8")
    if "scaling" in config.parts:
        _draw(config, results)


def _show(results: dict[str, Any], name: str, values: dict[str, Any]) -> None:
    results[name] = values
    for key, value in values.items():
        shown = value if isinstance(value, str) else f"{value:.4g}"
        print(f"{name + ', ' + key:72} {shown}", flush=True)


_PROBES = 500


def _matrix(config: Config) -> dict[str, float]:
    """Both kernels whole, in either type; the best of two runs each."""
    x = sphere(config.points, config.dimensions)
    kernel, result = theory.relu_network(config.depth), {}
    for dtype in ("float32", "float64"):
        seconds, error = [], 0.0
        for _ in range(2):
            start = time.perf_counter()
            made = theory.kernel_matrix(kernel, x, dtype=dtype)
            seconds.append(time.perf_counter() - start)
            error = _against_library(config, x, made.ntk)
            del made
        result[f"seconds, {dtype}"] = min(seconds)
        result[f"largest relative difference, {dtype}"] = error
        result[f"peak memory so far, GB, {dtype}"] = peak_gigabytes()
    return result


def _against_library(config: Config, x: np.ndarray, ntk: Any) -> float:
    """On some of the points, in float64."""
    rows = np.random.default_rng(1).choice(len(x), min(_PROBES, len(x)), replace=False)
    expected = np.asarray(theory.fully_connected(config.depth)(x[rows]).ntk)
    return float(np.abs(ntk[np.ix_(rows, rows)] / expected - 1).max())


def _library(config: Config) -> dict[str, float]:
    """neural-tangents' batched kernel in float64, compiled; the best of two runs."""
    jax.config.update("jax_enable_x64", True)
    x = sphere(config.points, config.dimensions)
    nt = theory.neural_tangents()
    layers = [nt.stax.Dense(1, 2**0.5), nt.stax.Relu()] * config.depth
    kernel_fn = nt.stax.serial(*layers, nt.stax.Dense(1))[2]
    batch = config.batch
    while config.points % batch:  # it takes equal batches alone
        batch -= 1
    compiled = jax.jit(kernel_fn, static_argnames=("get",))
    # What it makes stays on the host, as ours does.
    batched = nt.batch(compiled, batch_size=batch, store_on_device=False)
    batched(x[: 2 * batch], None, ("nngp", "ntk"))
    seconds = []
    for _ in range(2):
        start = time.perf_counter()
        np.asarray(batched(x, None, ("nngp", "ntk")).ntk)
        seconds.append(time.perf_counter() - start)
    return {
        "seconds": min(seconds),
        "points a batch": float(batch),
        "peak memory, GB": peak_gigabytes(),
    }


def _tasks(config: Config, count: int) -> theory.Tasks:
    if config.dataset:
        dataset = load_dataset(config.dataset, data_dir=config.data_dir)
        shape = TaskShape(WAYS, SHOTS, QUERIES)
        return image_tasks.draw(
            dataset, dataset.train, shape, count, seed=0, apart=False
        )[0]
    return separate_tasks(count, config.dimensions)


def _agreement(config: Config) -> dict[str, float]:
    """Predictions after training by products and by a matrix; largest differences."""
    tasks = _tasks(config, config.agreement_tasks)
    kernel = theory.relu_network(config.depth)
    inner = theory.gradient_flow("head", time=1.0)
    iterative = theory.Iterative(tolerance=1e-9)
    result = {"points": float(config.agreement_tasks * WAYS * (SHOTS + QUERIES))}
    new = np.asarray(_tasks(config, config.agreement_tasks + 1).query_x)[-1]
    for name, make in (
        ("MTL", lambda **o: theory.mtl_predictor(kernel, tasks, train_on="joint", **o)),
        ("GBML", lambda **o: theory.gbml_predictor(kernel, tasks, inner=inner, **o)),
    ):
        for time_, suffix in ((np.inf, ""), (0.01, ", time 0.01")):
            values = []
            for solver in ("cholesky", iterative):
                start = time.perf_counter()
                predictor = make(solver=solver, time=time_)
                method = predictor.report.method if predictor.report else ""
                seconds = time.perf_counter() - start
                result[f"seconds, {name}{suffix}, {method}"] = seconds
                values.append(predictor.function(new))
            error = np.abs(values[0] - values[1]).max() / np.abs(values[0]).max()
            result[f"largest relative difference, {name}{suffix}"] = float(error)
    return result


def _scaling(config: Config, count: int) -> dict[str, Any]:
    """MTL trained on queries and supports of so many tasks, by products alone."""
    tasks = _tasks(config, count)
    options = theory.Iterative(tolerance=config.tolerance, keep_bytes=4e9)
    predictor = theory.mtl_predictor(
        theory.relu_network(config.depth), tasks, train_on="joint", solver=options
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
        "peak memory, GB": peak_gigabytes(),
    }


def _draw(config: Config, results: dict[str, Any]) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    found = [results[f"products, {tasks} tasks"] for tasks in config.tasks]
    rows = [each["rows"] for each in found]
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    left.loglog(rows, [each["seconds"] for each in found], "o-")
    left.set(xlabel="training points", ylabel="seconds", title="Time")
    right.loglog(rows, [each["peak memory, GB"] for each in found], "o-", label="here")
    right.loglog(rows, [8e-9 * n**2 for n in rows], "--", label="one float64 matrix")
    right.set(xlabel="training points", ylabel="GB", title="Peak memory")
    right.legend(frameon=False)
    for axes in (left, right):
        axes.grid(True, which="major", alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(config.output_dir / "scaling.png", dpi=160)
    plt.close(figure)


if __name__ == "__main__":
    main()
