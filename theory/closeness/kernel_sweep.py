"""The closeness of MTL and GBML over any family of networks, with intervals.

`depth_sweep` is one pass over the layers of a ReLU network. Here the networks may be
any whose kernels can be evaluated, told apart by one number: depth, width, a scale of
the weights. Tasks (or, of random kernels, the networks) are drawn several times, and
every number has an interval over these draws.
"""

import functools
import inspect
import math
import os
from collections.abc import Callable, Sequence, Sized
from typing import NamedTuple

import numpy as np

from metabridge.theory.closeness.compare import at_positions, closeness_of, on_positions
from metabridge.theory.closeness.sweep import InnerAt, check_loop, check_times, loop_at
from metabridge.theory.closeness.sweep_folder import SweepFolder
from metabridge.theory.closeness.sweep_result import COLUMNS, FIELDS, Sweep
from metabridge.theory.kernels.evaluate import evaluate, precomputed
from metabridge.theory.kernels.stax import StaxKernel
from metabridge.theory.matrices.memory import check_matrices
from metabridge.theory.predictors import streaming
from metabridge.theory.predictors.coupled import on_pairs
from metabridge.theory.predictors.gbml import gbml_predictor
from metabridge.theory.predictors.head_correlation import Heads, HeadsLike
from metabridge.theory.predictors.inner_loop import Inner
from metabridge.theory.predictors.mtl import TrainOn, mtl_predictor
from metabridge.theory.predictors.predictor import Predicted
from metabridge.theory.solvers import rank
from metabridge.theory.types import (
    Array,
    DeviceKernel,
    KernelFn,
    Kernels,
    Tasks,
    check_tasks,
    check_whole,
)

Pair = tuple[Tasks, Tasks]
"""Training tasks and unseen ones."""
Number = int | float
Draw = Callable[[int], Tasks | Pair]
"""Tasks of a seed."""

_AT_ONCE = 2000
"""Points of training and unseen tasks up to which one call gives all their kernels."""
_MATRICES = 5
"""Held at once: both kernels, that of a training, its factor and a block of it."""


class _Grid(NamedTuple):
    """Everything but the networks and the tasks."""

    loops: Callable[[float, Number], tuple[Inner, Inner, Inner]]
    """GBML's inner loop, MTL's adaptation and GBML's, by time and value."""
    times: tuple[float, ...]
    outer_times: tuple[float, ...]
    jitters: tuple[float, ...]
    heads: HeadsLike | Heads | Array
    train_on: TrainOn


def sweep(
    tasks: Tasks | Draw,
    unseen: Tasks | Draw | None = None,
    *,
    kernels: Callable[..., KernelFn],
    values: Sequence[Number],
    axis: str = "depth",
    inner: InnerAt,
    adaptation: InnerAt,
    gbml_adaptation: InnerAt | None = None,
    times: Sequence[Number] | None = None,
    outer_times: Sequence[Number] = (math.inf,),
    jitter: Number | Sequence[Number] = 0.0,
    heads: HeadsLike | Heads | Array = "shared",
    train_on: TrainOn = "query",
    draws: int = 5,
    seed: int = 0,
    fitted_from: Number = 0,
    folder: str | os.PathLike[str] | None = None,
) -> Sweep:
    """`compare` over a family of networks, with intervals over draws.

    Options that are not listed are those of `compare`.

    Args:
      tasks: training tasks, the same in all draws; or a function of a seed that draws
        them, alone or with the unseen tasks, ``draw(seed) -> (tasks, unseen)``.
      unseen: unseen tasks, or a function of another seed that draws them; None where
        `tasks` gives both.
      kernels: the kernel of a value, ``lambda depth: theory.fully_connected(depth,
        activation="erf")``. With an argument of the name `seed`, ``lambda width, seed:
        ...``, it is drawn anew as well.
      values: of the axis, by which the networks are told apart.
      axis: its name.
      inner: a loop, or a function of time and value: ``lambda time, depth:
        gradient_flow("all", time=time / depth)`` for MAML.
      adaptation: likewise, of both on an unseen task.
      gbml_adaptation: likewise, of GBML where it is another.
      times: of the inner loop in training; that of `inner` by default.
      outer_times: of training, for both.
      jitter: one or several, added to the diagonals of both.
      draws: of tasks or networks; intervals need two.
      seed: of the draws, each of which has seeds of its own.
      fitted_from: the least value that slopes are fitted to.
      folder: to keep finished cells in. The same call then goes on where it stood, or
        adds draws; one with other settings is refused.

    Raises:
      ValueError: nothing is drawn, so that all draws would be equal; an empty axis;
        more points than fit into memory; a folder of another sweep.

    Example:
      >>> family = lambda depth: theory.fully_connected(depth, activation="erf")
      >>> s = theory.sweep(draw, kernels=family, values=(8, 16, 32), inner=inner,
      ...                  adaptation=adaptation)
      >>> print(s)
    """
    check_whole("draws", draws, 1)
    if axis in COLUMNS:
        raise ValueError(
            f"`axis` is {axis!r}, which is another column of the result: name it other "
            f"than {', '.join(COLUMNS)}"
        )
    if not callable(kernels):
        raise TypeError(
            "`kernels` must be a function of a value that returns its kernel, not "
            f"{type(kernels).__name__}: pass lambda depth: theory.relu_network(depth)"
        )
    if isinstance(kernels, DeviceKernel | StaxKernel):
        raise TypeError(
            "`kernels` is one kernel, but must be a function of a value that returns "
            "its kernel: pass lambda depth: theory.relu_network(depth)"
        )
    random = "seed" in inspect.signature(kernels).parameters
    if draws > 1 and not (callable(tasks) or callable(unseen) or random):
        raise ValueError(
            f"all {draws} draws would be equal: pass a function of a seed that draws "
            "the tasks, `kernels` with an argument `seed`, or draws=1"
        )
    theirs = adaptation if gbml_adaptation is None else gbml_adaptation
    names = ("inner", "adaptation", "gbml_adaptation")
    for name, loop in zip(names, (inner, adaptation, theirs), strict=True):
        check_loop(name, loop)
    if times is not None:
        check_times(inner)
    elif not isinstance(inner, Inner):
        raise ValueError("`inner` is a function of a time: pass `times`")
    own = inner.time if isinstance(inner, Inner) and inner.loop == "flow" else math.nan
    loops = functools.partial(_loops, inner, adaptation, theirs, times is not None)
    grid = _Grid(
        loops,
        (own,) if times is None else _axis("times", times),
        _axis("outer_times", outer_times),
        _axis("jitter", jitter if isinstance(jitter, Sized) else [jitter]),
        heads,
        train_on,
    )
    _axis("values", values)
    values = sorted(set(values))

    def drawn(draw: int) -> tuple[Pair, Callable[[Number], KernelFn]]:
        own = np.random.SeedSequence([seed, draw]).generate_state(3)
        first, second, third = map(int, own)
        network = functools.partial(kernels, seed=third) if random else kernels
        return _pair(tasks, unseen, first, second), network

    pair, network = drawn(0)
    _check(*on_pairs(network(values[0]), *pair, heads=heads).tasks)
    kept = None
    if folder is not None:
        few = check_tasks(pair[0])[0].query_x[:2]
        settings = {
            "axis": axis, "values": values, "times": grid.times, "seed": seed,
            "outer_times": grid.outer_times, "jitters": grid.jitters,
            "heads": heads, "train_on": train_on, "tasks": pair,
            "loops": [loops(t, v) for t in grid.times for v in values],
            "kernels": [_on_points(network(value), few) for value in values],
        }  # fmt: skip
        kept = SweepFolder.open(folder, settings)
    cells = []
    for draw in range(draws):
        pair, network = drawn(draw)
        for index, value in enumerate(values):
            make = functools.partial(_cell, grid, pair, network, value)
            cells.append(kept(f"draw-{draw}-{index}", make) if kept else make())
    tables = np.stack(cells).reshape(draws, len(values), *cells[0].shape)
    fields = np.moveaxis(tables, (2, 0), (0, -1))
    return Sweep(
        axis, _axis("values", values), grid.times, grid.outer_times, grid.jitters,
        **dict(zip(FIELDS, fields, strict=True)), fitted_from=float(fitted_from),
        seed=seed,
    )  # fmt: skip


def _loops(
    inner: InnerAt, mtl: InnerAt, gbml: InnerAt, vary: bool, time: float, value: Number
) -> tuple[Inner, Inner, Inner]:
    return (
        loop_at(inner, time, value, vary=vary),
        loop_at(mtl, time, value, vary=False),
        loop_at(gbml, time, value, vary=False),
    )


def _on_points(kernel: KernelFn, points: np.ndarray) -> Kernels:
    """Kernels of a network on points, of all outputs where they are coupled."""
    if getattr(kernel, "coupled", False):
        return Kernels(*map(np.asarray, kernel(points, None)))
    return evaluate(kernel, points)


def _axis(name: str, values: Sequence[Number]) -> tuple[float, ...]:
    numbers = tuple(map(float, values)) if isinstance(values, Sized) else ()
    if not numbers or not all(number >= 0 for number in numbers):
        raise ValueError(
            f"`{name}` must be one number or more, at least 0, but is {values}"
        )
    return numbers


def _pair(tasks: Tasks | Draw, unseen: Tasks | Draw | None, *seeds: int) -> Pair:
    """The tasks of a draw, checked."""
    first = tasks(seeds[0]) if callable(tasks) else tasks
    second = unseen(seeds[1]) if callable(unseen) else unseen
    if isinstance(first, tuple):
        if second is not None or len(first) != 2:
            raise ValueError(
                f"`tasks` drew {len(first)} things: expected (tasks, unseen), and no "
                "`unseen` beside it"
            )
        first, second = first
    if second is None or isinstance(second, tuple):
        raise ValueError(
            "there are no unseen tasks: pass `unseen`, or let `tasks` draw both, "
            "(tasks, unseen)"
        )
    for each in (first, second):
        check_tasks(each)
    return first, second


def _check(tasks: Tasks, unseen: Tasks) -> None:
    """Refuse tasks whose kernels do not fit into memory."""
    points = len(on_positions(tasks)[0])
    every = points + len(on_positions(unseen)[0])
    size = every if every <= _AT_ONCE else points
    check_matrices(
        "the kernels of the training points", _MATRICES, (size, size), "float64",
        advice="sweep over fewer training tasks or smaller ones",
    )  # fmt: skip


def _cell(
    grid: _Grid, pair: Pair, network: Callable[[Number], KernelFn], value: Number
) -> np.ndarray:
    """Numbers of one draw and network, ``[field, M, O, J]``."""
    made = on_pairs(network(value), *pair, heads=grid.heads)
    kernel, (tasks, unseen) = made.kernel, made.tasks
    points, train, test = at_positions(tasks, unseen)
    if len(points) <= _AT_ONCE:
        with rank.explained(kernel, points):
            own = precomputed(evaluate(kernel, points))
            return _numbers(grid, own, train, test, value, made.fold)
    return _numbers(grid, kernel, tasks, unseen, value, made.fold)


def _numbers(
    grid: _Grid,
    kernel: KernelFn,
    tasks: Tasks,
    unseen: Tasks,
    value: Number,
    fold: Callable[[Predicted], Predicted],
) -> np.ndarray:
    """The same of a kernel; the unseen tasks pass in chunks."""
    points, train = on_positions(tasks)
    own = precomputed(evaluate(kernel, points))
    trained: list[streaming.Trained] = []
    with rank.explained(kernel, points):
        for outer in grid.outer_times:
            for jitter in grid.jitters:
                one = mtl_predictor(
                    own, train, heads=grid.heads, train_on=grid.train_on, time=outer,
                    jitter=jitter,
                )  # fmt: skip
                mtl = streaming.on_positions(one, len(points))
                for time in grid.times:
                    inner, ours, theirs = grid.loops(time, value)
                    other = gbml_predictor(
                        own, train, inner=inner, time=outer, jitter=jitter
                    )
                    gbml = streaming.on_positions(other, len(points))
                    trained += [mtl.adapting(ours), gbml.adapting(theirs)]
    (predicted,) = streaming.predict(
        streaming.one_network(kernel), points, [trained], check_tasks(unseen)
    )
    found = [
        closeness_of(fold(mtl), fold(gbml))
        for mtl, gbml in zip(predicted[::2], predicted[1::2], strict=True)
    ]
    shape = len(FIELDS), len(grid.outer_times), len(grid.jitters), len(grid.times)
    numbers = [[getattr(one, name) for one in found] for name in FIELDS]
    return np.moveaxis(np.reshape(numbers, shape), 3, 1)
