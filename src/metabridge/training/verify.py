"""Checks that a finished run is reproduced: its data, its checkpoint, its numbers."""

import contextlib
import dataclasses
import json
import os
import tempfile
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
import numpy as np

from metabridge.config import ResolvedConfig, from_json
from metabridge.files import write_json
from metabridge.learners import variables_of
from metabridge.output import check_output
from metabridge.precision import in_32_bits
from metabridge.runs import folder as run_folder
from metabridge.runs.provenance import environment
from metabridge.training import further
from metabridge.training.checkpoint import DamagedError, digest
from metabridge.training.scoring import load_run, restore, tune_head
from metabridge.training.train import train
from metabridge.training.unseen import LoadedRun, score
from metabridge.types import Variables
from metabridge.untrusted import expanded, read_json

TOLERANCE = 0.1
"""Points of accuracy that may lie between the numbers of different versions."""
_NUMBERS = ("accuracy", "ci95", "pixel_centroid_accuracy", "pixel_centroid_ci95")


class Check(NamedTuple):
    """One comparison of the recorded run with what is found now."""

    name: str
    outcome: Literal["ok", "differs", "changed", "unknown"]
    """Changed is what may change: versions, machine. Unknown was not recorded."""
    recorded: str
    found: str


@in_32_bits
def verify(
    run_dir: str | os.PathLike[str],
    *,
    data_dir: str | os.PathLike[str] | None = None,
    tolerance: float | None = None,
    retrain: bool = False,
    output: str | os.PathLike[str] | None = None,
) -> dict[str, Any]:
    """Scores the best checkpoint of a run again, and compares with its result.

    Args:
      run_dir: folder of the run.
      data_dir: as for `evaluate_run`.
      tolerance: points of accuracy, in [0, 100], that numbers may differ by. Default: 0
        with the versions and devices of the run, else `TOLERANCE`.
      retrain: train again from the seed, too, in a folder that is removed, and compare
        the final parameters: bit for bit with the versions and devices of the run.
      output: JSON file to write the report to.

    Returns:
      ``"run"``, ``"reproduced"`` and ``"checks"``, each a `Check` as an object. What
      was reproduced has no check that differs.

    Raises:
      ValueError: no run or no result there, or data that it cannot run on.
    """
    folder = expanded(run_dir)
    config = run_folder.read_config(folder)
    if tolerance is not None and not 0 <= tolerance <= 100:
        raise ValueError(f"`tolerance` is {tolerance}, but must be in [0, 100]")
    file = None if output is None else check_output(output)
    result = _read_result(folder)
    recorded = _read_provenance(folder, result)
    of_environment = _check_environment(recorded)
    checks = [_check_config(recorded.get("config"), config), *of_environment]
    same = bool(of_environment) and all(c.outcome == "ok" for c in of_environment)
    if tolerance is None:
        tolerance = 0.0 if same else TOLERANCE
    run = load_run(folder, data_dir=data_dir)
    recorded_data = recorded.get("dataset", {}).get("fingerprint")
    checks.append(_compare("dataset", recorded_data, run.dataset.fingerprint()))
    contents = recorded.get("checkpoint", {}).get("digest")
    checks += _check_scores(run, result, contents, tolerance / 100)
    if retrain:
        checks += _check_training(run, result, same=same)
    report = {
        "run": str(folder),
        "reproduced": all(check.outcome != "differs" for check in checks),
        "checks": [check._asdict() for check in checks],
    }
    if file is not None:
        write_json(file, report)
    return report


def table(report: dict[str, Any]) -> str:
    """The checks of a report as aligned text, and the verdict."""
    rows = [list(Check._fields)]
    rows += [[str(check[name]) for name in Check._fields] for check in report["checks"]]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    lines = [
        "  ".join([*map(str.ljust, row[:3], widths), row[3]]).rstrip() for row in rows
    ]
    verdict = "is reproduced" if report["reproduced"] else "is NOT reproduced"
    if any(check["outcome"] == "unknown" for check in report["checks"]):
        verdict += "; what is unknown was not recorded when it was made"
    return "\n".join([*lines, "", f"{report['run']} {verdict}"])


def _read_result(run_dir: Path) -> dict[str, Any]:
    result = run_folder.read_result(run_dir)
    for name in (*_NUMBERS, "best_step"):
        if name not in result:
            raise run_folder.RunError(
                f"{run_dir / 'result.json'} is damaged: it has no {name!r}"
            )
    return result


def _read_provenance(run_dir: Path, result: dict[str, Any]) -> dict[str, Any]:
    """Provenance of the result; that of its start for runs that recorded no more."""
    if "provenance" in result:
        return result["provenance"]
    try:
        return read_json(run_dir / "provenance.json")
    except (OSError, ValueError):
        return {}


def _compare(name: str, recorded: Any, found: Any) -> Check:
    if recorded is None:
        return Check(name, "unknown", "", str(found))
    outcome = "ok" if recorded == found else "differs"
    return Check(name, outcome, str(recorded), str(found))


def _check_config(recorded: dict[str, Any] | None, config: ResolvedConfig) -> Check:
    if recorded is None:
        return Check("configuration", "unknown", "", "")
    before, now = run_folder.flatten(recorded), run_folder.flat_options(config)
    with contextlib.suppress(ValueError):  # options may have had other names
        before = run_folder.flat_options(from_json(json.dumps(recorded)))
    changed = [name for name, value in before.items() if now.get(name) != value]
    pairs = (
        ", ".join(f"{name}={values.get(name)!r}" for name in changed)
        for values in (before, now)
    )
    return Check("configuration", "differs" if changed else "ok", *pairs)


def _check_environment(recorded: dict[str, Any]) -> list[Check]:
    """Versions, devices and machine, of those that were recorded."""
    before, now = map(run_folder.flatten, (recorded, environment()))
    return [
        _compare(name.removeprefix("versions."), before[name], found)._replace(
            outcome="ok" if before[name] == found else "changed"
        )
        for name, found in now.items()
        if name in before
    ]


def _check_scores(
    run: LoadedRun, result: dict[str, Any], contents: str | None, tolerance: float
) -> list[Check]:
    """The best checkpoint and its accuracy."""
    try:
        best = restore(run)
    except DamagedError as error:
        return [Check("checkpoint", "differs", str(result["best_step"]), str(error))]
    checks = [
        _compare("best step", result["best_step"], best.progress.step),
        _compare("checkpoint", contents, digest(best.arrays)),
    ]
    variables = variables_of(best.state)
    now = score(tune_head(run, variables), variables, "test").result
    for name in _NUMBERS:
        outcome = "ok" if abs(now[name] - result[name]) <= tolerance else "differs"
        shown = [f"{100 * value:.6g} %" for value in (result[name], now[name])]
        checks.append(Check(name.replace("_", " "), outcome, *shown))
    return checks


def _check_training(
    run: LoadedRun, result: dict[str, Any], *, same: bool
) -> list[Check]:
    """The final parameters of the run, and of the same trained once more."""
    timed = dataclasses.replace(run.config.train, minutes=None)  # its steps are known
    again = dataclasses.replace(run.config, train=timed)
    with tempfile.TemporaryDirectory(prefix="metabridge-verify-") as scratch:
        folder = Path(scratch) / "run"
        stages = further.configs_of(again, further.stages(run.folder))
        *_, trained = (train(stage, folder, resume=True) for stage in stages)
        now = restore(run._replace(folder=folder), best=False)
    before = restore(run, best=False)
    checks = [
        _compare("final step", before.progress.step, now.progress.step),
        _compare_parameters(*map(variables_of, (before.state, now.state)), same=same),
    ]
    if same:
        accuracies = result["accuracy"], trained["accuracy"]
        checks.append(_compare("accuracy trained again", *accuracies))
    return checks


def _compare_parameters(before: Variables, now: Variables, *, same: bool) -> Check:
    """Equal to the bit, or the largest difference."""
    name = "parameters trained again"
    if digest(before) == digest(now):
        return Check(name, "ok", "", "equal to the bit")
    arrays = zip(jax.tree.leaves(before), jax.tree.leaves(now), strict=True)
    pairs = [[np.asarray(leaf, np.float64) for leaf in pair] for pair in arrays]
    largest = max(float(np.abs(a - b).max(initial=0.0)) for a, b in pairs)
    outcome = "differs" if same else "changed"
    return Check(name, outcome, "", f"largest difference {largest:.3g}")
