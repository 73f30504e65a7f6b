"""What kills cost, and what checkpoints cost.

    python -m benchmarks.reliability
    python -m benchmarks.reliability --quick

Kills training runs at random moments of their time, start-up, checkpoint writing and
final scoring included, starts the same command again until the run is finished, and
compares with a run that nobody killed, to the bit; likewise the computation of a kernel
matrix. And the share of the training time that saving takes at the default interval.
Restarts are quick by JAX's cache of compiled programs. Prints each figure and writes
results/reliability-benchmark/results.json.
"""

import dataclasses
import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import jax
import numpy as np
import tyro

from benchmarks import checkpoints
from benchmarks.inputs import sphere
from experiments import arguments
from experiments.arguments import AtLeast
from metabridge import build, theory
from metabridge.files import write_json
from metabridge.runs import folder as run_folder
from metabridge.runs import inputs
from metabridge.training import scoring
from metabridge.training.checkpoint import digest

Part = Literal["training", "kernel", "overhead"]


@dataclasses.dataclass(frozen=True)
class Config:
    """Kill runs and compare them with one that nobody killed; time checkpoints."""

    parts: tuple[Part, ...] = ("training", "kernel", "overhead")
    """What to measure."""
    kills: Annotated[int, AtLeast(1)] = 20
    """Of training runs, and of the computation of a kernel."""
    steps: Annotated[int, AtLeast(100)] = 2000
    """Of a training run."""
    points: Annotated[int, AtLeast(200)] = 1500
    """Of the kernel matrix."""
    saves: Annotated[int, AtLeast(1)] = 7
    """Timed checkpoints of each body."""
    seed: Annotated[int, AtLeast(0)] = 0
    """Of the moments."""
    quick: bool = False
    """Two kills of short runs and small bodies, to see that it works."""
    output_dir: Path = Path("results/reliability-benchmark")
    """Where to write."""


def main(given: Sequence[str] | None = None) -> None:
    """Entry point."""
    config = tyro.cli(Config, prog="python -m benchmarks.reliability", args=given)
    try:
        arguments.check(config)
    except ValueError as error:
        print(f"reliability: {error}", file=sys.stderr)
        sys.exit(2)
    if config.quick:
        config = dataclasses.replace(config, kills=2, steps=200, points=300, saves=1)
    config.output_dir.mkdir(parents=True, exist_ok=True)
    results: dict[str, Any] = {
        "machine": f"{os.cpu_count()} cores, {jax.devices()[0].device_kind}",
        "jax": jax.__version__,
        "seed": config.seed,
    }
    with tempfile.TemporaryDirectory(dir=config.output_dir) as scratch:
        if "training" in config.parts:
            _show(results, "training", killed_trainings(config, Path(scratch)))
        if "kernel" in config.parts:
            _show(results, "kernel", killed_kernels(config, Path(scratch)))
        if "overhead" in config.parts:
            bodies = checkpoints.bodies(quick=config.quick)
            for name, run in bodies.items():
                found = checkpoints.overhead(*run, Path(scratch) / name, config.saves)
                _show(results, f"checkpoints, {name}", found)
    write_json(config.output_dir / "results.json", results)


def _show(results: dict[str, Any], name: str, values: dict[str, Any]) -> None:
    results[name] = values
    for key, value in values.items():
        shown = f"{value:.4g}" if isinstance(value, float) else value
        print(f"{name + ', ' + key:60} {shown}", flush=True)


def killed_trainings(config: Config, scratch: Path) -> dict[str, Any]:
    """Runs that are killed and resumed until there were as many kills as wanted.

    Each attempt is killed after a time drawn uniformly from that of a whole run, if it
    is still running then. A run that is finished is compared, and another begun.
    """
    rng = np.random.default_rng(config.seed)
    _attempt(config, scratch, "cold")  # fills the caches
    whole_seconds = _attempt(config, scratch, "whole")
    assert whole_seconds is not None  # nobody kills it
    expected = _outcome(scratch / "whole")
    phases: Counter[str] = Counter()
    kills = runs = lost = recomputed = attempts = 0
    equal = []
    while kills < config.kills or _unfinished(scratch / f"run-{runs}"):
        folder = scratch / f"run-{runs}"
        newest, before = _newest(folder), _records(folder)
        wait = rng.uniform(0, whole_seconds) if kills < config.kills else None
        attempts += 1
        seconds = _attempt(config, scratch, folder.name, kill_after=wait)
        new = _records(folder)[len(before) :]
        if new:
            start = new[0] - _LOG_EVERY  # a record is of the steps before it
            lost = max(lost, abs(newest - start))
            recomputed = max(recomputed, max(before, default=0) - newest)
        if seconds is None:
            kills += 1
            phases[_phase(folder, new, config.steps)] += 1
            if (folder / "result.json").is_file():  # killed as it ended
                equal.append(_outcome(folder) == expected)
                runs += 1
        else:
            if not before:  # the machine may have been busy when it was timed
                whole_seconds = min(whole_seconds, seconds)
            equal.append(_outcome(folder) == expected)
            runs += 1
    return {
        "kills": kills,
        "attempts": attempts,
        "runs finished": runs,
        "runs equal to the bit": sum(equal),
        "two runs that nobody killed are equal": _outcome(scratch / "cold") == expected,
        "kills by phase": dict(phases),
        "steps lost beyond the newest checkpoint": lost,
        "most steps computed again": recomputed,
        "steps of a run": config.steps,
        "steps between checkpoints": config.steps // _CHECKPOINTS,
        "seconds of a whole run": whole_seconds,
    }


_LOG_EVERY = 10
_CHECKPOINTS = 20


def _attempt(
    config: Config, scratch: Path, name: str, *, kill_after: float | None = None
) -> float | None:
    """Starts or resumes a run; its seconds, or None if it was killed."""
    command = [
        sys.executable, "-m", "metabridge", "train", "mtl", "--dataset=glyphs",
        "--width=8", "--train-ways=10", "--train-shots=2", "--learning-rate=0.001",
        f"--steps={config.steps}", f"--validate-every={config.steps // _CHECKPOINTS}",
        f"--log-every={_LOG_EVERY}", "--validation-tasks=50", "--tasks=500",
        "--head=centroid", "--devices=1", f"--run-dir={scratch / name}", "--resume",
    ]  # fmt: skip
    cache = os.environ.get("JAX_COMPILATION_CACHE_DIR", str(scratch / "compiled"))
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        "JAX_COMPILATION_CACHE_DIR": cache,
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }
    since = time.perf_counter()
    log = scratch / f"{name}.log"
    with log.open("a", encoding="utf-8") as output:
        process = subprocess.Popen(
            command, env=environment, stdout=output, stderr=subprocess.STDOUT
        )
        try:
            process.wait(kill_after)
        except subprocess.TimeoutExpired:
            process.kill()  # SIGKILL
            process.wait()
            return None
    if process.returncode != 0:
        raise RuntimeError(f"a run failed: {log.read_text(encoding='utf-8')[-2000:]}")
    return time.perf_counter() - since


def _unfinished(folder: Path) -> bool:
    return folder.is_dir() and not (folder / "result.json").is_file()


def _newest(folder: Path) -> int:
    """The newest checkpoint on disk; 0 without one."""
    names = [path.name for path in (folder / "checkpoints").glob("[0-9]*")]
    return max((int(name) for name in names if name.isdigit()), default=0)


def _records(folder: Path) -> list[int]:
    """Steps of the training records, in the order they were written."""
    path = folder / "metrics.jsonl"
    if not path.is_file():
        return []
    steps = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            record = json.loads(line)
        except json.JSONDecodeError:
            continue
        if record["kind"] == "train":
            steps.append(record["step"])
    return steps


def _phase(folder: Path, records: list[int], steps: int) -> str:
    """What a run was doing when it was killed, from what it left."""
    if (folder / "result.json").is_file():
        return "ending"
    if list((folder / "checkpoints").glob("*.orbax-checkpoint-tmp*")):
        return "writing a checkpoint"
    if _newest(folder) == steps:
        return "scoring" if records else "starting or scoring"
    return "training" if records else "starting"


def _outcome(folder: Path) -> dict[str, Any]:
    """Final state, checkpoint that was scored, and numbers of a finished run."""
    config = run_folder.read_config(folder)
    dataset = inputs.load_data(config)
    learner = build.learner(config, dataset)
    run = scoring.LoadedRun(folder, config, dataset, learner)
    newest = scoring.restore(run, best=False)
    result = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    names = ("accuracy", "ci95", "best_step", "validation_accuracy", "train_steps")
    return {
        "final step": newest.progress.step,
        "final state": digest(newest.arrays),
        "scored": result["provenance"]["checkpoint"],
        **{name: result[name] for name in names},
    }


def killed_kernels(config: Config, scratch: Path) -> dict[str, Any]:
    """A kernel matrix in a folder, killed and resumed; likewise."""
    rng = np.random.default_rng(config.seed + 1)
    _compute(scratch / "kernel-whole", config.points)  # warm, and to compare with
    context = multiprocessing.get_context("spawn")
    since = time.perf_counter()
    first = context.Process(
        target=_compute, args=(scratch / "kernel-timed", config.points)
    )
    first.start()
    first.join()
    seconds = time.perf_counter() - since
    kills = runs = attempts = 0
    equal = []
    while kills < config.kills or (scratch / f"kernel-{runs}").exists():
        folder = scratch / f"kernel-{runs}"
        wait = rng.uniform(0, seconds) if kills < config.kills else None
        process = context.Process(target=_compute, args=(folder, config.points))
        process.start()
        attempts += 1
        process.join(wait)
        if process.is_alive():
            process.kill()
            process.join()
            kills += 1
            continue
        if process.exitcode != 0:
            raise RuntimeError("the computation of a kernel failed")
        equal.append(
            all(
                (folder / file).read_bytes()
                == (scratch / "kernel-whole" / file).read_bytes()
                for file in ("nngp.npy", "ntk.npy")
            )
        )
        runs += 1
    return {
        "kills": kills,
        "attempts": attempts,
        "matrices finished": runs,
        "matrices equal to the bit": sum(equal),
        "seconds of a whole matrix": seconds,
    }


def _compute(folder: Path, points: int) -> None:
    kernel = theory.relu_network(200)
    x = sphere(points, 20)
    theory.kernel_matrix(kernel, x, tile=128, folder=folder)


if __name__ == "__main__":
    main()
