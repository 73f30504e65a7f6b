"""From a configuration to what it names: body, optimizer, head and learner."""

import dataclasses
import inspect
import math
from typing import Any, NamedTuple, Protocol, TypeVar, runtime_checkable

import jax.numpy as jnp
import optax
from flax import linen as nn

from metabridge import heads, learners
from metabridge.config import (
    Config,
    EvaluationConfig,
    GradientBasedConfig,
    ModelConfig,
    MTLConfig,
    OwnConfig,
    RFSConfig,
    TrainConfig,
    own_factory,
)
from metabridge.data.dataset import Dataset
from metabridge.learners.body import with_head
from metabridge.models import MLP, Conv4, Conv4R2D2, ResNet12
from metabridge.optimizers import make_optimizer
from metabridge.types import Variables

_T = TypeVar("_T", int, float)


@runtime_checkable
class Device(Protocol):
    """What a `jax.Device` says of itself."""

    @property
    def platform(self) -> str: ...
    @property
    def device_kind(self) -> str: ...


class Shapes(NamedTuple):
    """What of a dataset decides the shapes of a learner's parameters."""

    image_shape: tuple[int, int, int]
    """``(H, W, channels)``."""
    num_classes: int
    """Of the training split, without turns."""


def shapes_of(dataset: Dataset) -> Shapes:
    return Shapes(dataset.image_shape, dataset.train.num_classes)


def model(config: ModelConfig, image_size: int) -> nn.Module:
    """The body of a configuration, for square-ish images of this height."""
    dtype = jnp.bfloat16 if config.precision == "bfloat16" else None
    if config.model == "conv4":
        return Conv4(_known(config.width), dtype=dtype)
    if config.model == "conv4_r2d2":
        return Conv4R2D2(dtype=dtype)
    if config.model == "mlp":
        return MLP(_known(config.width), config.depth)
    # The paper's blocks: 5 pixels of the last maps of 84x84 images, 2 of 32x32.
    block_size = 5 if image_size >= 64 else 2
    return ResNet12(
        drop_rate=config.drop_rate,
        block_size=block_size,
        ramp_steps=config.drop_ramp,
        average_pool=config.average_pool,
        dtype=dtype,
    )


def check_precision(config: ModelConfig, device: Device) -> None:
    """Refuses a precision that the device has no arithmetic for.

    Raises:
      ValueError: bfloat16 on a CPU or on a GPU before NVIDIA's Ampere (compute
        capability 8.0), or for a body that has it not.
    """
    if config.precision == "float32":
        return
    if config.model == "mlp":
        raise ValueError(
            "the MLP computes in float32, as the theory does; pass `precision` float32"
        )
    capability = str(getattr(device, "compute_capability", ""))
    old = capability.replace(".", "").isdigit() and float(capability) < 8.0
    if device.platform == "cpu" or old:
        what = f"compute capability {capability}" if old else "a CPU"
        raise ValueError(
            f"`precision` is bfloat16, which {device.device_kind} ({what}) has no fast "
            "arithmetic for; pass float32"
        )


def head(config: EvaluationConfig) -> heads.Head | None:
    """The head fitted on frozen features; None for an adaptation of another kind."""
    if config.head == "logistic":
        return heads.logistic(config.C)
    if config.head == "ridge":
        return heads.ridge(config.penalty)
    if config.head == "svm":
        return heads.svm(config.C)
    if config.head == "attention":
        return heads.attention()
    return heads.centroid() if config.head == "centroid" else None


def learner(
    config: Config, data: Dataset | Shapes, teacher: Variables | None = None
) -> learners.Learner:
    """The learner of a resolved configuration, for the classes of a dataset.

    Args:
      config: what the learner is, how it is trained and how it adapts.
      data: a dataset, of which the image size and the number of training classes count,
        or these alone.
      teacher: what the run named in the options of MTL or RFS has learned. It matters
        to training alone.

    Raises:
      ValueError: an option out of its range, or a head that does not fit the learner.
    """
    shapes = data if isinstance(data, Shapes) else shapes_of(data)
    body = model(config.model, shapes.image_shape[0])
    trained = _trained(config, shapes, body, teacher)
    evaluation = config.evaluation
    if evaluation.head == "finetune":
        return learners.finetune(
            trained,
            body,
            num_steps=evaluation.finetune_steps,
            learning_rate=evaluation.finetune_rate,
        )
    other = head(evaluation)
    return trained if other is None else with_head(trained, other)


def _trained(
    config: Config, shapes: Shapes, body: nn.Module, teacher: Variables | None
) -> learners.Learner:
    """The learner as it is trained, with the adaptation it has by itself."""
    rule = make_optimizer(config.train)
    ways = _known(config.train.train_ways)
    rows = shapes.num_classes * (4 if config.data.rotations else 1)
    options = config.learner
    if isinstance(options, MTLConfig):
        return _mtl(options, ways, body, rule, rows, teacher)
    # The fields of the options are the arguments of the factory.
    arguments: dict[str, Any] = dataclasses.asdict(options)
    if isinstance(options, OwnConfig):
        return _own(options, arguments, body, rule, ways=ways, num_classes=rows)
    if isinstance(options, GradientBasedConfig):
        arguments |= {"ways": ways, "test_steps": config.evaluation.test_steps}
    if isinstance(options, RFSConfig):  # the teacher itself in place of its folder
        arguments |= {"num_classes": rows, "teacher": teacher}
    return getattr(learners, config.algorithm)(body, rule, **arguments)


def _own(
    options: OwnConfig,
    arguments: dict[str, Any],
    body: nn.Module,
    rule: optax.GradientTransformation,
    **counts: int,
) -> learners.Learner:
    """A learner of the user's own, told the counts that its factory asks for."""
    factory = own_factory(options)
    asked = inspect.signature(factory).parameters
    wanted = {name: count for name, count in counts.items() if name in asked}
    made = factory(body, rule, **(wanted | arguments))
    if not isinstance(made, learners.Learner):
        raise ValueError(
            f"the factory of {type(options).__name__} must return a "
            f"metabridge.learners.Learner, but it returned {type(made).__name__}"
        )
    return made


def _mtl(
    options: MTLConfig,
    ways: int,
    body: nn.Module,
    rule: optax.GradientTransformation,
    rows: int,
    teacher: Variables | None,
) -> learners.Learner:
    if options.heads == "class_table":
        training_heads = learners.class_table(rows, init_scale=options.init_scale)
    else:
        training_heads = learners.task_heads(
            options.num_tasks,
            ways,
            shared_init=options.heads == "shared",
            init_scale=options.init_scale,
        )
    of_heads = ("heads", "num_tasks", "init_scale")
    arguments = dataclasses.asdict(options)
    arguments = {k: v for k, v in arguments.items() if k not in of_heads}
    arguments["teacher"] = teacher
    return learners.mtl(body, rule, heads=training_heads, **arguments)


def num_devices(config: TrainConfig, available: int, processes: int = 1) -> int:
    """How many devices share the tasks of a step.

    Args:
      config: of the run.
      available: devices of all processes.
      processes: each of them has to have a part.

    Raises:
      ValueError: more than there are, a number that does not divide the tasks, or not
        all of several processes' devices.
    """
    tasks = _known(config.tasks_per_step)
    if config.devices is None:
        chosen = math.gcd(tasks, available) if processes == 1 else available
    else:
        chosen = config.devices
    if not 1 <= chosen <= available or tasks % chosen:
        raise ValueError(
            f"`devices` is {chosen}, but it must divide `tasks_per_step` ({tasks}) and "
            f"be at most {available}, the devices there are"
        )
    if processes > 1 and chosen != available:
        raise ValueError(
            f"`devices` is {chosen}, but {processes} processes take part with all of "
            f"their {available} devices"
        )
    return chosen


def _known(value: _T | None) -> _T:
    if value is None:
        raise ValueError("the configuration is not resolved: call `config.resolve`")
    return value
