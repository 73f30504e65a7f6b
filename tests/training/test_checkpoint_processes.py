"""Checkpoints of a state that two processes share: one folder, one digest."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

_PROCESS = """
import logging, sys
from pathlib import Path
import jax
number, port, folder = int(sys.argv[1]), sys.argv[2], Path(sys.argv[3])
jax.config.update("jax_cpu_collectives_implementation", "gloo")
jax.distributed.initialize(f"localhost:{port}", 2, number)
import jax.numpy as jnp, numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from metabridge.learners import State
from metabridge.training.checkpoint import Checkpoints, Progress, TrainState
from metabridge.training.guards.disk import check_space
from metabridge.training.checkpoint import digest

logging.basicConfig(format="%(message)s")
assert jax.process_count() == 2
mesh = Mesh(np.asarray(jax.devices()), ("tasks",))
everywhere = NamedSharding(mesh, PartitionSpec())

def state(step):
    values = np.random.default_rng(step).normal(size=(64, 8)).astype(np.float32)
    tree = State({"w": values}, {}, {}, np.asarray(step, np.int32))
    return jax.tree.map(
        lambda leaf: jax.make_array_from_callback(
            leaf.shape, everywhere, lambda index: leaf[index]
        ),
        tree,
    )

def at(step, accuracy):
    return TrainState(Progress(step, 1.0, accuracy, 0.75, 0), state(step), {})

check_space(folder, state(0))
checkpoints = Checkpoints(folder)
assert checkpoints.restore(state(0), {}) is None
for step, accuracy in ((1, 0.75), (2, 0.25), (3, 0.5)):
    checkpoints.save(at(step, accuracy))
checkpoints.close()
if number == 0:
    (folder / "3" / "progress" / "metadata").write_text("{")
multihost_utils.sync_global_devices("damaged")
checkpoints = Checkpoints(folder)
progress, found, _ = checkpoints.restore(state(0), {})
assert progress.step == 2, progress
assert digest(found) == digest(state(2))
assert not found.params["w"].is_fully_addressable
checkpoints.save(at(3, 0.5))
checkpoints.close()
checkpoints = Checkpoints(folder, read_only=True)
assert checkpoints.restore(state(0), {})[0].step == 3
best, found, _ = checkpoints.restore(state(0), {}, best=True)
assert best.step == 1, best
assert digest(found) == digest(state(1))
checkpoints.close()
print("good")
"""


@pytest.mark.slow
def test_two_processes_save_restore_and_pass_over_damage(tmp_path: Path) -> None:
    with socket.socket() as found:
        found.bind(("localhost", 0))
        port = found.getsockname()[1]
    path = os.pathsep.join([str(ROOT), *filter(None, sys.path)])
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", _PROCESS, str(number), str(port), tmp_path / "c"],
            env=os.environ | {"PYTHONPATH": path, "JAX_PLATFORMS": "cpu"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(2)
    ]
    said = [process.communicate(timeout=300) for process in processes]
    for process, (out, errors) in zip(processes, said, strict=True):
        assert process.returncode == 0, errors[-3000:]
        assert out.splitlines()[-1] == "good"
    warnings = [errors.count("checkpoint 3 of") for _, errors in said]
    assert warnings == [1, 0]  # from the first process alone
    names = {path.name for path in (tmp_path / "c").iterdir()}
    assert names == {"1", "2", "3", "damaged-3"}
