"""From a configuration to what it names: body, optimizer, head and learner."""

import math
from typing import TypeVar

import optax
from flax import linen as nn

from metabridge import heads
from metabridge.config import Config, EvaluationConfig, ModelConfig, TrainConfig
from metabridge.data.dataset import Dataset
from metabridge.learners import Learner, class_table, mtl, task_heads
from metabridge.models import MLP, Conv4, ResNet12

_T = TypeVar("_T", int, float)


def model(config: ModelConfig, image_size: int) -> nn.Module:
    """The body of a configuration, for square-ish images of this height."""
    if config.model == "conv4":
        return Conv4(_known(config.width))
    if config.model == "mlp":
        return MLP(_known(config.width), config.depth)
    # The paper's blocks: 5 pixels of the last maps of 84x84 images, 2 of 32x32.
    return ResNet12(drop_rate=config.drop_rate, block_size=5 if image_size >= 64 else 2)


def optimizer(config: TrainConfig) -> optax.GradientTransformation:
    """The optimizer, with its learning rate where the plateau rule can reach it."""

    def make(learning_rate: optax.ScalarOrSchedule) -> optax.GradientTransformation:
        if config.optimizer == "sgd":
            rule = optax.trace(decay=0.9, nesterov=True)
        elif config.optimizer == "adam":
            rule = optax.scale_by_adam()
        else:
            rule = optax.scale_by_radam()
        return optax.chain(
            rule,
            optax.add_decayed_weights(config.weight_decay),
            optax.scale_by_learning_rate(learning_rate),
        )

    if config.schedule == "cosine":
        return make(
            optax.cosine_decay_schedule(
                _known(config.learning_rate), _known(config.steps)
            )
        )
    return optax.inject_hyperparams(make)(learning_rate=_known(config.learning_rate))


def head(config: EvaluationConfig) -> heads.Head:
    """The test-time head."""
    if config.head == "logistic":
        return heads.logistic(config.C)
    if config.head == "ridge":
        return heads.ridge(config.penalty)
    return heads.centroid()


def learner(config: Config, dataset: Dataset) -> Learner:
    """The learner of a resolved configuration, for the classes of a dataset."""
    options = config.learner
    if options.heads == "class_table":
        rows = dataset.train.num_classes * (4 if config.data.rotations else 1)
        training_heads = class_table(rows, init_scale=options.init_scale)
    else:
        training_heads = task_heads(
            options.num_tasks,
            _known(config.train.train_ways),
            shared_init=options.heads == "shared",
            init_scale=options.init_scale,
        )
    return mtl(
        model(config.model, dataset.image_shape[0]),
        optimizer(config.train),
        heads=training_heads,
        head=head(config.evaluation),
        feature_norm=options.feature_norm,
        logit_scale=options.logit_scale,
    )


def num_devices(config: TrainConfig, available: int) -> int:
    """How many devices share the tasks of a step.

    Raises:
      ValueError: more than there are, or a number that does not divide the tasks.
    """
    tasks = _known(config.tasks_per_step)
    if config.devices is None:
        return math.gcd(tasks, available)
    if not 1 <= config.devices <= available or tasks % config.devices:
        raise ValueError(
            f"`devices` is {config.devices}, but it must divide `tasks_per_step` "
            f"({tasks}) and be at most {available}, the devices there are"
        )
    return config.devices


def _known(value: _T | None) -> _T:
    if value is None:
        raise ValueError("the configuration is not resolved: call `config.resolve`")
    return value
