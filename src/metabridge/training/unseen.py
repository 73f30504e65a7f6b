"""Accuracy of a run on unseen tasks, and the predictions it comes from."""

import time
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

import jax
import numpy as np

from metabridge import heads
from metabridge.config import EvaluationConfig, ResolvedConfig
from metabridge.data.dataset import Dataset, Split
from metabridge.evaluation import (
    Tasks,
    draw_disjoint_tasks,
    draw_tasks,
    raw_score,
    task_evaluator,
)
from metabridge.evaluation import score as mean_score
from metabridge.evaluation.intervals import open_score
from metabridge.evaluation.scores import Outcome
from metabridge.files import write_json
from metabridge.learners import Learner
from metabridge.registry import HEADS
from metabridge.runs import inputs
from metabridge.runs.evaluation import (
    Evaluation,
    TaskRecords,
    keeps_logits,
    split_digest,
    write_evaluation,
)
from metabridge.training import calibrate
from metabridge.types import Variables


class LoadedRun(NamedTuple):
    """A run with its data and its learner."""

    folder: Path
    config: ResolvedConfig
    dataset: Dataset
    learner: Learner
    about: Mapping[str, Any] = MappingProxyType({})
    """What a result says about another dataset than that of the training."""


class Scored(NamedTuple):
    """Accuracy on unseen tasks, and the predictions it comes from."""

    result: dict[str, Any]
    """Fields of ``result.json``."""
    evaluation: Evaluation


def score(
    run: LoadedRun,
    variables: Variables,
    split: Literal["validation", "test"],
    *,
    checkpoint: str = "",
) -> Scored:
    """Scores unseen tasks, and nearest centroid on their raw pixels beside it.

    `checkpoint` is the digest of what is scored.
    """
    config, evaluation = run.config, run.config.evaluation
    images, shape = getattr(run.dataset, split), evaluation.shape
    if evaluation.interval == "open":
        inputs.check_open_tasks(config, images, split)
    calibrate.check(config, split)
    since = time.perf_counter()
    closed, disjoint = _evaluate(run, variables, images)
    seconds = time.perf_counter() - since
    scores = {"closed": mean_score(closed.outcome.accuracy)}
    if disjoint is not None:
        scores["open"] = open_score(disjoint.outcome.accuracy)
    headline = scores[evaluation.interval]
    pixels = raw_score(images, heads.centroid(), shape, closed.tasks)
    name = weight_name(config)
    tuned = {name: getattr(evaluation, name)} if evaluation.tune_head else {}
    task = {
        "dataset": config.data.dataset,
        "split": split,
        **shape.as_json(),
        "evaluation_seed": evaluation.evaluation_seed,
    }
    head = {name: getattr(evaluation, name) for name in ("head", "test_steps")}
    result = tuned | {
        "algorithm": config.algorithm,
        **task,
        "tasks": headline.tasks,
        **head,
        "accuracy": headline.accuracy,
        "ci95": headline.ci95,
        "interval": evaluation.interval,
        **{kind: found._asdict() for kind, found in scores.items()},
        "pixel_centroid_accuracy": pixels.accuracy,
        "pixel_centroid_ci95": pixels.ci95,
        "evaluation_seconds": seconds,
    }
    if not run.dataset.has_images:
        result["inputs"] = "features"
    if evaluation.flips:
        result["flips"] = True
    result |= run.about
    if evaluation.coverage is not None:
        result |= calibrate.measure(
            run.learner, run.dataset, config, variables, closed.outcome.logits
        )
        closed, disjoint = _as_kept(evaluation, closed, disjoint)
    about = {
        "learner": config.algorithm,
        **adaptation_of(evaluation),
        **task,
        "split_digest": split_digest(images),
        "checkpoint": checkpoint,
    }
    return Scored(result, Evaluation(about, images.class_names, closed, disjoint))


def write_scored(file: Path, scored: Scored) -> None:
    """Writes a result as JSON, and tasks and predictions beside it."""
    write_evaluation(file.with_suffix(".npz"), scored.evaluation)
    write_json(file, scored.result)


def _evaluate(
    run: LoadedRun, variables: Variables, images: Split
) -> tuple[TaskRecords, TaskRecords | None]:
    """Closed tasks and, if the split holds two or more, open ones; all in one go."""
    evaluation, shape = run.config.evaluation, run.config.evaluation.shape
    count = evaluation.tasks
    keys = jax.random.split(inputs.make_keys(run.config).test, count)
    drawn = (
        draw_tasks(keys, images, shape),
        draw_disjoint_tasks(evaluation.evaluation_seed, images, shape),
    )
    tasks = Tasks(*map(np.concatenate, zip(*drawn, strict=True)))
    del drawn  # of many tasks twice as much
    total = len(tasks.classes)
    wanted = evaluation.coverage is not None or _keeps_logits(evaluation, total)
    evaluate = task_evaluator(
        run.learner, run.dataset, images, shape, "logits" if wanted else "predictions"
    )
    found = evaluate(variables, tasks)

    def part(rows: slice) -> TaskRecords:
        of_part = (x if x is None else x[rows] for x in found)
        return TaskRecords(Tasks(*(x[rows] for x in tasks)), Outcome(*of_part))

    return part(slice(count)), part(slice(count, total)) if total > count + 1 else None


def _keeps_logits(evaluation: EvaluationConfig, total: int) -> bool:
    """Whether the logits of so many tasks go into the kept file; of equal tasks."""
    if evaluation.shape.unequal:
        return False
    if evaluation.keep_logits is not None:
        return evaluation.keep_logits
    return keeps_logits(total, evaluation.ways, evaluation.queries)


def _as_kept(
    evaluation: EvaluationConfig, closed: TaskRecords, disjoint: TaskRecords | None
) -> tuple[TaskRecords, TaskRecords | None]:
    """Records without the logits that only the calibration was measured with."""
    parts = [closed] if disjoint is None else [closed, disjoint]
    if not _keeps_logits(evaluation, sum(len(p.outcome.accuracy) for p in parts)):
        parts = [p._replace(outcome=p.outcome._replace(logits=None)) for p in parts]
    return parts[0], parts[1] if disjoint is not None else None


def adaptation_of(evaluation: EvaluationConfig) -> dict[str, Any]:
    """Options that decide what is made of the support of a test task."""
    shown = (
        "head", "C", "penalty", "tune_head", "flips", "finetune_steps",
        "finetune_rate", "test_steps",
    )  # fmt: skip
    return {name: getattr(evaluation, name) for name in shown}


def weight_name(config: ResolvedConfig) -> str:
    """The option of the head that `tune_head` chooses."""
    entry = HEADS.get(config.evaluation.head)
    return (entry and entry.traits.weight) or "C"
