"""Heads on features, without a run: accuracy on few-shot tasks of any dataset."""

import dataclasses
import time
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from metabridge import build, heads
from metabridge.apply.frozen import Frozen
from metabridge.apply.inputs import check_arrays, encode_labels
from metabridge.config import ResolvedConfig, check
from metabridge.config.fields import hints_of, typed
from metabridge.config.sections import ResolvedEvaluation
from metabridge.data import episodes
from metabridge.data.augment import normalise
from metabridge.data.dataset import Dataset, Split, sorted_split
from metabridge.data.registry import load_dataset
from metabridge.evaluation import Tasks, draw_disjoint_tasks, draw_tasks
from metabridge.evaluation import score as mean_score
from metabridge.evaluation.features import TASK_BATCH, bank_evaluator
from metabridge.evaluation.intervals import open_score
from metabridge.evaluation.scores import Score
from metabridge.heads.base import unit_norm as to_unit_norm
from metabridge.parallel import devices
from metabridge.precision import in_32_bits
from metabridge.registry import HEADS
from metabridge.runs.inputs import make_keys
from metabridge.types import TaskShape
from metabridge.units import format_accuracy, format_bytes, markdown_table

_BATCH = 1 << 14


class HeadScore(NamedTuple):
    """Accuracy of a head on the features of unseen classes."""

    head: str
    ways: int
    shots: int
    queries: int
    closed: Score
    """Over tasks that may share examples."""
    open: Score | None
    """Over tasks that share none, as many as there are; None for fewer than two."""
    seconds: float
    """Of fitting and predicting the closed tasks, after compilation."""
    accuracies: np.ndarray
    """Of each closed task, float32 ``[tasks]``; those of a run of the same data, shape
    and seed are of the same tasks (`evaluate_run` with `each_task`)."""


@in_32_bits
def evaluate_features(
    data: str | Dataset | tuple[Any, Any],
    *,
    head: str | Sequence[str] | None = None,
    ways: int | Sequence[int] = 5,
    shots: int | Sequence[int] = (1, 5),
    queries: int = 15,
    tasks: int = 2000,
    split: Literal["train", "validation", "test"] = "test",
    C: float | None = None,
    penalty: float | None = None,
    unit_norm: bool = False,
    seed: int = 0,
    **options: Any,
) -> list[HeadScore]:
    """Score heads on few-shot tasks of features.

    Images and other inputs that are no features are flattened and normalised, as any
    body would get them. All heads meet the same tasks.

    Args:
      data: features ``[N, D]`` and labels ``[N]`` of unseen classes; or a dataset, or
        its name, such as "features:FILE".
      head: one or several of the heads that are registered; default: all.
      ways: classes of a task; of several, all combinations with `shots` are scored.
      shots: support examples a class, or several numbers of them.
      queries: examples a class that are predicted.
      tasks: number of tasks.
      split: of a dataset, the one whose classes the tasks are made of.
      C: of logistic regression and the SVM, as of `EvaluationConfig`.
      penalty: of ridge regression, likewise.
      unit_norm: scale features to unit norm first.
      seed: of the tasks.
      **options: of `load_dataset`, such as `data_dir`.

    Raises:
      ValueError: an unknown head, tasks that the classes do not hold, data that
        cannot be used, or features that do not fit in memory.

    Example:
      >>> rng = np.random.default_rng(0)
      >>> labels = np.repeat(np.arange(8), 20)
      >>> features = rng.normal(size=(8, 16))[labels] + rng.normal(size=(160, 16))
      >>> found = evaluate_features((features, labels), head="ridge", tasks=50)
      >>> [(score.shots, score.closed.accuracy > 0.5) for score in found]
      [(1, True), (5, True)]
    """
    chosen, name = _split(data, split, options)
    names = [head] if isinstance(head, str) else list(head or HEADS)
    given = {"C": C, "penalty": penalty}
    evaluations = {name: _evaluation(name, given, tasks, seed) for name in names}
    queries = typed(hints_of(ResolvedEvaluation)["queries"], queries, "queries")
    shapes = [TaskShape(w, s, queries) for w in _several(ways) for s in _several(shots)]
    for shape in shapes:
        episodes.check_shape(shape, chosen, what=name)
    bank = jnp.asarray(chosen.inputs.reshape(len(chosen.inputs), -1), jnp.float32)
    if unit_norm:
        bank = to_unit_norm(bank)
    key = make_keys(_seeded(seed)).test  # that of the test tasks of a run
    found = []
    for shape in shapes:
        drawn = draw_tasks(jax.random.split(key, tasks), chosen, shape)
        disjoint = draw_disjoint_tasks(seed, chosen, shape)
        for name, evaluation in evaluations.items():
            made = build.head(evaluation)
            assert made is not None
            found.append(_score(name, made, bank, shape, drawn, disjoint))
    return found


def _score(
    name: str, head: heads.Head, bank: Any, shape: TaskShape, drawn: Any, disjoint: Any
) -> HeadScore:
    evaluate = bank_evaluator(lambda _: head, shape)
    # Compiles both sizes of a batch, the usual one and that of the rest.
    few = TASK_BATCH * jax.local_device_count()
    few = min(few + len(drawn.classes) % few, len(drawn.classes))
    evaluate({}, bank, Tasks(*(rows[:few] for rows in drawn)))
    since = time.perf_counter()
    accuracies = evaluate({}, bank, drawn).accuracy
    seconds = time.perf_counter() - since
    several = len(disjoint.classes) > 1
    of_open = open_score(evaluate({}, bank, disjoint).accuracy) if several else None
    closed = mean_score(accuracies)
    return HeadScore(name, *shape[:3], closed, of_open, seconds, accuracies)


def table_of_heads(found: Sequence[HeadScore]) -> str:
    """Scores of heads as a table in Markdown, a row a head."""
    shapes = list(dict.fromkeys((score.ways, score.shots) for score in found))
    columns = ["head", *(f"{ways}-way {shots}-shot, %" for ways, shots in shapes)]
    columns.append("tasks a second")
    rows = []
    for name in dict.fromkeys(score.head for score in found):
        own = [score for score in found if score.head == name]
        cells = [format_accuracy(s.closed.accuracy, s.closed.ci95) for s in own]
        rate = sum(s.closed.tasks for s in own) / sum(s.seconds for s in own)
        rows.append([name, *cells, f"{rate:,.0f}"])
    return markdown_table(columns, rows)


def as_json(dataset: str, split: str, found: Sequence[HeadScore]) -> dict[str, Any]:
    """Scores of heads as JSON values."""
    scores = [
        score._asdict()
        | {
            "closed": score.closed._asdict(),
            "open": score.open and score.open._asdict(),
            "accuracies": score.accuracies.tolist(),
        }
        for score in found
    ]
    return {"dataset": dataset, "split": split, "scores": scores}


def _split(data: Any, split: str, options: dict[str, Any]) -> tuple[Split, str]:
    """The examples to draw from, normalised, and what to call them in messages."""
    if isinstance(data, tuple):
        features, labels = data
        rows = check_arrays(features).rows
        _check_memory(rows, "the features")
        classes, codes = encode_labels(labels, len(rows))
        names = {code: str(name) for code, name in enumerate(classes)}
        return sorted_split(rows.astype(np.float32), codes, names), "the features"
    if split not in ("train", "validation", "test"):
        raise ValueError(f"`split` is {split!r}, but must be train, validation or test")
    dataset = data if isinstance(data, Dataset) else load_dataset(data, **options)
    found, name = getattr(dataset, split), f"split {split!r} of {dataset.name!r}"
    _check_memory(found.inputs, name)
    rows = np.empty(found.inputs.shape, np.float32)
    for start in range(0, len(rows), _BATCH):
        part = jnp.asarray(found.inputs[start : start + _BATCH])
        rows[start : start + _BATCH] = normalise(part, dataset.mean, dataset.std)
    return Split(rows, found.labels, found.class_names), name


def _check_memory(inputs: np.ndarray, name: str) -> None:
    """Refuse inputs that do not fit as float32: once for the host, twice a device."""
    on_cpu = jax.default_backend() == "cpu"
    copies = 2 * jax.local_device_count() + 1 if on_cpu else 2
    needed, free = 4 * copies * inputs.size, devices.free_bytes()
    if needed > free:
        raise ValueError(
            f"{name} takes {format_bytes(needed)} of memory as {copies} copies in "
            f"float32, but {format_bytes(free)} are free: pass fewer examples a class, "
            "or smaller features"
        )


def _evaluation(
    name: str, given: dict[str, float | None], tasks: int, seed: int
) -> ResolvedEvaluation:
    """Options of a head, checked."""
    HEADS.find(name)
    config = Frozen().config
    options: dict[str, Any] = {"head": name, "tasks": tasks, "evaluation_seed": seed}
    options |= {key: value for key, value in given.items() if value is not None}
    hints = hints_of(ResolvedEvaluation)
    options = {key: typed(hints[key], value, key) for key, value in options.items()}
    changed = dataclasses.replace(config.evaluation, **options)
    return check(dataclasses.replace(config, evaluation=changed)).evaluation


def _seeded(seed: int) -> ResolvedConfig:
    config = Frozen().config
    evaluation = dataclasses.replace(config.evaluation, evaluation_seed=seed)
    return dataclasses.replace(config, evaluation=evaluation)


def _several(value: int | Sequence[int]) -> list[int]:
    values = [value] if isinstance(value, int) else list(value)
    if not values:
        raise ValueError("`ways` and `shots` each need a number")
    return values
