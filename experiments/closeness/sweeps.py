"""Agreement and gaps over depth, inner-loop time, tasks, shots, and width."""

import functools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from experiments.closeness.cells import Cells, blocks
from experiments.closeness.config import Benchmark
from experiments.closeness.data import Source, trained_pair
from experiments.closeness.tables import correct
from metabridge import theory
from metabridge.theory.closeness.sweep import depth_sweeps

_MEANS = ("agreement", "gap", "relative_gap", "transfer")
FIELDS = (*_MEANS, "mtl_accuracy", "gbml_accuracy")
SHOT_TASKS = 10
"""Training tasks of the curve over shots, at most."""
ADAPTATIONS = ("timed", "end")
"""Adaptations of the head to an unseen task: for the configured time, or to the end."""


def depth_study(source: Source[Benchmark], cells: Cells) -> dict[str, Any]:
    """ANIL and MTL by depth and time of the inner loop, and MAML likewise.

    Returns:
      ``{"anil": tables, "maml": tables}``, tables having one by each of `ADAPTATIONS`,
      with "depths", "times", "unseen" and ``[depth][time]`` of each of `FIELDS`.
    """
    config = source.config
    sizes = {"anil": config.test_tasks, "maml": config.curve_test_tasks}
    found = {}
    for layers, size in sizes.items():
        sweep = functools.partial(
            _sweep, source, cells, depths=config.depths, maml=layers == "maml"
        )
        parts = [
            sweep(f"depth-{layers}-{block}", count=count, block=block)
            for block, count in blocks(size)
        ]
        found[layers] = {n: _mean([part[n] for part in parts]) for n in ADAPTATIONS}
    return found


def curve_study(source: Source[Benchmark], cells: Cells) -> dict[str, Any]:
    """Over the number of training tasks, and over shots.

    Returns:
      ``{"tasks": {number: tables}, "shots": {number: tables}}``, tables as of
      `depth_study`.
    """
    config = source.config
    sweep = functools.partial(
        _sweep, source, cells, depths=config.curve_depths, count=config.curve_test_tasks
    )
    few = min(SHOT_TASKS, config.tasks)
    counts, shots = sorted(config.task_counts), sorted(config.shot_counts)
    return {
        "tasks": {str(n): sweep(f"tasks-{n}", tasks=n) for n in counts},
        "shots": {str(n): sweep(f"shots-{n}", tasks=few, shots=n) for n in shots},
    }


def width_study(source: Source[Benchmark], cells: Cells) -> dict[str, Any]:
    """Trained networks by depth and width, and the limit of the same training time.

    Returns:
      ``{depth: {width: row}}``, the limit under "limit".
    """
    config = source.config
    found: dict[str, Any] = {}
    for depth in sorted(config.finite_depths):
        for width in sorted(config.widths):
            settings = source.settings("time", "side") | {
                "width": width, "depth": depth, "tasks": config.finite_tasks,
                "steps": config.finite_steps, "unseen": config.curve_test_tasks,
            }  # fmt: skip
            make = functools.partial(_trained, source, depth, width)
            cell = cells(f"width-{depth}-{width}", settings, make)
            found.setdefault(str(depth), {})[str(width)] = cell
        # The training time is the same for all widths.
        limits = [row.pop("limit") for row in found[str(depth)].values()]
        found[str(depth)]["limit"] = limits[-1]
    return found


def _sweep(
    source: Source[Benchmark],
    cells: Cells,
    name: str,
    *,
    depths: Sequence[int],
    count: int,
    block: int = 0,
    tasks: int | None = None,
    shots: int | None = None,
    maml: bool = False,
) -> dict[str, Any]:
    config, flow = source.config, theory.gradient_flow
    tasks = config.tasks if tasks is None else tasks
    settings = source.settings("times") | {
        "depths": depths, "tasks": tasks, "unseen": count, "block": block,
        "curve_shots": shots, "maml": maml,
    }  # fmt: skip

    def make() -> dict[str, Any]:
        train = source.train(tasks, shots=shots)
        unseen = source.unseen(count, block=block, shots=shots)
        times = (config.adaptation_time, math.inf)

        def inner(time: float, depth: int) -> theory.Inner:
            return flow("all", time=time / depth) if maml else flow("head", time=time)

        sweeps = depth_sweeps(
            train, unseen, depths=depths, times=config.times, inner=inner,
            adaptations=[flow("head", time=time) for time in times],
            last_W_std=2.0**0.5,
        )  # fmt: skip
        found = [_table(unseen, each) for each in sweeps]
        return dict(zip(ADAPTATIONS, found, strict=True))

    return cells(name, settings, make)


def _row(unseen: theory.Tasks, close: theory.Closeness) -> dict[str, float]:
    return {name: getattr(close, name) for name in _MEANS} | {
        "mtl_accuracy": float(correct(unseen, close.mtl).mean()),
        "gbml_accuracy": float(correct(unseen, close.gbml).mean()),
    }


def _table(unseen: theory.Tasks, sweep: theory.DepthSweep) -> dict[str, Any]:
    rows = [[_row(unseen, cell) for cell in row] for row in sweep.cells]
    table = {field: [[cell[field] for cell in row] for row in rows] for field in FIELDS}
    count = len(sweep.cells[0][0].gaps)
    return {"depths": sweep.depths, "times": sweep.times, "unseen": count, **table}


def _mean(parts: list[dict[str, Any]]) -> dict[str, Any]:
    """Means over blocks, each weighing as many tasks as it has."""
    weights = np.asarray([part["unseen"] for part in parts], np.float64)
    merged = {
        field: np.average([part[field] for part in parts], 0, weights).tolist()
        for field in FIELDS
    }
    return parts[0] | {"unseen": int(weights.sum())} | merged


def _trained(source: Source[Benchmark], depth: int, width: int) -> dict[str, Any]:
    """A pair of networks on images that are shrunk, and their limit."""
    config = source.config
    train = source.train(config.finite_tasks, side=config.side)
    unseen = source.unseen(config.curve_test_tasks, side=config.side)
    pair, head = trained_pair(config, train, width, depth)
    limit = pair.limit(train, unseen, adaptation=head)
    row = _row(unseen, pair.compare(unseen, adaptation=head))
    return row | {"left": pair.left, "limit": _row(unseen, limit)}
