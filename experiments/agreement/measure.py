"""From finished runs to the numbers of the study: results.json."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from experiments.agreement import limit, statistics
from experiments.agreement.options import Options, Run, Rung, rungs
from experiments.agreement.rates import Tried
from metabridge.comparison.processes import in_a_process
from metabridge.files import write_json
from metabridge.runs.folder import read_result
from metabridge.similarity import agreement
from metabridge.similarity.groups import pair_table
from metabridge.similarity.kept import read_heads

HEADS = ("learner", "logistic")
"""Adaptations: each learner's own, and a common one on frozen features."""
Numbers = dict[str, Any]


def measure(
    options: Options, runs: Sequence[Run], tried: Tried, errors: Mapping[str, str]
) -> Numbers:
    """All numbers of the study, from `runs` in its folder.

    `tried` has what learning rates reached, `errors` the reason of each run that
    failed, by its name; a method counts if it has two seeds at every rung.

    Raises:
      RuntimeError: fewer than two such methods.
    """
    finished = [run for run in runs if run.name not in errors]
    methods = [
        name
        for name in options.learners
        if all(
            sum(run.rung == rung and run.learner == name for run in finished) > 1
            for rung in rungs(options)
        )
    ]
    if len(methods) < 2:
        raise RuntimeError(
            "fewer than two methods have two finished seeds at every width: "
            + "; ".join(f"{name}: {reason}" for name, reason in errors.items())
        )
    drawn: dict[Rung, dict[str, dict[str, statistics.Drawn]]] = {}
    found: list[Numbers] = []
    for number, rung in enumerate(rungs(options)):
        own = [run for run in finished if run.rung == rung and run.learner in methods]
        numbers, drawn[rung] = _measure_rung(options, rung, own, number)
        found.append(numbers)
    settings = dataclasses.asdict(options) | {"output": None, "data_dir": None}
    return {
        "settings": {k: v for k, v in settings.items() if v is not None},
        "methods": methods,
        "rates": _rates(tried, finished),
        "failed": dict(errors),
        "rungs": found,
        "slopes": _slopes(options, drawn),
        "limit": _limits(options),
    }


def _rates(tried: Tried, finished: Sequence[Run]) -> list[Numbers]:
    """The learning rate of each method, and what each that was tried reached."""
    used = {(run.rung.depth, run.learner): run.rate for run in finished}
    return [
        {"depth": depth, "method": method, "rate": rate}
        | {"tried": {f"{r:g}": a for r, a in tried.get((depth, method), {}).items()}}
        for (depth, method), rate in used.items()
    ]


def _measure_rung(
    options: Options, rung: Rung, runs: list[Run], number: int
) -> tuple[Numbers, dict[str, dict[str, statistics.Drawn]]]:
    folders = [options.folder / run.name for run in runs]
    agreed = _agreement(options, rung, folders)
    numbers: Numbers = {"depth": rung.depth, "width": rung.width, "heads": {}}
    drawn = {}
    methods, seeds = [run.learner for run in runs], [run.seed for run in runs]
    for head, kept in read_heads(folders, HEADS):
        table = pair_table([each.evaluation.closed for each in kept])
        drawn[head] = statistics.distances(table, methods, seeds, rung=number)
        accuracies = table.accuracy.mean(1)
        numbers["heads"][head] = {
            "accuracy": {
                name: [float(accuracies[i]) for i in _where(methods, name)]
                for name in dict.fromkeys(methods)
            },
            "distances": {
                name: {
                    field: statistics.interval(getattr(own, field))._asdict()
                    for field in ("within", "between", "same_seed", "difference")
                    if np.isfinite(getattr(own, field)).any()
                }
                for name, own in drawn[head].items()
            },
            "methods": agreed["heads"][head]["methods"],
        }
    numbers["cka"] = {
        layer: _layer(np.asarray(matrix, np.float64), methods, seeds)
        for layer, matrix in agreed["cka"].items()
    }
    return numbers, drawn


def _where(methods: list[str], name: str) -> list[int]:
    return [i for i, method in enumerate(methods) if method == name]


def _layer(
    matrix: np.ndarray, methods: list[str], seeds: list[int]
) -> dict[str, float]:
    """Mean CKA over the pairs of runs of each kind."""
    method, seed = np.asarray(methods), np.asarray(seeds)
    same, alike = method[:, None] == method, seed[:, None] == seed
    pairs = np.triu(np.ones_like(same), 1)
    kinds = {"within": same, "between": ~same & ~alike, "same_seed": ~same & alike}
    return {
        name: float(matrix[pairs & chosen].mean()) for name, chosen in kinds.items()
    }


def _agreement(options: Options, rung: Rung, folders: list[Path]) -> Numbers:
    """Result of `metabridge agree` on the runs of a rung; kept in its folder."""
    path = options.folder / rung.name / "agreement.json"
    asked = {
        "runs": [folder.name for folder in folders],
        "checkpoints": [_checkpoint(folder) for folder in folders],
        "images": options.layer_images,
    }
    if path.is_file():
        found = json.loads(path.read_text(encoding="utf-8"))
        if found["asked"] == asked:
            return found
    # Not here: this process would keep device memory from the next training.
    data_dir = None if options.data_dir is None else str(options.data_dir)
    found = in_a_process(_agree, folders, options.layer_images, data_dir)
    write_json(path, found | {"asked": asked})
    return found


def _checkpoint(folder: Path) -> str:
    """Digest of what a run was tested with."""
    provenance: Any = read_result(folder)["provenance"]
    return provenance["checkpoint"]["digest"]


def _agree(folders: list[Path], images: int, data_dir: str | None) -> Numbers:
    return agreement(
        folders, heads=HEADS, images=images, adapted_tasks=0, data_dir=data_dir
    )


def _slopes(
    options: Options, drawn: Mapping[Rung, Mapping[str, Mapping[str, Any]]]
) -> list[Numbers]:
    """Change of each difference with a doubling of the width, by depth and head."""
    found = []
    for depth in dict.fromkeys(rung.depth for rung in drawn):
        own = {rung.width: each for rung, each in drawn.items() if rung.depth == depth}
        for head in HEADS:
            names = next(iter(own.values()))[head]
            for name in names:
                values = np.stack([own[w][head][name].difference for w in own])
                slope = statistics.interval(statistics.slope(list(own), values))
                found.append(
                    {"depth": depth, "head": head, "distance": name}
                    | {"slope": slope._asdict()}
                )
    return found


def _limits(options: Options) -> Numbers:
    """The infinite-width predictions by depth; kept in the study's folder."""
    if options.model != "mlp" or not options.limit_tasks:
        return {}
    names = ("dataset", "shots", "limit_tasks", "limit_unseen")
    asked = {name: getattr(options, name) for name in names}
    found: Numbers = {}
    for depth in options.depths:
        path = options.folder / f"limit-depth-{depth}.json"
        kept = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        if kept.get("asked") != asked:
            kept = {"asked": asked, "limit": limit.predict_limit(options, depth)}
            write_json(path, kept)
        found[str(depth)] = kept["limit"]
    return found
