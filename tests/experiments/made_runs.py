"""Run folders made by hand: configuration, records, results, and no training."""

import dataclasses
import json
from pathlib import Path
from typing import Any

from experiments import recipes
from metabridge.config import images_per_step, resolve, to_json


def write_run(
    folder: Path,
    recipe: str = "mtl_fast",
    *,
    images: int = 64_000,
    minutes: float | None = None,
    shots: int = 5,
    accuracies: tuple[float, ...] = (0.5, 0.6),
    accuracy: float | None = None,
    cpu_seconds: float | None = 3600.0,
    **changes: dict[str, Any],
) -> Path:
    """Write a run of a recipe on CIFAR-FS, validated at equal distances to its end.

    Args:
      folder: of the run.
      recipe: its name.
      images: budget.
      minutes: of which these are what was timed.
      shots: of its tests.
      accuracies: of the validations; those of a finished run go to its last step.
      accuracy: on test tasks; None for a run that was stopped at half of its steps.
      cpu_seconds: in all steps taken; None if they were not counted.
      changes: fields, by section.
    """
    budget = recipes.with_budget(recipes.recipe(recipe, "cifar_fs", shots), images)
    config = resolve(recipes.changed(budget, **changes))
    timed = dataclasses.replace(config.train, minutes=minutes)
    config = dataclasses.replace(config, train=timed)
    taken = config.train.steps if accuracy is not None else config.train.steps // 2
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(to_json(config))
    lines = []
    for number, value in enumerate(accuracies, start=1):
        step = taken * number // len(accuracies)
        record: dict[str, Any] = {"step": step, "seconds": 1.0 * step}
        if cpu_seconds is not None:
            record["cpu_seconds"] = cpu_seconds * step / taken
        lines.append(record | {"kind": "train", "loss": 1.0, "accuracy": 0.5})
        lines.append(record | {"kind": "validation", "accuracy": value, "ci95": 0.004})
    (folder / "metrics.jsonl").write_text("".join(json.dumps(x) + "\n" for x in lines))
    if accuracy is not None:
        result = test_result(accuracy, shots) | {
            "train_steps": taken,
            "cpu_seconds": cpu_seconds,
        }
        (folder / "result.json").write_text(json.dumps(result))
    assert taken * images_per_step(config.train) <= images
    return folder


def test_result(accuracy: float, shots: int, **others: Any) -> dict[str, Any]:
    """What `metabridge evaluate` writes, as far as it matters here."""
    found = {"accuracy": accuracy, "ci95": 0.003, "shots": shots, "split": "test"}
    return found | {"tasks": 2000, "best_step": 7} | others
