"""Checkpoints: the newest and the best, whole or not at all."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metabridge.learners import State
from metabridge.training.checkpoint import Checkpoints, Progress, TrainState

PLATEAU = {"scale": jnp.asarray(0.5)}


def state(step: int) -> State:
    # Large enough to have a file of its own.
    head = np.random.default_rng(step).normal(size=(64, 8)).astype(np.float32)
    params = {"body": {"w": jnp.arange(3.0) + step}, "head": jnp.asarray(head)}
    return State(params, {}, {"m": jnp.zeros(2)}, jnp.asarray(step, jnp.int32))


def progress(step: int, accuracy: float) -> Progress:
    return Progress(step, 1.5 * step, accuracy, 0.9, 1)


def train_state(step: int, accuracy: float) -> TrainState:
    return TrainState(progress(step, accuracy), state(step), PLATEAU)


def filled(folder: Path, *accuracies: float) -> None:
    checkpoints = Checkpoints(folder)
    for number, accuracy in enumerate(accuracies, start=1):
        checkpoints.save(train_state(number, accuracy))
    checkpoints.close()


def kept(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if path.name.isdigit()}


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
    # The newest two and the best are kept.
    assert kept(tmp_path / "c") == {"2", "3", "4"}


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


def test_between_validations_none_is_the_best(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path / "c")
    checkpoints.save(train_state(1, 0.0), validated=False)
    assert checkpoints.restore(state(0), PLATEAU, best=True) is None
    checkpoints.save(train_state(2, 0.5))
    checkpoints.save(train_state(3, 0.25))
    for step in (4, 5, 6):  # with the accuracy of the validation at step 3
        checkpoints.save(train_state(step, 0.75), validated=False)
    checkpoints.close()
    assert kept(tmp_path / "c") == {"2", "5", "6"}
    checkpoints = Checkpoints(tmp_path / "c", read_only=True)
    newest = checkpoints.restore(state(0), PLATEAU)
    best = checkpoints.restore(state(0), PLATEAU, best=True)
    checkpoints.close()
    assert newest is not None
    assert best is not None
    assert (newest[0].step, best[0].step) == (6, 2)


def test_a_step_that_is_saved_already_stays_and_gets_its_validation(
    tmp_path: Path,
) -> None:
    checkpoints = Checkpoints(tmp_path / "c")
    checkpoints.save(train_state(1, 0.0), validated=False)
    checkpoints.save(train_state(1, 0.0), validated=False)
    checkpoints.save(train_state(1, 0.5))
    checkpoints.save(train_state(1, 0.0), validated=False)
    checkpoints.close()
    checkpoints = Checkpoints(tmp_path / "c")
    checkpoints.save(train_state(1, 0.25))  # it has one
    best = checkpoints.restore(state(0), PLATEAU, best=True)
    checkpoints.close()
    assert best is not None
    assert best[0] == progress(1, 0.5)


def test_later_steps_go_when_an_earlier_one_is_saved(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path / "c")
    for step in (2, 4, 6):
        checkpoints.save(train_state(step, step / 8))
    checkpoints.save(train_state(5, 0.125))
    checkpoints.close()
    assert kept(tmp_path / "c") == {"4", "5"}
    checkpoints = Checkpoints(tmp_path / "c", read_only=True)
    best = checkpoints.restore(state(0), PLATEAU, best=True)
    checkpoints.close()
    assert best is not None
    assert best[0].step == 4


def test_what_kills_have_left_is_removed(tmp_path: Path) -> None:
    filled(tmp_path / "c", 0.25, 0.75)
    leftover = tmp_path / "c" / "3.orbax-checkpoint-tmp"
    (leftover / "state").mkdir(parents=True)
    checkpoints = Checkpoints(tmp_path / "c", read_only=True)
    checkpoints.close()
    assert leftover.is_dir()
    checkpoints = Checkpoints(tmp_path / "c")
    checkpoints.save(train_state(3, 0.5))
    checkpoints.close()
    assert not leftover.exists()
    assert kept(tmp_path / "c") == {"2", "3"}


def test_checkpoints_of_earlier_versions_are_read(tmp_path: Path) -> None:
    filled(tmp_path / "c", 0.75, 0.25)
    for number in ("1", "2"):
        path = tmp_path / "c" / number / "progress" / "metadata"
        values = json.loads(path.read_text())
        path.write_text(json.dumps({k: values[k] for k in Progress._fields}))
    checkpoints = Checkpoints(tmp_path / "c")
    newest = checkpoints.restore(state(0), PLATEAU)
    best = checkpoints.restore(state(0), PLATEAU, best=True)
    checkpoints.close()
    assert newest is not None
    assert best is not None
    assert (newest[0], best[0]) == (progress(2, 0.25), progress(1, 0.75))
