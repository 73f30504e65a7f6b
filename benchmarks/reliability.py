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

import contextlib
import dataclasses
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import jax
import numpy as np
import tyro

from benchmarks import checkpoints
from benchmarks.harness import write
from benchmarks.kernels import sphere
from experiments.arguments import AtLeast, check
from metabridge import theory
from metabridge.runs.folder import read_result
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
        check(config)
    except ValueError as error:
        print(f"reliability: {error}", file=sys.stderr)
        sys.exit(2)
    if config.quick:
        config = dataclasses.replace(config, kills=2, steps=200, points=300, saves=1)
    config.output_dir.mkdir(parents=True, exist_ok=True)
    results: dict[str, Any] = {"jax": jax.__version__, "seed": config.seed}
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
    write(config.output_dir / "results.json", results)


def _show(results: dict[str, Any], name: str, values: dict[str, Any]) -> None:
    results[name] = values
    for key, value in values.items():
        shown = f"{value:.4g}" if isinstance(value, float) else value
        print(f"{name + ', ' + key:60} {shown}", flush=True)


def killed_trainings(config: Config, scratch: Path) -> dict[str, Any]:
    """Runs that are killed and resumed, and what the kills cost them."""
    log_every, between = 10, config.steps // 20
    phases: Counter[str] = Counter()
    lost = recomputed = newest = 0
    before: list[int] = []

    def command(folder: Path) -> list[str]:
        return [
            sys.executable, "-m", "metabridge", "train", "mtl", "--dataset=glyphs",
            "--width=8", "--train-ways=10", "--train-shots=2", "--learning-rate=0.001",
            f"--steps={config.steps}", f"--validate-every={between}",
            f"--log-every={log_every}", "--validation-tasks=50", "--tasks=500",
            "--head=centroid", "--devices=1", f"--run-dir={folder}", "--resume",
        ]  # fmt: skip

    def look(folder: Path, killed: bool) -> None:
        nonlocal lost, recomputed, newest, before
        records = _records(folder)
        new = records[len(before) :]
        if new:
            start = new[0] - log_every  # a record is of the steps before it
            lost = max(lost, abs(newest - start))
            recomputed = max(recomputed, max(before, default=0) - newest)
        newest, before = (_newest(folder), records) if killed else (0, [])
        if killed:
            phases[_phase(folder, new, config.steps)] += 1

    found = _killed("runs", config, scratch, command, _outcome, look)
    return found | {
        "kills by phase": dict(phases),
        "steps lost beyond the newest checkpoint": lost,
        "most steps computed again": recomputed,
        "steps of a run": config.steps,
        "steps between checkpoints": between,
    }


def killed_kernels(config: Config, scratch: Path) -> dict[str, Any]:
    """A kernel matrix in a folder, killed and resumed."""

    def command(folder: Path) -> list[str]:
        call = f"compute({str(folder)!r}, {config.points})"
        code = f"from benchmarks.reliability import compute; {call}"
        return [sys.executable, "-c", code]

    def outcome(folder: Path) -> list[bytes]:
        return [(folder / file).read_bytes() for file in ("nngp.npy", "ntk.npy")]

    return _killed("matrices", config, scratch, command, outcome)


def compute(folder: str, points: int) -> None:
    """Compute a kernel matrix in a folder, or the rest of it."""
    x = sphere(points, 20)
    theory.kernel_matrix(theory.relu_network(200), x, tile=128, folder=folder)


def _killed(
    what: str,
    config: Config,
    scratch: Path,
    command: Callable[[Path], list[str]],
    outcome: Callable[[Path], Any],
    look: Callable[[Path, bool], None] = lambda folder, killed: None,
) -> dict[str, Any]:
    """Kill and resume until there were as many kills as wanted.

    Each attempt is killed after a time drawn uniformly from that of a whole one, if it
    is still running then. One that is finished is compared, and another begun.

    Args:
      what: name of the folders, and in the result.
      command: starts an attempt in a folder, or resumes it.
      outcome: what must be equal of those that are finished.
      look: told of every attempt's folder and whether it was killed.
    """
    rng = np.random.default_rng(config.seed)
    cold, whole = scratch / f"{what}-cold", scratch / f"{what}-whole"
    _attempt(command(cold), cold)  # fills the caches
    least = _attempt(command(whole), whole)
    assert least is not None  # nobody kills it
    expected = outcome(whole)
    kills = attempts = 0
    equal: list[bool] = []
    while True:
        folder = scratch / f"{what}-{len(equal)}"
        fresh = not folder.exists()
        if kills == config.kills and fresh:
            break
        wait = rng.uniform(0, least) if kills < config.kills else None
        seconds = _attempt(command(folder), folder, kill_after=wait)
        attempts += 1
        look(folder, seconds is None)
        if seconds is None:
            kills += 1
            continue
        if fresh:  # the machine may have been busy when it was timed
            least = min(least, seconds)
        equal.append(outcome(folder) == expected)
    return {
        "kills": kills,
        "attempts": attempts,
        f"{what} finished": len(equal),
        f"{what} equal to the bit": sum(equal),
        f"two {what} that nobody killed are equal": outcome(cold) == expected,
        "seconds of a whole one": least,
    }


def _attempt(
    command: list[str], folder: Path, *, kill_after: float | None = None
) -> float | None:
    """Starts or resumes; the seconds, or None if it was killed."""
    cache = os.environ.get("JAX_COMPILATION_CACHE_DIR", folder.parent / "compiled")
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        "JAX_COMPILATION_CACHE_DIR": str(cache),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }
    since, log = time.perf_counter(), folder.with_suffix(".log")
    with log.open("a", encoding="utf-8") as output:
        streams: dict[str, Any] = {"stdout": output, "stderr": subprocess.STDOUT}
        try:
            done = subprocess.run(
                command, env=environment, timeout=kill_after, **streams
            )
        except subprocess.TimeoutExpired:  # SIGKILL has been sent
            return None
    if done.returncode != 0:
        raise RuntimeError(f"it failed: {log.read_text(encoding='utf-8')[-2000:]}")
    return time.perf_counter() - since


def _newest(folder: Path) -> int:
    """The newest checkpoint on disk; 0 without one."""
    names = [path.name for path in (folder / "checkpoints").glob("[0-9]*")]
    return max((int(name) for name in names if name.isdigit()), default=0)


def _records(folder: Path) -> list[int]:
    """Steps of the training records, in the order they were written."""
    path = folder / "metrics.jsonl"
    steps = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else ():
        with contextlib.suppress(json.JSONDecodeError):  # cut off by a kill
            record = json.loads(line)
            steps += [record["step"]] if record["kind"] == "train" else []
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
    newest = scoring.restore(scoring.load_run(folder), best=False)
    result = read_result(folder)
    names = ("accuracy", "ci95", "best_step", "validation_accuracy", "train_steps")
    return {
        "final step": newest.progress.step,
        "final state": digest(newest.arrays),
        "scored": result["provenance"]["checkpoint"],
        **{name: result[name] for name in names},
    }


if __name__ == "__main__":
    main()
