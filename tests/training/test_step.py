"""The compiled step: once for any number of steps, and how many fit a time."""

import dataclasses
import json
import types
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metabridge import build
from metabridge.config import Config, TrainConfig, resolve
from metabridge.data.episodes import Bank
from metabridge.data.sampler import example_of
from metabridge.data.stream import TaskStream
from metabridge.learners import Info, State
from metabridge.parallel.mesh import mesh_of
from metabridge.runs import folder as run_folder
from metabridge.runs.inputs import Keys, make_keys, resolve_with_data
from metabridge.runs.metrics import read_metrics
from metabridge.training import step as step_module
from metabridge.training import train
from metabridge.training.step import (
    Images,
    RunSteps,
    compile_step,
    count_steps,
    make_sampler,
    place_images,
    time_step,
)
from tests import toy


def test_steps_that_fit_a_time_leave_the_state_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen, now = [], [0.0]
    clock = types.SimpleNamespace(perf_counter=lambda: now[0])
    monkeypatch.setattr(step_module, "time", clock)

    def run_steps(state: State, key: Any, first: int, count: int) -> tuple[State, Info]:
        del key, first
        assert count <= 8
        seen.append(state)
        now[0] += 0.1 if len(seen) == 1 else 0.004 * count  # the first is slower
        return state, Info(jnp.zeros(count), jnp.zeros(count), jnp.zeros(count))

    state = State({"w": jnp.ones(2)}, {}, {}, jnp.zeros((), jnp.int32))
    train = resolve(Config(train=TrainConfig(minutes=0.01, log_every=8))).train
    seconds = time_step(train, run_steps, state, jax.random.key(0))
    assert count_steps(0.01, seconds) == 150  # of 4 ms
    assert all(given.params["w"] is not state.params["w"] for given in seen)
    assert count_steps(1e-9, seconds) == 1


def made(
    config: Config, **options: Any
) -> tuple[RunSteps, State, Images, Keys, dict[str, float]]:
    """Compiled steps of a run, and what they start from."""
    config, dataset = resolve_with_data(config)
    keys, mesh = make_keys(config), mesh_of(1)
    learner = build.learner(config, dataset)
    sampler = make_sampler(config, dataset, keys)
    state = learner.init(keys.init, example_of(dataset))
    with place_images(config, dataset, sampler, keys, mesh) as images:
        run_steps, costs = compile_step(
            config, learner, sampler, mesh, state, images, keys.train, **options
        )
    return run_steps, state, images, keys, costs


@pytest.mark.parametrize("streamed", [False, True])
def test_images_are_on_the_device_or_streamed(images: Path, streamed: bool) -> None:
    config = toy.config(images, stream=streamed)
    run_steps, state, source, keys, costs = made(config)
    assert isinstance(source, TaskStream if streamed else Bank)
    state, info = run_steps(state, keys.train, 0, 2)
    assert int(state.step) == 2
    assert info.loss.shape == (2,)
    assert costs["step_memory_mb"] > 0
    assert costs["compile_seconds"] > 0
    if isinstance(source, TaskStream):
        source.close()


@pytest.mark.extended
def test_steps_in_a_loop_on_the_device_are_those_of_a_call_each(images: Path) -> None:
    results = {}
    for on_device in (False, True):
        config = toy.config(images, log_every=4)
        run_steps, state, _, keys, _ = made(config, on_device=on_device)
        state, first = run_steps(state, keys.train, 0, 4)
        state, second = run_steps(state, keys.train, 4, 3)
        told = jax.tree.map(lambda *parts: np.concatenate(parts), first, second)
        results[on_device] = state, told
    (state, told), (other, others) = results.values()
    assert told.loss.shape == (7,)
    assert len(set(told.loss.tolist())) == 7
    for a, b in zip(jax.tree.leaves(told), jax.tree.leaves(others), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4)
    for a, b in zip(jax.tree.leaves(state), jax.tree.leaves(other), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
    assert int(state.step) == 7


@pytest.mark.extended
def test_a_run_for_minutes_compiles_once_and_keeps_its_steps(
    images: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    timed = {"minutes": 0.01, "steps": None, "validate_every": None, "log_every": 100}
    config = toy.config(images, **timed)
    folder = tmp_path / "run"
    with jax.log_compiles():
        result = train(config, folder)
    compiled = [r.message for r in caplog.records if "XLA compilation" in r.message]
    assert sum("jit(step)" in message for message in compiled) == 1
    written = json.loads((folder / "config.json").read_text())["train"]
    assert written["minutes"] == 0.01
    assert written["steps"] == result["train_steps"] > 1
    assert written["validate_every"] == max(written["steps"] // 10, 1)
    assert len(list(read_metrics(folder, "validation"))) >= 10
    assert result["compile_seconds"] > 0
    assert result["step_memory_mb"] > 0
    # A resumed run takes these steps, and another time is another run.
    again = run_folder.check_run(folder, resolve(config), resume=True)
    assert again.train.steps == written["steps"]
    for interrupted in (False, True):  # as a comparison goes on
        if interrupted:
            (folder / "result.json").unlink()
        resumed = train(resolve(config), folder, resume=True)
        assert resumed["train_steps"] == written["steps"]
    longer = dataclasses.replace(config.train, minutes=0.02)
    with pytest.raises(run_folder.RunError, match=r"minutes was 0\.01, is 0\.02"):
        run_folder.check_run(
            folder, resolve(dataclasses.replace(config, train=longer)), resume=True
        )
