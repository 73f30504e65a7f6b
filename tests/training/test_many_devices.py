"""Training on four virtual devices: as on one, and resumed."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

_FOUR_DEVICES = """
import json, sys
from pathlib import Path
import jax, numpy as np
from metabridge import build
from metabridge.config import resolve
from metabridge.data import episodes, load_dataset
from metabridge.training import setup
from metabridge.training.sampler import example_of
from metabridge.training.step import jitted
from tests import toy

assert len(jax.devices()) == 4
config = resolve(toy.config(Path(sys.argv[1])))
dataset = load_dataset(config.data.dataset)
keys = setup.keys_of(config)
learner = build.learner(config, dataset)
results = {}
for devices in (1, 2, 4):
    step = jitted(learner, setup.sampler(config, dataset, keys), config, devices)
    state = learner.init(keys.init, example_of(dataset))
    losses = []
    for number in range(3):
        bank = episodes.image_bank(dataset.train)
        state, info = step(state, bank, keys.train, np.int32(number))
        losses.append(float(info.loss))
    leaf = state.params["body"]["NTKDense_0"]["kernel"]
    assert len(leaf.sharding.device_set) == devices
    leaves = jax.tree.leaves(state.params)
    results[devices] = losses, [np.asarray(x).tolist() for x in leaves]
print(json.dumps(results))
"""


def _with_four_devices(code: str, *arguments: Path) -> str:
    """The last line that a script prints."""
    root = Path(__file__).parents[2]
    environment = os.environ | {
        "XLA_FLAGS": "--xla_force_host_platform_device_count=4",
        "JAX_PLATFORMS": "cpu",
        "PYTHONPATH": os.pathsep.join([str(root), *sys.path]),
    }
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout.splitlines()[-1]


def test_four_devices_give_the_result_of_one(images: Path) -> None:
    results = json.loads(_with_four_devices(_FOUR_DEVICES, images))
    losses, params = results["1"]
    assert losses[2] < losses[0]
    for devices in ("2", "4"):
        np.testing.assert_allclose(results[devices][0], losses, rtol=1e-5)
        for one, many in zip(params, results[devices][1], strict=True):
            # The mean over the tasks is summed in another order, three times over.
            np.testing.assert_allclose(many, one, rtol=1e-4, atol=1e-6)


_RESUMED = """
import sys
from pathlib import Path
import jax, numpy as np
from metabridge import train
from metabridge.training.metrics import MetricsWriter
from tests import toy
from tests.training.test_loop import restored

config, folder = toy.config(Path(sys.argv[1]), devices=None), Path(sys.argv[2])
assert jax.device_count() == 4
write = MetricsWriter.write

def interrupted(self, step, kind, values):
    if (step, kind) == (6, "train"):
        raise KeyboardInterrupt
    write(self, step, kind, values)

train(config, folder / "whole")
MetricsWriter.write = interrupted
try:
    train(config, folder / "resumed")
except KeyboardInterrupt:
    MetricsWriter.write = write
assert restored(config, folder / "resumed")[0].step == 4
train(config, folder / "resumed", resume=True)
whole, resumed = (restored(config, folder / name) for name in ("whole", "resumed"))
assert whole[0].step == resumed[0].step == 6
leaves = [jax.tree.leaves(run[1]) for run in (whole, resumed)]
for one, two in zip(*leaves, strict=True):
    np.testing.assert_array_equal(one, two)
print("equal")
"""


@pytest.mark.slow
def test_a_run_on_four_devices_is_resumed(images: Path, tmp_path: Path) -> None:
    assert _with_four_devices(_RESUMED, images, tmp_path) == "equal"
