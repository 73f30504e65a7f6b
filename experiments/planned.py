"""Planned runs of a study, trained one after the other or several at once."""

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from metabridge import build
from metabridge.comparison.processes import shares
from metabridge.comparison.run import train_in_a_process, train_in_processes
from metabridge.config import DataConfig, ResolvedConfig
from metabridge.runs import folder as run_folder
from metabridge.runs import inputs


def train_planned(
    planned: Mapping[str, ResolvedConfig], folder: Path, *, jobs: int = 1
) -> Iterator[tuple[str, str | None]]:
    """Train runs, each in a process of its own; yield name and reason of a failure.

    `planned` has configurations by the names of their folders in `folder`. What is
    finished is taken as it is, what was begun goes on. With several `jobs` at once
    (`metabridge.comparison.processes.in_processes`) finished ones come first.

    Raises:
      ValueError: a folder holds a run with another configuration, or the data or the
        learner of one to train do not fit, or more jobs than cores; before any
        training.
      FileNotFoundError: the data of one to train is not there; likewise.
    """
    shares(jobs)
    for name, config in planned.items():
        run_folder.check_run(folder / name, config, resume=True)
    missing = {
        name: config
        for name, config in planned.items()
        if not (folder / name / "result.json").is_file()
    }
    _check_data(missing)
    folder.mkdir(parents=True, exist_ok=True)
    if jobs > 1:
        yield from ((name, None) for name in planned if name not in missing)
        done = len(planned) - len(missing)
        for name, error in train_in_processes(missing, folder, jobs):
            done += 1
            state = "done" if error is None else "failed"
            print(
                f"{done} of {len(planned)}: {name} {state}", file=sys.stderr, flush=True
            )
            yield name, error
        return
    for number, (name, config) in enumerate(planned.items(), start=1):
        print(f"{number} of {len(planned)}: {name}", file=sys.stderr, flush=True)
        error = train_in_a_process(config, folder / name) if name in missing else None
        yield name, error


def _check_data(planned: Mapping[str, ResolvedConfig]) -> None:
    """Raise what would stop a run at its start; load each dataset once.

    Nothing here puts an array on a device, whose memory is the trainings'.
    """
    by_data: dict[DataConfig, list[str]] = {}
    for name, config in planned.items():
        loaded = DataConfig(config.data.dataset, **inputs.options_of_data(config.data))
        by_data.setdefault(loaded, []).append(name)
    for names in by_data.values():
        dataset = inputs.load_data(planned[names[0]])
        for name in names:
            try:
                inputs.check_shapes(planned[name], dataset)
                build.learner(planned[name], dataset)
            except ValueError as error:
                raise ValueError(f"{name}: {error}") from error
