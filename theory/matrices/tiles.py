"""Kernel matrices over many tasks, tile by tile.

The points of whole tasks are grouped into chunks; a kernel is evaluated between two
chunks at a time, so that no more than one tile and the matrix being built are held.
"""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Num

from metabridge.theory.kernels.evaluate import evaluate, mirror_lower
from metabridge.theory.types import KernelFn, Kernels, OneTask

TILE = 2048
"""Points of a side of a tile; of a chunk, unless a single task has more."""

Tile = tuple[slice, slice, np.ndarray]
"""Rows and columns of a matrix, and what stands there."""


class Span(NamedTuple):
    """Where the points of one task stand within its chunk."""

    task: int
    query: slice
    support: slice
    """Empty where supports are left out."""


class Chunk(NamedTuple):
    """The points of some consecutive tasks: each one's queries, then its supports."""

    inputs: Num[np.ndarray, "N *X"]
    spans: list[Span]
    queries: slice
    """Rows of its queries among all queries."""


def consecutive(sizes: Iterable[int]) -> list[slice]:
    """Slices of the given sizes, one after another."""
    edges = itertools.accumulate(sizes, initial=0)
    return [slice(*pair) for pair in itertools.pairwise(edges)]


def runs(sizes: Sequence[int], most: int) -> list[slice]:
    """Slices of consecutive items with `most` in sum, or of a single one with more."""
    edges, filled = [0], 0
    for index, size in enumerate(sizes):
        if index > edges[-1] and filled + size > most:
            edges.append(index)
            filled = 0
        filled += size
    return [slice(*pair) for pair in itertools.pairwise([*edges, len(sizes)])]


def chunk(
    tasks: Sequence[OneTask], *, with_support: bool, size: int = TILE
) -> list[Chunk]:
    """Groups tasks into chunks of about `size` points."""
    inputs = [task.points(with_support=with_support) for task in tasks]
    chunks, first = [], 0
    for run in runs(list(map(len, inputs)), size):
        spans, queries = [], 0
        own = consecutive(map(len, inputs[run]))
        for index, points in enumerate(own, run.start):
            middle = points.start + len(tasks[index].query_x)
            queries += len(tasks[index].query_x)
            query, support = slice(points.start, middle), slice(middle, points.stop)
            spans.append(Span(index, query, support))
        chunks.append(
            Chunk(np.concatenate(inputs[run]), spans, slice(first, first + queries))
        )
        first += queries
    return chunks


def lower_tiles(
    kernel: KernelFn, chunks: Sequence[Chunk]
) -> Iterator[tuple[Chunk, Chunk, Kernels]]:
    """Kernels between chunks, on and below the diagonal."""
    for row, chunk1 in enumerate(chunks):
        for chunk2 in chunks[:row]:
            yield chunk1, chunk2, evaluate(kernel, chunk1.inputs, chunk2.inputs)
        yield chunk1, chunk1, evaluate(kernel, chunk1.inputs)


def fill(size: int, tiles: Iterable[Tile]) -> Float[np.ndarray, "N N"]:
    """A matrix of its tiles on and below the diagonal; `mirror` fills the rest."""
    # Fortran order lets LAPACK factorise in place.
    matrix = np.zeros((size, size), order="F")
    for rows, columns, tile in tiles:
        matrix[rows, columns] = tile
    return matrix


def mirror(matrix: Float[np.ndarray, "N N"]) -> Float[np.ndarray, "N N"]:
    """Copies what is below the diagonal above it, in place."""
    for start in range(0, len(matrix), TILE):
        stop = start + TILE
        block = matrix[start:stop, start:stop]
        block[...] = mirror_lower(block)
        matrix[start:stop, stop:] = matrix[stop:, start:stop].T
    return matrix
