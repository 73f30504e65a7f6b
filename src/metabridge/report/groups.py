"""Runs that are tested on the same tasks, and what each of them says of these."""

import os
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from metabridge.config import Config, with_data_dir
from metabridge.data.dataset import Dataset
from metabridge.report import inspection
from metabridge.report.inspection import Drawn, Inspection
from metabridge.report.results_table import task_of
from metabridge.report.runs import Run
from metabridge.runs import inputs
from metabridge.untrusted import shown


class Group(NamedTuple):
    """Runs with the same data and the same test tasks."""

    title: str
    dataset: Dataset
    drawn: Drawn
    members: dict[int, Inspection]
    """What each run says, by its place in the report."""


class Found(NamedTuple):
    """What could be found out, and what not."""

    groups: list[Group]
    notes: list[str]
    """Why parts of the page are missing."""


def form(
    runs: Sequence[Run],
    num_tasks: int,
    *,
    data_dir: str | os.PathLike[str] | None = None,
    tell: Callable[[str], None] = lambda line: None,
) -> Found:
    """Puts the same test tasks before the checkpoints of all runs that know them.

    Args:
      runs: of the report.
      num_tasks: how many tasks.
      data_dir: where the datasets are, if not where the runs found them.
      tell: is told what is being done.

    Returns:
      Groups in the order of their first runs. Data or a checkpoint that is not there
      any more costs its part of the page, and is noted.
    """
    sharing: dict[str, list[tuple[int, Config]]] = {}
    for number, run in enumerate(runs):
        config = with_data_dir(run.config, data_dir)
        sharing.setdefault(_key(config), []).append((number, config))
    groups: list[Group] = []
    notes: list[str] = []
    for members in sharing.values():
        first, config = members[0]
        title = task_of(runs[first])
        try:
            dataset = inputs.load_data(config)
            inputs.check_shapes(config, dataset)
        except (ValueError, OSError, ImportError) as error:
            notes.append(f"No example tasks of {title}: {shown(error)}")
            continue
        drawn = inspection.draw(config, dataset.test, num_tasks)
        found = dict(_inspected(runs, members, dataset, drawn, notes, tell))
        if found:
            groups.append(Group(title, dataset, drawn, found))
    return Found(groups, notes)


def _inspected(
    runs: Sequence[Run],
    members: Sequence[tuple[int, Config]],
    dataset: Dataset,
    drawn: Drawn,
    notes: list[str],
    tell: Callable[[str], None],
) -> Iterator[tuple[int, Inspection]]:
    for number, config in members:
        name = runs[number].name
        tell(f"{name}: {len(drawn.classes)} test tasks")
        try:
            yield number, inspection.inspect(runs[number], config, dataset, drawn)
        except (ValueError, OSError) as error:
            notes.append(f"No example tasks of the run {name}: {shown(error)}")


def _key(config: Config) -> str:
    """The same for runs whose tasks are the same images."""
    data, shape = config.data, config.evaluation
    return repr(
        (
            data.dataset, str(data.data_dir), data.image_size, data.skip_corrupt,
            data.background, data.white_level, data.max_pixels,
            shape.ways, shape.shots, shape.queries, shape.evaluation_seed,
        )
    )  # fmt: skip
