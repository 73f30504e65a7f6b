"""The cost of a run: its step is compiled and timed, and nothing is written."""

import dataclasses
import json
from typing import Any

import jax

from metabridge import build
from metabridge.config import Config, images_per_step, to_json, with_steps
from metabridge.data.sampler import example_of
from metabridge.data.stream import TaskStream
from metabridge.parallel.devices import give_back_host_memory
from metabridge.parallel.mesh import replicate
from metabridge.precision import in_32_bits
from metabridge.runs import inputs
from metabridge.training.guards import disk
from metabridge.training.sizes import compile_stages, time_stages
from metabridge.training.step import (
    count_steps,
    make_sampler,
    place_images,
)
from metabridge.training.teacher import load_teacher
from metabridge.training.train import choose_mesh
from metabridge.units import format_bytes, format_duration


@in_32_bits
def dry_run(config: Config) -> dict[str, Any]:
    """Builds a run up to its first steps, which are timed and thrown away.

    Nothing is written but the dataset's cache, if that is not there yet.

    Returns:
      ``"config"``, resolved; counts, times in seconds and sizes in megabytes.

    Raises:
      ValueError: what `train` would refuse, memory included; not the run folder.
    """
    config, dataset = inputs.resolve_with_data(config)
    inputs.check_shapes(config, dataset)
    mesh = choose_mesh(config)
    learner = build.learner(config, dataset, load_teacher(config, dataset))
    keys = inputs.make_keys(config)
    sampler = make_sampler(config, dataset, keys)
    with place_images(config, dataset, sampler, keys, mesh) as images:
        key = replicate(keys.train, mesh)
        state = replicate(learner.init(keys.init, example_of(dataset)), mesh)
        stages, costs = compile_stages(
            config, dataset, learner, sampler, mesh, state, images, key
        )
        seconds = time_stages(config.train, stages, state, key)
    give_back_host_memory()
    if config.train.minutes is not None and not config.train.steps:
        steps = count_steps(config.train.minutes, seconds)
        config = dataclasses.replace(config, train=with_steps(config.train, steps))
    checkpoint, needed = disk.checkpoint_bytes(state)
    num_images = images_per_step(config.train)
    return {
        "config": json.loads(to_json(config)),
        "parameters": sum(leaf.size for leaf in jax.tree.leaves(state.params)),
        "images_per_step": num_images,
        "steps": config.train.steps,
        "devices": mesh.size,
        "streamed": isinstance(images, TaskStream),
        "step_seconds": seconds,
        "images_per_second": num_images / seconds,
        "train_seconds": seconds * config.train.steps,
        "checkpoint_mb": checkpoint / 1e6,
        "disk_mb": needed / 1e6,
        **costs,
    }


def summary(report: dict[str, Any]) -> str:
    """The numbers of a report, a line each."""
    source = "streamed" if report["streamed"] else "on the device"
    memory, checkpoint, disk_space = (
        format_bytes(1e6 * report[name])
        for name in ("step_memory_mb", "checkpoint_mb", "disk_mb")
    )
    return "\n".join(
        [
            f"parameters         {report['parameters']:,}",
            f"images of a step   {report['images_per_step']:,}, {source}",
            f"steps              {report['steps']:,}",
            f"devices            {report['devices']}",
            f"memory of a step   {memory}",
            f"a checkpoint       {checkpoint}; the run needs {disk_space} of disk",
            f"compilation        {report['compile_seconds']:.1f} s",
            f"a step             {1e3 * report['step_seconds']:.1f} ms, "
            f"{report['images_per_second']:.0f} images/s",
            f"training           about {format_duration(report['train_seconds'])}, "
            "without validations and the test",
            "nothing was written: leave out --dry-run to train",
        ]
    )
