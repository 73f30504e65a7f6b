"""`metabridge grid RUNS`: learners by test-time heads, on the same tasks.

Whether the order of learners depends on the head that is fitted on their features. Luo,
Wu, Zhang, Gao, Xu, Song. A closer look at few-shot classification again. ICML 2023,
https://arxiv.org/abs/2301.12246.
"""

import itertools
import math
import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float
from scipy.stats import kendalltau

from metabridge.evaluation import score
from metabridge.evaluation.intervals import counts
from metabridge.files import finite, write_json
from metabridge.output import check_output
from metabridge.parallel.devices import give_back_host_memory
from metabridge.precision import in_32_bits
from metabridge.runs.find import find_runs
from metabridge.similarity.kept import check_heads, read_heads
from metabridge.task_shape import TaskShape, describe
from metabridge.units import format_accuracy, markdown_table

HEADS_SHOWN = ("logistic", "ridge", "svm", "centroid")
_DRAWS = 1000
_ROUNDING = 1e-7
"""Of means of accuracies in float32; one query of 10,000 tasks of 75 is 1e-6."""
_TASK = (*TaskShape._fields, "evaluation_seed")


@in_32_bits
def head_grid(
    runs: str | os.PathLike[str] | Sequence[str | os.PathLike[str]] = (),
    *,
    heads: Sequence[str] = HEADS_SHOWN,
    data_dir: str | os.PathLike[str] | None = None,
    output: str | os.PathLike[str] | None = None,
    tell: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """Score runs with several heads on the same tasks, and correlate the columns.

    Args:
      runs: run folders, or folders that hold some. Default: all under ``runs/``.
      heads: test-time heads on frozen features, "finetune", or "learner" for each run's
        own adaptation.
      data_dir: where the data of the runs is, if not where they found it.
      output: JSON file to write the result to.
      tell: called with a line of progress.

    Returns:
      ``"runs"`` and ``"heads"``, names; ``"accuracy"`` and ``"ci95"``, a row a run and
      a column a head; ``"kendall"``: for each pair of heads the rank correlation tau-b
      of their columns and the ends of its interval, by a bootstrap over tasks.

    Raises:
      ValueError: fewer than two runs or no head, or runs that have not met the same
        test tasks.
    """
    file = None if output is None else check_output(output)
    check_heads(heads)
    folders = find_runs(runs)
    if len(folders) < 2:
        raise ValueError(
            f"there are {len(folders)} finished runs, but a grid has two or more"
        )
    columns, names, about = [], [], {}
    for _, kept in read_heads(folders, heads, data_dir=data_dir, tell=tell):
        names, about = [run.name for run in kept], kept[0].evaluation.about
        columns.append(np.stack([r.evaluation.closed.outcome.accuracy for r in kept]))
    scores = [[score(accuracies) for accuracies in column] for column in columns]
    found = {
        "dataset": about["dataset"],
        **{name: about[name] for name in _TASK if name in about},
        "tasks": columns[0].shape[1],
        "runs": names,
        "heads": list(heads),
        "accuracy": [
            [one.accuracy for one in row] for row in zip(*scores, strict=True)
        ],
        "ci95": [[one.ci95 for one in row] for row in zip(*scores, strict=True)],
        "kendall": [
            {"first": a, "second": b, **rank_correlation(columns[i], columns[j])}
            for (i, a), (j, b) in itertools.combinations(enumerate(heads), 2)
        ],
    }
    if file is not None:
        write_json(file, finite(found))
    give_back_host_memory()
    return found


def rank_correlation(
    first: Float[np.ndarray, "R T"],
    second: Float[np.ndarray, "R T"],
    *,
    draws: int = _DRAWS,
    seed: int = 0,
) -> dict[str, float]:
    """Kendall's tau-b of the mean accuracies of runs under two heads, with an interval.

    The interval is that of a bootstrap over tasks, which both heads have met. Where all
    runs tie under a head they have no order, and all numbers are NaN.
    """
    count = first.shape[1]
    weights = counts(np.random.default_rng(seed), draws, count).T / count
    first, second = (np.asarray(each, np.float64) for each in (first, second))
    pairs = zip((first @ weights).T, (second @ weights).T, strict=True)
    drawn = [_tau(*pair) for pair in pairs]
    tau = _tau(first.mean(1), second.mean(1))
    if math.isnan(tau):
        return {"tau": tau, "low": tau, "high": tau}
    low, high = np.nanquantile(drawn, [0.025, 0.975])
    return {"tau": tau, "low": float(low), "high": float(high)}


def _tau(first: np.ndarray, second: np.ndarray) -> float:
    found: Any = kendalltau(_ranks(first), _ranks(second))
    return float(found.statistic)


def _ranks(means: np.ndarray) -> np.ndarray:
    """Places in order; means that differ by rounding alone have the same."""
    order = np.argsort(means)
    steps = np.diff(means[order]) > _ROUNDING
    ranks = np.empty(len(means), int)
    ranks[order] = np.cumsum([0, *steps])
    return ranks


def grid_text(found: dict[str, Any]) -> str:
    """The result of `head_grid` as tables in Markdown."""
    rows = [
        [name, *map(format_accuracy, accuracies, intervals)]
        for name, accuracies, intervals in zip(
            found["runs"], found["accuracy"], found["ci95"], strict=True
        )
    ]
    title = (
        f"{found['dataset']}, {describe(found)}, the same "
        f"{found['tasks']} tasks: accuracy, %, with 95 % intervals"
    )
    parts = [title, markdown_table(["run", *found["heads"]], rows)]
    if found["kendall"]:
        rows = [
            [f"{each['first']}, {each['second']}", _format_tau(each)]
            for each in found["kendall"]
        ]
        parts.append(
            markdown_table(["heads", "Kendall's tau of the runs' order"], rows)
        )
    return "\n\n".join(parts)


def _format_tau(each: dict[str, Any]) -> str:
    if math.isnan(each["tau"]):
        return "none, as all runs tie under one of them"
    return f"{each['tau']:+.2f} [{each['low']:+.2f}, {each['high']:+.2f}]"
