"""Are MTL and ANIL close in real networks? By their kernels, and as they predict.

    python -m experiments.finite --dataset glyphs

Conv4 of several widths is trained by MTL and by ANIL. Its empirical tangent kernel, at
initialisation and after either training, is put into both predictors of the theory on
tasks of the dataset; beside stand an infinitely wide network and how often the trained
networks themselves agree. What is finished is taken as it is, so that the same command
goes on after a stop. ``--plan`` lists what is missing.

Written to the folder: ``results.json``, ``findings.md`` and ``finite.png``.
"""

import sys

import tyro

from experiments.compiled import keep_compiled
from experiments.finite.options import Options, completed, planned_runs


def main(options: Options) -> None:
    """Train what is missing, compute its kernels, and write what they say."""
    options = completed(options)
    folder, planned = options.folder, planned_runs(options)
    if options.plan:
        for name in planned:
            done = (options.trained / name / "result.json").is_file()
            print(f"{'done   ' if done else 'missing'} {name}")
        return
    # Of the seeds of a method all but the first find what it has compiled.
    keep_compiled(options.trained / "compiled")
    # Only now: help and errors need no JAX.
    from experiments.finite.measure import measure
    from experiments.finite.page import answer, draw, page, table
    from experiments.planned import train_planned
    from metabridge.files import finite, write_json, write_text

    done = train_planned(planned, options.trained, jobs=options.jobs)
    failed = [f"{name}: {why}" for name, why in done if why]
    if failed:
        raise RuntimeError("; ".join(failed))
    found = finite(measure(options))
    write_json(folder / "results.json", found)
    draw(found, folder / "finite.png")
    write_text(folder / "findings.md", page(found))
    print(f"{table(found)}\n\n{answer(found)}\n\neverything is in {folder}")


if __name__ == "__main__":
    try:
        main(tyro.cli(Options, prog="python -m experiments.finite"))
    except (ValueError, OSError, ImportError, RuntimeError) as error:
        sys.exit(f"finite: {error}")
