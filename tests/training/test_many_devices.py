"""Training on several devices and in several processes: as on one, and resumed."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from metabridge.runs.metrics import read_metrics
from tests.own import OPTIONS
from tests.training.processes import free_port, last_lines, started

pytestmark = pytest.mark.extended

SCRIPT = ("-m", "tests.training.on_devices")
TOGETHER = ("mtl batch", "rfs")
"""Learners whose tasks share statistics, which takes more to exchange."""
LEARNERS = (*OPTIONS, "mtl batch")
CONVOLVING = ("mtl", "mtl batch", "protonet", "anil")
"""With batch normalisation, whose statistics must not depend on the devices either."""


def of_devices(body: str, steps: int, *names: str) -> dict[str, dict[str, Any]]:
    """What each learner tells on 1, 2, 4 and 8 virtual devices."""
    process = started(*SCRIPT, body, str(steps), *names, devices=8)
    return json.loads(last_lines(process)[0])


def of_processes(body: str, steps: int, *names: str) -> dict[str, dict[str, Any]]:
    """The same on the four devices of two processes, as the first one has it."""
    port = free_port()
    processes = [
        started(
            *SCRIPT, body, str(steps), *names,
            devices=2, METABRIDGE_TEST_PROCESS=f"{port},2,{number}",
        )
        for number in range(2)
    ]  # fmt: skip
    first, second = last_lines(*processes)
    assert json.loads(first) == json.loads(second)
    return json.loads(first)


def assert_same(results: dict[str, Any], one: dict[str, Any], name: str) -> None:
    """Losses to 1e-5 at every step, and the parameters after them."""
    assert len(set(one["losses"])) > 1
    for count, many in results.items():
        where = f"{name} on {count} devices"
        np.testing.assert_allclose(
            many["losses"], one["losses"], rtol=1e-5, err_msg=where
        )
        np.testing.assert_allclose(many["norm"], one["norm"], rtol=1e-5, err_msg=where)


def assert_minimal(results: dict[str, Any], name: str) -> None:
    """One all-reduce takes the mean of gradients, statistics and losses."""
    for count, many in results.items():
        expected = {} if count == "1" else {"all-reduce": 1}
        if name not in TOGETHER:
            assert many["collectives"] == expected, f"{name} on {count} devices"
        elif count != "1":
            assert many["collectives"]["all-reduce"] >= 1


def test_many_devices_give_the_result_of_one() -> None:
    results = of_devices("mlp", 3, "mtl", "rfs")
    for name, of_name in results.items():
        assert list(of_name) == ["1", "2", "4", "8"]
        assert_same(of_name, of_name["1"], name)
        assert_minimal(of_name, name)


def test_two_processes_give_the_result_of_one() -> None:
    results = of_processes("mlp", 3, "mtl")
    assert list(results["mtl"]) == ["4"]
    alone = of_devices("mlp", 3, "mtl")["mtl"]["1"]
    assert_same(results["mtl"], alone, "mtl")
    assert_minimal(results["mtl"], "mtl")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("body", "names"),
    [("mlp", LEARNERS), ("conv4", CONVOLVING)],
    ids=["mlp", "conv4"],
)
def test_every_learner_takes_fifty_steps_alike_everywhere(
    body: str, names: tuple[str, ...]
) -> None:
    for name in names:
        results = of_devices(body, 50, name)[name]
        assert_same(results, results["1"], name)
        assert_minimal(results, name)
        pairs = of_processes(body, 50, name)[name]
        assert_same(pairs, results["1"], name)
        assert_minimal(pairs, name)


_RESUMED = """
import dataclasses, sys
from pathlib import Path
import jax, numpy as np
from metabridge import train
from metabridge.runs.metrics import MetricsWriter
from tests import toy
from tests.training.test_train import restored

config, folder = toy.config(Path(sys.argv[1]), devices=None), Path(sys.argv[2])
then = int(sys.argv[3])
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
now = dataclasses.replace(config, train=dataclasses.replace(config.train, devices=then))
train(now, folder / "resumed", resume=True)
whole, resumed = (restored(config, folder / name) for name in ("whole", "resumed"))
assert whole[0].step == resumed[0].step == 6
leaves = [jax.tree.leaves(run[1].params) for run in (whole, resumed)]
for one, two in zip(*leaves, strict=True):
    if then == 4:
        np.testing.assert_array_equal(one, two)
    else:
        np.testing.assert_allclose(one, two, rtol=1e-5, atol=1e-6)
print("equal")
"""


@pytest.mark.slow
@pytest.mark.parametrize("then", ["4", "2", "1"])
def test_a_run_on_four_devices_is_resumed_on_any(
    images: Path, tmp_path: Path, then: str
) -> None:
    process = started("-c", _RESUMED, images, tmp_path, then, devices=4)
    assert last_lines(process) == ["equal"]


def of_run(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "result.json").read_text(encoding="utf-8"))


@pytest.mark.slow
@pytest.mark.parametrize("learner", ["mtl", "maml"])
def test_a_run_of_two_processes_is_the_run(
    images: Path, tmp_path: Path, learner: str
) -> None:
    """Through the command line: data, loop, checkpoints, evaluation and files."""
    options = (
        "--dataset", f"folder:{images}", "--model", "mlp", "--width", "16",
        "--depth", "1", "--train-ways", "3", "--train-shots", "2", "--train-queries",
        "1", "--tasks-per-step", "4", "--steps", "6", "--validate-every", "3",
        "--validation-tasks", "21", "--tasks", "41", "--ways", "3", "--shots", "2",
        "--queries", "2", "--log-every", "2",
    )  # fmt: skip
    train = ("-m", "metabridge", "train", learner, *options, "--run-dir")
    cache = {"METABRIDGE_CACHE": os.environ["METABRIDGE_CACHE"]}
    last_lines(started(*train, tmp_path / "one", devices=1, **cache))
    address = f"127.0.0.1:{free_port()}"
    parts = [
        started(
            *train, tmp_path / "two", "--coordinator", address, "--num-processes", "2",
            "--process-id", str(number), devices=2, **cache,
        )
        for number in range(2)
    ]  # fmt: skip
    told = [part.communicate(timeout=600) for part in parts]
    assert [part.returncode for part in parts] == [0, 0], told[0][1][-3000:]
    assert "41 unseen tasks" in told[0][0]
    # Only the first one speaks, beside the library between them.
    said = [line for line in told[1][0].splitlines() if not line.startswith("[Gloo]")]
    assert not said
    one, two = of_run(tmp_path / "one"), of_run(tmp_path / "two")
    np.testing.assert_allclose(two["accuracy"], one["accuracy"], atol=1e-5)
    assert two["best_step"] == one["best_step"]
    assert two["features"] == pytest.approx(one["features"], rel=1e-3)
    lines = (tmp_path / "two" / "metrics.jsonl").read_text().splitlines()
    assert sum('"kind": "features"' in line for line in lines) == 2
    measured = [
        list(read_metrics(tmp_path / n, "features"))[-1] for n in ("one", "two")
    ]
    for name in ("train_cdnv", "head_condition_number"):
        assert measured[1][name] == pytest.approx(measured[0][name], rel=1e-2)
    names = {path.name for path in (tmp_path / "two").iterdir()}
    assert names == {path.name for path in (tmp_path / "one").iterdir()}
