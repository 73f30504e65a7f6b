"""Checkpoints: the newest and the best, whole or not at all."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metabridge.learners import State
from metabridge.training.checkpoint import Checkpoints, Progress

PLATEAU = {"scale": jnp.asarray(0.5)}


def state(step: int) -> State:
    params = {"body": {"w": jnp.arange(3.0) + step}, "head": jnp.full((2, 3), step / 8)}
    return State(params, {}, {"m": jnp.zeros(2)}, jnp.asarray(step, jnp.int32))


def progress(step: int, accuracy: float) -> Progress:
    return Progress(step, 1.5 * step, accuracy, 0.9, 1)


def filled(folder: Path, *accuracies: float) -> None:
    checkpoints = Checkpoints(folder)
    for number, accuracy in enumerate(accuracies, start=1):
        checkpoints.save(progress(number, accuracy), state(number), PLATEAU)
    checkpoints.close()


def test_newest_and_best_come_back_as_they_were(tmp_path: Path) -> None:
    filled(tmp_path / "c", 0.25, 0.75, 0.5, 0.625)
    checkpoints = Checkpoints(tmp_path / "c", read_only=True)
    newest = checkpoints.restore(state(0), PLATEAU)
    best = checkpoints.restore(state(0), PLATEAU, best=True)
    checkpoints.close()
    for found, step, accuracy in ((newest, 4, 0.625), (best, 2, 0.75)):
        assert found is not None
        assert found[0] == progress(step, accuracy)
        expected = state(step)
        assert jax.tree.structure(found[1]) == jax.tree.structure(expected)
        for one, two in zip(*map(jax.tree.leaves, (found[1], expected)), strict=True):
            assert one.dtype == two.dtype
            np.testing.assert_array_equal(one, two)
        np.testing.assert_array_equal(found[2]["scale"], 0.5)
    # Only these two are kept.
    kept = {path.name for path in (tmp_path / "c").iterdir() if path.name.isdigit()}
    assert kept == {"2", "4"}


def test_parameters_of_other_shapes_are_named(tmp_path: Path) -> None:
    filled(tmp_path / "c", 0.25)
    wider = state(0)._replace(params={"body": {"w": jnp.zeros(4)}, "head": jnp.ones(1)})
    checkpoints = Checkpoints(tmp_path / "c", read_only=True)
    message = r"holds \(3,\) for params\['body'\]\['w'\], but .* take \(4,\)"
    with pytest.raises(ValueError, match=message):
        checkpoints.restore(wider, PLATEAU)
    checkpoints.close()


def test_an_empty_folder_has_none(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path / "c")
    assert checkpoints.restore(state(0), PLATEAU) is None
    assert checkpoints.restore(state(0), PLATEAU, best=True) is None
    checkpoints.close()


def test_a_half_written_checkpoint_is_passed_over(tmp_path: Path) -> None:
    filled(tmp_path / "c", 0.25, 0.75)
    # What an interruption leaves: the folder under its temporary name.
    (tmp_path / "c" / "3.orbax-checkpoint-tmp-17").mkdir()
    checkpoints = Checkpoints(tmp_path / "c", read_only=True)
    newest = checkpoints.restore(state(0), PLATEAU)
    checkpoints.close()
    assert newest is not None
    assert newest[0].step == 2
