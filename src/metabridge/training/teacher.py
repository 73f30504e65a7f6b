"""The teacher of a distilled run: the best checkpoint of an earlier one."""

import dataclasses
import operator
from pathlib import Path

from metabridge import build
from metabridge.config import ResolvedConfig, with_absolute_paths
from metabridge.data.dataset import Dataset
from metabridge.learners import variables_of
from metabridge.runs.folder import RunError, read_config, read_result
from metabridge.training.scoring import restore
from metabridge.training.unseen import LoadedRun
from metabridge.types import Variables
from metabridge.untrusted import expanded

_DATA = ("data.dataset", "data.image_size", "data.rotations")
"""Options that decide which classes there are, and how large their images."""
_HEADS = ("heads", "feature_norm", "logit_scale", "row_norm", "learn_scale")
"""Options of a learner that decide how its logits follow from its parameters."""
_TASKS = (
    "seed",
    *("train_ways", "train_shots", "train_queries"),
    *("train_min_ways", "train_min_shots", "train_min_queries", "train_imbalance"),
)
"""Options of training that decide which of a fixed set of tasks a head belongs to."""


def load_teacher(config: ResolvedConfig, dataset: Dataset) -> Variables | None:
    """The best checkpoint of the run named as the teacher; None if none is named.

    The dataset is that of student and teacher.

    Raises:
      ValueError: the folder holds no run of the same learner on the same model and
        classes, or no checkpoint of it.
    """
    named = getattr(config.learner, "teacher", None)
    if not config.learner.distils or named is None:
        return None
    folder = expanded(named)
    teacher = with_absolute_paths(read_config(folder))
    if _has_data(folder, dataset):  # perhaps in another place by now
        data = dataclasses.replace(teacher.data, dataset=config.data.dataset)
        teacher = dataclasses.replace(teacher, data=data)
    _check(folder, teacher, config)
    learner = build.learner(teacher, dataset)
    return variables_of(restore(LoadedRun(folder, teacher, dataset, learner)).state)


def _has_data(folder: Path, dataset: Dataset) -> bool:
    """Tells whether a run was trained on a dataset, wherever that was."""
    try:
        recorded = read_result(folder)["provenance"]["dataset"]["fingerprint"]
    except (RunError, KeyError, TypeError):
        return False
    return recorded == dataset.fingerprint()


def _check(folder: Path, teacher: ResolvedConfig, config: ResolvedConfig) -> None:
    """Raises RunError naming all that differs between a teacher and its student."""
    names = ["algorithm"]
    names += [f"model.{field.name}" for field in dataclasses.fields(config.model)]
    names += _DATA
    if config.algorithm == teacher.algorithm:
        names += [f"learner.{name}" for name in _HEADS if hasattr(config.learner, name)]
        if config.learner.fixed_tasks is not None:
            names += ["learner.num_tasks", *(f"train.{name}" for name in _TASKS)]
    values = {name: operator.attrgetter(name) for name in names}
    differences = [
        f"{name} is {value(teacher)!r} there and {value(config)!r} here"
        for name, value in values.items()
        if value(teacher) != value(config)
    ]
    if differences:
        raise RunError(
            f"`teacher` is {folder}, but a teacher must be a run of the same learner, "
            f"model, heads and classes: {'; '.join(differences)}"
        )
