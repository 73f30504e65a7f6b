"""From a configuration to what it names: body, optimizer, head and learner."""

import dataclasses
import math
from typing import Any, NamedTuple

import jax.numpy as jnp
from flax import linen as nn

from metabridge import heads, learners
from metabridge.config import (
    ResolvedConfig,
    ResolvedEvaluation,
    ResolvedModel,
    ResolvedTrain,
    task_pool,
)
from metabridge.data.dataset import Dataset
from metabridge.heads.base import check_takes_mask
from metabridge.learners.body import with_flips, with_head
from metabridge.models.nnx_body import NNXBody
from metabridge.optimizers import make_optimizer
from metabridge.parallel import devices
from metabridge.registry import BODIES, HEADS, LEARNERS, parameters_of
from metabridge.types import Variables


class Shapes(NamedTuple):
    """Sizes of a dataset that decide the shapes of a learner's parameters."""

    input_shape: tuple[int, ...]
    """Of one input: ``(H, W, channels)`` of images, ``(D,)`` of features."""
    num_classes: int
    """Of the training split, without turns."""
    images: bool = True
    """Whether the inputs are images."""


def shapes_of(dataset: Dataset) -> Shapes:
    """The shapes of a dataset."""
    classes = dataset.train.num_classes
    return Shapes(dataset.input_shape, classes, dataset.has_images)


def model(config: ResolvedModel, image_size: int) -> nn.Module:
    """The body of a configuration, for square-ish images of this height.

    Of other inputs it is the length of the first axis.
    """
    dtype = jnp.bfloat16 if config.precision == "bfloat16" else None
    options = {**dataclasses.asdict(config), "image_size": image_size, "dtype": dtype}
    entry = BODIES.find(config.model)
    if "rngs" in parameters_of(entry.load()):
        return NNXBody(
            lambda rngs, shape: entry.make(**options, rngs=rngs, input_shape=shape)
        )
    made = entry.make(**options)
    if isinstance(made, nn.Module):
        return made
    raise ValueError(
        f"the factory of the body {config.model} returned {type(made).__name__}, but "
        "must return a module of Flax: of Linen, or of NNX if the factory takes `rngs`"
    )


def check_precision(config: ResolvedModel, device: Any) -> None:
    """Check that a JAX device and the body have arithmetic for a precision.

    Raises:
      ValueError: bfloat16 on a CPU without the instructions or on a GPU before NVIDIA's
        Ampere (compute capability 8.0), or for a body that has it not.
    """
    if config.precision == "float32":
        return
    if "dtype" not in parameters_of(BODIES.find(config.model).load()):
        raise ValueError(f"{config.model} computes in float32: pass it as `precision`")
    capability = str(getattr(device, "compute_capability", ""))
    old = capability.replace(".", "").isdigit() and float(capability) < 8.0
    slow = device.platform == "cpu" and not devices.cpu_has_bfloat16()
    if slow or old:
        flags = " or ".join(devices.BFLOAT16_FLAGS)
        without = f"a CPU without the flag {flags} in /proc/cpuinfo"
        what = f"compute capability {capability}" if old else without
        raise ValueError(
            f"`precision` is bfloat16, which {device.device_kind} ({what}) has no fast "
            "arithmetic for; pass float32"
        )


def head(config: ResolvedEvaluation) -> heads.Head | None:
    """The head fitted on frozen features; None for an adaptation of another kind."""
    if config.head in ("learner", "finetune"):
        return None
    return HEADS.find(config.head).make(**dataclasses.asdict(config))


def learner(
    config: ResolvedConfig, data: Dataset | Shapes, teacher: Variables | None = None
) -> learners.Learner:
    """The learner of a configuration, for the classes of a dataset.

    The `teacher` is the variables of the run to distil from, for training alone.

    Raises:
      ValueError: an option out of its range, or a head or `flips` that do not fit the
        learner.
    """
    shapes = data if isinstance(data, Shapes) else shapes_of(data)
    body = model(config.model, shapes.input_shape[0])
    trained = _trained(config, shapes, body, teacher)
    evaluation = config.evaluation
    if evaluation.head == "finetune":
        steps, rate = evaluation.finetune_steps, evaluation.finetune_rate
        return learners.finetune(trained, body, num_steps=steps, learning_rate=rate)
    other = head(evaluation)
    if evaluation.shape.unequal and other is not None:
        check_takes_mask(other)
    made = trained if other is None else with_head(trained, other)
    return with_flips(made) if evaluation.flips else made


def _trained(
    config: ResolvedConfig, shapes: Shapes, body: nn.Module, teacher: Variables | None
) -> learners.Learner:
    """The learner with its own adaptation.

    Its factory is given the fields of its options, and what else its signature names.
    """
    factory = LEARNERS[config.algorithm].load()
    context = {
        "ways": config.train.train_ways,
        "num_classes": shapes.num_classes * (4 if config.data.rotations else 1),
        "test_steps": config.evaluation.test_steps,
        "task_pool": task_pool(config),
    }
    named = parameters_of(factory)
    options = {name: value for name, value in context.items() if name in named}
    options |= dataclasses.asdict(config.learner)
    if config.learner.distils:
        options["teacher"] = teacher
    made = factory(body, make_optimizer(config.train), **options)
    if not isinstance(made, learners.Learner):
        raise ValueError(
            f"the factory of {type(config.learner).__name__} must return a "
            f"metabridge.learners.Learner, but it returned {type(made).__name__}"
        )
    return made


def num_devices(config: ResolvedTrain, available: int, processes: int = 1) -> int:
    """The number of devices that share the tasks of a step.

    Raises:
      ValueError: more than are `available` in all processes, a number that does not
        divide the tasks, or not all devices of several processes.
    """
    tasks = config.tasks_per_step
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
