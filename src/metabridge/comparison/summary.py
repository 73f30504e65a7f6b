"""What a comparison found, read from its run folders, and its table in Markdown."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from metabridge.training.metrics import read_metrics


def summary(folder: Path, errors: Mapping[str, str | None]) -> dict[str, Any]:
    """Results and validations of the runs, and the time they took to an accuracy that
    all of them reach.

    Args:
      folder: of the run folders.
      errors: the algorithms, and why they failed, if so.

    Returns:
      ``"runs"``: for each algorithm its ``result.json`` with ``"algorithm"``,
      ``"error"``, ``"ms_per_step"``, ``"seconds_to_reach"`` and ``"validations"``; the
      best test accuracy first, failures last.
      ``"reached_accuracy"``: the best validation accuracy of the weakest of those that
      did not fail; None if all did. ``"weakest"``: its name.
    """
    runs = [_run(folder / name, name, error) for name, error in errors.items()]
    runs.sort(key=lambda run: -run.get("accuracy", -1.0))
    done = [run for run in runs if run["error"] is None]
    weakest = min(done, key=_best, default=None)
    for run in done:
        run["seconds_to_reach"] = next(
            record["seconds"]
            for record in run["validations"]
            if weakest is not None and record["accuracy"] >= _best(weakest)
        )
    return {
        "weakest": weakest and weakest["algorithm"],
        "reached_accuracy": weakest and _best(weakest),
        "runs": runs,
    }


def _run(run_dir: Path, name: str, error: str | None) -> dict[str, Any]:
    if error is not None:
        return {"algorithm": name, "error": error}
    result = json.loads((run_dir / "result.json").read_text(encoding="utf-8"))
    return {
        "error": None,
        **result,
        "ms_per_step": 1e3 * result["train_seconds"] / result["train_steps"],
        "validations": list(read_metrics(run_dir, "validation")),
    }


def _best(run: dict[str, Any]) -> float:
    return max(record["accuracy"] for record in run["validations"])


def table(found: dict[str, Any]) -> str:
    """A table of what `compare` found, and what its last column means."""
    reached = found["reached_accuracy"]
    columns = [
        "algorithm",
        "test accuracy, %",
        "training",
        "steps",
        "images/s",
        "ms/step",
        "compiling",
        "peak memory",
        "memory of a step",
        "to the weakest" if reached is None else f"to {100 * reached:.2f} %",
    ]
    rows = [columns, ["---"] * len(columns), *map(_cells, found["runs"])]
    text = f"{found['title']}\n\n"
    text += "\n".join("| " + " | ".join(cells) + " |" for cells in rows) + "\n"
    if reached is not None:
        text += (
            f"\nThe last column is the training time until the validation accuracy "
            f"first was {100 * reached:.2f} %, the best of the weakest "
            f"({found['weakest']}).\n"
        )
    return text


def _cells(run: dict[str, Any]) -> list[str]:
    if run["error"] is not None:
        reason = re.sub(r"\s+", " ", run["error"]).replace("|", "\\|")
        return [run["algorithm"], f"failed: {reason}", *[""] * 8]
    return [
        run["algorithm"],
        f"{100 * run['accuracy']:.2f} ± {100 * run['ci95']:.2f}",
        _time(run["train_seconds"]),
        f"{run['train_steps']}",
        f"{run['images_per_second']:.0f}",
        f"{run['ms_per_step']:.3g}",
        _time(run["compile_seconds"]),
        f"{run['peak_memory_mb'] / 1e3:.2f} GB",
        f"{run['step_memory_mb']:.0f} MB",
        _time(run["seconds_to_reach"]),
    ]


def _time(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 100 else f"{seconds / 60:.1f} min"
