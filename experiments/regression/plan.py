"""The parts of the study, and the file that shows that each is done."""

from pathlib import Path

from experiments.regression import subspace, weightings
from experiments.regression.options import (
    METHODS,
    Options,
    cell_name,
    sinusoid_runs,
)


def planned(options: Options) -> dict[str, Path]:
    """The file that shows that a part of the study is done, by its name."""
    found = {}
    if "width" in options.parts:
        for width in options.widths:
            for method in METHODS:
                name = cell_name(method, width)
                found[f"width {name}"] = Path("width") / f"{name}.json"
    runs = []
    if "subspace" in options.parts:
        runs += subspace.tuning_runs(options)
        runs += [run.name for run in subspace.final_runs(options)]
    if "sinusoids" in options.parts:
        runs += sinusoid_runs(options)
    if "weightings" in options.parts:
        runs += [run.name for run in weightings.tuning_runs(options)]
    return found | {name: Path(name) / "result.json" for name in runs}
