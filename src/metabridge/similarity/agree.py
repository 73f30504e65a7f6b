"""`metabridge agree RUNS`: whether trained networks predict the same."""

import os
from collections.abc import Callable, Sequence
from typing import Any

from metabridge.config.fields import Range
from metabridge.files import finite, write_json
from metabridge.output import check_output
from metabridge.parallel.devices import give_back_host_memory
from metabridge.precision import in_32_bits
from metabridge.runs.find import find_runs
from metabridge.similarity.groups import compare_pairs, contrast_methods, pair_table
from metabridge.similarity.kept import Kept, check_heads, read_heads
from metabridge.similarity.layers import compare_bodies

MOST_RUNS = 200


@in_32_bits
def agreement(
    runs: str | os.PathLike[str] | Sequence[str | os.PathLike[str]] = (),
    *,
    heads: Sequence[str] = ("learner", "logistic"),
    images: int = 400,
    adapted_tasks: int = 5,
    data_dir: str | os.PathLike[str] | None = None,
    output: str | os.PathLike[str] | None = None,
    tell: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """Compare what trained networks predict on the same unseen tasks.

    Runs that differ in their seed alone are one method. Predictions are read from the
    runs' kept evaluations, and made where they are missing.

    Args:
      runs: run folders, or folders that hold some. Default: all under ``runs/``.
      heads: adaptations to compare under: "learner", each run's own as its test has it;
        "finetune"; or a head that is fitted on the frozen features of all.
      images: test images on which layers are compared; 0 for none, which needs neither
        data nor checkpoints where evaluations are kept.
      adapted_tasks: test tasks on which bodies that adapt are compared with themselves.
      data_dir: where the data of the runs is, if not where they found it.
      output: JSON file to write the result to.
      tell: called with a line of progress.

    Returns:
      ``"runs"``: name, folder, method and seed of each; ``"task"``: what they have met;
      ``"heads"``: for each head ``"accuracy"`` of the runs, ``"pairs"`` (`Pair` as
      objects) and ``"methods"`` (`Contrast` as objects; empty
      unless two methods have two seeds, with the reason in ``"no_methods"``);
      ``"cka"``: for each layer a matrix of runs; ``"adapted"``: for each run whose
      body adapts, and each layer, the CKA before and after.

    Raises:
      ValueError: fewer than two runs, no head or an unknown one, or runs that have not
        met the same test tasks.
    """
    file = None if output is None else check_output(output)
    Range(0).check("images", images)
    Range(0).check("adapted_tasks", adapted_tasks)
    check_heads(heads)
    folders = find_runs(runs)
    if not 2 <= len(folders) <= MOST_RUNS:
        raise ValueError(
            f"there are {len(folders)} finished runs, but agreement is of 2 to "
            f"{MOST_RUNS}: name others"
        )
    found: dict[str, Any] = {"runs": [], "heads": {}, "cka": {}, "adapted": {}}
    kept: list[Kept] = []
    for head, kept in read_heads(folders, heads, data_dir=data_dir, tell=tell):
        found["heads"][head] = compare_kept(kept)
    found["runs"] = [
        {
            "name": run.name,
            "folder": str(run.folder),
            "method": run.method,
            "seed": run.config.train.seed,
        }
        for run in kept
    ]
    found["task"] = {name: kept[0].evaluation.about[name] for name in _TASK}
    found["task"]["tasks"] = len(kept[0].evaluation.closed.tasks.classes)
    if images:
        between, moved = compare_bodies(
            kept, images, adapted_tasks, data_dir=data_dir, tell=tell
        )
        found["cka"] = {name: matrix.tolist() for name, matrix in between.items()}
        found["adapted"] = moved
    if file is not None:
        write_json(file, finite(found))
    give_back_host_memory()
    return found


_TASK = ("dataset", "split", "ways", "shots", "queries", "evaluation_seed")


def compare_kept(kept: Sequence[Kept]) -> dict[str, Any]:
    """Pairs and methods under one head, of evaluations on the same tasks.

    What `agreement` returns for a head.
    """
    if kept[0].evaluation.closed.unequal:  # then all are: their tasks are the same
        raise ValueError(
            f"agreement is measured on equal tasks, but those of {kept[0].name} differ "
            "in size: evaluate the runs without --min-ways, --min-shots, --min-queries"
        )
    table = pair_table([run.evaluation.closed for run in kept])
    pairs = [
        {**pair._asdict(), "accuracy": pair.accuracy._asdict()}
        for pair in compare_pairs(table)
    ]
    found = {"accuracy": table.accuracy.mean(1).tolist(), "pairs": pairs}
    try:
        seeds = [run.config.train.seed for run in kept]
        contrasts = contrast_methods(table, [run.method for run in kept], seeds)
    except ValueError as reason:
        return found | {"methods": [], "no_methods": str(reason)}
    methods = [
        {**contrast._asdict(), "difference": contrast.difference._asdict()}
        for contrast in contrasts
    ]
    return found | {"methods": methods}
