"""Checkpoints of a run: the newest, to go on from, and the best, to use.

Orbax writes them atomically; a half-written one is never taken for a whole one.
"""

import logging
from pathlib import Path
from typing import Any, NamedTuple

import jax
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers

from metabridge.learners import State


class Progress(NamedTuple):
    """What the loop itself has to remember."""

    step: int = 0
    """Steps taken."""
    seconds: float = 0.0
    """Time spent in training steps."""
    validation_accuracy: float = 0.0
    """At this checkpoint, in [0, 1]."""
    best_accuracy: float = 0.0
    """The best validation so far."""
    validations_since_best: int = 0
    """Validations without progress."""
    rollbacks: int = 0
    """How often the run went back to a checkpoint because it had diverged."""
    usual_loss: float | None = None
    """See `divergence.check_steps`."""


class Checkpoints:
    """The checkpoint folder of a run, open for writing or for reading."""

    def __init__(self, folder: Path, *, read_only: bool = False) -> None:
        # Orbax logs every file it touches.
        logging.getLogger("absl").setLevel(logging.ERROR)
        policy = checkpoint_managers.AnyPreservationPolicy(
            [
                checkpoint_managers.LatestN(1),
                checkpoint_managers.BestN(get_metric_fn=_accuracy, n=1),
            ]
        )
        options = ocp.CheckpointManagerOptions(
            best_fn=_accuracy,
            best_mode="max",
            preservation_policy=policy,
            read_only=read_only,
            create=not read_only,
        )
        self._manager = ocp.CheckpointManager(folder.absolute(), options=options)

    def save(
        self, progress: Progress, state: State, plateau: Any, *, validated: bool = True
    ) -> None:
        """Writes a checkpoint in the background; `close` waits for it."""
        self._manager.save(
            progress.step,
            args=ocp.args.Composite(
                state=ocp.args.StandardSave({"state": state, "plateau": plateau}),
                progress=ocp.args.JsonSave(progress._asdict()),
            ),
            metrics={"accuracy": progress.validation_accuracy},
        )

    def restore(
        self, state: State, plateau: Any, *, best: bool = False
    ) -> tuple[Progress, State, Any] | None:
        """The newest checkpoint, or the best; None if there is none.

        Args:
          state: an example of the structure, shapes and placement to restore.
          plateau: likewise.
          best: take the one of the highest validation accuracy.

        Raises:
          ValueError: it holds parameters of other shapes, the first of which is named.
        """
        manager = self._manager
        step = manager.best_step() if best else manager.latest_step()
        if step is None:
            return None
        template = jax.tree.map(
            ocp.utils.to_shape_dtype_struct, {"state": state, "plateau": plateau}
        )
        _check_shapes(Path(manager.directory) / str(step), state)
        restored = manager.restore(
            step,
            args=ocp.args.Composite(
                state=ocp.args.StandardRestore(template),
                progress=ocp.args.JsonRestore(),
            ),
        )
        tree = restored["state"]
        return Progress(**restored["progress"]), tree["state"], tree["plateau"]

    def wait(self) -> None:
        """Returns when what was saved is on the disk."""
        self._manager.wait_until_finished()

    def close(self) -> None:
        """Waits until everything is on disk."""
        self._manager.wait_until_finished()
        self._manager.close()


def _check_shapes(checkpoint: Path, state: State) -> None:
    """Orbax would refuse them, too, but with pages of its own state."""
    with ocp.StandardCheckpointer() as reader:
        saved = reader.metadata(checkpoint / "state")
    assert saved.item_metadata is not None
    stored = _shapes(saved.item_metadata.tree["state"]["params"])
    wanted = _shapes(state.params)
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


def _accuracy(metrics: dict[str, float]) -> float:
    return metrics["accuracy"]
