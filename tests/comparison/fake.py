"""Run folders as `train` leaves them, made without training."""

from dataclasses import replace
from pathlib import Path

from metabridge.config import Config, ResolvedConfig, resolve, with_steps
from metabridge.files import write_json
from metabridge.runs import folder as run_folder
from metabridge.runs.metrics import MetricsWriter

SECONDS = 10.0


def finished_run(folder: Path, config: Config, *accuracies: float) -> None:
    """A run of 50 steps with these validation accuracies, one every 10 seconds.

    Its test accuracy is the last of them.
    """
    if not isinstance(config, ResolvedConfig):
        config = resolve(config)
    if not config.train.steps:
        config = replace(config, train=with_steps(config.train, 50))
    run_folder.open_run(folder, config, resume=True)
    writer = MetricsWriter(folder)
    for number, accuracy in enumerate(accuracies, start=1):
        scored = {"accuracy": accuracy, "ci95": 0.01, "seconds": number * SECONDS}
        writer.write(number, "validation", scored)
    writer.close()
    seconds = len(accuracies) * SECONDS
    result = {
        "algorithm": config.algorithm,
        "accuracy": accuracies[-1],
        "ci95": 0.0123,
        "train_steps": 50,
        "train_seconds": seconds,
        "images_per_second": 1000.0,
        "compile_seconds": 120.0,
        "peak_memory_mb": 1234.0,
        "step_memory_mb": 56.0,
    }
    write_json(folder / "result.json", result)
