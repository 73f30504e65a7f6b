"""The loop when things go wrong: rollbacks, checkpoints by time, an early stop."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metabridge import build
from metabridge.learners import State
from metabridge.training import DivergenceError, train
from metabridge.training.metrics import MetricsWriter, read_metrics
from tests import toy
from tests.training.test_loop import restored, scores

Broken = Callable[[State], jax.Array]


def breaks(monkeypatch: pytest.MonkeyPatch, when: Broken, value: float) -> None:
    """Lets the loss of a step have a value for some states."""
    make = build.learner

    def broken(config: Any, dataset: Any, teacher: Any = None) -> Any:
        learner = make(config, dataset, teacher)

        def gradient(keys: Any, state: State, batch: Any) -> Any:
            means = learner.gradient(keys, state, batch)
            return means._replace(loss=jnp.where(when(state), value, means.loss))

        return learner._replace(gradient=gradient)

    monkeypatch.setattr(build, "learner", broken)


def rate(state: State) -> Any:
    return state.optimizer.hyperparams["learning_rate"]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("at", [1, 4], ids=["from the start", "from a checkpoint"])
def test_a_rollback_goes_on_with_other_tasks_and_half_the_rate(
    images: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    at: int,
    stream: bool,
    capsys: pytest.CaptureFixture[str],
) -> None:
    config = toy.config(images, rollbacks=1, schedule="constant", stream=stream)
    train(config, tmp_path / "whole")
    # The learning rate is 0.01; half of it does no harm.
    breaks(monkeypatch, lambda s: (s.step == at) & (rate(s) > 0.006), float("nan"))
    train(config, tmp_path / "run")
    progress, state = restored(config, tmp_path / "run")
    assert (progress.step, progress.rollbacks) == (6, 1)
    assert float(rate(state)) == np.float32(0.005)
    (record,) = read_metrics(tmp_path / "run", "rollback")
    assert record["step"] == at // 2 * 2
    assert f"not finite at step {at + 1}" in capsys.readouterr().err
    losses = [
        [record["loss"] for record in read_metrics(tmp_path / name, "train")]
        for name in ("whole", "run")
    ]
    # Up to the checkpoint the run is the same, and from there on others' tasks.
    same = [one == two for one, two in zip(*losses, strict=True)]
    assert same == [step <= at // 2 * 2 for step in (2, 4, 6)]


def test_parameters_that_are_not_finite_are_never_saved(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make = build.learner

    def broken(config: Any, dataset: Any, teacher: Any = None) -> Any:
        learner = make(config, dataset, teacher)
        rule = learner.optimizer

        def update(gradient: Any, state: Any, params: Any = None) -> Any:
            """The fourth update is infinite, at the full learning rate."""
            updates, after = rule.update(gradient, state, params)
            full = state.hyperparams["learning_rate"] > 0.006
            factor = jnp.where((state.count == 3) & full, jnp.inf, 1.0)
            return jax.tree.map(lambda leaf: factor * leaf, updates), after

        return learner._replace(optimizer=rule._replace(update=update))

    monkeypatch.setattr(build, "learner", broken)
    config = toy.config(images, rollbacks=1, schedule="constant")
    train(config, tmp_path / "run")
    progress, state = restored(config, tmp_path / "run")
    assert (progress.step, progress.rollbacks) == (6, 1)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(state.params))
    (record,) = read_metrics(tmp_path / "run", "rollback")
    assert record["step"] == 2  # not 4, whose parameters are infinite
    config = toy.config(images, schedule="constant")
    with pytest.raises(DivergenceError, match="parameters are not finite after step 4"):
        train(config, tmp_path / "no rollback")


def test_rollbacks_come_to_an_end(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = toy.config(images, rollbacks=2)
    breaks(monkeypatch, lambda state: state.step == 3, float("inf"))
    with pytest.raises(DivergenceError, match="not finite at step 4"):
        train(config, tmp_path / "run")
    records = list(read_metrics(tmp_path / "run", "rollback"))
    assert records[-1]["rollbacks"] == 2


def test_a_spike_is_rolled_back_if_asked_for(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    breaks(monkeypatch, lambda s: (s.step == 3) & (rate(s) > 0.006), 1000.0)
    config = toy.config(images, schedule="constant", rollbacks=1)
    train(config, tmp_path / "not asked")
    assert restored(config, tmp_path / "not asked")[0].rollbacks == 0
    config = toy.config(images, schedule="constant", rollbacks=1, spike=10.0)
    train(config, tmp_path / "asked")
    assert restored(config, tmp_path / "asked")[0].rollbacks == 1


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


def toy_start(config: Any) -> State:
    from metabridge.config import resolve
    from metabridge.data import load_dataset
    from metabridge.training import setup
    from metabridge.training.sampler import example_of

    config = resolve(config)
    dataset = load_dataset(config.data.dataset)
    keys = setup.keys_of(config)
    return build.learner(config, dataset).init(keys.init, example_of(dataset))


def test_checkpoints_by_time_lie_between_validations(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = toy.config(images, validate_every=3, log_every=1, checkpoint_minutes=1e-9)
    write = MetricsWriter.write

    def interrupted(self: MetricsWriter, step: int, kind: str, values: Any) -> None:
        if (step, kind) == (6, "train"):
            raise KeyboardInterrupt
        write(self, step, kind, values)

    train(config, tmp_path / "whole")
    with monkeypatch.context() as patch:
        patch.setattr(MetricsWriter, "write", interrupted)
        with pytest.raises(KeyboardInterrupt):
            train(config, tmp_path / "run")
    assert restored(config, tmp_path / "run")[0].step == 5
    assert restored(config, tmp_path / "run", best=True)[0].step == 3
    train(config, tmp_path / "run", resume=True)
    whole, run = (restored(config, tmp_path / name)[1] for name in ("whole", "run"))
    for one, two in zip(*map(jax.tree.leaves, (whole, run)), strict=True):
        np.testing.assert_array_equal(one, two)


def test_a_run_that_stopped_early_stays_so(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = toy.config(images, early_stop=2, validate_every=1, schedule="constant")
    asked = scores(monkeypatch, 0.5, 0.8, 0.8, 0.7, 0.9)
    train(config, tmp_path / "run")
    train(config, tmp_path / "run", resume=True)
    assert len(asked) == 4
    assert restored(config, tmp_path / "run")[0].step == 4
