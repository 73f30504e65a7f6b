"""Planned runs of a study, trained one after the other."""

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from metabridge.comparison.run import train_in_a_process
from metabridge.config import ResolvedConfig
from metabridge.runs import folder as run_folder


def train_planned(
    planned: Mapping[str, ResolvedConfig], folder: Path
) -> Iterator[tuple[str, str | None]]:
    """Train runs, each in a process of its own; yield name and reason of a failure.

    `planned` has configurations by the names of their folders in `folder`. What is
    finished is taken as it is, what was begun goes on.

    Raises:
      ValueError: a folder holds a run with another configuration; before any training.
    """
    for name, config in planned.items():
        run_folder.check_run(folder / name, config, resume=True)
    folder.mkdir(parents=True, exist_ok=True)
    for number, (name, config) in enumerate(planned.items(), start=1):
        print(f"{number} of {len(planned)}: {name}", file=sys.stderr, flush=True)
        finished = (folder / name / "result.json").is_file()
        yield name, None if finished else train_in_a_process(config, folder / name)
