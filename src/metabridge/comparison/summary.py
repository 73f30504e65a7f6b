"""Results of a comparison, read from its run folders, and its table in Markdown."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from metabridge.evaluation.intervals import CLOSED, OPEN, difference
from metabridge.runs.evaluation import Evaluation, read_own, same_tasks
from metabridge.runs.folder import read_result
from metabridge.runs.metrics import read_metrics
from metabridge.units import (
    format_accuracy,
    format_bytes,
    format_difference,
    format_duration,
    markdown_table,
)

_MISSING = "–"


def summary(folder: Path, errors: Mapping[str, str | None]) -> dict[str, Any]:
    """Results and validations of the runs, and the cost of equal accuracy.

    `errors` has the reason of a failure by algorithm; the first one is the reference.

    Returns:
      ``"reference"``, its name; and ``"runs"``, the best test accuracy first, failures
      last: each ``result.json`` with what is added here. ``"reference_seconds"`` is the
      training time until the reference's validation accuracy first was as high as the
      best of the run; None if it never was. ``"difference"`` is that of the test
      accuracies to the reference's on the same tasks (`Difference` as an object); None
      for the reference, and where the kept evaluations that it needs are missing.
    """
    runs = [_run(folder / name, name, error) for name, error in errors.items()]
    reference = runs[0]
    if reference["error"] is None:
        first = read_own(folder / next(iter(errors)))
        for name, run in zip(errors, runs, strict=True):
            if run is not reference and run["error"] is None:
                run["difference"] = _difference(folder / name, first)
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


def _difference(run_dir: Path, reference: Evaluation | None) -> dict[str, Any] | None:
    """Paired difference of a run's accuracy to the reference's on the same tasks."""
    own = read_own(run_dir)
    if own is None or reference is None or not same_tasks(own, reference):
        return None
    pair = (each.closed.outcome.accuracy for each in (own, reference))
    return difference(*pair)._asdict()


def _run(run_dir: Path, name: str, error: str | None) -> dict[str, Any]:
    if error is not None:
        return {"algorithm": name, "error": error}
    result = read_result(run_dir)
    return {
        "error": None,
        "difference": None,
        **result,
        "ms_per_step": 1e3 * result["train_seconds"] / result["train_steps"],
        "validations": list(read_metrics(run_dir, "validation")),
    }


def table(found: dict[str, Any]) -> str:
    """The results of `compare` as a table, with notes on its columns."""
    reference = found["reference"]
    columns = [
        "algorithm", "test accuracy, %", "open interval, %",
        f"less {reference}, points", "Cohen's d", "training", "steps", "images/s",
        "ms/step", "compiling", "peak memory", "memory of a step",
        "best validation, %", "reached in", f"{reference} is as good after",
    ]  # fmt: skip
    lines = markdown_table(columns, [_cells(run) for run in found["runs"]])
    return (
        f"{found['title']}\n\n{lines}\n\n"
        f"Test accuracies have closed intervals. {CLOSED} {OPEN} Less {reference}: "
        "paired difference of the test accuracies on the same tasks, with 1.96 "
        "standard errors of the differences; Cohen's d: the same in pooled standard "
        "deviations of tasks. A dash stands where no kept evaluation says it.\n\n"
        "The last columns: the best validation accuracy, the training time until it "
        f"was reached, and the time until {reference} first was as good, also as a "
        "share of that.\n"
    )


def _cells(run: dict[str, Any]) -> list[str]:
    if run["error"] is not None:
        reason = re.sub(r"\s+", " ", run["error"]).replace("|", "\\|")
        return [run["algorithm"], f"failed: {reason}", *[""] * 13]
    return [
        run["algorithm"],
        _format_score(run.get("closed", run)),
        _format_score(run.get("open")),
        *_format_difference(run["difference"]),
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


def _format_score(score: dict[str, Any] | None) -> str:
    if score is None:
        return _MISSING
    return format_accuracy(score["accuracy"], score["ci95"])


def _format_difference(found: dict[str, Any] | None) -> tuple[str, str]:
    if found is None:
        return _MISSING, _MISSING
    return format_difference(found["mean"], found["ci95"]), f"{found['effect']:+.2f}"


def _format_reference(run: dict[str, Any]) -> str:
    if run["reference_seconds"] is None:
        return "never"
    share = run["reference_seconds"] / run["seconds_to_best"]
    return f"{format_duration(run['reference_seconds'])} ({share:.2g}x)"
