"""Which tasks of unequal sizes go with the rest of a run."""

from typing import TYPE_CHECKING

from metabridge.task_shape import TaskShape

if TYPE_CHECKING:
    from metabridge.config.sections import ResolvedConfig


def check_unequal(config: "ResolvedConfig") -> None:
    """Check the sizes of unequal tasks, and that the learner takes them.

    Raises:
      ValueError: a least size above the largest, an imbalance without a range of shots,
        or a learner or an option that takes equal tasks alone.
    """
    train, test = config.train.shape, config.evaluation.shape
    _check_sizes(train, "train_")
    _check_sizes(test, "")
    learner = config.learner
    if train.unequal and not learner.masks:
        raise ValueError(
            f"{config.algorithm} takes equal tasks alone, but "
            f"{_named(train, 'train_')} is given: leave it out, or let the learner "
            "heed `Examples.mask` and its options say so (`masks = True`)"
        )
    if train.unequal and getattr(learner, "rotation_weight", 0.0) > 0:
        raise ValueError(
            "`rotation_weight` turns images by their place in the task, but "
            f"{_named(train, 'train_')} makes tasks unequal: leave one of them out"
        )
    if not test.unequal:
        return
    name, evaluation = _named(test, ""), config.evaluation
    if evaluation.head == "learner" and not learner.masks:
        raise ValueError(
            f"{config.algorithm} takes equal tasks alone, but {name} is given: leave "
            "it out, or choose another `head`"
        )
    for option in ("coverage", "keep_logits"):
        if getattr(evaluation, option):
            raise ValueError(
                f"`{option}` is of tasks with equally many classes and queries, but "
                f"{name} is given: leave one of them out"
            )


def _named(shape: TaskShape, prefix: str) -> str:
    """The first option that makes tasks unequal."""
    pairs = zip(shape._fields[3:6], shape.least[:3], shape[:3], strict=True)
    name = next(name for name, least, most in pairs if least != most)
    return f"`{prefix}{name}` {getattr(shape, name)}"


def _check_sizes(shape: TaskShape, prefix: str) -> None:
    names = TaskShape._fields
    for name, least, most in zip(names, shape.least[:3], shape[:3], strict=False):
        if least > most:
            raise ValueError(
                f"`{prefix}min_{name}` is {least}, but `{prefix}{name}`, the largest, "
                f"is {most}"
            )
    if shape.imbalance != "none" and shape.least.shots == shape.shots:
        raise ValueError(
            f"`{prefix}imbalance` is {shape.imbalance}, but all classes have "
            f"{shape.shots} shots: pass `{prefix}min_shots`, the least of a class, too"
        )
