"""The systems of multi-task training, of shared heads by products and of any by tiles.

Both solve for coefficients at the training points, give what training adds to the
predictions there, and respond to initial functions (`theory.predictors.spread`).
"""

import dataclasses
import functools
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from metabridge.theory.kernels.evaluate import evaluate
from metabridge.theory.matrices import tiles
from metabridge.theory.predictors.head_correlation import Heads, Resolved, groups
from metabridge.theory.predictors.rows import point_names
from metabridge.theory.predictors.spread import Response
from metabridge.theory.solvers import dense, rank, tiled
from metabridge.theory.solvers.solve import Iterative, SolveReport, multiply, solve
from metabridge.theory.solvers.task_system import TaskSystem, distinct, within_tasks
from metabridge.theory.types import KernelFn, OneTask


@dataclasses.dataclass(frozen=True, eq=False)
class SharedHeads:
    """Training of shared heads by products.

    They are with the head's kernel within tasks, and the body's anywhere.
    """

    kernel: KernelFn
    tasks: Sequence[OneTask]
    inputs: Sequence[np.ndarray]
    joint: bool
    time: float
    jitter: float
    options: Iterative

    @functools.cached_property
    def system(self) -> TaskSystem:
        return shared_system(self.kernel, self.inputs, self.jitter)

    def evolve(self, targets: np.ndarray) -> tuple[np.ndarray, SolveReport]:
        names = point_names(self.tasks, with_support=self.joint)
        with rank.explained(self.kernel, np.concatenate(self.inputs)):
            return solve(
                self.system, targets, time=self.time, names=names, options=self.options
            )

    def respond(self, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        rows, _ = self.evolve(self.system.gather(values))
        return rows, self.system.scatter(rows)

    def values(self, solved: np.ndarray) -> np.ndarray:
        """What training adds to the predictions of its samples."""
        products = multiply(self.system, "float64", self.options.keep_bytes)
        return products(solved) - self.jitter * solved


class _Solved(NamedTuple):
    """Units that do not influence others, in groups of one kernel matrix, solved."""

    components: list[np.ndarray]
    blocks: list[slice]
    tiles: tiled.Tiles
    solution: dense.Solution


@dataclasses.dataclass(frozen=True, eq=False)
class AnyHeads:
    """Training of any heads, by a matrix for each group of units that are linked."""

    kernel: KernelFn
    tasks: Sequence[OneTask]
    inputs: Sequence[np.ndarray]
    joint: bool
    time: dense.Time
    jitter: float
    options: Iterative | None
    resolved: Resolved

    def solve(self, targets: np.ndarray, *, every: bool) -> Iterator[_Solved]:
        """Coefficients of the units that reach a new head, or of every one."""
        heads, resolved = self.resolved.heads, self.resolved
        chunks = tiles.chunk(self.tasks, with_support=self.joint)
        own = tiles.consecutive(map(len, self.inputs))
        for components in groups(heads):
            if not every and not heads.new[:, np.concatenate(components)].any():
                continue
            order = [resolved.task(unit) for unit in components[0].tolist()]
            blocks = tiles.consecutive(len(self.inputs[task]) for task in order)
            wanted = [
                np.concatenate(
                    [
                        targets[own[resolved.task(unit)], resolved.outputs(unit)]
                        for unit in units.tolist()
                    ]
                )
                for units in components
            ]
            rows = rows_of(chunks, components[0], resolved)
            tiles_of = functools.partial(make_tiles, self.kernel, rows, heads)
            names = point_names(self.tasks, with_support=self.joint, order=order)
            with rank.explained(self.kernel, np.concatenate(self.inputs)):
                solution = tiled.evolve(
                    tiles_of,
                    blocks,
                    np.concatenate(wanted, 1),
                    time=self.time,
                    names=names,
                    jitter=self.jitter,
                    options=self.options,
                )
            yield _Solved(components, blocks, tiles_of, solution)

    def coefficients(
        self, residual: np.ndarray
    ) -> tuple[np.ndarray, list[dense.Solution]]:
        """Coefficients of a new head's function, and the solutions they are made of."""
        new, solutions = self.resolved.heads.new, []
        result = np.zeros(residual.shape)
        for found in self.solve(residual, every=False):
            solutions.append(found.solution)
            for rows, unit, x in self._units(found, found.solution.x):
                # Of all outputs, or of one, which then reaches all of a new task.
                result[rows] += x * new[:, unit][None]
        return result, solutions

    def values(self, residual: np.ndarray) -> np.ndarray:
        """What training adds to the predictions of its samples, solved anew."""
        result = np.zeros(residual.shape)
        for found in self.solve(residual, every=True):
            product = tiled.multiply(found.tiles, found.solution.x)
            for rows, unit, values in self._units(found, product):
                result[rows, self.resolved.outputs(unit)] = values
        return result

    def respond(self, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        result = np.zeros(values.shape)
        for found in self.solve(values, every=False):
            for rows, _, x in self._units(found, found.solution.x):
                result[rows] = x
        return result, result

    def response(
        self, points: np.ndarray, labels: np.ndarray, noise: float, *, shared: bool
    ) -> Response | None:
        """The response of a new head; None where its outputs are not independent."""
        heads = self.resolved.heads
        if not self.resolved.alike:
            nothing = Response(points[:0], self.respond, labels[:0], noise)
            return None if heads.new.any() else nothing
        if shared:
            return Response(points, self.respond, labels, noise)
        of_task = np.repeat(np.arange(len(self.tasks)), list(map(len, self.inputs)))
        correlation = np.block([[heads.correlation, heads.new.T], [heads.new, 1.0]])
        return Response(points, self.respond, labels, noise, of_task, correlation)

    def _units(
        self, found: _Solved, values: np.ndarray
    ) -> Iterator[tuple[slice, int, np.ndarray]]:
        """Rows of each unit among all points, the unit, and its part of the values."""
        own = tiles.consecutive(map(len, self.inputs))
        columns = np.split(values, len(found.components), 1)
        for units, column in zip(found.components, columns, strict=True):
            for unit, block in zip(units.tolist(), found.blocks, strict=True):
                yield own[self.resolved.task(unit)], unit, column[block]


def largest_matrix(resolved: Resolved, sizes: Sequence[int]) -> int:
    """Rows of the largest matrix by which training reaches a new head; 0 without one.

    Args:
      sizes: training samples of each task.
    """
    heads = resolved.heads
    return max(
        (
            sum(sizes[resolved.task(unit)] for unit in components[0].tolist())
            for components in groups(heads)
            if heads.new[:, np.concatenate(components)].any()
        ),
        default=0,
    )


def shared_system(
    kernel: KernelFn, inputs: Sequence[np.ndarray], jitter: float
) -> TaskSystem:
    """Shared heads in products: the head's kernel within tasks, the body's anywhere."""
    own = within_tasks(kernel, inputs)
    points, index = distinct(inputs)
    diagonal = tuple(
        np.asarray(kernels.nngp) + jitter * np.eye(len(kernels.nngp)) for kernels in own
    )
    blocks = tuple(
        head + np.asarray(kernels.of("body"))
        for head, kernels in zip(diagonal, own, strict=True)
    )
    return TaskSystem(kernel, "body", points, tuple(index), None, diagonal, blocks)


class _Rows(NamedTuple):
    """The rows of a matrix over (unit, point) that come from one chunk."""

    inputs: np.ndarray
    """Inputs of the points that occur, each once."""
    point: np.ndarray
    """The input of each row."""
    unit: np.ndarray
    """The unit of each row."""
    place: slice
    """Where they stand in the matrix."""


def rows_of(
    chunks: Sequence[tiles.Chunk], units: np.ndarray, resolved: Resolved
) -> list[_Rows]:
    """The rows of a matrix over some ascending units, by chunk where there are any."""
    result, start = [], 0
    for chunk in chunks:
        places = {
            span.task: np.arange(span.query.start, span.support.stop)
            for span in chunk.spans
        }
        tasks = ((resolved.task(u), u) for u in units.tolist())
        own = [(places[task], u) for task, u in tasks if task in places]
        if not own:
            continue
        points = np.concatenate([place for place, _ in own])
        used, point = np.unique(points, return_inverse=True)
        unit = np.repeat([u for _, u in own], [len(place) for place, _ in own])
        place = slice(start, start + len(point))
        result.append(_Rows(chunk.inputs[used], point, unit, place))
        start = place.stop
    return result


def make_tiles(
    kernel: KernelFn, rows: Sequence[_Rows], heads: Heads
) -> Iterator[tiles.Tile]:
    """``delta(o, o') Sigma + C[o, o'] (Theta - Sigma)``, on and below its diagonal."""
    for index, rows1 in enumerate(rows):
        for rows2 in rows[: index + 1]:
            other = None if rows2 is rows1 else rows2.inputs
            kernels = evaluate(kernel, rows1.inputs, other)
            head, body = map(np.asarray, (kernels.of("head"), kernels.of("body")))
            points = np.ix_(rows1.point, rows2.point)
            units = np.ix_(rows1.unit, rows2.unit)
            tile = heads.correlation[units] * body[points]
            tile += np.where(heads.same[units], head[points], 0.0)
            yield rows1.place, rows2.place, tile
