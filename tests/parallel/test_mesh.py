"""Devices that share tasks, seen from inside: the rows of each, and the mean of all."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metabridge.parallel import mesh
from metabridge.parallel.mesh import REPLICATED, TASKS
from tests.training.processes import last_lines, started

FOUR = """
import json
import jax, jax.numpy as jnp, numpy as np
from metabridge.parallel import mesh
from metabridge.parallel.mesh import REPLICATED, TASKS

rows = jnp.arange(8.0)
of_four = mesh.mesh_of(4)
describe = lambda x: jnp.full(2, x.shape[0] * 10 + x[0])
seen = mesh.over_tasks(describe, of_four, (TASKS,), TASKS)
mean = mesh.over_tasks(lambda x: mesh.mean(x.mean()), of_four, (TASKS,), REPLICATED)
replicated = mesh.replicate({"a": rows, "key": jax.random.key(3)}, of_four)
local = mesh.to_local(mesh.replicate(rows, mesh.mesh_of(2)))
doubled = mesh.over_rows(lambda a, x: a * x)
print(json.dumps({
    "seen": np.asarray(jax.jit(seen)(rows)).tolist(),
    "mean": float(jax.jit(mean)(rows)),
    "copies": len(replicated["a"].sharding.device_set),
    "key": np.asarray(jax.random.key_data(replicated["key"])).tolist(),
    "local": len(local.sharding.device_set),
    "doubled": np.asarray(doubled(jnp.asarray(2.0), rows)).tolist(),
    "spread": len(doubled(jnp.asarray(2.0), rows).sharding.device_set),
}))
"""


@pytest.mark.extended
def test_each_of_four_devices_has_its_tasks() -> None:
    found = json.loads(last_lines(started("-c", FOUR, devices=4))[0])
    # Each device has two rows, and the first of them is in its result.
    assert found["seen"] == [20, 20, 22, 22, 24, 24, 26, 26]
    assert found["mean"] == 3.5
    assert found["copies"] == found["local"] == found["spread"] == 4
    assert found["key"] == np.asarray(jax.random.key_data(jax.random.key(3))).tolist()
    assert found["doubled"] == [2.0 * row for row in range(8)]


def test_one_device_has_all() -> None:
    alone = mesh.mesh_of(1)
    mean = mesh.over_tasks(lambda x: mesh.mean(x.sum()), alone, (TASKS,), REPLICATED)
    assert float(jax.jit(mean)(jnp.arange(4.0))) == 6.0
    assert mesh.sharding(alone, REPLICATED).is_fully_replicated
