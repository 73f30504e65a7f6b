"""Kernel matrices of many points: in tiles, over all devices, resumable on disk.

Tiles below the diagonal of a symmetric matrix are computed once and mirrored. In a
folder the matrices are memory-mapped ``.npy`` files that any program can open, beside a
journal of the tiles that are finished: a computation that was killed goes on where it
was, and gives the same bytes as one that was not.
"""

import functools
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from jaxtyping import Num
from tqdm import tqdm

from metabridge.theory.kernels.devices import Devices, Placement, device_tile
from metabridge.theory.kernels.evaluate import evaluate, float64, mirror_lower
from metabridge.theory.matrices.memory import check_matrices
from metabridge.theory.matrices.storage import Store, kept_tile
from metabridge.theory.types import Array, DeviceKernel, KernelFn, Kernels, check_inputs

DType = Literal["float32", "float64"]
_TILE = 1024
_STRIP = 64
_FLUSH_EVERY = 10.0
"""Seconds of work that a killed computation may lose, besides the tile in hand."""
_Tile = tuple[slice, slice, Kernels]


def kernel_matrix(
    kernel: KernelFn,
    x1: Num[Array, "N *X"],
    x2: Num[Array, "M *X"] | None = None,
    *,
    dtype: DType = "float64",
    folder: Path | str | None = None,
    name: str = "",
    tile: int | None = None,
    devices: Devices = None,
    progress: bool = False,
) -> Kernels:
    """Both kernels between many points.

    Args:
      kernel: ``kernel(x1, x2=None) -> Kernels``. A `theory.DeviceKernel`, as
        `relu_network` is, computes in `dtype` and over all devices; another computes in
        float64 and is rounded.
      x1: inputs.
      x2: inputs; None means `x1`, and half the work.
      dtype: of the result. Solves need float64; float32 halves memory and time.
      folder: where to keep the matrices; None for memory. Without its files there, or
        with those of the same computation, finished or not.
      name: of the kernel in the folder, for one that does not say by its `repr`.
      tile: rows and columns computed at a time; None for those of a matrix that is in
        `folder` already, or 1,024.
      devices: to compute on; None for all.
      progress: show a bar with the time left.

    Returns:
      Kernels ``[N, M]``: arrays, or read-only memory maps of the files in `folder`.

    Raises:
      ValueError: bad arguments, more than the memory holds, or a folder with something
        else in it; before anything is computed.
      OSError: the disk is too small, before anything is computed.
    """
    if dtype not in get_args(DType):
        raise ValueError(f"`dtype` must be 'float32' or 'float64', not {dtype!r}")
    if tile is None:
        tile = (folder is not None and kept_tile(Path(folder))) or _TILE
    if tile < 1:
        raise ValueError(f"`tile` must be at least 1, but is {tile}")
    first = _inputs("x1", x1)
    second = None if x2 is None else _inputs("x2", x2)
    if second is not None and first.shape[1:] != second.shape[1:]:
        raise ValueError(
            f"the inputs differ in shape: {first.shape[1:]} and {second.shape[1:]}"
        )
    other, symmetric = first if second is None else second, second is None
    shape = (len(first), len(other))
    make = functools.partial(
        _tiles, kernel, first, second, dtype, tile, Placement(devices), progress
    )
    if folder is None:
        advice = "pass folder=... to keep them on disk"
        if dtype == "float64":
            advice += ", or dtype='float32'"
        check_matrices("two kernel matrices", 2, shape, dtype, advice=advice)
        result = Kernels(np.empty(shape, dtype), np.empty(shape, dtype))
        for rows, columns, part in make(set()):
            _write(result, rows, columns, part, symmetric=symmetric)
        return result
    if not name and isinstance(kernel, DeviceKernel):
        name = repr(kernel)
    with Store(
        Path(folder), shape, dtype, tile=tile, symmetric=symmetric,
        inputs=(first, second), name=name, probe=evaluate(kernel, first[:3], other[:2]),
    ) as store:  # fmt: skip
        waiting: list[tuple[int, int]] = []
        flushed = time.monotonic()
        try:
            for rows, columns, part in make(store.done):
                _write(store.kernels, rows, columns, part, symmetric=symmetric)
                waiting.append((rows.start, columns.start))
                if time.monotonic() - flushed > _FLUSH_EVERY:
                    store.finish(waiting)
                    waiting, flushed = [], time.monotonic()
        finally:  # an interruption loses nothing that was written
            store.finish(waiting)
        return store.opened()


def _tiles(
    kernel: KernelFn,
    x1: np.ndarray,
    x2: np.ndarray | None,
    dtype: DType,
    size: int,
    placement: Placement,
    progress: bool,
    done: set[tuple[int, int]],
) -> Iterator[_Tile]:
    """What is not done yet; on and below the diagonal where `x2` is None."""
    other = x1 if x2 is None else x2
    left = [
        (row, column)
        for row in range(0, len(x1), size)
        for column in range(0, row + 1 if x2 is None else len(other), size)
        if (row, column) not in done
    ]

    def make(row: int, column: int) -> _Tile:
        rows = slice(row, min(row + size, len(x1)))
        columns = slice(column, min(column + size, len(other)))
        left = x1[rows]
        right = None if x2 is None and row == column else other[columns]
        if not isinstance(kernel, DeviceKernel):
            made = evaluate(kernel, left, right)
            return rows, columns, Kernels(*(part.astype(dtype) for part in made))
        with float64():
            second = None if right is None else right.astype(dtype)
            made = device_tile(kernel, left.astype(dtype), second, placement)
        # Sums are finite as a rule, and faster to make.
        if not all(np.isfinite(part.sum()) or np.isfinite(part).all() for part in made):
            raise ValueError(f"{kernel!r} is not finite on these inputs in {dtype}")
        return rows, columns, made

    tiles = _one_ahead(make, left)
    yield from tqdm(tiles, "kernel", unit="tile", total=len(left), disable=not progress)


def _one_ahead(
    make: Callable[[int, int], _Tile], corners: Sequence[tuple[int, int]]
) -> Iterator[_Tile]:
    """The tile of each corner, the next being made while the caller works on it."""
    with ThreadPoolExecutor(1) as pool:
        waiting: deque[Future[_Tile]] = deque()
        for corner in corners:
            waiting.append(pool.submit(make, *corner))
            if len(waiting) > 1:
                yield waiting.popleft().result()
        for last in waiting:
            yield last.result()


def _write(
    whole: Kernels, rows: slice, columns: slice, part: Kernels, *, symmetric: bool
) -> None:
    def one(target: Array, source: Array) -> None:
        target, source = np.asarray(target), np.asarray(source)
        if symmetric and rows == columns:
            source = mirror_lower(source)
        target[rows, columns] = source
        if symmetric and rows != columns:
            # In strips that stay in the cache. Rows of a power of 2 would share the
            # same few places in it, so the buffer's are longer.
            buffer = np.empty((_STRIP, source.shape[1] + 8), source.dtype)
            for start in range(0, len(source), _STRIP):
                strip = buffer[: len(source) - start, : source.shape[1]]
                strip[...] = source[start : start + _STRIP]
                first = rows.start + start
                target[columns, first : first + len(strip)] = strip.T

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(one, whole, part))


def _inputs(what: str, x: Array) -> np.ndarray:
    array = np.asarray(x)
    check_inputs(f"`{what}`", array)
    if not len(array):
        raise ValueError(f"`{what}` holds no examples")
    return array
