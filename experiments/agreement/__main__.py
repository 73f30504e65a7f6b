"""Do trained networks of different methods predict the same as two seeds of one?

    python -m experiments.agreement --dataset glyphs
    python -m experiments.agreement --dataset glyphs --model mlp --widths 64 256 1024

Methods are trained with several seeds at each width of a body, on as many images and
with the same test tasks, each run in a folder and a process of its own. The learning
rate of each method is chosen on validation tasks before. What is finished is taken as
it is and what was begun goes on, so that the same command is given again after a stop;
SIGTERM saves. ``--plan`` lists the runs and what is left of them.

Written to the folder: ``results.json``, ``findings.md``, ``agreement-learner.png`` and
``agreement-logistic.png``.
"""

import sys

import tyro

from experiments.agreement.options import (
    Options,
    Run,
    completed,
    config_of,
    planned_runs,
    trial_runs,
)
from experiments.compiled import keep_compiled


def main(options: Options) -> None:
    """Trains what is missing, and writes what the runs say."""
    options = completed(options)
    folder = options.folder
    if options.plan:
        from experiments.agreement.plan import plan_text

        print(plan_text(options), end="")
        return
    # Of the seeds of a method all but the first find what it has compiled.
    keep_compiled(folder / "compiled")
    # Only now: help and errors need no JAX.
    from experiments.agreement import figure
    from experiments.agreement.measure import HEADS, measure
    from experiments.agreement.page import answer, page
    from experiments.agreement.rates import choose, read_tried
    from experiments.planned import train_planned
    from metabridge.files import write_json, write_text

    def train(runs: list[Run]) -> dict[str, str]:
        planned = {run.name: config_of(run, options) for run in runs}
        done = train_planned(planned, folder, jobs=options.jobs)
        return {name: why for name, why in done if why}

    errors = train(trial_runs(options))
    tried = read_tried(options, errors)
    runs = [run for run in planned_runs(options, choose(tried)) if run.rate is not None]
    errors |= train([run for run in runs if run.name not in errors])
    found = measure(options, runs, tried, errors)
    write_json(folder / "results.json", found)
    for head in HEADS:
        figure.draw(found, head, folder / f"agreement-{head}.png")
    write_text(folder / "findings.md", page(found))
    print(f"{answer(found)}\n\neverything is in {folder}")


if __name__ == "__main__":
    try:
        main(tyro.cli(Options, prog="python -m experiments.agreement"))
    except (ValueError, OSError, ImportError, RuntimeError) as error:
        sys.exit(f"agreement: {error}")
