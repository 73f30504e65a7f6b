"""A dozen ways to damage a checkpoint, and what comes of each."""

import json
import logging
import pickle
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metabridge.training.checkpoint.store import Checkpoints, DamagedError
from metabridge.training.train import train
from tests.training.checkpoint.test_store import PLATEAU, filled, kept, progress, state
from tests.training.conftest import Run
from tests.training.test_train import restored

pytestmark = pytest.mark.extended


def data_file(checkpoint: Path) -> Path:
    """The largest file with values of arrays."""
    files = (checkpoint / "state" / "ocdbt.process_0" / "d").iterdir()
    return max(files, key=lambda path: path.stat().st_size)


def flip(path: Path, place: int) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 4
    path.write_bytes(bytes(content))


def truncated_arrays(checkpoint: Path) -> None:
    for path in (checkpoint / "state" / "ocdbt.process_0" / "d").iterdir():
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flipped_bit_in_an_array(checkpoint: Path) -> None:
    path = data_file(checkpoint)
    flip(path, path.stat().st_size // 2)


def flipped_bit_in_the_metadata(checkpoint: Path) -> None:
    path = checkpoint / "state" / "_METADATA"
    flip(path, path.read_text().index('"key": "head"') + 9)


def missing_metadata(checkpoint: Path) -> None:
    (checkpoint / "state" / "_METADATA").unlink()


def missing_arrays(checkpoint: Path) -> None:
    shutil.rmtree(checkpoint / "state" / "ocdbt.process_0")


def missing_state(checkpoint: Path) -> None:
    shutil.rmtree(checkpoint / "state")


def empty_folder(checkpoint: Path) -> None:
    shutil.rmtree(checkpoint)
    checkpoint.mkdir()


def unreadable_progress(checkpoint: Path) -> None:
    (checkpoint / "progress" / "metadata").write_text('{"step": 3, "seco')


def other_progress(checkpoint: Path) -> None:
    path = checkpoint / "progress" / "metadata"
    text = path.read_text()
    path.write_text(text.replace('"seconds": 4.5', '"seconds": 5.5'))
    assert path.read_text() != text


def file_for_a_folder(checkpoint: Path) -> None:
    shutil.rmtree(checkpoint)
    checkpoint.write_text("moved to the archive")


def empty_files(checkpoint: Path) -> None:
    for path in checkpoint.rglob("*"):
        if path.is_file():
            path.write_bytes(b"")


def other_arrays(checkpoint: Path) -> None:
    """Well-formed ones of the same shapes, from another checkpoint."""
    shutil.rmtree(checkpoint / "state")
    shutil.copytree(checkpoint.parent / "2" / "state", checkpoint / "state")


def other_step(checkpoint: Path) -> None:
    shutil.rmtree(checkpoint)
    shutil.copytree(checkpoint.parent / "2", checkpoint)


def odd_type(checkpoint: Path) -> None:
    """Names a class that is to make the values."""
    path = checkpoint / "state" / "_METADATA"
    path.write_text(path.read_text().replace("jax.Array", "os.system"))


def other_names(checkpoint: Path) -> None:
    """Readable metadata of parameters that were never there."""
    path = checkpoint / "state" / "_METADATA"
    path.write_text(path.read_text().replace("body", "bode"))


UNREADABLE = "the metadata of its arrays is missing or unreadable"
CHANGED = "its arrays are not what was saved"
DAMAGES: dict[Callable[[Path], None], str] = {
    truncated_arrays: "its arrays are unreadable, .*",
    flipped_bit_in_an_array: CHANGED,
    flipped_bit_in_the_metadata: UNREADABLE,
    missing_metadata: UNREADABLE,
    missing_arrays: "its arrays are unreadable, .*",
    missing_state: UNREADABLE,
    empty_folder: "its progress is missing",
    unreadable_progress: "its progress is unreadable, .*",
    other_progress: "its progress is not what was saved",
    file_for_a_folder: "it is not a folder",
    empty_files: "its progress is unreadable, .*",
    other_arrays: CHANGED,
    other_step: "it is of step 2",
    odd_type: UNREADABLE,
    other_names: "the metadata of its arrays is .*",
}


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with the checkpoints of steps 1, 2 and 3, the last the best."""
    folder = tmp_path_factory.mktemp("saved")
    filled(folder, 0.25, 0.5, 0.75)
    return folder


@pytest.fixture
def folder(saved: Path, tmp_path: Path) -> Path:
    """A copy of them in the folder ``run``, to be damaged."""
    return Path(shutil.copytree(saved, tmp_path / "run" / "checkpoints"))


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_the_one_before_is_taken_and_the_step_can_be_saved_again(
    damage: Callable[[Path], None],
    folder: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    damage(folder / "3")
    checkpoints = Checkpoints(folder)
    with caplog.at_level(logging.WARNING, "metabridge"):
        found = checkpoints.restore(state(0), PLATEAU)
    assert found is not None
    assert found[0] == progress(2, 0.5)
    for one, two in zip(*map(jax.tree.leaves, (found[1], state(2))), strict=True):
        np.testing.assert_array_equal(one, two)
    [message] = [r.getMessage() for r in caplog.records if "metabridge" in r.name]
    start, end = f"checkpoint 3 of {tmp_path / 'run'} is damaged (", "): going on from "
    assert message.startswith(start)
    assert message.endswith(f"{end}step 2, 1 steps are lost")
    assert "\n" not in message
    assert len(message) < 600
    reason = message.removeprefix(start).split(end)[0]
    assert len(reason) > 10
    assert re.fullmatch(DAMAGES[damage], reason)
    assert (folder / "damaged-3").exists()
    checkpoints.save(progress(3, 0.625), state(3), PLATEAU)
    checkpoints.close()
    caplog.clear()
    again = Checkpoints(folder, read_only=True)
    newest = again.restore(state(0), PLATEAU)
    again.close()
    assert newest is not None
    assert newest[0] == progress(3, 0.625)
    assert not [r for r in caplog.records if "metabridge" in r.name]
    assert kept(folder) == {"2", "3"}


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_the_next_best_is_taken(
    damage: Callable[[Path], None], folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    damage(folder / "3")
    before = sorted(path.name for path in folder.iterdir())
    checkpoints = Checkpoints(folder, read_only=True)
    found = checkpoints.restore(state(0), PLATEAU, best=True)
    checkpoints.close()
    assert found is not None
    assert found[0] == progress(2, 0.5)
    assert "taking that of step 2, the best of the others" in caplog.text
    assert sorted(path.name for path in folder.iterdir()) == before


def test_a_half_written_folder_is_not_even_a_candidate(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    partial = folder / "3.orbax-checkpoint-tmp"
    (folder / "3").rename(partial)
    (partial / "progress" / "metadata").unlink()
    checkpoints = Checkpoints(folder)
    found = checkpoints.restore(state(0), PLATEAU)
    checkpoints.save(progress(3, 0.75), state(3), PLATEAU)
    checkpoints.close()
    assert found is not None
    assert found[0].step == 2
    assert not caplog.records
    assert not partial.exists()


def test_without_a_good_one_nothing_starts_anew(tmp_path: Path) -> None:
    folder = tmp_path / "c"
    filled(folder, 0.25, 0.5)
    empty_folder(folder / "2")
    other_progress_of_first = folder / "1" / "progress" / "metadata"
    other_progress_of_first.write_text("{}")
    checkpoints = Checkpoints(folder)
    for best in (False, True):
        with pytest.raises(
            DamagedError,
            match=r"none of the checkpoints in .* can be used \(1: its progress is .*; "
            r"2: its progress is missing\): put back a copy",
        ):
            checkpoints.restore(state(0), PLATEAU, best=best)
    checkpoints.close()
    assert kept(folder) == {"1", "2"}  # and all is left as it was


def missing_progress(checkpoint: Path) -> None:
    shutil.rmtree(checkpoint / "progress")


def not_asked_for(checkpoint: Path) -> None:
    """Whole, but this JAX asks for them otherwise."""


@pytest.mark.parametrize(
    ("damage", "lost"),
    [
        (truncated_arrays, True),
        (flipped_bit_in_an_array, True),
        (missing_arrays, True),
        (empty_folder, True),
        (file_for_a_folder, True),
        (unreadable_progress, False),
        (missing_progress, False),
        (missing_metadata, False),
        (not_asked_for, False),
    ],
)
def test_a_run_is_to_be_removed_only_if_its_arrays_are_lost(
    damage: Callable[[Path], None],
    lost: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = tmp_path / "c"
    filled(folder, 0.25)
    damage(folder / "1")
    checkpoints = Checkpoints(folder)
    if damage is not_asked_for:

        def refused(*arguments: object, **options: object) -> None:
            raise ValueError("float64 is not enabled")

        monkeypatch.setattr(checkpoints._manager, "restore", refused)
    with pytest.raises(DamagedError) as error:
        checkpoints.restore(state(0), PLATEAU)
    checkpoints.close()
    assert ("remove the run folder" in str(error.value)) == lost
    assert ("Keep the run folder" in str(error.value)) != lost


def test_one_of_another_model_is_no_damage(tmp_path: Path) -> None:
    filled(tmp_path / "c", 0.25, 0.5)
    other = state(0)._replace(params={"body": {"w": jnp.zeros(4)}})
    checkpoints = Checkpoints(tmp_path / "c")
    with pytest.raises(ValueError, match="they have changed since") as error:
        checkpoints.restore(other, PLATEAU)
    checkpoints.close()
    assert not isinstance(error.value, DamagedError)
    assert kept(tmp_path / "c") == {"1", "2"}


class Trap:
    """Runs code when it is unpickled."""

    def __reduce__(self) -> tuple:
        return (pytest.fail, ("a checkpoint was unpickled",))


def test_a_strangers_checkpoint_runs_no_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "c"
    filled(folder, 0.25, 0.5)

    def unpickled(*arguments: object, **options: object) -> None:
        pytest.fail("a checkpoint was unpickled")

    with monkeypatch.context() as patch:
        for name in ("load", "loads", "Unpickler", "_Unpickler"):
            patch.setattr(pickle, name, unpickled)
        checkpoints = Checkpoints(folder, read_only=True)
        assert checkpoints.restore(state(0), PLATEAU) is not None
        checkpoints.close()
    trap = pickle.dumps(Trap())
    for path in (folder / "2").rglob("*"):
        if path.is_file():
            path.write_bytes(trap)
    handlers = json.dumps({"item_handlers": {"state": "os.system"}})
    (folder / "2" / "_CHECKPOINT_METADATA").write_text(handlers)
    checkpoints = Checkpoints(folder)
    found = checkpoints.restore(state(0), PLATEAU)
    checkpoints.close()
    assert found is not None
    assert found[0].step == 1


def test_a_run_with_a_damaged_checkpoint_ends_as_it_would_have(
    whole: Run, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = Path(shutil.copytree(whole.folder, tmp_path / "run"))
    (folder / "result.json").unlink()
    flipped_bit_in_an_array(folder / "checkpoints" / "6")
    result = train(whole.config, folder, resume=True)
    assert "going on from step 4, 2 steps are lost" in caplog.text
    assert result["accuracy"] == whole.result["accuracy"]
    checkpoint = result["provenance"]["checkpoint"]
    assert checkpoint == whole.result["provenance"]["checkpoint"]
    again, expected = (restored(whole.config, run)[1] for run in (folder, whole.folder))
    for one, two in zip(*map(jax.tree.leaves, (again, expected)), strict=True):
        np.testing.assert_array_equal(one, two)
