"""What stands beside the arrays of a checkpoint, and whether it is what was saved."""

from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import orbax.checkpoint as ocp

from metabridge.training.checkpoint.integrity import checksum
from metabridge.units import shortened
from metabridge.untrusted import read_json


class Progress(NamedTuple):
    """What the loop itself has to remember."""

    step: int
    """Steps taken."""
    seconds: float
    """Time spent in training steps."""
    validation_accuracy: float
    """Of the last validation, in [0, 1]."""
    best_accuracy: float
    """The best validation so far."""
    validations_since_best: int
    """Validations without progress."""
    rollbacks: int = 0
    """How often the run went back to a checkpoint because it had diverged."""
    usual_loss: float | None = None
    """See `divergence.check_steps`."""


START = Progress(0, 0.0, 0.0, 0.0, 0)
"""Before the first step."""


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
    """What stands beside the arrays; earlier versions had neither of the last two."""

    progress: Progress
    validated: bool
    digest: str | None
    parameters: str | None


def written(
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
            saved: Any = reader.metadata(checkpoint / "state").item_metadata
        return shapes_of(saved.tree["state"]["params"])
    except OUR_ERRORS:
        raise
    except Exception as error:  # of many kinds, some of them None for a tree
        raise DamageError(
            "the metadata of its arrays is missing or unreadable",
            lost=not (checkpoint / "state").is_dir(),
        ) from error


def can_be_read(checkpoint: Path) -> bool:
    """Whether the arrays of a checkpoint can be read as they were saved, in whatever
    types and shapes."""
    try:
        with ocp.StandardCheckpointer() as reader:
            saved: Any = reader.metadata(checkpoint / "state").item_metadata
            template = jax.tree.map(
                lambda leaf: np.broadcast_to(np.zeros((), leaf.dtype), leaf.shape),
                saved.tree,
            )
            reader.restore(checkpoint / "state", template)
    except OUR_ERRORS:
        raise
    except Exception:
        return False
    return True


def check_shapes(
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


def shapes_of(tree: Any) -> dict[str, tuple[int, ...]]:
    """Shapes of all arrays in a tree, by path."""
    leaves = jax.tree.leaves_with_path(tree)
    return {jax.tree_util.keystr(path): tuple(leaf.shape) for path, leaf in leaves}


def name_of(shapes: dict[str, tuple[int, ...]]) -> str:
    """A checksum of shapes, to tell another model from damaged metadata."""
    return checksum({path: list(shape) for path, shape in shapes.items()})
