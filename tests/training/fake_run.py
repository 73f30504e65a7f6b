"""A run whose steps are arithmetic on the host: what the loop does, without a network.

The loop, its checkpoints and its records are the real ones. A step moves three numbers
by the learning rate times random numbers of the step's key, so that two runs end alike
only if they took the same steps with the same keys and rates.
"""

import contextlib
import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metabridge.config import ResolvedConfig, resolve
from metabridge.data.episodes import make_bank
from metabridge.evaluation import Score
from metabridge.learners import Info, State
from metabridge.optimizers import make_optimizer
from metabridge.parallel.mesh import mesh_of, replicate
from metabridge.runs.inputs import make_keys
from metabridge.runs.loggers import Loggers
from metabridge.training import train
from metabridge.training.checkpoint import Checkpoints, Progress, TrainState
from metabridge.training.loop import fit, plateau_rule, restore_or_start
from metabridge.training.records import Records
from metabridge.training.step import make_take_steps
from tests import toy

Loss = Callable[[int, float], float]
"""``loss(step, rate)`` of a step, counted from 0, at a learning rate."""


@dataclasses.dataclass
class FakeRun:
    """A run in a folder, to be trained as often as wanted."""

    folder: Path
    config: ResolvedConfig
    loss: Loss = lambda step, rate: 1.0
    update: Loss = lambda step, rate: 1.0
    """Factor on the update of a step."""
    accuracies: Sequence[float] = ()
    """Of the validations, in their order. Default: 0.5 each."""
    stopping: Callable[[], bool] = lambda: False
    validated: list[Any] = dataclasses.field(default_factory=list)
    """Parameters of each validation."""

    def train(self) -> Progress:
        """Trains from the newest checkpoint to the end."""
        self.folder.mkdir(parents=True, exist_ok=True)
        config, mesh = self.config, mesh_of(1)
        keys = make_keys(config)
        key = replicate(keys.train, mesh)
        # No fake step looks at an image.
        images = make_bank(toy.dataset().train)
        checkpoints = Checkpoints(self.folder / "checkpoints")

        def restore() -> TrainState:
            start = replicate(self._start(), mesh)
            return restore_or_start(checkpoints, start, config.train, mesh)

        start = restore()
        steps = config.train.steps or 0
        records = Records(self.folder, Loggers(), steps, start.progress.step)
        with contextlib.closing(checkpoints), contextlib.closing(records):
            return fit(
                start,
                config,
                mesh,
                take_steps=make_take_steps(
                    self._run_steps, images, key, mesh, self.stopping
                ),
                validate=self._validate,
                measure=lambda variables: {},
                restore=restore,
                checkpoints=checkpoints,
                records=records,
                stop_asked=self.stopping,
            )

    def restored(self, *, best: bool = False) -> tuple[Progress, State]:
        """The newest checkpoint, or the best."""
        checkpoints = Checkpoints(self.folder / "checkpoints", read_only=True)
        plateau = plateau_rule(self.config.train)[1]
        found = checkpoints.restore(self._start(), plateau, best=best)
        checkpoints.close()
        assert found is not None
        return found[0], found[1]

    def _start(self) -> State:
        params = {"body": {"w": jnp.zeros(3)}, "head": jnp.zeros(1)}
        optimizer = make_optimizer(self.config.train).init(params)
        return State(params, {}, optimizer, jnp.asarray(0, jnp.int32))

    def _run_steps(
        self,
        state: State,
        key: jax.Array,
        first: int,
        count: int,
        stop: Callable[[], bool] | None = None,
    ) -> tuple[State, Info]:
        losses: list[float] = []
        rate = float(state.optimizer.hyperparams["learning_rate"])
        for step in range(first, first + count):
            if stop is not None and losses and stop():
                break
            moved = rate * jax.random.uniform(jax.random.fold_in(key, step), (3,))
            w = state.params["body"]["w"] + self.update(step, rate) * moved
            state = state._replace(
                params=state.params | {"body": {"w": w}}, step=state.step + 1
            )
            losses.append(self.loss(step, rate))
        told = jnp.asarray(losses, jnp.float32)
        return state, Info(told, jnp.ones_like(told), jnp.ones_like(told))

    def _validate(self, variables: Any) -> Score:
        done = len(self.validated)
        self.validated.append(jax.tree.map(np.array, variables["params"]))
        accuracy = self.accuracies[done] if self.accuracies else 0.5
        return Score(accuracy, 0.01, 20)


def fake_run(folder: Path, **options: Any) -> FakeRun:
    """Makes a run of six steps at rate 0.01, validated every second one.

    Args:
      folder: of the run.
      options: fields of `FakeRun`, and of `TrainConfig` to be changed.
    """
    of_run = {f.name for f in dataclasses.fields(FakeRun)} & set(options)
    train: Any = {k: value for k, value in options.items() if k not in of_run}
    config = resolve(toy.config(Path("images"), **({"schedule": "constant"} | train)))
    return FakeRun(folder, config, **{name: options[name] for name in of_run})


def assert_same_state(one: State, two: State) -> None:
    """Asserts that two states are equal to the bit."""
    for a, b in zip(*map(jax.tree.leaves, (one, two)), strict=True):
        np.testing.assert_array_equal(a, b)


def train_to_a_checkpoint(config: ResolvedConfig, folder: Path, *, step: int) -> None:
    """Train a run that is interrupted once the checkpoint of a step is written."""
    save = Checkpoints.save

    def interrupted(self: Checkpoints, state: TrainState, **options: bool) -> None:
        save(self, state, **options)
        if state.progress.step == step:
            self.wait()
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Checkpoints, "save", interrupted)
        with pytest.raises(KeyboardInterrupt):
            train(config, folder)
