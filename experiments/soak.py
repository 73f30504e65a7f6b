"""Trains and evaluates in a loop, in one process, and watches its memory.

    python -m experiments.soak --minutes 120 [--output-dir results/soak]

Each round trains a small run on the glyphs from nothing and scores it again from its
checkpoint, as someone does who calls the library in a notebook all day. Memory is that
of the process, after Python has collected its garbage. The first rounds fill caches
that stay; what counts is the growth from the end of the first fifth of the rounds to
the last fifth, of their medians. Writes ``soak.json`` after every round.
"""

import dataclasses
import gc
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import tyro

from experiments.arguments import check_numbers, check_output
from metabridge import Config, DataConfig, EvaluationConfig, ModelConfig, TrainConfig
from metabridge.config import ANILConfig, LearnerConfig, MTLConfig
from metabridge.training import run_folder, train
from metabridge.training.scoring import evaluate_run

_STATUS = Path("/proc/self/status")
_LEARNERS: tuple[LearnerConfig, ...] = (MTLConfig(), ANILConfig(inner_steps=2))


@dataclasses.dataclass(frozen=True)
class Options:
    """Train and evaluate in a loop, and watch the memory."""

    minutes: float = 120.0
    """How long."""
    steps: int = 100
    """Training steps of a round."""
    tasks: int = 200
    """Test tasks of a round."""
    output_dir: Path = Path("results/soak")
    """Folder for the result."""


def resident_mb() -> float:
    """What this process holds in memory now, in megabytes."""
    for line in _STATUS.read_text(encoding="utf-8").splitlines():
        if line.startswith("VmRSS:"):
            return 1024 * int(line.split()[1]) / 1e6
    raise OSError(f"{_STATUS} does not tell the resident memory")


def growth(sizes: list[float]) -> float:
    """Relative growth from the second fifth of the rounds to the last, of medians.

    Args:
      sizes: of the rounds in turn, at least 5.
    """
    fifth = len(sizes) // 5
    early = statistics.median(sizes[fifth : 2 * fifth])
    late = statistics.median(sizes[-fifth:])
    return late / early - 1


def one_round(options: Options, learner: LearnerConfig, folder: Path) -> float:
    """Trains and scores; returns the accuracy."""
    config = Config(
        learner=learner,
        data=DataConfig(dataset="glyphs"),
        model=ModelConfig(width=16),
        train=TrainConfig(
            train_ways=5,
            train_shots=2,
            train_queries=3,
            tasks_per_step=2,
            steps=options.steps,
            validation_tasks=options.tasks,
        ),
        evaluation=EvaluationConfig(tasks=options.tasks, shots=2, queries=5),
    )
    train(config, folder / "run")
    return evaluate_run(folder / "run", {"shots": 1})["accuracy"]


def main(options: Options) -> dict[str, Any]:
    """Loops, prints and returns what `soak.json` holds."""
    check_numbers(options, {"minutes": 0.0, "steps": 1, "tasks": 2})
    check_output(options.output_dir)
    options.output_dir.mkdir(parents=True, exist_ok=True)
    since, sizes, accuracies = time.monotonic(), [], []
    found: dict[str, Any] = {}
    while time.monotonic() - since < 60 * options.minutes or len(sizes) < 5:
        learner = _LEARNERS[len(sizes) % len(_LEARNERS)]
        with tempfile.TemporaryDirectory() as scratch:
            accuracies.append(one_round(options, learner, Path(scratch)))
        gc.collect()
        sizes.append(resident_mb())
        spent = (time.monotonic() - since) / 60
        found = {
            "minutes": spent,
            "rounds": len(sizes),
            "resident_mb": sizes,
            "accuracies": accuracies,
            "growth": growth(sizes) if len(sizes) >= 5 else None,
        }
        run_folder.write_json(options.output_dir / "soak.json", found)
        print(f"round {len(sizes)}: {sizes[-1]:.0f} MB after {spent:.1f} min")
    print(f"{len(sizes)} rounds, memory grew by {growth(sizes):.2%}")
    return found


if __name__ == "__main__":
    main(tyro.cli(Options))
