"""The record beside the arrays of a checkpoint, and digests to check both by."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import orbax.checkpoint as ocp

from metabridge.learners import State
from metabridge.parallel.mesh import one_copy
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
    cpu_seconds: float | None = None
    """Processor time in training steps: user and system time of this process, all its
    threads together. On an accelerator that is the host's share. None: unknown, since
    the run began with a version that did not count it."""


START = Progress(0, 0.0, 0.0, 0.0, 0, cpu_seconds=0.0)
"""Progress before the first step."""


class TrainState(NamedTuple):
    """All that a checkpoint holds; the rest of a run follows from it."""

    progress: Progress
    state: State
    """State of the learner."""
    plateau: Any
    """State of the rule that lowers the learning rate."""

    @property
    def arrays(self) -> dict[str, Any]:
        return {"state": self.state, "plateau": self.plateau}


class DamageError(Exception):
    """A checkpoint is not what was saved; the message says how.

    Unless they are known to be `lost`, its arrays may be whole: what stands beside them
    is damaged, or they cannot be read as they were asked for.
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


def make_record(train_state: TrainState, *, validated: bool) -> dict[str, Any]:
    """The JSON values of a record, with a checksum of their own."""
    values = train_state.progress._asdict() | {
        "validated": validated,
        "digest": digest(train_state.arrays),
        "parameters": name_of(shapes_of(train_state.state.params)),
    }
    return values | {"checksum": checksum(values)}


def read(checkpoint: Path) -> Record:
    """The record of a checkpoint."""
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
    optional = (values.get(name) for name in ("digest", "parameters"))
    return Record(progress, values.get("validated", True), *optional)


def stored_shapes(checkpoint: Path) -> dict[str, tuple[int, ...]]:
    """Shapes of the parameters in a checkpoint, by path."""
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


def shapes_of(tree: Any) -> dict[str, tuple[int, ...]]:
    """Shapes of all arrays in a tree, by path."""
    leaves = jax.tree.leaves_with_path(tree)
    return {jax.tree_util.keystr(path): tuple(leaf.shape) for path, leaf in leaves}


def name_of(shapes: dict[str, tuple[int, ...]]) -> str:
    """A checksum of shapes, to tell another model from damaged metadata."""
    return checksum({path: list(shape) for path, shape in shapes.items()})


def digest(tree: Any) -> str:
    """BLAKE2b of every leaf's path, dtype, shape and bytes, in hexadecimal.

    It is the same wherever the arrays are. Those spread over several processes are the
    same on all of them.
    """
    hasher = hashlib.blake2b(digest_size=16)
    for path, leaf in jax.tree.leaves_with_path(tree):
        array = np.asarray(one_copy(leaf))
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        hasher.update(f"{name} {array.dtype} {list(array.shape)}\n".encode())
        # As bytes: not all dtypes of JAX have a buffer of their own.
        hasher.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return hasher.hexdigest()


def checksum(values: Mapping[str, Any]) -> str:
    """BLAKE2b of JSON values, whatever the order of their names."""
    text = json.dumps(values, sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
