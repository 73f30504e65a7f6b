"""A features file of a dataset from any body, made in batches and resumed if cut off.

Beside ``NAME.npz`` a folder ``NAME.npz.begun`` holds what is done so far: the
features of all examples in a mapped file, and how many of them are final. It goes when
the file is there.
"""

import contextlib
import math
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
from tqdm import tqdm

from metabridge.apply import loading
from metabridge.apply.body import Body, reading_of
from metabridge.apply.frozen import Embed, embed_with
from metabridge.data.arrays import arrays_beside
from metabridge.data.cache import mapped
from metabridge.data.dataset import Dataset
from metabridge.data.registry import load_dataset
from metabridge.files import PARTIAL, locked, replacing, write_json
from metabridge.output import check_output
from metabridge.precision import in_32_bits
from metabridge.training.checkpoint import digest
from metabridge.units import format_bytes
from metabridge.untrusted import map_file, read_json, shown

_ROWS, _DONE, _LOCK = "features.npy", "progress.json", "lock"


@in_32_bits
def embed(
    body: str | os.PathLike[str] | Body | Embed,
    dataset: str | Dataset,
    output: str | os.PathLike[str],
    *,
    batch: int = 256,
    dtype: Literal["float32", "float16"] = "float32",
    name: str | None = None,
    **options: Any,
) -> Path:
    """Write the features of all examples of a dataset, with labels and splits.

    The file is read as ``features:FILE``. The same call goes on where an earlier one
    was cut off, and ends with the same bytes.

    Args:
      body: run folder, file or name as `load_body` takes them, a `Body`, or a function
        from a batch of inputs, as the dataset holds them (images: uint8
        ``[N, H, W, c]``), to features ``[N, D]``.
      dataset: a dataset or its name.
      output: NAME.npz.
      batch: inputs a call; the last one may have fewer.
      dtype: of the features in the file.
      name: of a body that is a function, which tells it from others when a call goes
        on; default: its module and name.
      **options: of `load_dataset`, such as `data_dir`.

    Raises:
      ValueError: an output that does not end in .npz; the beginning of another file in
        its place; a body that gives no features ``[N, D]``.
      OSError: a disk without room for them, or another process that makes the same
        file.

    Returns:
      The file.
    """
    path = check_output(output)
    if path.suffix != ".npz":
        raise ValueError(f"`output` is {shown(path)}, but must end in .npz")
    if batch < 1:
        raise ValueError(f"`batch` is {batch}, but must be at least 1")
    if dtype not in ("float32", "float16"):
        raise ValueError(f"`dtype` is {dtype!r}, but must be float32 or float16")
    function, known_as = _function(body, name)
    data = dataset if isinstance(dataset, Dataset) else load_dataset(dataset, **options)
    total = sum(len(split.labels) for _, split in data.splits())
    made_of = {
        "body": known_as,
        "dataset": data.fingerprint(),
        "total": total,
        "batch": batch,
        "dtype": dtype,
    }
    work = path.with_name(f"{path.name}.begun")
    with _alone(work):
        rows = _features(function, data, work, made_of)
        arrays = {"features": rows, **arrays_beside(data)}
        with replacing(path) as file:
            np.savez(file, allow_pickle=False, **arrays)
        for name in (_DONE, _DONE + PARTIAL, _ROWS):
            (work / name).unlink(missing_ok=True)
    return path


def _features(
    function: Embed, data: Dataset, work: Path, made_of: dict[str, Any]
) -> np.memmap:
    """The features of all examples, in the folder `work`."""
    total, batch, dtype = (made_of[name] for name in ("total", "batch", "dtype"))
    done, rows = _begun(work, made_of)
    if rows is not None and done:
        # A function is known by its name alone, which may stand for another by now.
        again = _in(dtype, embed_with(function, _batch(data, 0, batch)))
        if not np.array_equal(again, rows[: len(again)]):
            raise ValueError(_of_another(work))
    with tqdm(total=total, initial=done, unit="input", disable=None) as bar:
        while done < total:
            features = _in(
                dtype, embed_with(function, _batch(data, done, done + batch))
            )
            if rows is None:
                rows = _begin(work, (total, features.shape[1]), dtype, made_of)
            if features.shape[1:] != rows.shape[1:]:
                raise ValueError(
                    f"the body gave {features.shape[1]} features, but "
                    f"{rows.shape[1]} before"
                )
            rows[done : done + len(features)] = features
            done += len(features)
            rows.flush()  # before they count as done
            write_json(work / _DONE, made_of | {"done": done})
            bar.update(len(features))
    assert rows is not None
    return rows


@contextlib.contextmanager
def _alone(work: Path) -> Iterator[None]:
    """Keep other processes from a folder, which stays if anything is begun in it."""
    work.mkdir(exist_ok=True)
    busy = f"another process is making {shown(work.with_suffix(''))}: wait for it"
    lock = work / _LOCK
    with locked(lock, busy):
        try:
            yield
        finally:
            lock.unlink(missing_ok=True)
            with contextlib.suppress(OSError):  # not empty, or gone
                work.rmdir()


def _function(body: Any, name: str | None) -> tuple[Embed, str]:
    """The function from a batch to features, and what tells the body from others."""
    if callable(body) and not isinstance(body, Body):
        own = f"{getattr(body, '__module__', '')}.{getattr(body, '__qualname__', '')}"
        return body, name or own
    found = loading.cached(body, None)
    reads = found.shapes, found.mean, found.std, reading_of(found.config)
    return found.embed, f"{digest(found.variables)} {reads}"


def _in(dtype: str, features: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):
        found = features.astype(dtype)
    if not np.isfinite(found).all():
        raise ValueError(f"the features exceed {dtype}: pass float32 as `dtype`")
    return found


def _of_another(work: Path) -> str:
    return (
        f"{shown(work)} is the beginning of a file with another body, data, batch or "
        "dtype: pass those, or remove that folder"
    )


def _begun(work: Path, made_of: dict[str, Any]) -> tuple[int, np.memmap | None]:
    """How many rows an earlier call has finished, and the rows."""
    if not (work / _DONE).is_file():
        return 0, None
    found = read_json(work / _DONE)
    if not isinstance(found, dict) or {**found, "done": 0} != {**made_of, "done": 0}:
        raise ValueError(_of_another(work))
    done, file = found.get("done"), work / _ROWS
    if not isinstance(done, int) or not 0 <= done <= made_of["total"]:
        raise ValueError(f"{shown(work / _DONE)} is damaged: remove {shown(work)}")
    shape = map_file(file).shape  # checked as a file that anybody may have made
    rows = np.lib.format.open_memmap(file, mode="r+")
    if len(shape) != 2 or shape[0] != made_of["total"]:
        raise ValueError(f"{shown(file)} is damaged: remove {shown(work)}")
    return done, rows


def _begin(
    work: Path, shape: tuple[int, int], dtype: str, made_of: dict[str, Any]
) -> np.memmap:
    needed = 2 * math.prod(shape) * np.dtype(dtype).itemsize
    free = shutil.disk_usage(work).free
    if needed > free:
        raise OSError(
            f"{math.prod(shape[:1]):,} times {shape[1]:,} features need "
            f"{format_bytes(needed)} in {shown(work.parent)}, once while they are made "
            f"and once in the file, but {format_bytes(free)} are free there: free some "
            "space, or pass another output" + (", or float16" * (dtype != "float16"))
        )
    rows = mapped(work / _ROWS, shape, dtype)
    write_json(work / _DONE, made_of | {"done": 0})
    return rows


def _batch(data: Dataset, start: int, stop: int) -> np.ndarray:
    """Inputs `start` to `stop` of the three splits behind one another."""
    parts, first = [], 0
    for _, split in data.splits():
        own = slice(max(start - first, 0), max(stop - first, 0))
        parts.append(np.asarray(split.inputs[own]))
        first += len(split.labels)
    return np.concatenate([part for part in parts if len(part)])
