"""A cache of decoded datasets: memory-mapped arrays, checked on load.

One folder per dataset (its `key`) holds two ``.npy`` files a split and
``manifest.json``, which describes each file and has the fingerprint of what they were
made from. A folder that fails any check is built again. Folders appear by renaming a
finished temporary one, and a lock file lets one process build while the others wait.
"""

import contextlib
import fcntl
import functools
import json
import logging
import math
import mmap
import os
import shutil
import stat
import tempfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from metabridge.data.dataset import SPLITS, Dataset, Split
from metabridge.units import format_bytes
from metabridge.untrusted import expanded, map_file, quoted, read_json, shown

_LOG = logging.getLogger(__name__)
_FORMAT = 1
_CHUNK = 1 << 22
_ABOUT = ("name", "mean", "std", "augmentation")


class _UnusableError(Exception):
    """A cache folder that cannot be used; the message says why."""


class _StaleError(_UnusableError):
    """A sound cache folder made from something else: no damage, only out of date."""


def cache_root(cache_dir: str | os.PathLike[str] | None = None) -> Path:
    """The cache folder: `cache_dir`, $METABRIDGE_CACHE or ~/.cache/metabridge.

    Where there is no home folder, or one that cannot be written and holds no cache, it
    is a folder of this user among the temporary ones.
    """
    if chosen := cache_dir or os.environ.get("METABRIDGE_CACHE"):
        return expanded(chosen)
    default = expanded("~/.cache/metabridge")
    if default.is_absolute():  # else of a user without a home folder
        with contextlib.suppress(OSError):
            default.mkdir(parents=True, exist_ok=True)
            return default
    return _temporary_root()


@functools.cache  # one warning
def _temporary_root() -> Path:
    """A cache folder for users without a home folder of their own."""
    user = os.getuid()
    root = Path(tempfile.gettempdir()) / f"metabridge-cache-{user}"
    root.mkdir(mode=0o700, exist_ok=True)
    about = root.lstat()
    if not stat.S_ISDIR(about.st_mode) or about.st_uid != user:
        raise OSError(f"{root} belongs to somebody else: set METABRIDGE_CACHE")
    _LOG.warning(
        "the home folder takes no files: the cache is %s, or set METABRIDGE_CACHE", root
    )
    return root


def load_or_build(
    key: str,
    fingerprint: dict[str, Any],
    build: Callable[[Path], Dataset],
    *,
    cache_dir: str | os.PathLike[str] | None = None,
) -> Dataset:
    """Open the dataset cached under `key`, or build it and cache it.

    Its arrays are memory-mapped read-only; a sequential read checks their checksums.
    The JSON values of `fingerprint` change when the result of `build` would. That is
    called at most once, with an empty folder on the disk of the cache: arrays that it
    maps to files there (`np.lib.format.open_memmap`) become those of the cache, for
    datasets larger than the memory.
    """
    root = cache_root(cache_dir)
    fingerprint = json.loads(json.dumps(fingerprint))  # as it will be read back
    folder = root / key
    with contextlib.suppress(_UnusableError):
        return _open(folder, fingerprint)
    try:
        root.mkdir(parents=True, exist_ok=True)
        lock = (root / f".{key}.lock").open("w")
    except OSError as error:
        raise OSError(
            f"the cache folder {shown(root)} cannot be written ({error}); pass "
            "`cache_dir` or set METABRIDGE_CACHE to a folder that can"
        ) from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)  # until it is closed
        except OSError:  # a file system without locks
            return _build_locked(folder, fingerprint, build)
        # Left by a process that died: nobody else writes while we hold the lock.
        for leftover in root.glob(f".{key}.tmp-*"):
            shutil.rmtree(leftover, ignore_errors=True)
        return _build_locked(folder, fingerprint, build)


def mapped(
    file: Path, shape: tuple[int, ...], dtype: npt.DTypeLike = np.uint8
) -> np.memmap:
    """Map a new file as an array, for `load_or_build` and others; its space is taken.

    Raises:
      OSError: there is no room for it, and no file then.
    """
    needed = math.prod(shape) * np.dtype(dtype).itemsize
    free = shutil.disk_usage(file.parent).free
    try:
        array = np.lib.format.open_memmap(file, "w+", np.dtype(dtype), shape)
        if hasattr(os, "posix_fallocate"):
            # A full disk is an error here; later it would kill the process.
            with file.open("r+b") as allocated:
                os.posix_fallocate(allocated.fileno(), 0, file.stat().st_size)
    except OSError as error:
        file.unlink(missing_ok=True)
        raise OSError(
            f"cannot take the {format_bytes(needed)} of {shown(file)} "
            f"({error.strerror or error}; {format_bytes(free)} are free there): free "
            "some space, or choose another disk"
        ) from error
    return array


def _build_locked(
    folder: Path, fingerprint: dict[str, Any], build: Callable[[Path], Dataset]
) -> Dataset:
    """Build `folder` unless another process did while this one waited."""
    try:
        return _open(folder, fingerprint)
    except _UnusableError as reason:
        # As text: a log that is kept would keep the error, and so the files, open.
        text, stale = str(reason), isinstance(reason, _StaleError)
        level = logging.INFO if stale else logging.WARNING
        state = "out of date" if stale else "damaged"
        if folder.exists():
            _LOG.log(level, "cache %s is %s (%s): rebuilding it", folder, state, text)
    prefix = f".{folder.name}.tmp-"
    with tempfile.TemporaryDirectory(prefix=prefix, dir=folder.parent) as temporary:
        scratch, made = Path(temporary) / "scratch", Path(temporary) / "made"
        scratch.mkdir()
        made.mkdir(mode=0o755)
        _write(made, scratch, build(scratch), fingerprint)
        if os.path.lexists(folder):  # or a link in its place
            folder.rename(Path(temporary) / "old")
        made.rename(folder)
    return _open(folder, fingerprint)


def _write(
    folder: Path, scratch: Path, dataset: Dataset, fingerprint: dict[str, Any]
) -> None:
    files = {}
    for name, split in dataset.splits():
        for field, array in (("images", split.inputs), ("labels", split.labels)):
            path = folder / f"{name}.{field}.npy"
            _save(path, array, scratch)
            files[path.name] = _describe(path, array)
    manifest = {
        "format": _FORMAT,
        "fingerprint": fingerprint,
        "dataset": {key: getattr(dataset, key) for key in _ABOUT},
        "class_names": {name: split.class_names for name, split in dataset.splits()},
        "files": files,
    }
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=1))


def _save(path: Path, array: np.ndarray, scratch: Path) -> None:
    """Write an array, or move the file in `scratch` that it is all of."""
    if isinstance(array, np.memmap) and isinstance(array.base, mmap.mmap):
        file = Path(str(array.filename))
        if file.parent == scratch.resolve():
            array.flush()
            file.rename(path)
            return
    np.save(path, np.ascontiguousarray(array), allow_pickle=False)


def _open(folder: Path, fingerprint: dict[str, Any]) -> Dataset:
    """Open a cache folder; raise `_UnusableError` when anything is amiss."""
    try:
        manifest = read_json(folder / "manifest.json")
        if manifest["format"] != _FORMAT:
            raise _StaleError(f"format {quoted(manifest['format'])}, not {_FORMAT}")
        if manifest["fingerprint"] != fingerprint:
            raise _StaleError("its source or options changed")
        made: dict[str, Any] = {key: manifest["dataset"][key] for key in _ABOUT}
        made |= {key: tuple(made[key]) for key in ("mean", "std")}
        for name in SPLITS:
            images = _array(folder, f"{name}.images.npy", manifest)
            labels = _array(folder, f"{name}.labels.npy", manifest)
            made[name] = Split(images, labels, tuple(manifest["class_names"][name]))
        return Dataset(**made)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise _UnusableError(f"{type(error).__name__}: {shown(error)}") from error


def _array(folder: Path, file_name: str, manifest: dict[str, Any]) -> np.ndarray:
    expected = manifest["files"][file_name]
    array = map_file(folder / file_name)
    for key, value in _describe(folder / file_name, array).items():
        if value != expected[key]:
            raise _UnusableError(
                f"`{key}` of {file_name} is {value}, not {quoted(expected[key])}"
            )
    return array


def _describe(path: Path, array: np.ndarray) -> dict[str, Any]:
    """Describe a file as the manifest does."""
    checksum = 0
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            checksum = zlib.crc32(chunk, checksum)
    size, shape, kind = path.stat().st_size, list(array.shape), str(array.dtype)
    return {"bytes": size, "crc32": checksum, "shape": shape, "dtype": kind}
