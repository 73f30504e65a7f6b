"""Few-shot regression: against the infinite-width limit, and against what is known.

    python -m experiments.regression

Four parts. ``width``: networks trained by MTL, ANIL and MAML on sinusoids, beside the
predictors of the theory after the same time. ``subspace``: the angle between the
subspace that learners find and that of a shared linear representation, against the
number of tasks, with rates chosen on validation tasks. ``sinusoids``: all learners of
`metabridge regress` on 10-shot tasks. ``weightings``: MTL with each weighting of tasks,
the rate of each chosen likewise.
What is finished is taken as it is, so that the same command goes on after a stop.
``--plan`` lists what is missing.

Written to the folder: ``results.json``, ``findings.md`` and three figures.
"""

import sys

import tyro

from experiments.compiled import keep_compiled
from experiments.regression.options import Options, completed
from experiments.regression.plan import planned


def main(options: Options) -> None:
    """Compute what is missing, and write what it says."""
    options = completed(options)
    folder = options.folder
    if options.plan:
        for name, path in planned(options).items():
            print(f"{'done   ' if (folder / path).is_file() else 'missing'} {name}")
        return
    # Widths and numbers of steps differ, but the rest of a run is compiled once.
    keep_compiled(folder / "compiled")
    # Only now: help and errors need no JAX.
    from experiments.regression.figures import draw
    from experiments.regression.measure import measure
    from experiments.regression.page import page
    from metabridge.files import finite, write_json, write_text

    found = finite(measure(options))
    write_json(folder / "results.json", found)
    draw(found, folder)
    text = page(found)
    write_text(folder / "findings.md", text)
    print(f"{text}\neverything is in {folder}")


if __name__ == "__main__":
    try:
        main(tyro.cli(Options, prog="python -m experiments.regression"))
    except (ValueError, OSError, ImportError, RuntimeError) as error:
        sys.exit(f"regression: {error}")
