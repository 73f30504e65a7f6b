"""Calibration and conformal sets of a run, from its validation and test tasks."""

from typing import Any, Literal

import jax
import numpy as np
from jaxtyping import Float

from metabridge.config import ResolvedConfig
from metabridge.data import episodes
from metabridge.data.dataset import Dataset
from metabridge.evaluation import draw_tasks, task_evaluator
from metabridge.evaluation.uncertainty import measure_uncertainty
from metabridge.learners import Learner
from metabridge.runs import inputs
from metabridge.types import Variables


def check(config: ResolvedConfig, split: Literal["validation", "test"]) -> None:
    """Refuse what has too little to calibrate with, where a coverage is asked for.

    Raises:
      ValueError: tasks of validation classes, which calibrate those of test classes;
        or a coverage for which there are too few queries and tasks.
    """
    if config.evaluation.coverage is None:
        return
    if split == "validation":
        raise ValueError(
            "`coverage` is measured on test tasks, as validation tasks calibrate them, "
            "but `split` is validation: leave out one of the two"
        )
    inputs.check_coverage(config)


def measure(
    learner: Learner,
    dataset: Dataset,
    config: ResolvedConfig,
    variables: Variables,
    test: Float[np.ndarray, "T Q ways"],
) -> dict[str, Any]:
    """Evaluate as many validation tasks, and measure with them; see `evaluation`.

    `test` are the logits of the test tasks. Returns fields of ``result.json``, None
    where some logits are NaN, as those of a learner whose adaptation diverges.
    """
    evaluation, shape = config.evaluation, config.evaluation.shape
    assert evaluation.coverage is not None
    split = dataset.validation
    episodes.check_shape(shape, split, what=f"split 'validation' of {dataset.name!r}")
    keys = jax.random.split(inputs.make_keys(config).validation, len(test))
    evaluate = task_evaluator(learner, dataset, split, shape, "logits")
    found = evaluate(variables, draw_tasks(keys, split, shape))
    if not all(np.isfinite(logits).all() for logits in (test, found.logits)):
        return {"calibration": None, "conformal": None}
    return measure_uncertainty(
        found.logits,
        test,
        np.repeat(np.arange(shape.ways), shape.queries),
        coverage=evaluation.coverage,
        conformity_score=evaluation.conformity_score,
        seed=evaluation.evaluation_seed,
    )
