"""Trains and evaluates for hours, in one process, and watches its memory.

    python -m benchmarks.soak --minutes 120 [--runs many --output-dir results/soak]

One run (the default) takes steps on the glyphs, validates every 50 of them and writes
checkpoints, for the whole time. With ``--runs many`` short runs follow one another,
each compiled anew, trained and scored again from its checkpoint, as someone does who
calls the library in a notebook all day; JAX keeps a few megabytes of traces of each.

Memory is what is resident. The first fifth of the time fills what stays filled; what
counts is the growth from the median of the second fifth to that of the last. The sizes
are in ``soak.json``, written as they come.
"""

import dataclasses
import gc
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

from experiments.arguments import AtLeast, check, parse
from metabridge import Config, DataConfig, EvaluationConfig, ModelConfig, TrainConfig
from metabridge.config import ANILConfig, LearnerOptions, MTLConfig
from metabridge.files import write_json
from metabridge.training.scoring import evaluate_run
from metabridge.training.train import train

_STATUS = Path("/proc/self/status")
_LEARNERS: tuple[LearnerOptions, ...] = (MTLConfig(), ANILConfig(inner_steps=2))


@dataclasses.dataclass(frozen=True)
class Options:
    """Train and evaluate for hours, and watch the memory."""

    minutes: Annotated[float, AtLeast(0)] = 120.0
    """How long."""
    runs: Literal["one", "many"] = "one"
    """One long run, or short ones in turn."""
    steps: Annotated[int, AtLeast(1)] = 50
    """Training steps between validations, and of each of many runs."""
    tasks: Annotated[int, AtLeast(2)] = 200
    """Tasks of a validation and a test."""
    seconds: Annotated[float, AtLeast(0.01)] = 10.0
    """Between looks at the memory of one run."""
    output_dir: Path = Path("results/soak")
    """Folder for the result."""


def resident_mb() -> float:
    """What this process holds in memory now, in megabytes."""
    for line in _STATUS.read_text(encoding="utf-8").splitlines():
        if line.startswith("VmRSS:"):
            return 1024 * int(line.split()[1]) / 1e6
    raise OSError(f"{_STATUS} does not tell the resident memory")


def growth(sizes: list[float]) -> float:
    """Relative growth of the median from the second fifth of 5 or more to the last."""
    fifth = len(sizes) // 5
    early = statistics.median(sizes[fifth : 2 * fifth])
    return statistics.median(sizes[-fifth:]) / early - 1


def configured(options: Options, learner: LearnerOptions, **train: Any) -> Config:
    """A small run on the glyphs."""
    tasks, few = options.tasks, {"train_ways": 5, "train_shots": 2, "train_queries": 3}
    return Config(
        learner=learner,
        data=DataConfig(dataset="glyphs"),
        model=ModelConfig(width=16),
        train=TrainConfig(tasks_per_step=2, validation_tasks=tasks, **few, **train),
        evaluation=EvaluationConfig(tasks=tasks, shots=2, queries=5),
    )


def one_run(options: Options, record: Callable[[], None]) -> None:
    """Trains for the whole time; a thread looks at the memory."""
    config = configured(
        options, MTLConfig(), minutes=options.minutes, validate_every=options.steps
    )
    over = threading.Event()

    def watch() -> None:
        while not over.wait(options.seconds):
            record()

    watching = threading.Thread(target=watch)
    with tempfile.TemporaryDirectory() as scratch:
        watching.start()
        try:
            train(config, Path(scratch) / "run")
        finally:
            over.set()
            watching.join()


def many_runs(options: Options, record: Callable[[], None]) -> None:
    """Trains and scores again and again, five times at least, two learners in turn."""
    until, number = time.monotonic() + 60 * options.minutes, 0
    while number < 5 or time.monotonic() <= until:
        learner = _LEARNERS[number % len(_LEARNERS)]
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch) / "run"
            train(configured(options, learner, steps=options.steps), folder)
            evaluate_run(folder, {"shots": 1})
        gc.collect()
        record()
        number += 1


def main(options: Options) -> dict[str, Any]:
    """Runs, prints and returns what `soak.json` holds."""
    check(options)
    options.output_dir.mkdir(parents=True, exist_ok=True)
    since, sizes = time.monotonic(), []
    found: dict[str, Any] = {"runs": options.runs}

    def record() -> None:
        sizes.append(resident_mb())
        found["minutes"] = (time.monotonic() - since) / 60
        found["resident_mb"] = sizes
        found["growth"] = growth(sizes) if len(sizes) >= 5 else None
        write_json(options.output_dir / "soak.json", found)

    {"one": one_run, "many": many_runs}[options.runs](options, record)
    print(
        f"{found['minutes']:.0f} min, {len(sizes)} looks at the memory: "
        f"{sizes[-1]:.0f} MB at the end, grown by {growth(sizes):.2%}"
    )
    return found


if __name__ == "__main__":
    main(parse(Options, "benchmarks.soak"))
