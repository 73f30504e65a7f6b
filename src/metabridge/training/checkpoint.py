"""Checkpoints of a run: the newest, to go on from, and the best, to use.

Orbax writes them atomically; a half-written one is never taken for a whole one. Each
carries a digest of its contents, so that one which was damaged later is found out when
it is read, and the one before it is taken instead.
"""

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers

from metabridge import hosts
from metabridge.learners import State
from metabridge.training import disk
from metabridge.training.integrity import checksum, digest
from metabridge.training.run_folder import RunError

_LOG = logging.getLogger(__name__)
_NEWEST = 2


class Progress(NamedTuple):
    """What the loop itself has to remember."""

    step: int = 0
    """Steps taken."""
    seconds: float = 0.0
    """Time spent in training steps."""
    validation_accuracy: float = 0.0
    """Of the last validation, in [0, 1]."""
    best_accuracy: float = 0.0
    """The best validation so far."""
    validations_since_best: int = 0
    """Validations without progress."""
    rollbacks: int = 0
    """How often the run went back to a checkpoint because it had diverged."""
    usual_loss: float | None = None
    """See `divergence.check_steps`."""


class DamagedError(RunError):
    """There are checkpoints, but none of them can be used."""


class Checkpoints:
    """The checkpoint folder of a run, open for writing or for reading.

    With several processes, all of them open it, save and restore.
    """

    def __init__(self, folder: Path, *, read_only: bool = False) -> None:
        # Orbax logs every file it touches.
        logging.getLogger("absl").setLevel(logging.ERROR)
        self._folder, self._read_only = folder.absolute(), read_only
        self._accuracies: dict[int, float] = {}
        for step in _steps(self._folder):
            try:
                record = _record(self._folder / str(step))
            except _DamageError:
                continue  # met again if it is to be restored
            if record.validated:
                self._accuracies[step] = record.progress.validation_accuracy
        self._manager = self._opened()
        self._writing: int | None = None
        self._failed = False

    def save(
        self, progress: Progress, state: State, plateau: Any, *, validated: bool = True
    ) -> None:
        """Writes a checkpoint in the background; `close` waits for it.

        One of the same step that is there already stays, unless only this one has its
        validation. Those of later steps, which a run that went back has left, go.

        Args:
          progress: of the loop.
          state: of the learner.
          plateau: of the rule that lowers the learning rate.
          validated: whether `progress.validation_accuracy` is that of this very state;
            if not, the checkpoint is never the best one.

        Raises:
          OSError: this one or the one before could not be written.
        """
        step = progress.step
        self.wait()
        saved = self._manager.all_steps()
        if step in saved and (step in self._accuracies or not validated):
            return
        for other in saved:
            if other >= step:
                self._manager.delete(other)
                self._accuracies.pop(other, None)
        if validated:
            self._accuracies[step] = progress.validation_accuracy
        tree = {"state": state, "plateau": plateau}
        about = progress._asdict() | {
            "validated": validated,
            "digest": digest(tree),
            "parameters": _named(_shapes(state.params)),
        }
        self._writing = step
        try:
            self._manager.save(
                step,
                args=ocp.args.Composite(
                    state=ocp.args.StandardSave(tree),
                    progress=ocp.args.JsonSave(about | {"checksum": checksum(about)}),
                ),
                force=True,
            )
        except Exception as error:
            raise self._failure(error) from error

    def restore(
        self, state: State, plateau: Any, *, best: bool = False
    ) -> tuple[Progress, State, Any] | None:
        """The newest good checkpoint, or the best; None if there is none at all.

        A damaged one is left out with a warning. Open for writing, it is moved aside,
        so that its step can be saved again.

        Args:
          state: an example of the structure, shapes and placement to restore.
          plateau: likewise.
          best: take the one of the highest validation accuracy.

        Raises:
          ValueError: it holds parameters of other shapes, the first of which is named.
          DamagedError: there are checkpoints, but all are damaged.
        """
        damaged: dict[int, str] = {}
        for step in self._candidates(damaged, best=best):
            try:
                found = self._read(step, state, plateau)
            except _DamageError as error:
                found, damaged[step] = None, str(error)
            if any(hosts.any_of(found is None)):
                damaged.setdefault(step, "another process cannot read it")
                continue
            assert found is not None
            self._warn(damaged, step, best=best)
            self._move_aside(damaged)
            return found
        if damaged:
            reasons = "; ".join(f"{step}: {damaged[step]}" for step in sorted(damaged))
            raise DamagedError(
                f"none of the checkpoints in {self._folder} can be used ({reasons}): "
                "put back a copy of one, or remove the run folder to train anew"
            )
        return None

    def close(self) -> None:
        """Waits until everything is on disk.

        Raises:
          OSError: the last checkpoint could not be written.
        """
        try:
            self._manager.close()
        except Exception as error:
            if not self._failed:  # else it was raised already
                raise self._failure(error) from error

    def _opened(self) -> ocp.CheckpointManager:
        """Orbax's manager; of the checkpoints that are there it reads no content."""
        options = ocp.CheckpointManagerOptions(
            preservation_policy=_Retention(self._accuracies),
            read_only=self._read_only,
            create=not self._read_only,
            cleanup_tmp_directories=not self._read_only,
            lightweight_initialize=True,
        )
        return ocp.CheckpointManager(self._folder, options=options)

    def _candidates(self, damaged: dict[int, str], *, best: bool) -> list[int]:
        """Steps in the order to try; `damaged` gets those that cannot be ranked."""
        self.wait()
        steps = sorted(_steps(self._folder), reverse=True)
        if not best:
            return steps
        ranked = []
        for step in steps:
            try:
                record = _record(self._folder / str(step))
            except _DamageError as error:
                damaged[step] = str(error)
                continue
            if record.validated:
                ranked.append((record.progress.validation_accuracy, step))
        return [step for _, step in sorted(ranked, reverse=True)]

    def _read(
        self, step: int, state: State, plateau: Any
    ) -> tuple[Progress, State, Any]:
        """A checkpoint, checked.

        Raises:
          _DamageError: it is not what was saved.
          ValueError: it is, but of another model.
        """
        checkpoint = self._folder / str(step)
        record = _record(checkpoint)
        if record.progress.step != step:
            raise _DamageError(f"it is of step {record.progress.step}")
        tree = {"state": state, "plateau": plateau}
        template = jax.tree.map(ocp.utils.to_shape_dtype_struct, tree)
        stored = _stored_shapes(checkpoint)
        if record.parameters not in (None, _named(stored)):
            raise _DamageError("the metadata of its arrays is not what was saved")
        _check_shapes(checkpoint, stored, _shapes(state.params))
        try:
            restored = self._manager.restore(
                step,
                args=ocp.args.Composite(state=ocp.args.StandardRestore(template)),
            )["state"]
        except _OUR_ERRORS:
            raise
        except Exception as error:
            reason = disk.shortened(error).split(" See full")[0]
            raise _DamageError(f"its arrays are unreadable, {reason}") from error
        if record.digest not in (None, digest(restored)):
            raise _DamageError("its arrays are not what was saved")
        return record.progress, restored["state"], restored["plateau"]

    def _warn(self, damaged: dict[int, str], taken: int, *, best: bool) -> None:
        if not hosts.is_first():
            return
        run = self._folder.parent
        for step in sorted(damaged, reverse=True):
            instead = (
                f"taking that of step {taken}, the best of the others"
                if best
                else f"going on from step {taken}, {step - taken} steps are lost"
            )
            _LOG.warning(
                "checkpoint %s of %s is damaged (%s): %s",
                *(step, run, damaged[step], instead),
            )

    def _move_aside(self, damaged: dict[int, str]) -> None:
        if self._read_only or not damaged:
            return
        self._manager.close()
        if hosts.is_first():
            for step in damaged:
                place, number = self._folder / f"damaged-{step}", 1
                while place.exists():
                    number += 1
                    place = place.with_name(f"damaged-{step}-{number}")
                (self._folder / str(step)).rename(place)
        hosts.wait("damaged checkpoints")
        for step in damaged:
            self._accuracies.pop(step, None)
        self._manager = self._opened()

    def wait(self) -> None:
        """Returns when what was saved is on the disk.

        Raises:
          OSError: it could not be written.
        """
        try:
            self._manager.wait_until_finished()
        except Exception as error:
            raise self._failure(error) from error
        self._writing = None

    def _failure(self, error: BaseException) -> OSError:
        self._failed = True
        return disk.not_saved(self._folder, self._writing or 0, error)


class _DamageError(Exception):
    """A checkpoint is not what was saved; the message says how."""


# Of the machine, not of the checkpoint.
_OUR_ERRORS = (MemoryError, PermissionError, jax.errors.JaxRuntimeError)


_NEWER = ("rollbacks", "usual_loss")
"""Fields of `Progress` that checkpoints before 0.2 do not have."""


class _Record(NamedTuple):
    """What stands beside the arrays of a checkpoint; None in those before 0.2."""

    progress: Progress
    validated: bool
    digest: str | None
    parameters: str | None


def _record(checkpoint: Path) -> _Record:
    if not checkpoint.is_dir():
        raise _DamageError("it is not a folder")
    try:
        text = (checkpoint / "progress" / "metadata").read_text(encoding="utf-8")
        values = json.loads(text)
        found = values.pop("checksum", None)
        if found is not None and found != checksum(values):
            raise _DamageError("its progress is not what was saved")
        written = [n for n in Progress._fields if n in values or n not in _NEWER]
        progress = Progress(**{name: values[name] for name in written})
    except FileNotFoundError as error:
        raise _DamageError("its progress is missing") from error
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise _DamageError(
            f"its progress is unreadable, {disk.shortened(error)}"
        ) from error
    return _Record(
        progress,
        values.get("validated", True),
        values.get("digest"),
        values.get("parameters"),
    )


class _Retention(checkpoint_managers.PreservationPolicy):
    """Keeps the newest two, and the best of those that were validated."""

    def __init__(self, accuracies: dict[int, float]) -> None:
        self._accuracies = accuracies

    def should_preserve(
        self,
        checkpoints: Sequence[Any],
        *,
        context: checkpoint_managers.PreservationContext,
    ) -> Sequence[bool]:
        del context
        steps = sorted(checkpoint.step for checkpoint in checkpoints)
        kept = set(steps[-_NEWEST:])
        scored = [(self._accuracies[s], s) for s in steps if s in self._accuracies]
        if scored:
            kept.add(max(scored)[1])
        return [checkpoint.step in kept for checkpoint in checkpoints]


def _steps(folder: Path) -> list[int]:
    """Steps that have a checkpoint, whatever its state."""
    if not folder.is_dir():
        return []
    return [int(path.name) for path in folder.iterdir() if path.name.isdecimal()]


def _stored_shapes(checkpoint: Path) -> dict[str, tuple[int, ...]]:
    try:
        with ocp.StandardCheckpointer() as reader:
            saved: Any = reader.metadata(checkpoint / "state").item_metadata
        return _shapes(saved.tree["state"]["params"])
    except _OUR_ERRORS:
        raise
    except Exception as error:  # of many kinds, some of them None for a tree
        raise _DamageError(
            "the metadata of its arrays is missing or unreadable"
        ) from error


def _check_shapes(
    checkpoint: Path,
    stored: dict[str, tuple[int, ...]],
    wanted: dict[str, tuple[int, ...]],
) -> None:
    """Orbax would refuse them, too, but with pages of its own state."""
    for path in {**wanted, **stored}:
        if stored.get(path) != wanted.get(path):
            raise ValueError(
                f"{checkpoint} holds {stored.get(path, 'nothing')} for params{path}, "
                f"but the model and data at hand take {wanted.get(path, 'nothing')}: "
                "they have changed since"
            )


def _shapes(tree: Any) -> dict[str, tuple[int, ...]]:
    leaves = jax.tree.leaves_with_path(tree)
    return {jax.tree_util.keystr(path): tuple(leaf.shape) for path, leaf in leaves}


def _named(shapes: dict[str, tuple[int, ...]]) -> str:
    return checksum({path: list(shape) for path, shape in shapes.items()})
