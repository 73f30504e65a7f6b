"""Reliability of probabilities: confidence against accuracy, and conformal sets.

From the logits that runs have kept of their test queries; temperature and sets are
those of an evaluation with a coverage.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from metabridge.evaluation.calibration import (
    BINS,
    Reliability,
    probabilities,
    reliability,
)
from metabridge.report.markup import Markup, fill, run_label
from metabridge.report.runs import SETS, Run
from metabridge.units import format_accuracy

_MISSING = "–"  # in the place of a value that is not known
_KINDS = {"by_task": "by the task", "by_validation": "by validation tasks"}


def reliability_notes(runs: Sequence[Run]) -> list[str]:
    """Notes on runs of which there is no diagram, though they keep their evaluation."""
    return [
        f"No reliability diagram of the run {run.name}: its evaluation kept no logits. "
        f"`metabridge evaluate {run.folder} --keep-logits True --output "
        f"{run.folder / 'evaluation.json'}` keeps them."
        for run in runs
        if run.evaluation is not None
        and run.evaluation.closed.outcome.logits is None
        and not run.evaluation.closed.unequal  # of which none are kept
    ]


def reliability_data(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """The diagram of each run that has kept logits, for the script.

    ``raw`` of the probabilities as they are, ``scaled`` at the run's temperature, None
    without one: confidence, accuracy and share of the queries in each bin that holds
    some, and the calibration error.
    """
    found = []
    for number, run in enumerate(runs):
        if (raw := _table(run, 1.0)) is None:
            continue
        temperature = run.uncertainty.get("temperature")
        scaled = None if temperature is None else _table(run, temperature)
        found.append(
            {
                "run": number,
                "temperature": temperature,
                "raw": _curve(raw),
                "scaled": None if scaled is None else _curve(scaled),
            }
        )
    return found


def reliability_view(runs: Sequence[Run], data: Sequence[dict[str, Any]]) -> Markup:
    """The figure of `reliability_data`, and a table of the numbers."""
    titles = ["Run", "Calibration error, %", "Temperature", "Error at it, %"]
    asked = any("coverage" in runs[each["run"]].uncertainty for each in data)
    if asked:
        titles.append("Sets of coverage, %")
        for kind in _KINDS.values():
            titles += [f"Covered {kind}, %", f"Classes a set {kind}"]
    rows = [_row(runs[each["run"]], each, asked=asked) for each in data]
    head = [
        fill("head", title=title, attributes=None if place else _OF_TEXT)
        for place, title in enumerate(titles)
    ]
    caption = "Calibration of the runs"
    table = fill("table", kind="methods", caption=caption, head=head, rows=rows)
    return fill("reliability", bins=BINS, table=table)


_OF_TEXT = Markup(' class="text"')


def _row(run: Run, diagram: dict[str, Any], *, asked: bool) -> Markup:
    scaled, temperature = diagram["scaled"], diagram["temperature"]
    cells = [
        f"{100 * diagram['raw']['error']:.2f}",
        _MISSING if temperature is None else f"{temperature:.3g}",
        _MISSING if scaled is None else f"{100 * scaled['error']:.2f}",
    ]
    found = run.uncertainty
    if asked:
        coverage = found.get("coverage")
        cells.append(_MISSING if coverage is None else f"{100 * coverage:g}")
        for kind in _KINDS:
            names = [f"{kind}_{name}" for name in SETS]
            if not found.keys() >= set(names):
                cells += [_MISSING, _MISSING]
                continue
            covered, half, size, half_size = (found[name] for name in names)
            cells += [format_accuracy(covered, half), f"{size:.3f} ± {half_size:.3f}"]
    return fill(
        "matrix_row",
        name=run_label(run.name, diagram["run"]),
        cells=[fill("plain_cell", shown=cell, attributes=None) for cell in cells],
    )


def _table(run: Run, temperature: float) -> Reliability | None:
    """The reliability table of a run at a temperature; None without finite logits."""
    if run.evaluation is None:
        return None
    records = run.evaluation.closed
    logits = records.outcome.logits
    if logits is None or not logits.size or not np.isfinite(logits).all():
        return None
    labels = np.broadcast_to(records.labels, logits.shape[:2])
    return reliability(probabilities(logits, temperature), labels)


def _curve(table: Reliability) -> dict[str, Any]:
    filled = table.counts > 0
    share = table.counts / table.counts.sum()
    columns = {
        "confidence": table.confidence,
        "accuracy": table.accuracy,
        "share": share,
    }
    return {
        **{name: each[filled].round(5).tolist() for name, each in columns.items()},
        "error": table.error,
    }
