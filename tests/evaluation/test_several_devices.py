"""Evaluation on several devices gives what it gives on one."""

import json

import pytest

from tests.training.processes import last_lines, started

SCORED = """
import json
import jax, jax.numpy as jnp, optax
from metabridge import evaluation, heads
from metabridge.evaluation.measurements import measure_training
from metabridge.learners import class_table, mtl, variables_of
from metabridge.models import MLP
from metabridge.types import TaskShape
from tests import toy

shape, dataset = TaskShape(ways=3, shots=2, queries=3), toy.dataset(spread=120)
learner = mtl(MLP(16, 1), optax.sgd(0.1), heads=class_table(8), head=heads.centroid())
example = jnp.zeros((1, *dataset.image_shape))
variables = variables_of(learner.init(jax.random.key(1), example))
evaluate = evaluation.evaluator(learner, dataset, dataset.test, shape)
score = evaluate(variables, jax.random.key(0), 7)
measured = measure_training(learner, dataset, shape)(variables)
print(json.dumps({"accuracy": float(score.accuracy), **measured}))
"""


def test_a_frozen_body_is_scored_on_two_devices_as_on_one() -> None:
    processes = [started("-c", SCORED, devices=devices) for devices in (1, 2)]
    one, two = map(json.loads, last_lines(*processes))
    assert 0.2 < one["accuracy"] < 1
    assert two == pytest.approx(one, rel=1e-5)
