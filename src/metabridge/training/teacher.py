"""The teacher of a distilled run: the best checkpoint of an earlier one."""

import dataclasses
import operator
from pathlib import Path

from metabridge import build
from metabridge.config import Config, MTLConfig, RFSConfig, with_absolute_paths
from metabridge.data.dataset import Dataset
from metabridge.runs.folder import RunError, read_config, read_result
from metabridge.training.scoring import best_variables
from metabridge.types import Variables
from metabridge.untrusted import expanded

# What decides which classes there are, and how large their images.
_DATA = ("data.dataset", "data.image_size", "data.rotations")
# What decides how MTL's logits follow from its parameters.
_HEADS = tuple(
    f"learner.{name}"
    for name in ("heads", "feature_norm", "logit_scale", "row_norm", "learn_scale")
)
# And which of a fixed set of tasks a head belongs to.
_TASKS = (
    "learner.num_tasks",
    "train.seed",
    "train.train_ways",
    "train.train_shots",
    "train.train_queries",
)


def load_teacher(config: Config, dataset: Dataset) -> Variables | None:
    """What the run named as the teacher has learned; None if none is named.

    Args:
      config: the resolved configuration of the run that is to be taught.
      dataset: its data, which is the teacher's too.

    Raises:
      ValueError: the folder holds no run of the same learner on the same model and
        classes, or no checkpoint of it.
    """
    options = config.learner
    if not isinstance(options, MTLConfig | RFSConfig) or options.teacher is None:
        return None
    folder = expanded(options.teacher)
    taught = with_absolute_paths(read_config(folder))
    if _has_data(folder, dataset):  # perhaps in another place by now
        taught = dataclasses.replace(
            taught, data=dataclasses.replace(taught.data, dataset=config.data.dataset)
        )
    _check(folder, taught, config)
    learner = build.learner(taught, dataset)
    return best_variables(taught, dataset, learner, folder)[0]


def _has_data(folder: Path, dataset: Dataset) -> bool:
    """Whether a run was trained on the images of a dataset, wherever they were."""
    try:
        recorded = read_result(folder)["provenance"]["dataset"]["fingerprint"]
    except (RunError, KeyError, TypeError):
        return False
    return recorded == dataset.fingerprint()


def _check(folder: Path, teacher: Config, config: Config) -> None:
    """Raises RunError naming all that differs between a teacher and its student."""
    model = [f"model.{field.name}" for field in dataclasses.fields(config.model)]
    differences = []
    heads = ()
    if isinstance(config.learner, MTLConfig) and config.algorithm == teacher.algorithm:
        heads = _HEADS
        if config.learner.heads != "class_table":
            heads += _TASKS
    for name in ("algorithm", *model, *_DATA, *heads):
        theirs, ours = map(operator.attrgetter(name), (teacher, config))
        if theirs != ours:
            differences.append(f"{name} is {theirs!r} there and {ours!r} here")
    if differences:
        raise RunError(
            f"`teacher` is {folder}, but a teacher must be a run of the same learner, "
            f"model, heads and classes: {'; '.join(differences)}"
        )
