"""The paper's table, and the cost at equal accuracy, from runs of the recipes.

    python -m experiments.reproduce --table main --datasets cifar_fs --data-dir DATA
    python -m experiments.reproduce --table cost --runs FOLDER

It trains what is missing in ``--folder`` by `experiments.recipes`, for 1 and 5 shots
and with several seeds; what is finished there is taken as it is, what was begun goes
on. With ``--runs`` it trains nothing, and takes the runs that are there, finished or
not, however they were started.

``main`` is accuracy beside what was published, images seen, core-hours and the state of
each run; ``cost`` draws validation accuracy against core-hours and against training
images, and says at which cost each learner was as good as MTL, and MTL as each.
Written to the folder: the table as Markdown and JSON, and the figure as SVG and PNG.

On a machine without an accelerator the recipes take weeks: ``--images 400000`` cuts all
of them to as many images, and ``--body conv4 --minutes 5`` gives every run a smaller
body and the same training time. The table says so.
"""

import dataclasses
import sys
from pathlib import Path
from typing import Literal

import tyro

from experiments import recipes
from experiments.reproduce import accuracy, cost, figure
from experiments.reproduce.jobs import Wanted, train_missing
from experiments.reproduce.runs import read
from metabridge.files import write_json, write_text


@dataclasses.dataclass(frozen=True)
class Options(Wanted):
    """Print a table of runs of the recipes, and train what is missing of it."""

    table: Literal["main", "cost"] = "main"
    """Accuracy beside the published, or cost at equal accuracy."""
    reference: recipes.Name = "mtl"
    """The recipe whose cost the others' is held against."""
    folder: Path = Path("runs/reproduce")
    """Folder of the runs and the results."""
    runs: Path | None = None
    """Folder of runs to take as they are, instead; the results are written there."""


def main(options: Options) -> None:
    """Trains what is missing, prints the table, and writes it."""
    folder = options.folder if options.runs is None else options.runs
    without = options.reference not in options.algorithms
    if options.table == "cost" and options.runs is None and without:
        raise ValueError(
            f"`reference` is {options.reference!r}, but must be one of `algorithms`: "
            f"{', '.join(options.algorithms)}"
        )
    errors = {} if options.runs else train_missing(options, folder)
    found = read(folder)
    if not found and not errors:
        raise ValueError(f"there are no runs in {folder}")
    if options.table == "main":
        rows = accuracy.rows(found)
        text = accuracy.table(rows)
    else:
        curves = cost.curves(found)
        rows = cost.comparisons(curves, options.reference)
        text = cost.table(rows, options.reference)
        if curves:
            figure.draw(curves, folder / "cost.svg")
    if options.quick:
        text += "\nQuick forms on the built-in data: these numbers mean nothing.\n"
    write_json(folder / f"{options.table}.json", {"rows": rows, "errors": errors})
    write_text(folder / f"{options.table}.md", text)
    print(text)
    if errors:
        reason = next(iter(errors.values()))
        sys.exit(f"reproduce: {len(errors)} run(s) failed: {reason}")


if __name__ == "__main__":
    try:
        main(tyro.cli(Options))
    except (ValueError, OSError, ImportError) as error:
        sys.exit(f"reproduce: {error}")
