"""Training on images of several sizes: which steps, their time, resuming, refusals."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metabridge.config import Config, EvaluationConfig, resolve
from metabridge.learners import Info, State
from metabridge.runs.metrics import MetricsWriter, read_metrics
from metabridge.training import sizes, train
from metabridge.training.dry_run import dry_run
from metabridge.training.sizes import Stage, in_turn, time_stages
from metabridge.training.step import RunSteps
from tests import toy
from tests.own import pooled
from tests.training.test_train import restored

__all__ = ["pooled"]

SIZES = ((0.0, 4), (0.5, 8))


def no_state() -> State:
    return State({}, {}, {}, jnp.zeros((), jnp.int32))


def named(name: str, calls: list[tuple[str, int, int]]) -> RunSteps:
    def run_steps(state: Any, key: Any, first: int, count: int, stop: Any = None):
        calls.append((name, first, count))
        return state, Info(jnp.zeros(count), jnp.zeros(count), jnp.zeros(count))

    return run_steps


def test_no_call_crosses_a_change() -> None:
    calls: list[tuple[str, int, int]] = []
    shares = {"own": 0.0, "small": 0.07, "never": 0.0701, "large": 0.5}
    stages = [Stage(share, named(name, calls)) for name, share in shares.items()]
    run_steps, done = in_turn(stages, 100), 0
    while done < 100:
        _, info = run_steps(no_state(), None, done, 40)
        done += len(info.loss)
    assert calls == [
        ("own", 0, 7),
        ("never", 7, 40),
        ("never", 47, 3),
        ("large", 50, 40),
        ("large", 90, 40),
    ]


def test_the_time_of_a_step_is_that_of_every_stage_by_its_share(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seconds = {"own": 3.0, "small": 1.0, "large": 2.0}
    monkeypatch.setattr(sizes, "time_step", lambda train, name, *rest: seconds[name])
    shares: Any = (0.0, "own"), (0.1, "small"), (0.6, "large")
    stages = [Stage(*pair) for pair in shares]
    mean = time_stages(resolve(Config()).train, stages, no_state(), jax.random.key(0))
    np.testing.assert_allclose(mean, 0.1 * 3 + 0.5 * 1 + 0.4 * 2)


def config(images: Path, **options: Any) -> Config:
    found = toy.config(images, train_sizes=SIZES, learner=toy.FIXED_TASKS, **options)
    body = dataclasses.replace(found.model, model="pooled", width=None)
    return dataclasses.replace(found, model=body)


@pytest.mark.slow
@pytest.mark.usefixtures(pooled.__name__)
@pytest.mark.parametrize("streamed", [False, True])
def test_a_run_that_is_resumed_across_a_change_equals_one_in_one_go(
    streamed: bool, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {"log_every": 4, "validate_every": 6, "stream": streamed}
    whole = train(config(images, **options), tmp_path / "whole")
    records = list(read_metrics(tmp_path / "whole", "train"))
    assert [record["step"] for record in records] == [3, 6]
    interrupted = config(images, **options | {"checkpoint_minutes": 1e-9})
    write, stopped = MetricsWriter.write, []

    def stop_once(self, step: int, kind: str, values) -> None:
        write(self, step, kind, values)
        if step == 6 and not stopped:
            stopped.append(step)
            raise KeyboardInterrupt

    monkeypatch.setattr(MetricsWriter, "write", stop_once)
    with pytest.raises(KeyboardInterrupt):
        train(interrupted, tmp_path / "again")
    assert restored(interrupted, tmp_path / "again")[0].step == 3
    result = train(interrupted, tmp_path / "again", resume=True)
    assert result["accuracy"] == whole["accuracy"]
    states: list[State] = [
        restored(one, tmp_path / name)[1]
        for one, name in ((interrupted, "again"), (interrupted, "whole"))
    ]
    for one, two in zip(*map(jax.tree.leaves, states), strict=True):
        np.testing.assert_array_equal(one, two)
    plain = dataclasses.replace(interrupted.train, train_sizes=())
    train(dataclasses.replace(interrupted, train=plain), tmp_path / "plain")
    other = restored(interrupted, tmp_path / "plain")[1]
    pairs = zip(*map(jax.tree.leaves, (other.params, states[0].params)), strict=True)
    assert any(np.any(a != b) for a, b in pairs)


@pytest.mark.slow
@pytest.mark.usefixtures(pooled.__name__)
def test_a_dry_run_and_a_run_for_minutes(images: Path, tmp_path: Path) -> None:
    timed = {"steps": None, "validate_every": None}
    report = dry_run(config(images, minutes=1.0, **timed))
    assert report["config"]["train"]["train_sizes"] == [[0.0, 4], [0.5, 8]]
    assert report["train_seconds"] == pytest.approx(60, rel=0.01)
    result = train(config(images, minutes=0.005, **timed), tmp_path / "run")
    written = json.loads((tmp_path / "run" / "config.json").read_text())["train"]
    assert written["steps"] == result["train_steps"] > 1


def test_a_body_that_depends_on_the_size_is_refused_before_any_work(
    images: Path, tmp_path: Path
) -> None:
    found = toy.config(images, train_sizes=SIZES)
    for call in (dry_run, lambda config: train(config, tmp_path / "run")):
        with pytest.raises(ValueError, match="those of mlp do: 4x4 pixels give other"):
            call(found)
    adapting = EvaluationConfig(ways=3, shots=2, head="finetune", flips=True)
    with pytest.raises(ValueError, match="`head` is finetune"):
        dry_run(dataclasses.replace(toy.config(images), evaluation=adapting))
    assert not (tmp_path / "run").exists()
