"""The compiled step: once for any number of steps, and how many fit a time."""

import dataclasses
import json
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import pytest

from metabridge.config import resolve
from metabridge.data.episodes import image_bank
from metabridge.learners import Info, State
from metabridge.training import run_folder, train
from metabridge.training.metrics import read_metrics
from metabridge.training.step import steps_within
from tests import toy


def test_steps_that_fit_a_time_leave_the_state_alone() -> None:
    seen = []

    def run_step(state: State, bank: Any, key: Any, number: Any) -> tuple[State, Info]:
        del bank, key, number
        seen.append(state)
        time.sleep(0.1 if len(seen) == 1 else 0.004)  # the first is slower
        return state, Info(*[jnp.zeros(())] * 3)

    state = State({"w": jnp.ones(2)}, {}, {}, jnp.zeros((), jnp.int32))
    rest = run_step, state, image_bank(toy.dataset().train), jax.random.key(0)
    number = steps_within(0.01, *rest)
    assert 60 <= number <= 150  # of 4 ms and what sleeping adds
    assert all(given.params["w"] is not state.params["w"] for given in seen)
    assert steps_within(1e-9, *rest) == 1


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
    longer = dataclasses.replace(config.train, minutes=0.02)
    with pytest.raises(run_folder.RunError, match=r"minutes was 0\.01, is 0\.02"):
        run_folder.check_run(
            folder, resolve(dataclasses.replace(config, train=longer)), resume=True
        )
