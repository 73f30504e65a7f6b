"""What a run would take: its step is compiled and timed, and nothing is written."""

import contextlib
import dataclasses
import json
from typing import Any

import jax

from metabridge.config import Config, images_per_step, to_json, with_steps
from metabridge.data import stream
from metabridge.parallel.devices import give_back_host_memory
from metabridge.precision import in_32_bits
from metabridge.training.assembly import parts_of, start_of, step_of
from metabridge.training.guards import disk
from metabridge.training.step import seconds_per_step, steps_of
from metabridge.units import format_bytes, format_duration


@in_32_bits
def dry_run(config: Config) -> dict[str, Any]:
    """Builds a run up to its first steps, which are timed and thrown away.

    Nothing is written but the dataset's cache, if that is not there yet.

    Args:
      config: what would be run.

    Returns:
      ``"config"``, resolved; counts, times in seconds and sizes in megabytes.

    Raises:
      ValueError: what `train` would refuse, memory included; not the run folder.
    """
    parts = parts_of(config)
    train = parts.config.train
    with contextlib.ExitStack() as closing:
        start = start_of(parts, closing)
        step = step_of(parts, start)
        checkpoint, needed = disk.checkpoint_bytes(start.state)
        parameters = sum(leaf.size for leaf in jax.tree.leaves(start.state.params))
        each = seconds_per_step(
            step.run_steps,
            start.state,
            start.images,
            start.key,
            at_most=train.log_every,
        )
    give_back_host_memory()
    if train.steps is None:
        train = with_steps(train, steps_of(train.minutes or 0.0, each))
    resolved = dataclasses.replace(parts.config, train=train)
    assert train.steps is not None
    images = images_per_step(train)
    return {
        "config": json.loads(to_json(resolved)),
        "parameters": parameters,
        "images_per_step": images,
        "steps": train.steps,
        "devices": parts.mesh.size,
        "streamed": isinstance(start.images, stream.TaskStream),
        "compile_seconds": step.compile_seconds,
        "step_seconds": each,
        "images_per_second": images / each,
        "train_seconds": each * train.steps,
        "step_memory_mb": step.memory_mb,
        "checkpoint_mb": checkpoint / 1e6,
        "disk_mb": needed / 1e6,
    }


def summary(report: dict[str, Any]) -> str:
    """The numbers of a report, a line each."""
    source = "streamed" if report["streamed"] else "on the device"
    return "\n".join(
        [
            f"parameters         {report['parameters']:,}",
            f"images of a step   {report['images_per_step']:,}, {source}",
            f"steps              {report['steps']:,}",
            f"devices            {report['devices']}",
            f"memory of a step   {format_bytes(1e6 * report['step_memory_mb'])}",
            f"a checkpoint       {format_bytes(1e6 * report['checkpoint_mb'])}; "
            f"the run needs {format_bytes(1e6 * report['disk_mb'])} of disk",
            f"compilation        {report['compile_seconds']:.1f} s",
            f"a step             {1e3 * report['step_seconds']:.1f} ms, "
            f"{report['images_per_second']:.0f} images/s",
            f"training           about {format_duration(report['train_seconds'])}, "
            "without validations and the test",
            "nothing was written: leave out --dry-run to train",
        ]
    )
