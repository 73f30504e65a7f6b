"""Training a finished run further: more steps than it had, from its last checkpoint.

Its configuration is rewritten for the new number of steps, its result kept as
``result-STEPS.json``, and ``provenance.json`` lists the stages: where the schedule
depends on the number of steps, one training of as many is another run.
"""

import dataclasses
import math
import sys
from pathlib import Path
from typing import Any

from metabridge.config import Config, ResolvedConfig, ResolvedTrain, to_json
from metabridge.files import write_json, write_text
from metabridge.optimizers import rate_factor
from metabridge.runs import folder as run_folder
from metabridge.runs import given
from metabridge.runs.folder import RunError
from metabridge.runs.metrics import read_metrics
from metabridge.runs.provenance import provenance
from metabridge.untrusted import read_json

_MAY_CHANGE = ("steps", "minutes", "validate_every", "early_stop")


def is_further(folder: Path, config: ResolvedConfig) -> bool:
    """Tells whether a configuration asks for more steps of a finished run.

    Raises:
      RunError: it asks for fewer; the run is not finished, has stopped early, or has
        another configuration.
    """
    saved, steps = run_folder.read_config(folder), config.train.steps
    before = saved.train.steps
    if steps == before:
        return False
    kept = {name: getattr(saved.train, name) for name in _MAY_CHANGE}
    same = dataclasses.replace(config.train, **kept)
    run_folder.check_run(folder, dataclasses.replace(config, train=same), resume=True)
    if steps < before:
        raise RunError(
            f"{folder} holds a run of {before} steps, and `steps` is {steps}: pass "
            f"more to train it further, {before} to take it as it is, or another "
            "--run-dir"
        )
    results = folder / "result.json", _kept_result(folder, before)
    if not any(result.is_file() for result in results):
        raise RunError(
            f"{folder} holds a run of {before} steps that is not finished, and `steps` "
            f"is {steps}: finish it with {before} first, or pass another --run-dir"
        )
    _check_early_stop(folder, config.train.early_stop)
    return True


def begin(folder: Path, config: ResolvedConfig) -> None:
    """Makes a finished run one of more steps, and prints what its schedule does.

    A kill in between leaves a folder of which `is_further` says the same again.
    """
    saved = run_folder.read_config(folder).train
    before, earlier = saved.steps, stages(folder)
    if not any(stage["steps"] == before for stage in earlier):
        stage = {name: getattr(saved, name) for name in _MAY_CHANGE}
        values = provenance() | given.recorded(folder)
        values |= {"stages": [*earlier, stage]}
        write_json(folder / "provenance.json", values)
    result = folder / "result.json"
    if result.is_file():
        result.replace(_kept_result(folder, before))
    write_text(folder / "config.json", to_json(config))
    print(
        f"{folder} has been trained for {before} steps and goes on to "
        f"{config.train.steps}: {_describe_schedule(before, config.train)}",
        file=sys.stderr,
    )


def stages(folder: Path) -> list[dict[str, Any]]:
    """The budgets of a run before it was trained further, the first one first."""
    try:
        found = read_json(folder / "provenance.json")
    except (OSError, ValueError):
        return []
    listed = found.get("stages", []) if isinstance(found, dict) else []
    if not isinstance(listed, list) or not all(
        isinstance(stage, dict) and set(stage) == set(_MAY_CHANGE) for stage in listed
    ):
        raise RunError(f"the `stages` in {folder / 'provenance.json'} are damaged")
    return listed


def configs_of(config: ResolvedConfig, earlier: list[dict[str, Any]]) -> list[Config]:
    """The configuration of each stage of a run, the last one its own."""
    timed = [stage | {"minutes": None} for stage in earlier]
    trains = (dataclasses.replace(config.train, **stage) for stage in timed)
    return [*(dataclasses.replace(config, train=train) for train in trains), config]


def _kept_result(folder: Path, steps: int) -> Path:
    return folder / f"result-{steps}.json"


def _check_early_stop(folder: Path, early_stop: int | None) -> None:
    """Refuses a run that would stop early again before its first step."""
    best, since = 0.0, 0
    for record in read_metrics(folder, "validation"):
        since = 0 if record["accuracy"] > best else since + 1
        best = max(best, record["accuracy"])
    if early_stop is not None and since >= early_stop:
        raise RunError(
            f"the last {since} validations of {folder} were without progress, and "
            f"`early_stop` is {early_stop}: to train it further, leave out "
            f"`early_stop`, or pass more than {since}"
        )


def _describe_schedule(before: int, train: ResolvedTrain) -> str:
    """The course of the learning rate after the steps that were."""
    steps, warm = train.steps, train.warmup * train.steps
    text = "the learning rate stays what it was"
    if before < warm:
        text = (
            f"the learning rate is warmed up to step {warm:.0f} now, and follows the "
            "schedule from there"
        )
    elif train.schedule == "cosine":
        rate = train.learning_rate * float(rate_factor(train, before, steps))
        text = (
            f"the cosine ends at step {steps} now, so that the learning rate goes up "
            f"from 0 to {rate:.3g} and falls from there"
        )
    elif train.schedule == "staircase":
        drops = ", ".join(f"{share * steps:.0f}" for share, _ in train.drops)
        text = (
            f"the drops of the learning rate, shares of all steps, are at {drops} now"
        )
    if train.train_sizes:
        sizes = ", ".join(f"{side} at {s * steps:.0f}" for s, side in train.train_sizes)
        text += f"; the sides of the images, at shares of all steps, are {sizes} now"
    if train.average:
        first = math.floor((1 - train.average) * steps)
        text += f"; parameters are averaged from step {first} on"
    return text
