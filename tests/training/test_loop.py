"""The loop when things go wrong: rollbacks, checkpoints by time, an early stop."""

import dataclasses
import itertools
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from metabridge import build
from metabridge.config import Config, TrainConfig
from metabridge.data.sampler import example_of
from metabridge.learners import State
from metabridge.parallel.mesh import mesh_of
from metabridge.runs import inputs
from metabridge.runs.metrics import MetricsWriter, read_metrics
from metabridge.training import DivergenceError, loop, train
from metabridge.training.guards.preemption import Preempted
from metabridge.training.loop import plateau_rule
from tests import toy
from tests.training.fake_run import assert_same_state, fake_run
from tests.training.test_train import restored


def rate(state: State) -> Any:
    return state.optimizer.hyperparams["learning_rate"]


@pytest.mark.extended
@pytest.mark.parametrize("at", [1, 4], ids=["from the start", "from a checkpoint"])
def test_a_rollback_goes_on_with_other_keys_and_half_the_rate(
    tmp_path: Path, at: int, capsys: pytest.CaptureFixture[str]
) -> None:
    run = fake_run(
        tmp_path / "run",
        rollbacks=1,
        # The learning rate is 0.01; half of it does no harm.
        loss=lambda step, rate: np.nan if step == at and rate > 0.006 else 1.0,
    )
    progress = run.train()
    assert (progress.step, progress.rollbacks) == (6, 1)
    _, state = run.restored()
    assert float(rate(state)) == np.float32(0.005)
    (record,) = read_metrics(run.folder, "rollback")
    back_at = at // 2 * 2
    assert record["step"] == back_at
    assert f"not finite at step {at + 1}" in capsys.readouterr().err
    # Up to the checkpoint the run is as it would have been, from there on it is not.
    whole = fake_run(tmp_path / "whole", loss=lambda step, rate: 1.0)
    whole.train()
    moved = [
        np.diff([0, *(p["body"]["w"][0] for p in r.validated)]) for r in (run, whole)
    ]
    same = [2 * half == full for half, full in zip(*moved, strict=True)]
    assert not any(same[back_at // 2 :])
    assert (moved[0] == moved[1]).tolist() == [step <= back_at for step in (2, 4, 6)]


@pytest.mark.slow
@pytest.mark.parametrize("stream", [pytest.param(False, marks=pytest.mark.slow), True])
def test_a_rollback_of_a_network_takes_other_tasks(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stream: bool
) -> None:
    config = toy.config(images, rollbacks=1, schedule="constant", stream=stream)
    train(config, tmp_path / "whole")
    make = build.learner

    def broken(config: Any, dataset: Any, teacher: Any = None) -> Any:
        learner = make(config, dataset, teacher)

        def gradient(keys: Any, state: State, batch: Any) -> Any:
            means = learner.gradient(keys, state, batch)
            breaks = (state.step == 4) & (rate(state) > 0.006)
            return means._replace(loss=jnp.where(breaks, jnp.nan, means.loss))

        return learner._replace(gradient=gradient)

    monkeypatch.setattr(build, "learner", broken)
    train(config, tmp_path / "run")
    progress, state = restored(config, tmp_path / "run")
    assert (progress.step, progress.rollbacks) == (6, 1)
    assert float(rate(state)) == np.float32(0.005)
    losses = [
        [record["loss"] for record in read_metrics(tmp_path / name, "train")]
        for name in ("whole", "run")
    ]
    same = [one == two for one, two in zip(*losses, strict=True)]
    assert same == [True, True, False]


def test_parameters_that_are_not_finite_are_never_saved(tmp_path: Path) -> None:
    def update(step: int, rate: float) -> float:
        """The fourth update is infinite, at the full learning rate."""
        return np.inf if step == 3 and rate > 0.006 else 1.0

    run = fake_run(tmp_path / "run", rollbacks=1, update=update)
    assert run.train()[0] == 6
    progress, state = run.restored()
    assert (progress.step, progress.rollbacks) == (6, 1)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(state.params))
    (record,) = read_metrics(run.folder, "rollback")
    assert record["step"] == 2  # not 4, whose parameters are infinite
    run = fake_run(tmp_path / "no rollback", update=update)
    with pytest.raises(DivergenceError, match="parameters are not finite after step 4"):
        run.train()
    assert run.restored()[0].step == 2


def test_rollbacks_come_to_an_end(tmp_path: Path) -> None:
    run = fake_run(
        tmp_path / "run",
        rollbacks=2,
        loss=lambda step, rate: np.inf if step == 3 else 1.0,
    )
    with pytest.raises(DivergenceError, match="not finite at step 4"):
        run.train()
    records = list(read_metrics(run.folder, "rollback"))
    assert records[-1]["rollbacks"] == 2


@pytest.mark.extended
@pytest.mark.parametrize(("spike", "rollbacks"), [(None, 0), (10.0, 1)])
def test_a_spike_is_rolled_back_if_asked_for(
    tmp_path: Path, spike: float | None, rollbacks: int
) -> None:
    run = fake_run(
        tmp_path / "run",
        rollbacks=1,
        spike=spike,
        loss=lambda step, rate: 1000.0 if step == 3 and rate > 0.006 else 1.0,
    )
    assert run.train().rollbacks == rollbacks


@pytest.mark.extended
def test_gradients_are_cut_to_a_norm(images: Path, tmp_path: Path) -> None:
    config = toy.config(images, max_grad_norm=1e-6, learning_rate=1.0, steps=1)
    short = dataclasses.replace(config.train, validate_every=1)
    config = dataclasses.replace(config, train=short)
    train(config, tmp_path / "run")
    (record,) = read_metrics(tmp_path / "run", "train")
    assert record["grad_norm"] > 0.01  # of the gradient before the cut
    # Nesterov's first step is 1.9 gradients; 6 steps of the schedule end at 0.
    _, state = restored(config, tmp_path / "run")
    start = toy_start(config)
    moved = jax.tree.map(lambda a, b: a - b, state.params, start.params)
    norm = np.sqrt(sum(np.square(leaf).sum() for leaf in jax.tree.leaves(moved)))
    np.testing.assert_allclose(norm, 1.9e-6, rtol=0.1)  # of small differences


def toy_start(config: Config) -> State:
    config, dataset = inputs.resolve_with_data(config)
    learner = build.learner(config, dataset)
    return learner.init(inputs.make_keys(config).init, example_of(dataset))


@pytest.mark.extended
def test_checkpoints_by_time_lie_between_validations(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    often = {"validate_every": 3, "log_every": 1, "checkpoint_minutes": 1e-9}
    write = MetricsWriter.write

    def interrupted(self: MetricsWriter, step: int, kind: str, values: Any) -> None:
        if (step, kind) == (6, "train"):
            raise KeyboardInterrupt
        write(self, step, kind, values)

    whole, run = (fake_run(tmp_path / name, **often) for name in ("whole", "run"))
    whole.train()
    with monkeypatch.context() as patch:
        patch.setattr(MetricsWriter, "write", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run.train()
    assert run.restored()[0].step == 5
    assert run.restored(best=True)[0].step == 3
    run.train()
    assert_same_state(whole.restored()[1], run.restored()[1])


@pytest.mark.extended
def test_a_run_that_is_asked_to_stop_saves_and_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = fake_run(tmp_path / "whole", validate_every=3)
    whole.train()
    asked = iter([False] * 3 + [True] * 10)
    run = fake_run(tmp_path / "run", validate_every=3, stopping=lambda: next(asked))
    with pytest.raises(Preempted):
        run.train()
    step = run.restored()[0].step
    assert 0 < step < 6
    assert (
        f"asked to stop: saved at step {step}; run the same command with --resume"
        in (capsys.readouterr().err)
    )
    run.stopping = lambda: False
    run.train()
    assert_same_state(whole.restored()[1], run.restored()[1])


def test_processor_time_is_summed_over_resumptions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = itertools.count(step=0.5)
    monkeypatch.setattr(loop.time, "process_time", lambda: next(now))
    asked = iter([False] * 3 + [True] * 10)
    run = fake_run(tmp_path / "run", log_every=1, stopping=lambda: next(asked))
    with pytest.raises(Preempted):
        run.train()
    assert 0 < run.restored()[0].step < 6
    run.stopping = lambda: False
    assert run.train().cpu_seconds == 3.0  # six records, half a second each
    seconds = [r["cpu_seconds"] for r in read_metrics(run.folder, "validation")]
    assert seconds == [1.0, 2.0, 3.0]


def test_processor_time_stays_unknown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a run that was begun by a version that did not count it."""
    monkeypatch.setattr(loop, "START", loop.START._replace(cpu_seconds=None))
    run = fake_run(tmp_path / "run")
    assert run.train().cpu_seconds is None
    assert "cpu_seconds" not in next(read_metrics(run.folder, "train"))


def test_early_stop_holds_when_the_run_is_resumed(tmp_path: Path) -> None:
    accuracies = 0.5, 0.8, 0.8, 0.7, 0.9, 0.9
    run = fake_run(
        tmp_path / "run", early_stop=2, validate_every=1, accuracies=accuracies
    )
    assert run.train().step == 4  # an equal score is no progress
    assert run.train().step == 4
    assert len(run.validated) == 4


@pytest.mark.extended
def test_plateaus_lower_the_learning_rate_and_the_best_model_is_kept(
    tmp_path: Path,
) -> None:
    run = fake_run(
        tmp_path / "run",
        schedule="plateau",
        patience=3,
        validate_every=1,
        accuracies=(0.5, 0.8, 0.6, 0.7, 0.65, 0.75),
    )
    run.train()
    # The best was the second; three without progress are the patience.
    best, state = run.restored(best=True)
    assert (best.step, best.validation_accuracy) == (2, 0.8)
    np.testing.assert_array_equal(
        state.params["body"]["w"], run.validated[1]["body"]["w"]
    )
    assert float(rate(state)) == np.float32(0.01)
    last, state = run.restored()
    assert (last.step, last.best_accuracy, last.validations_since_best) == (6, 0.8, 4)
    np.testing.assert_allclose(rate(state), 0.001, rtol=1e-6)


def test_plateau_rule_waits_for_its_patience() -> None:
    rule, state = plateau_rule(TrainConfig(patience=2))
    scales: list[float] = []
    for error in (0.5, 0.4, 0.4, 0.3, 0.35, 0.3, 0.4, 0.4, 0.2):
        updated = rule.update(jnp.zeros(()), state, value=jnp.asarray(error))
        state: Any = updated[1]
        scales.append(float(state.scale))
    # Two validations in a row without progress lower the rate, and so do the next two.
    np.testing.assert_allclose(scales, [1.0] * 5 + [0.1] * 2 + [0.01] * 2, rtol=1e-5)


def test_moments_of_parameters_of_the_same_name_are_left_alone() -> None:
    params = {"learning_rate": jnp.ones(3), "decay_steps": jnp.ones(2)}
    optimizer = optax.inject_hyperparams(optax.adam)(learning_rate=0.1)
    mesh, zero = mesh_of(1), jnp.zeros((), jnp.int32)
    state = State({"body": {}, "head": params}, {}, optimizer.init(params), zero)
    before = loop.TrainState(loop.START, state, None)
    after = loop._set_number(before, mesh, learning_rate=0.5)
    assert rate(after.state) == 0.5
    assert after.state.optimizer.inner_state == state.optimizer.inner_state


def test_an_optimizer_that_is_not_made_from_the_one_given() -> None:
    params = {"body": {}, "head": {"decay_steps": jnp.ones(2)}}
    state = State(params, {}, optax.adam(0.1).init(params), jnp.zeros((), jnp.int32))
    with pytest.raises(ValueError, match="holds no decay_steps: build on"):
        loop._set_number(
            loop.TrainState(loop.START, state, None), mesh_of(1), decay_steps=5
        )
