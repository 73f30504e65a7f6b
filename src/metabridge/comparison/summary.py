"""Results of a comparison, read from its run folders, and its table in Markdown."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from metabridge.runs.folder import read_result
from metabridge.runs.metrics import read_metrics
from metabridge.units import format_accuracy, format_bytes, format_duration


def summary(folder: Path, errors: Mapping[str, str | None]) -> dict[str, Any]:
    """Results and validations of the runs, and the cost of equal accuracy.

    `errors` has the reason of a failure by algorithm; the first one is the reference.

    Returns:
      ``"reference"``, its name; and ``"runs"``, the best test accuracy first, failures
      last: each ``result.json`` with what is added here. ``"reference_seconds"`` is the
      training time until the reference's validation accuracy first was as high as the
      best of the run; None if it never was.
    """
    runs = [_run(folder / name, name, error) for name, error in errors.items()]
    reference = runs[0]
    for run in runs:
        if run["error"] is None:
            best = max(record["accuracy"] for record in run["validations"])
            run["best_validation"] = best
            run["seconds_to_best"] = _seconds_to(best, run)
            run["reference_seconds"] = _seconds_to(best, reference)
    runs.sort(key=lambda run: -run.get("accuracy", -1.0))
    return {"reference": reference["algorithm"], "runs": runs}


def _seconds_to(accuracy: float, run: dict[str, Any]) -> float | None:
    """Training time of the first validation that was as high; None without one."""
    records = run.get("validations", [])
    reached = (r["seconds"] for r in records if r["accuracy"] >= accuracy)
    return next(reached, None)


def _run(run_dir: Path, name: str, error: str | None) -> dict[str, Any]:
    if error is not None:
        return {"algorithm": name, "error": error}
    result = read_result(run_dir)
    return {
        "error": None,
        **result,
        "ms_per_step": 1e3 * result["train_seconds"] / result["train_steps"],
        "validations": list(read_metrics(run_dir, "validation")),
    }


def table(found: dict[str, Any]) -> str:
    """The results of `compare` as a table, with a note on its last columns."""
    reference = found["reference"]
    columns = [
        "algorithm", "test accuracy, %", "training", "steps", "images/s", "ms/step",
        "compiling", "peak memory", "memory of a step", "best validation, %",
        "reached in", f"{reference} is as good after",
    ]  # fmt: skip
    rows = [columns, ["---"] * len(columns), *map(_cells, found["runs"])]
    lines = "\n".join("| " + " | ".join(cells) + " |" for cells in rows)
    return (
        f"{found['title']}\n\n{lines}\n\n"
        "The last columns: the best validation accuracy, the training time until it "
        f"was reached, and the time until {reference} first was as good, also as a "
        "share of that.\n"
    )


def _cells(run: dict[str, Any]) -> list[str]:
    if run["error"] is not None:
        reason = re.sub(r"\s+", " ", run["error"]).replace("|", "\\|")
        return [run["algorithm"], f"failed: {reason}", *[""] * 10]
    return [
        run["algorithm"],
        format_accuracy(run["accuracy"], run["ci95"]),
        format_duration(run["train_seconds"]),
        f"{run['train_steps']}",
        f"{run['images_per_second']:.0f}",
        f"{run['ms_per_step']:.3g}",
        format_duration(run["compile_seconds"]),
        format_bytes(1e6 * run["peak_memory_mb"]),
        format_bytes(1e6 * run["step_memory_mb"]),
        f"{100 * run['best_validation']:.2f}",
        format_duration(run["seconds_to_best"]),
        _format_reference(run),
    ]


def _format_reference(run: dict[str, Any]) -> str:
    if run["reference_seconds"] is None:
        return "never"
    share = run["reference_seconds"] / run["seconds_to_best"]
    return f"{format_duration(run['reference_seconds'])} ({share:.2g}x)"
