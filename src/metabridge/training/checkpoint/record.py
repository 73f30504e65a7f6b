"""The record beside the arrays of a checkpoint, and checks against it."""

from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import orbax.checkpoint as ocp

from metabridge.learners import State
from metabridge.training.checkpoint.integrity import checksum
from metabridge.units import shortened
from metabridge.untrusted import read_json


class Progress(NamedTuple):
    """Counters of the training loop."""

    step: int
    """Steps taken."""
    seconds: float
    """Time spent in training steps."""
    validation_accuracy: float
    """Accuracy of the last validation, in [0, 1]."""
    best_accuracy: float
    """Accuracy of the best validation so far."""
    validations_since_best: int
    """Validations without progress."""
    rollbacks: int = 0
    """Returns to a checkpoint because the run had diverged."""
    usual_loss: float | None = None
    """Running mean of the loss; see `divergence.check_steps`."""


START = Progress(0, 0.0, 0.0, 0.0, 0)
"""Progress before the first step."""


class TrainState(NamedTuple):
    """All that a checkpoint holds; the rest of a run follows from it."""

    progress: Progress
    state: State
    """State of the learner."""
    plateau: Any
    """State of the rule that lowers the learning rate."""


class DamageError(Exception):
    """A checkpoint is not what was saved; the message says how.

    Args:
      lost: whether its arrays are known to be lost. Else they may be whole: what stands
        beside them is damaged, or they cannot be read as they were asked for.
    """

    def __init__(self, message: str, *, lost: bool = False) -> None:
        super().__init__(message)
        self.lost = lost


# Of the machine, not of the checkpoint.
OUR_ERRORS = (MemoryError, PermissionError, jax.errors.JaxRuntimeError)


class Record(NamedTuple):
    """The record; earlier versions had neither of the last two."""

    progress: Progress
    validated: bool
    digest: str | None
    parameters: str | None


def make_record(
    progress: Progress, params: Any, *, validated: bool, digest: str
) -> dict[str, Any]:
    """The JSON values of a record, with a checksum of their own."""
    values = progress._asdict() | {
        "validated": validated,
        "digest": digest,
        "parameters": name_of(shapes_of(params)),
    }
    return values | {"checksum": checksum(values)}


def read(checkpoint: Path) -> Record:
    """The record of a checkpoint.

    Raises:
      DamageError: there is none, or it is not what was saved.
    """
    if not checkpoint.is_dir():
        raise DamageError("it is not a folder", lost=True)
    try:
        values = read_json(checkpoint / "progress" / "metadata")
        found = values.pop("checksum", None)
        if found is not None and found != checksum(values):
            raise DamageError("its progress is not what was saved")
        known = {k: v for k, v in values.items() if k in Progress._fields}
        progress = Progress(**known)
    except FileNotFoundError as error:
        lost = not (checkpoint / "state").is_dir()
        raise DamageError("its progress is missing", lost=lost) from error
    except (ValueError, AttributeError, TypeError) as error:
        raise DamageError(f"its progress is unreadable, {shortened(error)}") from error
    return Record(
        progress,
        values.get("validated", True),
        values.get("digest"),
        values.get("parameters"),
    )


def stored_shapes(checkpoint: Path) -> dict[str, tuple[int, ...]]:
    """Shapes of the parameters in a checkpoint, by path.

    Raises:
      DamageError: they cannot be read.
    """
    try:
        with ocp.StandardCheckpointer() as reader:
            return shapes_of(_metadata(reader, checkpoint)["state"]["params"])
    except OUR_ERRORS:
        raise
    except Exception as error:  # of many kinds, some of them None for a tree
        raise DamageError(
            "the metadata of its arrays is missing or unreadable",
            lost=not (checkpoint / "state").is_dir(),
        ) from error


def can_be_read(checkpoint: Path) -> bool:
    """Tells whether the arrays can be read in the types and shapes they have."""
    try:
        with ocp.StandardCheckpointer() as reader:
            template = jax.tree.map(
                lambda leaf: np.broadcast_to(np.zeros((), leaf.dtype), leaf.shape),
                _metadata(reader, checkpoint),
            )
            reader.restore(checkpoint / "state", template)
    except OUR_ERRORS:
        raise
    except Exception:
        return False
    return True


def _metadata(reader: ocp.StandardCheckpointer, checkpoint: Path) -> Any:
    saved: Any = reader.metadata(checkpoint / "state").item_metadata
    return saved.tree


def check_shapes(
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


def shapes_of(tree: Any) -> dict[str, tuple[int, ...]]:
    """Shapes of all arrays in a tree, by path."""
    leaves = jax.tree.leaves_with_path(tree)
    return {jax.tree_util.keystr(path): tuple(leaf.shape) for path, leaf in leaves}


def name_of(shapes: dict[str, tuple[int, ...]]) -> str:
    """A checksum of shapes, to tell another model from damaged metadata."""
    return checksum({path: list(shape) for path, shape in shapes.items()})
