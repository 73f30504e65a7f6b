"""Kept evaluations of runs on the same test tasks, made where they are missing."""

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from metabridge.config import ResolvedConfig, ResolvedEvaluation
from metabridge.registry import HEADS
from metabridge.runs import folder as run_folder
from metabridge.runs.evaluation import (
    FILE,
    Evaluation,
    read_evaluation,
    same_tasks,
)
from metabridge.runs.find import name_runs
from metabridge.runs.folder import RunError
from metabridge.task_shape import TaskShape
from metabridge.training.scoring import evaluate_run, with_evaluation
from metabridge.training.unseen import adaptation_of, weight_name
from metabridge.untrusted import quoted, shown

_OF_NO_METHOD = {
    "train.seed", "data.data_dir", "learner.teacher", "evaluation.interval",
    *run_folder.NO_MATTER,
}  # fmt: skip
"""Options in which runs of one method may differ."""
_COMPARABLE = ("dataset", "split", *TaskShape._fields, "evaluation_seed")


class Kept(NamedTuple):
    """A run with one of its kept evaluations."""

    name: str
    """Of its folder; see `name_runs`."""
    folder: Path
    config: ResolvedConfig
    method: str
    """Runs that differ only in their seed have the same."""
    evaluation: Evaluation


def check_heads(heads: Sequence[str]) -> None:
    """Refuse heads to compare runs under: none, one twice, or an unknown one."""
    if not heads or len(set(heads)) < len(heads):
        raise ValueError(
            f"`heads` are {list(heads)}, but must be one or more, each once"
        )
    for head in heads:
        if head not in ("learner", "finetune", *HEADS):
            known = ", ".join(("learner", *HEADS, "finetune"))
            raise ValueError(f"unknown head {quoted(head)}; known are {known}")


def read_kept(
    folders: Sequence[Path],
    head: str | None = None,
    *,
    data_dir: str | os.PathLike[str] | None = None,
    tell: Callable[[str], None] = lambda line: None,
) -> list[Kept]:
    """Read the kept evaluations of finished runs, of one head, on the same tasks.

    Without a `head` they are those of the runs' own tests. What is missing, or is of
    an earlier checkpoint, is made by evaluating the run again, and kept in its folder.

    Raises:
      RunError: no finished run, a damaged or foreign file, or runs whose test tasks are
        not the same.
    """
    configs = [run_folder.read_config(folder) for folder in folders]
    names, methods = name_runs(folders), name_methods(configs)
    found = []
    for folder, config, name, method in zip(
        folders, configs, names, methods, strict=True
    ):
        evaluation = _evaluation_of(folder, config, head, data_dir, tell)
        found.append(Kept(name, folder, config, method, evaluation))
    for other in found[1:]:
        check_same_tasks(found[0], other)
    return found


def read_heads(
    folders: Sequence[Path],
    heads: Sequence[str],
    *,
    data_dir: str | os.PathLike[str] | None = None,
    tell: Callable[[str], None] = lambda line: None,
) -> Iterator[tuple[str, list[Kept]]]:
    """Read the kept evaluations of finished runs, head by head, on the same tasks.

    "learner" is what the runs' own tests have; otherwise as `read_kept`.

    Raises:
      RunError: as of `read_kept`, or heads that have not met the same tasks.
    """
    first: Evaluation | None = None
    for head in heads:
        own = None if head == "learner" else head
        kept = read_kept(folders, own, data_dir=data_dir, tell=tell)
        first = first or kept[0].evaluation
        if not same_tasks(first, kept[0].evaluation):
            raise RunError(
                f"{kept[0].name} was tested under {heads[0]} and {head} on other tasks "
                f"(its {FILE} was made anew with other options): evaluate it with "
                "those that it was trained with, `metabridge evaluate RUN --output "
                "RUN/evaluation.json`"
            )
        yield head, kept


def name_methods(configs: Sequence[ResolvedConfig]) -> list[str]:
    """The method of each run: its learner, and options in which such runs differ."""
    options = [_options(config) for config in configs]
    names = []
    for config, own in zip(configs, options, strict=True):
        alike = [
            other
            for other, each in zip(options, configs, strict=True)
            if each.algorithm == config.algorithm
        ]
        differing = [
            f"{name.rpartition('.')[2]}={value}"
            for name, value in own.items()
            if any(other.get(name) != value for other in alike)
        ]
        names.append(" ".join([config.algorithm, *differing]))
    return names


def _options(config: ResolvedConfig) -> dict[str, Any]:
    flat = run_folder.flat_options(config)
    none = set(_OF_NO_METHOD)
    if config.train.minutes is not None:  # counted anew by each run
        none |= {"train.steps", "train.validate_every"}
    return {name: value for name, value in flat.items() if name not in none}


def check_same_tasks(first: Kept, other: Kept) -> None:
    """Refuse two evaluations that are not of the same test tasks."""
    one, two = first.evaluation.about, other.evaluation.about
    for name in _COMPARABLE:
        if one.get(name) != two.get(name):
            raise RunError(
                f"{first.name} and {other.name} have not met the same tasks: `{name}` "
                f"is {one.get(name)!r} and {two.get(name)!r}; train both with one "
                "value, or `metabridge evaluate RUN --output RUN/evaluation.json` so"
            )
    numbers = [len(x.evaluation.closed.tasks.classes) for x in (first, other)]
    if numbers[0] != numbers[1]:
        raise RunError(
            f"{first.name} has {numbers[0]} test tasks and {other.name} {numbers[1]}: "
            "evaluate both with the same --tasks"
        )
    if not same_tasks(first.evaluation, other.evaluation):
        raise RunError(
            f"{first.name} and {other.name} were tested on other images of "
            f"{one.get('dataset')!r}: they need the same data, read in the same way"
        )


def _evaluation_of(
    folder: Path,
    config: ResolvedConfig,
    head: str | None,
    data_dir: str | os.PathLike[str] | None,
    tell: Callable[[str], None],
) -> Evaluation:
    result = run_folder.read_result(folder)
    wanted, path, changes = config.evaluation, folder / FILE, {}
    if head is not None:
        # A head for all runs is the same in all, whatever weight a run has for its own.
        defaults = adaptation_of(ResolvedEvaluation(head=head))
        changes = {n: v for n, v in defaults.items() if n != "test_steps"}
        wanted = with_evaluation(config, changes).evaluation
        if adaptation_of(wanted) == adaptation_of(config.evaluation):
            changes = {}
        else:
            path = folder / "evaluations" / f"{head}.npz"
    if path.is_file():
        found = read_evaluation(path)
        checkpoint = None
        with contextlib.suppress(AttributeError, KeyError, TypeError):  # a foreign file
            checkpoint = result["provenance"]["checkpoint"]["digest"]
        same_run = checkpoint is None or found.about.get("checkpoint") == checkpoint
        if not same_run and path.name == FILE:
            raise RunError(
                f"{shown(path)} is of another run or checkpoint: remove it, and it is "
                "made anew"
            )
        expected = adaptation_of(wanted)
        if path.name != FILE:
            sizes = wanted.shape.as_json()
            # Those that equal tasks do not name must not be there.
            expected |= {name: sizes.get(name) for name in TaskShape._fields}
            expected["evaluation_seed"] = wanted.evaluation_seed
        if wanted.tune_head:  # what was chosen is not in the configuration
            del expected[weight_name(config)]
        if same_run and all(found.about.get(n) == v for n, v in expected.items()):
            return found
    tell(f"{folder}: its test tasks, head {wanted.head}")
    path.parent.mkdir(exist_ok=True)
    changes |= {"coverage": None, "conformity_score": "lac"}  # predictions alone
    evaluate_run(folder, changes, data_dir=data_dir, output=path.with_suffix(".json"))
    return read_evaluation(path)
