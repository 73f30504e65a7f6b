"""Whether a finished run is reproduced: its data, its checkpoint, its numbers."""

import dataclasses
import json
import os
import tempfile
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
import numpy as np

from metabridge import build
from metabridge.config import Config, to_json
from metabridge.data.dataset import Dataset
from metabridge.files import write_json
from metabridge.learners import Learner, variables_of
from metabridge.output import check_output
from metabridge.precision import in_32_bits
from metabridge.runs import folder as run_folder
from metabridge.training import further, scoring, setup
from metabridge.training.checkpoint.store import DamagedError
from metabridge.training.train import train
from metabridge.types import Variables
from metabridge.untrusted import expanded, read_json

TOLERANCE = 0.1
"""Points of accuracy that may lie between the numbers of different versions."""
_NUMBERS = ("accuracy", "ci95", "pixel_centroid_accuracy", "pixel_centroid_ci95")


class Check(NamedTuple):
    """One thing that was compared."""

    name: str
    """What."""
    outcome: Literal["ok", "differs", "changed", "unknown"]
    """Changed is what may change: versions, machine. Unknown was not recorded."""
    recorded: str
    """As the run has it."""
    found: str
    """As it is now."""


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
      data_dir: where the dataset is, if not where the run found it; of
        ``folder:PATH`` the folder of images.
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
    result = _result(folder)
    recorded = _provenance(folder, result)
    checks = [_config_check(recorded.get("config"), config)]
    environment = _environment_checks(recorded)
    checks += environment
    same = bool(environment) and all(c.outcome == "ok" for c in environment)
    if tolerance is None:
        tolerance = 0.0 if same else TOLERANCE
    config, dataset = setup.load_of_run(config, data_dir)
    setup.check_shapes(config, dataset)
    found = dataset.fingerprint()
    checks.append(_equal("dataset", recorded.get("dataset", {}), "fingerprint", found))
    learner = build.learner(config, dataset)
    checks += _scores(
        config, dataset, learner, folder, result, recorded, tolerance / 100
    )
    if retrain:
        checks += _retrained(config, dataset, learner, folder, result, same=same)
    report = {
        "run": str(folder),
        "reproduced": all(check.outcome != "differs" for check in checks),
        "checks": [check._asdict() for check in checks],
    }
    if file is not None:
        write_json(file, report)
    return report


def table(report: dict[str, Any]) -> str:
    """The checks of a report as aligned text, and what they come to."""
    rows = [list(Check._fields)]
    rows += [[str(check[name]) for name in Check._fields] for check in report["checks"]]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    lines = [
        "  ".join([*map(str.ljust, row[:3], widths), row[3]]).rstrip() for row in rows
    ]
    outcomes = [check["outcome"] for check in report["checks"]]
    verdict = "is reproduced" if report["reproduced"] else "is NOT reproduced"
    if "unknown" in outcomes:
        verdict += "; what is unknown was not recorded when it was made"
    return "\n".join([*lines, "", f"{report['run']} {verdict}"])


def _result(run_dir: Path) -> dict[str, Any]:
    result = run_folder.read_result(run_dir)
    missing = [name for name in (*_NUMBERS, "best_step") if name not in result]
    if missing:
        raise run_folder.RunError(
            f"{run_dir / 'result.json'} is damaged: it has no {missing[0]!r}"
        )
    return result


def _provenance(run_dir: Path, result: dict[str, Any]) -> dict[str, Any]:
    """What made the result; that of its start for runs that recorded no more."""
    if "provenance" in result:
        return result["provenance"]
    try:
        return read_json(run_dir / "provenance.json")
    except (OSError, ValueError):
        return {}


def _equal(name: str, recorded: dict[str, Any], key: str, found: Any) -> Check:
    if key not in recorded:
        return Check(name, "unknown", "", str(found))
    same = recorded[key] == found
    return Check(name, "ok" if same else "differs", str(recorded[key]), str(found))


def _config_check(recorded: dict[str, Any] | None, config: Config) -> Check:
    if recorded is None:
        return Check("configuration", "unknown", "", "")
    # Options that are newer than the result have their defaults.
    before, now = _flat(recorded), _flat(json.loads(to_json(config)))
    changed = [name for name, value in before.items() if now.get(name) != value]
    if not changed:
        return Check("configuration", "ok", "", "")
    pairs = [
        ", ".join(f"{name}={values.get(name)!r}" for name in changed)
        for values in (before, now)
    ]
    return Check("configuration", "differs", *pairs)


def _flat(values: dict[str, Any]) -> dict[str, Any]:
    flat = {}
    for section, value in values.items():
        if isinstance(value, dict):
            flat |= {f"{section}.{name}": one for name, one in value.items()}
        else:
            flat[section] = value
    return flat


def _environment_checks(recorded: dict[str, Any]) -> list[Check]:
    """Versions, devices and machine, of those that were recorded."""
    before, now = _flat(recorded), _flat(run_folder.environment())
    return [
        Check(
            name.removeprefix("versions."),
            "ok" if before[name] == found else "changed",
            str(before[name]),
            str(found),
        )
        for name, found in now.items()
        if name in before
    ]


def _scores(
    config: Config,
    dataset: Dataset,
    learner: Learner,
    run_dir: Path,
    result: dict[str, Any],
    recorded: dict[str, Any],
    tolerance: float,
) -> list[Check]:
    """The best checkpoint and what it reaches."""
    try:
        best, state, contents = scoring.restored(
            config, dataset, learner, run_dir, best=True
        )
    except DamagedError as error:
        return [Check("checkpoint", "differs", str(result["best_step"]), str(error))]
    checks = [
        _equal("best step", result, "best_step", best.step),
        _equal("checkpoint", recorded.get("checkpoint", {}), "digest", contents),
    ]
    now = scoring.scored(config, dataset, learner, variables_of(state))
    for name in _NUMBERS:
        close = abs(now[name] - result[name]) <= tolerance
        shown = [f"{100 * value:.6g} %" for value in (result[name], now[name])]
        checks.append(
            Check(name.replace("_", " "), "ok" if close else "differs", *shown)
        )
    return checks


def _retrained(
    config: Config,
    dataset: Dataset,
    learner: Learner,
    run_dir: Path,
    result: dict[str, Any],
    *,
    same: bool,
) -> list[Check]:
    """Trains once more; the final parameters of both runs."""
    timed = dataclasses.replace(config.train, minutes=None)  # its steps are known
    again = dataclasses.replace(config, train=timed)
    with tempfile.TemporaryDirectory(prefix="metabridge-verify-") as scratch:
        folder = Path(scratch) / "run"
        stages = further.configs_of(again, further.stages(run_dir))
        *_, trained = (train(stage, folder, resume=True) for stage in stages)
        runs = [
            scoring.restored(config, dataset, learner, each, best=False)
            for each in (run_dir, folder)
        ]
    checks = [
        _equal("final step", {"step": runs[0][0].step}, "step", runs[1][0].step),
        _parameters(*(variables_of(state) for _, state, _ in runs), same=same),
    ]
    if same:
        name = "accuracy trained again"
        checks.append(
            _equal(name, {name: result["accuracy"]}, name, trained["accuracy"])
        )
    return checks


def _parameters(before: Variables, now: Variables, *, same: bool) -> Check:
    """Equal to the bit, or the largest difference."""
    pairs = list(zip(*map(jax.tree.leaves, (before, now)), strict=True))
    arrays = [(np.asarray(one), np.asarray(two)) for one, two in pairs]
    if all(one.tobytes() == two.tobytes() for one, two in arrays):
        return Check("parameters trained again", "ok", "", "equal to the bit")
    largest = max(
        float(np.abs(one.astype(np.float64) - two.astype(np.float64)).max(initial=0.0))
        for one, two in arrays
    )
    return Check(
        "parameters trained again",
        "differs" if same else "changed",
        "",
        f"largest difference {largest:.3g}",
    )
