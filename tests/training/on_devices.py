"""Trains learners on several numbers of devices; run as a program by the tests.

``python -m tests.training.on_devices BODY STEPS LEARNER...`` in a process with eight
virtual devices prints, as JSON, of each learner and number of devices the losses, the
norm of the parameters at the end, and the collectives of the compiled step.

With ``METABRIDGE_TEST_PROCESS=port,count,id`` it is one of several processes, which
train on all of their devices.
"""

import dataclasses
import json
import os
import re
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax

from metabridge import build
from metabridge.config import (
    GradientBasedConfig,
    ModelConfig,
    MTLConfig,
    ResolvedConfig,
    resolve,
)
from metabridge.data import episodes
from metabridge.data.sampler import example_of
from metabridge.parallel import hosts
from metabridge.parallel.mesh import mesh_of, replicate
from metabridge.runs import inputs
from metabridge.training.step import jit_step, make_sampler
from tests import toy
from tests.own import OPTIONS

NAMES = "all-reduce|all-gather|all-to-all|collective-permute|reduce-scatter"
COLLECTIVE = rf"= .*? ({NAMES})(?:-start)?\("
TASKS = 8


def configured(name: str, body: str) -> ResolvedConfig:
    """A learner on toy tasks; "mtl batch" shares the statistics of its tasks."""
    name, _, option = name.partition(" ")
    options: Any = OPTIONS[name]()
    if option:
        assert isinstance(options, MTLConfig)
        options = dataclasses.replace(options, statistics=option)
    if isinstance(options, GradientBasedConfig):
        options = dataclasses.replace(options, inner_steps=2)
    config = toy.config(
        Path("unused"), learner=options, tasks_per_step=TASKS, learning_rate=0.05
    )
    model = ModelConfig(model="conv4", width=4)
    if body == "mlp":
        model = config.model
    evaluation = dataclasses.replace(config.evaluation, ways=4, head=None)
    return resolve(dataclasses.replace(config, model=model, evaluation=evaluation))


def trained(name: str, body: str, devices: int, steps: int) -> dict[str, Any]:
    """What a learner tells on so many devices."""
    config = configured(name, body)
    dataset = toy.dataset(size=8 if body == "mlp" else 16)
    keys = inputs.make_keys(config)
    learner = build.learner(config, dataset)
    mesh = mesh_of(devices)
    step = jit_step(learner, make_sampler(config, dataset, keys), config, mesh)
    bank = replicate(episodes.make_bank(dataset.train), mesh)
    key = replicate(keys.train, mesh)
    state = replicate(learner.init(keys.init, example_of(dataset)), mesh)
    compiled = step.lower(state, bank, key, np.int32(0)).compile()
    found = re.findall(COLLECTIVE, compiled.as_text() or "")
    infos = []
    for number in range(steps):
        state, info = compiled(state, bank, key, np.int32(number))
        infos.append(jax.block_until_ready(info))
    leaf = jax.tree.leaves(state.params)[0]
    assert len(leaf.sharding.device_set) == devices
    return {
        "losses": [float(info.loss) for info in infos],
        "accuracies": [float(info.accuracy) for info in infos],
        "norm": float(optax.global_norm(jax.device_get(state.params))),
        "collectives": Counter(found),
    }


def main() -> None:
    body, steps, *names = sys.argv[1:]
    process = os.environ.get("METABRIDGE_TEST_PROCESS")
    if process:
        port, count, number = map(int, process.split(","))
        hosts.connect(f"127.0.0.1:{port}", count, number)
        numbers = [jax.device_count()]
    else:
        numbers = [1, 2, 4, 8]
    results = {
        name: {count: trained(name, body, count, int(steps)) for count in numbers}
        for name in names
    }
    print(json.dumps(results))


if __name__ == "__main__":
    jax.config.update("jax_numpy_dtype_promotion", "standard")
    main()
