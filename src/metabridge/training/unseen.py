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
from metabridge.data.dataset import Dataset
from metabridge.evaluation import (
    Tasks,
    draw_disjoint_tasks,
    draw_tasks,
    pixel_score,
    task_evaluator,
)
from metabridge.evaluation import score as mean_score
from metabridge.evaluation.intervals import open_score
from metabridge.evaluation.scores import Outcome
from metabridge.learners import Learner
from metabridge.registry import HEADS
from metabridge.runs import inputs
from metabridge.runs.evaluation import (
    Evaluation,
    TaskRecords,
    keeps_logits,
    split_digest,
)
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
    _, config, dataset, learner, _ = run
    evaluation, images = config.evaluation, getattr(dataset, split)
    shape, num_tasks = inputs.test_shape(config), evaluation.tasks
    keys = jax.random.split(inputs.make_keys(config).test, num_tasks)
    closed = draw_tasks(keys, images, shape)
    disjoint = draw_disjoint_tasks(evaluation.evaluation_seed, images, shape)
    num_open = len(disjoint.classes)
    if evaluation.interval == "open":
        inputs.check_open_tasks(config, images, split)

    since = time.perf_counter()
    tasks = Tasks(*map(np.concatenate, zip(closed, disjoint, strict=True)))
    keep = evaluation.keep_logits
    if keep is None:
        keep = keeps_logits(len(tasks.classes), shape.ways, shape.queries)
    kept = "logits" if keep else "predictions"
    found = task_evaluator(learner, dataset, images, shape, kept)(variables, tasks)
    seconds = time.perf_counter() - since
    records = [
        TaskRecords(part, Outcome(*(x if x is None else x[rows] for x in found)))
        for part, rows in (
            (closed, slice(num_tasks)),
            (disjoint, slice(num_tasks, None)),
        )
    ]
    scores = {"closed": mean_score(records[0].outcome.accuracy)}
    if num_open > 1:
        scores["open"] = open_score(records[1].outcome.accuracy)
    headline = scores[evaluation.interval]
    pixels = pixel_score(images, heads.centroid(), shape, closed)
    name = weight_name(config)
    tuned = {name: getattr(evaluation, name)} if evaluation.tune_head else {}
    task = {
        "dataset": config.data.dataset,
        "split": split,
        **shape._asdict(),
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
    if evaluation.flips:
        result["flips"] = True
    about = {
        "learner": config.algorithm,
        **adaptation_of(evaluation),
        **task,
        "split_digest": split_digest(images),
        "checkpoint": checkpoint,
    }
    open_records = records[1] if num_open > 1 else None
    return Scored(
        result, Evaluation(about, images.class_names, records[0], open_records)
    )


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
