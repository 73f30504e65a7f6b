"""The kept file of an evaluation: its tasks, and what was predicted for each query.

``evaluation.npz`` in a run's folder is of the run's own test; `metabridge evaluate
--output NAME.json` writes ``NAME.npz``. Its arrays, of NumPy and without pickles:

| name | array |
|---|---|
| about | JSON text: learner, head, dataset, split, shape, seed, digests |
| class_names | text ``[C]``, of the split |
| closed_classes | ``[T, ways]``, the class that each label of a task stands for |
| closed_support, closed_query | ``[T, ways, n]``, rows of the split's images |
| closed_accuracy | float32 ``[T]`` |
| closed_predicted | ``[T, ways * queries]``, the label given to each query |
| closed_logits | float16 ``[T, ways * queries, ways]``, less their mean; or missing |
| open_classes, ... | the same of tasks that share no image; may be missing |

In unequal tasks -1 stands for a class, image or prediction that is not there.
"""

import contextlib
import hashlib
import io
import json
import os
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from metabridge.data.dataset import Split
from metabridge.evaluation import Tasks
from metabridge.evaluation.scores import Outcome
from metabridge.files import write_bytes
from metabridge.output import check_output
from metabridge.runs.folder import RunError, read_result
from metabridge.types import TaskShape
from metabridge.untrusted import parse_json, read_arrays, shown

FILE = "evaluation.npz"
LOGITS_BYTES = 64 * 2**20
"""Bytes of logits that are kept unless asked otherwise."""
_FORMAT = 1
_EVALUATED = ("dataset", "split", *TaskShape._fields, "evaluation_seed", "head")
"""What a kept file and a result both say of an evaluation."""


class TaskRecords(NamedTuple):
    """Tasks, and the predictions of one learner and head for them."""

    tasks: Tasks
    outcome: Outcome
    """All in NumPy; without logits where they were not kept."""

    @property
    def labels(self) -> Int[np.ndarray, "Q"]:
        """Right label of each query of a task; queries stand class by class."""
        _, ways, queries = self.tasks.query.shape
        return np.repeat(np.arange(ways), queries)

    @property
    def unequal(self) -> bool:
        """Whether the tasks have fillers, so that their sizes differ."""
        return bool((self.tasks.query < 0).any() or (self.tasks.support < 0).any())

    def class_accuracy(self, num_classes: int) -> Float[np.ndarray, "C"]:
        """Share of the queries of each class that was right; NaN without any."""
        ways = self.tasks.classes.shape[1]
        right = (self.outcome.predicted == self.labels).reshape(
            -1, ways, len(self.labels) // ways
        )
        counts = (self.tasks.query >= 0).sum(-1)
        there = counts > 0
        share = right.sum(-1)[there] / counts[there]
        classes = self.tasks.classes[there]
        total = np.bincount(classes, share, num_classes)
        with np.errstate(invalid="ignore"):
            return total / np.bincount(classes, minlength=num_classes)


class Evaluation(NamedTuple):
    """An evaluation of one learner and head, task by task."""

    about: dict[str, Any]
    """``learner``, ``head`` and its options, ``dataset``, ``split``, ``ways``,
    ``shots``, ``queries``, ``evaluation_seed``, ``split_digest``, and ``checkpoint``,
    the digest of what was scored."""
    class_names: tuple[str, ...]
    """Of the split."""
    closed: TaskRecords
    """Tasks that may share images."""
    open: TaskRecords | None
    """Tasks of which no two share an image; None if the split holds fewer than two."""


def split_digest(split: Split) -> str:
    """Hash of the classes of a split and of the first image of each, hexadecimal.

    Splits of which it is the same hold the same tasks for the same seed.
    """
    hasher = hashlib.blake2b(digest_size=16)
    sizes = split.images_per_class
    hasher.update(repr((split.class_names, sizes.tolist())).encode())
    for row in np.cumsum(sizes) - sizes:
        hasher.update(np.ascontiguousarray(split.inputs[row]).data)
    return hasher.hexdigest()


def keeps_logits(num_tasks: int, ways: int, queries: int) -> bool:
    """Tells whether logits of so many tasks are kept unless asked otherwise."""
    return 2 * num_tasks * ways * queries * ways <= LOGITS_BYTES


def check_result_output(output: str | os.PathLike[str]) -> Path:
    """Check the path of a result, beside which its kept file goes, before the work.

    Raises:
      ValueError: a path for which `check_output` raises, or that of the kept file.
    """
    file = check_output(output)
    if file.suffix == ".npz":
        raise ValueError(
            f"`output` is {shown(file)}, but it names the JSON file, and tasks and "
            "predictions go beside it into an .npz of the same name: name it .json"
        )
    check_output(file.with_suffix(".npz"))
    return file


def write_evaluation(path: Path, evaluation: Evaluation) -> None:
    """Write the file whole or not at all."""
    about = json.dumps({"format": _FORMAT, **evaluation.about})
    arrays = {"about": np.array(about), "class_names": np.array(evaluation.class_names)}
    for kind in ("closed", "open"):
        records = getattr(evaluation, kind)
        if records is not None:
            fields = records.tasks._asdict() | records.outcome._asdict()
            arrays |= {
                f"{kind}_{name}": _smallest(array)
                for name, array in fields.items()
                if array is not None
            }
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **arrays)
    write_bytes(path, buffer.getvalue())


def read_evaluation(path: Path) -> Evaluation:
    """Read a kept file, checked.

    Raises:
      RunError: no such file, or a damaged one.
    """
    if not path.is_file():
        raise RunError(f"there is no kept evaluation {shown(path)}")
    try:
        return _parse(read_arrays(path))
    # A forged archive can raise nearly anything.
    except Exception as error:
        raise RunError(
            f"{shown(path)} is damaged ({shown(error)}): remove it, and it is made "
            "anew where it is needed (or by `metabridge evaluate RUN --output "
            "NAME.json`)"
        ) from error


def read_own(
    run_dir: Path, name: str = FILE, result: dict[str, Any] | None = None
) -> Evaluation | None:
    """Read a kept file in a run's folder; None if it is not there.

    Earlier versions kept none. It must be of the checkpoint of ``result.json``, and of
    the evaluation with this `result`, by default that of ``result.json``.

    Raises:
      RunError: a damaged file, or one of another run, checkpoint or evaluation.
    """
    path = run_dir / name
    if not path.is_file():
        return None
    found, own = read_evaluation(path), read_result(run_dir)
    expected = {key: (own if result is None else result).get(key) for key in _EVALUATED}
    provenance: Any = own.get("provenance")
    with contextlib.suppress(KeyError, TypeError):  # an earlier version had none
        expected["checkpoint"] = provenance["checkpoint"]["digest"]
    for key, value in expected.items():
        # Sizes that the result of equal tasks does not name must not be there.
        known = value is not None or key in TaskShape._fields[3:]
        if known and found.about.get(key, value) != value:
            raise RunError(
                f"{shown(path)} is of another run, checkpoint or evaluation: its "
                f"`{key}` is {shown(found.about[key])}, that of the result "
                f"{shown(value)}; remove it, or make it anew with `metabridge evaluate`"
            )
    return found


def same_tasks(first: Evaluation, second: Evaluation) -> bool:
    """Tells whether two evaluations are of the same closed tasks and images."""
    one, two = (each.about.get("split_digest") for each in (first, second))
    pairs = zip(first.closed.tasks, second.closed.tasks, strict=True)
    return one == two and all(np.array_equal(a, b) for a, b in pairs)


def _smallest(array: np.ndarray) -> np.ndarray:
    """Integers in the smallest type that holds them."""
    if array.dtype.kind not in "iu":
        return array
    ends = int(array.min(initial=0)), int(array.max(initial=0))
    return array.astype(np.result_type(*map(np.min_scalar_type, ends)))


def _parse(arrays: dict[str, np.ndarray]) -> Evaluation:
    about = parse_json(str(arrays["about"][()]))
    if not isinstance(about, dict) or about.pop("format", None) != _FORMAT:
        raise ValueError(f"its format is not {_FORMAT}")
    names = tuple(map(str, arrays["class_names"]))
    closed = _records(arrays, "closed", len(names))
    has_open = "open_classes" in arrays
    open_ = _records(arrays, "open", len(names)) if has_open else None
    return Evaluation(about, names, closed, open_)


def _records(arrays: dict[str, np.ndarray], kind: str, classes: int) -> TaskRecords:
    def take(name: str, kinds: str, shape: tuple[int | None, ...]) -> np.ndarray:
        array = arrays[f"{kind}_{name}"]
        fits = len(array.shape) == len(shape) and all(
            wanted in (None, found)
            for wanted, found in zip(shape, array.shape, strict=True)
        )
        if not fits or array.dtype.kind not in kinds:
            raise ValueError(f"{kind}_{name} is {array.dtype} {list(array.shape)}")
        return array.astype(np.int32) if kinds == "iu" else array

    of_task = take("classes", "iu", (None, None))
    count, ways = of_task.shape
    support = take("support", "iu", (count, ways, None))
    query = take("query", "iu", (count, ways, None))
    total = ways * query.shape[2]
    accuracy = take("accuracy", "f", (count,))
    predicted = take("predicted", "iu", (count, total))
    logits = None
    if f"{kind}_logits" in arrays:
        logits = take("logits", "f", (count, total, ways))
    if of_task.max(initial=0) >= classes or predicted.max(initial=0) >= ways:
        raise ValueError(f"{kind}_classes or {kind}_predicted names a class not there")
    if min(each.min(initial=0) for each in (of_task, support, query, predicted)) < -1:
        raise ValueError(f"{kind} tasks have a number below -1")
    right = predicted == np.repeat(np.arange(ways), query.shape[2])
    right = right.sum(1) / (query >= 0).sum((1, 2))
    if not np.allclose(right, accuracy, atol=1e-5):
        raise ValueError(f"{kind}_accuracy is not that of {kind}_predicted")
    return TaskRecords(
        Tasks(of_task, support, query), Outcome(accuracy, predicted, logits)
    )
