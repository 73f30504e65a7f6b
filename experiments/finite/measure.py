"""From runs to numbers: their kernels in both predictors, and their own predictions."""

import dataclasses
from collections.abc import Callable
from typing import Any, Literal

import numpy as np

from experiments.closeness.cells import Cells
from experiments.finite.options import METHODS, Options, run_of
from metabridge import theory
from metabridge.data import load_dataset
from metabridge.data.dataset import Dataset
from metabridge.similarity.groups import pair_table
from metabridge.similarity.kept import read_kept
from metabridge.theory.closeness import image_tasks
from metabridge.types import TaskShape

LIMIT = "infinite width"
TRAINED = "trained networks"
KERNELS = {"at initialisation": ("mtl", "init")} | {
    f"after {name.upper()}": (name, "best") for name in METHODS
}
"""The method and time of the run whose kernel it is."""
FIELDS = (
    "gap", "relative_gap", "agreement", "transfer_share", "mtl_accuracy",
    "gbml_accuracy", "untrained_accuracy",
)  # fmt: skip
"""Numbers of a diagnosis."""
_DEPTH = 4
_DTYPE: Literal["float32"] = "float32"
"""Of the rows of Jacobians; their products are float64."""
Numbers = dict[str, Any]


def measure(options: Options) -> Numbers:
    """All numbers of the study: ``rows`` of a kernel, a width and a seed.

    Kernels that are computed are kept in the folder and taken from there.
    """
    dataset = load_dataset(options.dataset, data_dir=options.data_dir)
    cells = Cells(options.folder / "kernels")
    rows = []
    for name, width, seed, make in planned_kernels(options, dataset):
        stem = "-".join(name.split()) + (f"-{width}-{seed}" if width else "")
        found = cells(stem, _settings(options, name), make)
        rows.append({"kernel": name, "width": width, "seed": seed, **found})
    for width in options.widths:
        rows += _trained(options, width)
    settings = dataclasses.asdict(options)
    # Beyond rounding these change no number.
    for name in ("output", "runs", "data_dir", "gigabytes", "jobs", "plan"):
        del settings[name]
    return {"settings": settings, "rows": rows, "seconds": cells.seconds}


def planned_kernels(
    options: Options, dataset: Dataset
) -> list[tuple[str, int | None, int | None, Callable[[], Numbers]]]:
    """Name, width and seed of every kernel, and what computes its numbers."""

    def empirical(width: int, method: str, at: Any, seed: int) -> Numbers:
        folder = options.trained / run_of(options, width, method, seed).name
        kernel = theory.empirical_of_run(
            folder, at, ways=5, dtype=_DTYPE,
            max_bytes=1e9 * options.gigabytes, data_dir=options.data_dir,
        )  # fmt: skip
        return _diagnose(options, dataset, kernel, raw=True)

    def limit() -> Numbers:
        kernel = theory.relu_convolutional(_DEPTH)
        return _diagnose(options, dataset, kernel, raw=False)

    def later(*arguments: Any) -> Callable[[], Numbers]:
        return lambda: empirical(*arguments)

    made: list[Any] = [
        (name, width, seed, later(width, *KERNELS[name], seed))
        for width in options.widths
        for name in KERNELS
        for seed in range(options.seeds)
    ]
    return [*made, (LIMIT, None, None, limit)]


def _settings(options: Options, kernel: str) -> Numbers:
    """All that numbers of a kernel depend on beside its network's width and seed."""
    names = "dataset", "shots", "queries", "tasks", "unseen"
    names += "time", "adaptation_time", "jitter"
    own: Numbers = {name: getattr(options, name) for name in names}
    own |= {"diagonal": "of training points", "jacobian": _DTYPE}
    method, at = KERNELS.get(kernel, ("", "init"))
    if at != "init":
        own |= {"images": options.images, "learning_rate": options.rates[method]}
    return own


def _diagnose(
    options: Options, dataset: Dataset, kernel: theory.KernelFn, *, raw: bool
) -> Numbers:
    """Numbers of both predictors; times and jitter are in units of the kernel."""
    shape = TaskShape(5, options.shots, options.queries)

    def draw(split: Any, count: int, seed: int, *, apart: bool) -> theory.Tasks:
        return image_tasks.draw(
            dataset, split, shape, count, seed, apart=apart, flat=False, raw=raw
        )[0]

    points, tasks, unseen = theory.at_positions(
        draw(dataset.train, options.tasks, 0, apart=True),
        draw(dataset.test, options.unseen, 1, apart=False),
    )
    # All at once: rows of a Jacobian are made once for all predictors.
    made = kernel(points)
    # Training points come first; a scale is known before any unseen task is.
    trained = sum(len(task.points()) for task in tasks.each())
    variance, tangent = (float(np.diagonal(k)[:trained].mean()) for k in made)

    def flow(time: float) -> theory.Inner:
        return theory.gradient_flow("head", time=time / variance)

    found = theory.diagnose(
        tasks, unseen, kernel=theory.precomputed(made), inner=flow(options.time),
        adaptation=flow(options.adaptation_time), neighbours=False,
        jitter=options.jitter * tangent,
    )  # fmt: skip
    return {name: getattr(found, name) for name in FIELDS}


def _trained(options: Options, width: int) -> list[Numbers]:
    """The trained networks: agreement of MTL and ANIL, of each seed and of others."""
    names = [(m, s) for m in METHODS for s in range(options.seeds)]
    runs = [run_of(options, width, *name) for name in names]
    kept = read_kept([options.trained / run.name for run in runs])
    table = pair_table([each.evaluation.closed for each in kept])
    agreements = table.by_task["same_class"].mean(1)
    accuracy = dict(zip(names, table.accuracy.mean(1).tolist(), strict=True))
    rows = []
    for pair, agreement in zip(table.pairs, agreements.tolist(), strict=True):
        (one, seed1), (two, seed2) = (names[place] for place in pair)
        row = {"width": width, "seed": seed1, "agreement": agreement}
        if one == two:
            rows.append({"kernel": f"two seeds of {one.upper()}", **row})
            continue
        kind = TRAINED if seed1 == seed2 else f"{TRAINED}, other seeds"
        row |= {"mtl_accuracy": accuracy[one, seed1]}
        rows.append({"kernel": kind, **row, "gbml_accuracy": accuracy[two, seed2]})
    return rows
