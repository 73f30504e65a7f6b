"""The runs of a study, what has been done of each, and the time that is left.

Only files of the runs are read. Nothing is trained, compiled or timed: what a run will
take is known from finished ones of its size and learner.
"""

import math
from pathlib import Path
from typing import NamedTuple

from experiments.agreement.options import (
    Options,
    Run,
    config_of,
    planned_runs,
    trial_runs,
)
from experiments.agreement.rates import choose, read_tried
from metabridge.config import ResolvedConfig, images_per_step
from metabridge.runs import folder as run_folder
from metabridge.units import format_duration, markdown_table

_SECONDS = ("compile_seconds", "train_seconds", "evaluation_seconds")
"""Times in the result of a run, which make up its own."""
_COLUMNS = ("run", "state", "steps", "images", "time")


def _all_runs(options: Options) -> list[Run]:
    """Those that choose learning rates, then those that are compared."""
    trials = trial_runs(options)
    tried = read_tried(options)
    known = {
        method: own
        for method, own in tried.items()
        if len(own) == len(options.learning_rates)
    }
    sizes = {run.rung for run in trials}
    compared = [
        run
        for run in planned_runs(options, choose(known))
        # One of the trials will be that run.
        if run.rate is not None or run.seed or run.rung not in sizes
    ]
    return list(dict.fromkeys([*trials, *compared]))


class State(NamedTuple):
    """What has been done of a run."""

    share: float
    """Of its steps, in [0, 1]: those up to its last checkpoint."""
    begun: bool
    """Whether its folder holds a run."""
    seconds: float | None
    """What it took, if it is finished and its result says so."""
    finished: bool

    def __str__(self) -> str:
        """As it stands in the table."""
        if self.finished:
            return "done"
        return f"stopped at {100 * self.share:.0f} %" if self.begun else "missing"


def plan_text(options: Options) -> str:
    """The runs as a table, and what is left of them.

    Raises:
      RunError: a folder holds a run with another configuration, or something else.
    """
    planned = {run: config_of(run, options) for run in _all_runs(options)}
    states = {
        run: read_state(options.folder / run.name, config)
        for run, config in planned.items()
    }
    usual = _usual_seconds(states)
    rows = [
        _row(run, config, states[run], usual.get(run[:2]))
        for run, config in planned.items()
    ]
    return f"{markdown_table(_COLUMNS, rows)}\n\n{_summary(options, states, usual)}\n"


def read_state(folder: Path, config: ResolvedConfig) -> State:
    """What the files in the folder of a run say; a damaged result is none.

    Raises:
      RunError: the folder cannot serve the configuration.
    """
    run_folder.check_run(folder, config, resume=True)
    begun = (folder / "config.json").is_file()
    if begun and (folder / "result.json").is_file():
        try:
            result = run_folder.read_result(folder)
        except run_folder.RunError:
            pass  # the study makes it anew
        else:
            times = [result.get(name) for name in _SECONDS]
            known = [t for t in times if isinstance(t, int | float) and t >= 0]
            total = math.fsum(known) if len(known) == len(times) else None
            return State(1.0, begun, total, finished=True)
    share = _last_step(folder / "checkpoints") / config.train.steps
    return State(min(share, 1.0), begun, None, finished=False)


def _last_step(checkpoints: Path) -> int:
    """Of the newest checkpoint; 0 without one."""
    if not checkpoints.is_dir():
        return 0
    names = (path.name for path in checkpoints.iterdir())
    return max((int(name) for name in names if name.isdecimal()), default=0)


def _usual_seconds(states: dict[Run, State]) -> dict[tuple[object, ...], float]:
    """Mean time of the finished seeds of each size and learner."""
    times: dict[tuple[object, ...], list[float]] = {}
    for run, state in states.items():
        if state.seconds is not None:
            times.setdefault(run[:2], []).append(state.seconds)
    return {name: math.fsum(own) / len(own) for name, own in times.items()}


def _row(
    run: Run, config: ResolvedConfig, state: State, usual: float | None
) -> list[str]:
    if state.seconds is not None:
        time = format_duration(state.seconds)
    elif state.finished or usual is None:
        time = ""
    else:
        time = f"about {format_duration((1 - state.share) * usual)}"
    images = config.train.steps * images_per_step(config.train)
    return [run.name, str(state), f"{config.train.steps:,}", f"{images:,}", time]


def _summary(
    options: Options,
    states: dict[Run, State],
    usual: dict[tuple[object, ...], float],
) -> str:
    left = {run: state for run, state in states.items() if not state.finished}
    if not left:
        return f"0 of {len(states)} runs are to be trained: all are done."
    order = "one after the other" if options.jobs == 1 else f"{options.jobs} at once"
    parts = [
        f"{len(left)} of {len(states)} runs are to be trained, each on about "
        f"{options.images:,} images, {order}."
    ]
    known = {run: usual[run[:2]] for run in left if run[:2] in usual}
    seconds = math.fsum((1 - left[run].share) * each for run, each in known.items())
    if known:
        whom = "all of them" if len(known) == len(left) else f"{len(known)} of them"
        parts.append(
            f"By finished seeds of the same size and method {whom} will take about "
            f"{format_duration(seconds / options.jobs)}."
        )
    if unknown := len(left) - len(known):
        parts.append(
            f"Of {unknown} no seed is finished yet, so their time is not known."
        )
    return f"{' '.join(parts)} The comparison of the runs is not counted."
