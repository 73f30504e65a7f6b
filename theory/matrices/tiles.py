"""Kernel matrices over many tasks, tile by tile.

The points of whole tasks are grouped into chunks; a kernel is evaluated between two
chunks at a time, so that no more than one tile and the matrix being built are held.
"""

import dataclasses
import functools
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int, Num

from metabridge.theory.kernels.evaluate import evaluate
from metabridge.theory.types import KernelFn, Kernels, OneTask

TILE = 2048
"""Points of a side of a tile; of a chunk, unless a single task has more."""


class Span(NamedTuple):
    """Where the points of one task stand within its chunk."""

    task: int
    query: slice
    support: slice
    """Empty where supports are left out."""


@dataclasses.dataclass(frozen=True)
class Chunk:
    """The points of some consecutive tasks: each one's queries, then its supports."""

    inputs: Num[np.ndarray, "N *X"]
    spans: tuple[Span, ...]
    first: int
    """Row of its first point among all points."""
    first_query: int
    """Row of its first query among all queries."""

    @property
    def points(self) -> slice:
        """Its rows among all points."""
        return slice(self.first, self.first + len(self.inputs))

    @property
    def queries(self) -> slice:
        """Its rows among all queries."""
        count = sum(span.query.stop - span.query.start for span in self.spans)
        return slice(self.first_query, self.first_query + count)

    @functools.cached_property
    def task_of_point(self) -> Int[np.ndarray, "N"]:
        """The task of each point."""
        sizes = [span.support.stop - span.query.start for span in self.spans]
        return np.repeat([span.task for span in self.spans], sizes)


def chunk(
    tasks: Sequence[OneTask], *, with_support: bool, size: int = TILE
) -> list[Chunk]:
    """Groups tasks into chunks of about `size` points."""
    groups: list[list[int]] = [[]]
    filled = 0
    for index, task in enumerate(tasks):
        points = len(task.query_x) + len(task.support_x) * with_support
        if groups[-1] and filled + points > size:
            groups.append([])
            filled = 0
        groups[-1].append(index)
        filled += points
    chunks, first, first_query = [], 0, 0
    for group in groups:
        made = _make(tasks, group, with_support, first, first_query)
        chunks.append(made)
        first, first_query = made.points.stop, made.queries.stop
    return chunks


def _make(
    tasks: Sequence[OneTask],
    group: list[int],
    with_support: bool,
    first: int,
    first_query: int,
) -> Chunk:
    inputs, spans, row = [], [], 0
    for index in group:
        task = tasks[index]
        middle = row + len(task.query_x)
        inputs.append(task.points(with_support=with_support))
        end = row + len(inputs[-1])
        spans.append(Span(index, slice(row, middle), slice(middle, end)))
        row = end
    return Chunk(np.concatenate(inputs), tuple(spans), first, first_query)


def lower_tiles(
    kernel: KernelFn, chunks: Sequence[Chunk]
) -> Iterator[tuple[Chunk, Chunk, Kernels]]:
    """Kernels between chunks, on and below the diagonal."""
    for row, chunk1 in enumerate(chunks):
        for chunk2 in chunks[:row]:
            yield chunk1, chunk2, evaluate(kernel, chunk1.inputs, chunk2.inputs)
        yield chunk1, chunk1, evaluate(kernel, chunk1.inputs)


def fill(
    size: int, tiles: Iterable[tuple[slice, slice, np.ndarray]]
) -> Float[np.ndarray, "N N"]:
    """A matrix out of its tiles; what is above the diagonal is for `mirror` to fill.

    Args:
      size: N.
      tiles: ``(rows, columns, tile)`` on and below the diagonal.
    """
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
        block[...] = np.tril(block) + np.tril(block, -1).T
        matrix[start:stop, stop:] = matrix[stop:, start:stop].T
    return matrix
