"""Speed and accuracy of the theory package, as its documentation states them.

    python -m experiments.theory_benchmark

Measures the depth recursion in float32 against float64, the recursion over all depths
against one neural-tangents kernel a depth, and predictors of 200 tasks of 5 ways, 5
shots and 15 queries (20,000 points) in float64. Prints each figure and writes
results/theory-benchmark.json. Times are the best of several runs after a first that
compiles, but for the large predictors, which run once.
"""

import dataclasses
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from experiments.measuring import peak_gigabytes, separate_tasks, sphere

import theory


@dataclasses.dataclass(frozen=True)
class Config:
    """Measure the speed and accuracy of the theory package."""

    points: int = 500
    """Inputs of the speed of the recursion."""
    dimensions: int = 20
    """Of the inputs, uniform on the sphere."""
    library_depths: tuple[int, ...] = (1, 8, 16, 32, 48, 64)
    """Depths at which neural-tangents is timed; its time for 1..64 is interpolated."""
    tasks: int = 200
    """Training tasks of the large predictors."""
    repeats: int = 3
    """Runs of which the best counts."""
    output: Path = Path("results/theory-benchmark.json")
    """Where to write."""


def main() -> None:
    """Entry point."""
    config = tyro.cli(Config, prog="python -m experiments.theory_benchmark")
    if min(config.points, config.dimensions, config.tasks, config.repeats) < 1:
        raise SystemExit("theory_benchmark: all numbers must be at least 1")
    results: dict[str, Any] = {"cores": os.cpu_count()}
    for part in (_accuracy, _all_depths, _against_library, _large):
        for name, value in part(config).items():
            print(f"{name:64} {value:.3g}", flush=True)
            results[name] = value
    config.output.parent.mkdir(parents=True, exist_ok=True)
    config.output.write_text(json.dumps(results, indent=2) + "\n")


def _best(function: Callable[[], Any], repeats: int) -> float:
    """Seconds of the fastest run, the first not counted."""
    function()
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def _accuracy(config: Config) -> dict[str, float]:
    """Largest relative errors of float32 at depth 1000, ours and the library's."""
    x = sphere(config.points, config.dimensions).astype(np.float32)
    exact = theory.relu_depths(x.astype(np.float64), depths=[1000])
    ours = theory.relu_depths(x, depths=[1000])
    stax = theory.neural_tangents().stax
    layers = [stax.Dense(1, 2**0.5), stax.Relu()] * 1000 + [stax.Dense(1)]
    # Enough points to see its error, few enough to wait for.
    few = x[:20]
    library = stax.serial(*layers)[2](few, None, ("nngp", "ntk"))
    result = {}
    for name in ("nngp", "ntk"):
        expected = getattr(exact, name)[0]
        error = np.abs(getattr(ours, name)[0] - expected) / np.abs(expected)
        result[f"float32 error at depth 1000, {name}"] = float(error.max())
        theirs = np.abs(np.asarray(getattr(library, name)) - expected[:20, :20])
        result[f"float32 error at depth 1000, {name}, neural-tangents"] = float(
            (theirs / np.abs(expected[:20, :20])).max()
        )
    return result


def _all_depths(config: Config) -> dict[str, float]:
    """All depths up to 1000: every kernel made, one depth after another."""
    x = sphere(config.points, config.dimensions)

    def run() -> None:
        for _ in theory.iterate_depths(x, depths=range(1, 1001)):
            pass

    return {f"seconds, depths 1..1000, {config.points} points": _best(run, 2)}


def _against_library(config: Config) -> dict[str, float]:
    """Depths 1..64 in one pass, against a neural-tangents kernel function for each."""
    x = sphere(config.points, config.dimensions)
    depths = range(1, 65)
    ours = _best(lambda: theory.relu_depths(x, depths=depths), config.repeats)
    once, again = [], []
    for depth in config.library_depths:
        kernel = theory.fully_connected(depth)
        start = time.perf_counter()
        kernel(x)
        once.append(time.perf_counter() - start)
        again.append(_best(lambda kernel=kernel: kernel(x), 1))
    total_once = np.interp(depths, config.library_depths, once).sum()
    total_again = np.interp(depths, config.library_depths, again).sum()
    return {
        "seconds, depths 1..64 in one pass": ours,
        "seconds, depths 1..64, one library kernel each, first call": total_once,
        "seconds, depths 1..64, one library kernel each, later calls": total_again,
        "times faster, later calls": total_again / ours,
        "times faster, first calls": total_once / ours,
    }


def _large(config: Config) -> dict[str, float]:
    """Predictors of many tasks in float64, by Cholesky of blocks."""
    tasks = separate_tasks(config.tasks, 64)
    kernel = theory.relu_network(3)
    inner = theory.gradient_flow("head", time=1.0)
    result = {"points of the large predictors": 100.0 * config.tasks}
    makers: dict[str, Callable[[], theory.Predictor]] = {
        "GBML": lambda: theory.gbml_predictor(kernel, tasks, inner=inner),
        "MTL, joint": lambda: theory.mtl_predictor(kernel, tasks, train_on="joint"),
    }
    for name, make in makers.items():
        start = time.perf_counter()
        predictor = make()
        result[f"seconds, {name}"] = time.perf_counter() - start
        result[f"peak memory so far, GB, {name}"] = peak_gigabytes()
        if name == "GBML":
            # Adapted to a training task, it must fit its queries.
            fitted = predictor(
                tasks.support_x[:2], tasks.support_y[:2], tasks.query_x[:2]
            )
            residual = np.abs(np.asarray(fitted) - tasks.query_y[:2])
            result["largest residual on training queries, GBML"] = residual.max().item()
    return result


if __name__ == "__main__":
    main()
