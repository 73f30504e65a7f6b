"""Records of a run: written to its folder, handed to loggers, shown on a bar."""

import os
import sys
from pathlib import Path

from tqdm import tqdm

from metabridge.evaluation import Score
from metabridge.parallel import hosts
from metabridge.runs.loggers import Loggers
from metabridge.runs.metrics import MetricsWriter
from metabridge.training.checkpoint import Progress
from metabridge.training.guards.divergence import DivergenceError


def times(progress: Progress) -> dict[str, float]:
    """Time and, if it is known, processor time in training steps so far."""
    found = {"seconds": progress.seconds, "cpu_seconds": progress.cpu_seconds}
    return {name: value for name, value in found.items() if value is not None}


class Records:
    """The records of a run of so many steps, on the first process alone."""

    def __init__(self, run_dir: Path, loggers: Loggers, steps: int, done: int) -> None:
        first = hosts.is_first()
        self._writer = MetricsWriter(run_dir) if first else None
        self._loggers = loggers
        self._bar = tqdm(
            total=steps,
            initial=done,
            unit="step",
            dynamic_ncols=True,
            # An argument that is given counts more than tqdm's own variable.
            disable=not first or "TQDM_DISABLE" in os.environ,
        )
        self._metrics = ""

    def close(self) -> None:
        self._bar.close()
        if self._writer is not None:
            self._writer.close()

    def trained(self, progress: Progress, values: dict[str, float]) -> None:
        self._write(progress.step, "train", values)
        self._metrics = (
            f"loss {values['loss']:.3f}, acc {values['accuracy']:.1%}, "
            f"{values['images_per_second']:.0f} images/s"
        )
        self._show(progress)

    def validated(self, progress: Progress, score: Score) -> None:
        values = {"accuracy": score.accuracy, "ci95": score.ci95, **times(progress)}
        self._write(progress.step, "validation", values)
        self._show(progress)

    def measured(self, progress: Progress, values: dict[str, float]) -> None:
        if values:
            self._write(progress.step, "features", values | times(progress))

    def rolled_back(self, progress: Progress, error: DivergenceError) -> None:
        self._write(progress.step, "rollback", {"rollbacks": float(progress.rollbacks)})
        self._show(progress)
        self.say(
            f"{error}. Back to step {progress.step}, with other tasks and half the "
            f"learning rate (rollback {progress.rollbacks})"
        )

    def say(self, text: str) -> None:
        """Prints one line to the user."""
        if hosts.is_first():
            tqdm.write(text, file=sys.stderr)

    def _write(self, step: int, kind: str, values: dict[str, float]) -> None:
        if self._writer is not None:
            self._writer.write(step, kind, values)
        self._loggers.log(step, kind, values)

    def _show(self, progress: Progress) -> None:
        best = progress.best_accuracy
        text = f"{self._metrics}, best val {best:.2%}" if best else self._metrics
        self._bar.update(progress.step - self._bar.n)
        self._bar.set_postfix_str(text)
