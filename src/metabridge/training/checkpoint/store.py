"""Checkpoints of a run: the newest, to go on from, and the best, to use.

Orbax writes them atomically; a half-written one is never taken for a whole one. Each
carries a digest of its contents, so that one which was damaged later is found out when
it is read, and the one before it is taken instead.
"""

import logging
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers

from metabridge.learners import State
from metabridge.parallel import hosts
from metabridge.runs.folder import RunError
from metabridge.training.checkpoint import record
from metabridge.training.checkpoint.record import DamageError, TrainState, digest
from metabridge.training.guards import disk
from metabridge.units import shortened

_LOG = logging.getLogger(__name__)
_NEWEST = 2


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
        # One that is damaged is met again if it is to be restored.
        self._accuracies = self._read_accuracies({})
        self._manager = self._open_manager()
        self._writing: int | None = None
        self._failed = False

    def save(self, train_state: TrainState, *, validated: bool = True) -> None:
        """Writes a checkpoint in the background; `close` waits for it.

        One of the same step that is there already stays, unless only this one is
        `validated`: its `validation_accuracy` is that of this very state, and it may be
        the best. Those of later steps, which a run that went back has left, go.

        Raises:
          OSError: this one or the one before could not be written.
        """
        step = train_state.progress.step
        self.wait()
        saved = self._manager.all_steps()
        if step in saved and (step in self._accuracies or not validated):
            return
        for other in saved:
            if other >= step:
                self._manager.delete(other)
                self._accuracies.pop(other, None)
        if validated:
            self._accuracies[step] = train_state.progress.validation_accuracy
        about = record.make_record(train_state, validated=validated)
        arguments = ocp.args.Composite(
            state=ocp.args.StandardSave(train_state.arrays),
            progress=ocp.args.JsonSave(about),
        )
        self._writing = step
        try:
            self._manager.save(step, args=arguments, force=True)
        except Exception as error:
            raise self._failure(error) from error

    def restore(
        self, state: State, plateau: Any, *, best: bool = False
    ) -> TrainState | None:
        """The newest good checkpoint, or the best; None if there is none at all.

        State and plateau are examples of the structure, shapes and placement. A damaged
        checkpoint is left out with a warning. Open for writing, it is moved aside, so
        that its step can be saved again.

        Raises:
          ValueError: it holds parameters of other shapes, the first of which is named.
          DamagedError: there are checkpoints, but all are damaged.
        """
        damaged: dict[int, DamageError] = {}
        for step in self._candidates(damaged, best=best):
            found = None
            try:
                found = self._read(step, state, plateau)
            except DamageError as error:
                damaged[step] = error
            if any(hosts.any_of(found is None)):
                damaged.setdefault(step, DamageError("another process cannot read it"))
                continue
            self._warn(damaged, step, best=best)
            self._move_aside(damaged)
            return found
        if damaged:
            reasons = "; ".join(f"{step}: {damaged[step]}" for step in sorted(damaged))
            raise DamagedError(
                f"none of the checkpoints in {self._folder} can be used ({reasons}): "
                + _advice(damaged.values())
            )
        return None

    def wait(self) -> None:
        """Returns when everything saved is on the disk."""
        try:
            self._manager.wait_until_finished()
        except Exception as error:
            raise self._failure(error) from error
        self._writing = None

    def close(self) -> None:
        """Waits until everything saved is on the disk, and ends."""
        try:
            self._manager.close()
        except Exception as error:
            if not self._failed:  # else it was raised already
                raise self._failure(error) from error

    def _failure(self, error: BaseException) -> OSError:
        self._failed = True
        return disk.not_saved(self._folder, self._writing or 0, error)

    def _open_manager(self) -> ocp.CheckpointManager:
        """Orbax's manager; of the checkpoints that are there it reads no content."""
        options = ocp.CheckpointManagerOptions(
            preservation_policy=_Retention(self._accuracies),
            read_only=self._read_only,
            create=not self._read_only,
            cleanup_tmp_directories=not self._read_only,
            lightweight_initialize=True,
        )
        return ocp.CheckpointManager(self._folder, options=options)

    def _steps(self) -> list[int]:
        """Steps that have a checkpoint, whatever its state, the newest first."""
        if not self._folder.is_dir():
            return []
        names = (path.name for path in self._folder.iterdir())
        return sorted((int(name) for name in names if name.isdecimal()), reverse=True)

    def _read_accuracies(self, damaged: dict[int, DamageError]) -> dict[int, float]:
        """Accuracies of the steps validated; `damaged` gets those without a record."""
        accuracies = {}
        for step in self._steps():
            try:
                found = record.read(self._folder / str(step))
            except DamageError as error:
                damaged[step] = error
                continue
            if found.validated:
                accuracies[step] = found.progress.validation_accuracy
        return accuracies

    def _candidates(self, damaged: dict[int, DamageError], *, best: bool) -> list[int]:
        """Steps in the order to try; `damaged` gets those that cannot be ranked."""
        self.wait()
        if not best:
            return self._steps()
        accuracies = self._read_accuracies(damaged)
        return sorted(accuracies, key=lambda s: (accuracies[s], s), reverse=True)

    def _read(self, step: int, state: State, plateau: Any) -> TrainState:
        """A checkpoint, checked."""
        checkpoint = self._folder / str(step)
        found = record.read(checkpoint)
        if found.progress.step != step:
            raise DamageError(f"it is of step {found.progress.step}")
        stored = record.stored_shapes(checkpoint)
        if found.parameters not in (None, record.name_of(stored)):
            raise DamageError("the metadata of its arrays is not what was saved")
        _check_shapes(checkpoint, stored, record.shapes_of(state.params))
        example = TrainState(found.progress, state, plateau).arrays
        template = jax.tree.map(ocp.utils.to_shape_dtype_struct, example)
        arguments = ocp.args.Composite(state=ocp.args.StandardRestore(template))
        try:
            arrays = self._manager.restore(step, args=arguments)["state"]
        except record.OUR_ERRORS:
            raise
        except Exception as error:
            reason = shortened(error).split(" See full")[0]
            raise DamageError(
                f"its arrays are unreadable, {reason}",
                lost=not record.can_be_read(checkpoint),
            ) from error
        if found.digest not in (None, digest(arrays)):
            raise DamageError("its arrays are not what was saved", lost=True)
        return TrainState(found.progress, **arrays)

    def _warn(self, damaged: dict[int, DamageError], taken: int, *, best: bool) -> None:
        for step in sorted(damaged, reverse=True) if hosts.is_first() else ():
            instead = (
                f"taking that of step {taken}, the best of the others"
                if best
                else f"going on from step {taken}, {step - taken} steps are lost"
            )
            _LOG.warning(
                "checkpoint %s of %s is damaged (%s): %s",
                *(step, self._folder.parent, damaged[step], instead),
            )

    def _move_aside(self, damaged: dict[int, DamageError]) -> None:
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
        self._manager = self._open_manager()


def _check_shapes(
    checkpoint: Path,
    stored: dict[str, tuple[int, ...]],
    wanted: dict[str, tuple[int, ...]],
) -> None:
    """Refuses parameters of other shapes: Orbax does, with pages of its own state."""
    for path in {**wanted, **stored}:
        if stored.get(path) != wanted.get(path):
            raise ValueError(
                f"{checkpoint} holds {stored.get(path, 'nothing')} for params{path}, "
                f"but the model and data at hand take {wanted.get(path, 'nothing')}: "
                "they have changed since"
            )


def _advice(damaged: Iterable[DamageError]) -> str:
    """The way out where no checkpoint can be used."""
    if all(error.lost for error in damaged):
        return "put back a copy of one, or remove the run folder to train anew"
    return (
        "put back a copy of one. Keep the run folder: arrays in it may be whole; try "
        "the versions and settings of JAX and Orbax that its provenance.json names"
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
