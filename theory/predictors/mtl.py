"""Multi-task learning at infinite width: one body, heads for each task.

Output o of a training sample is a unit, a (task, output) pair; with Sigma the kernel of
the head and Theta that of all layers, gradient flow on ``1/2 ||f - Y||^2``, summed over
all samples, is kernel regression with

    K[(x, o), (x', o')] = delta(o, o') Sigma + C[o, o'] (Theta - Sigma)
    f(Z) = f_0(Z) + c (Theta - Sigma)(Z, x) K^-1 (I - exp(-time K)) (Y - f_0)

for a new head whose initial weights have the correlations c with those trained.

References:
  Wang, Zhao, Li. Bridging multi-task learning and meta-learning: Towards efficient
    training and effective adaptation. ICML 2021, https://arxiv.org/abs/2106.09017. The
    paper has the shared initialisation; the general C is ours.
"""

import functools
import math
import time as clock
from collections.abc import Callable
from typing import Literal

import numpy as np
from jaxtyping import Float

from metabridge.theory.matrices import tiles
from metabridge.theory.predictors.coupled import over_pairs
from metabridge.theory.predictors.head_correlation import (
    Heads,
    HeadsLike,
    resolve,
)
from metabridge.theory.predictors.mtl_systems import (
    AnyHeads,
    SharedHeads,
    largest_matrix,
    make_tiles,
    rows_of,
)
from metabridge.theory.predictors.predictor import (
    Initial,
    Predictions,
    Predictor,
    initial_values,
    joined,
    require_queries,
)
from metabridge.theory.predictors.rows import label_places
from metabridge.theory.predictors.spread import Response
from metabridge.theory.solvers import dense
from metabridge.theory.solvers.solve import (
    Solver,
    choose,
    direct,
)
from metabridge.theory.types import (
    Array,
    KernelFn,
    Tasks,
    check_scale,
    check_tasks,
)

TrainOn = Literal["query", "joint"]


@over_pairs
def mtl_predictor(
    kernel: KernelFn,
    tasks: Tasks,
    *,
    heads: HeadsLike | Heads | Array = "shared",
    train_on: TrainOn = "query",
    time: dense.Time = math.inf,
    initial: Initial | None = None,
    jitter: float = 0.0,
    noise: float = 0.0,
    solver: Solver = "auto",
) -> Predictor:
    """Trains an infinitely wide network with one head per task by gradient flow.

    Args:
      kernel: ``kernel(x1, x2=None) -> Kernels``.
      tasks: training tasks.
      heads: "shared" or "independent" initialisation, a correlation ``[T, T]`` or
        ``[T, K, T, K]``, or `class_heads`.
      train_on: the queries alone, as GBML does, or "joint" with the supports.
      time: learning rate times steps; infinity by default. Or a spectral filter, the g
        of another training than gradient flow, as `theory.Nesterov`: a function of the
        eigenvalues, which needs a matrix in memory.
      initial: ``f_0``, a function of inputs ``[N, *X]`` to ``[N, K]``; 0 by default.
        Only with shared heads, where all heads begin as the same function.
      jitter: added to the diagonal of the kernel matrices: a penalty
        ``jitter / 2 ||w - w_0||^2`` on how far the parameters move.
      noise: variance of the labels. It is added to the diagonal as a jitter is, and
        beyond that each member of an ensemble is trained on labels with noise of its
        own, which its `covariance` counts.
      solver: "cholesky" holds a matrix over all rows; "conjugate_gradients", or
        `theory.Iterative` with its options, meets the kernel in products alone (with
        heads that are not shared: to infinity only, and the kernel is made anew in each
        iteration); "auto" is the former while it fits into memory.

    Returns:
      A predictor of unseen tasks; its calls say how they adapt.

    Raises:
      theory.SingularKernelError: a kernel matrix has no inverse but needs one.
    """
    dense.check_time(time)
    check_scale("noise", noise, zero=True)
    check_scale("jitter", jitter, zero=True)
    each = check_tasks(tasks)
    require_queries(each)
    shared = isinstance(heads, str) and heads == "shared"
    if initial is not None and not shared:
        raise ValueError("`initial` needs heads='shared': others start differently")
    outputs = each[0].support_y.shape[1]
    start = clock.monotonic()
    joint = _joint(train_on)
    inputs = [task.points(with_support=joint) for task in each]
    sizes = list(map(len, inputs))
    resolved = None if shared else resolve(heads, len(each), outputs)
    rows = sum(sizes) if resolved is None else largest_matrix(resolved, sizes)
    options = choose(solver, rows, structured=shared, time=time)
    points = np.concatenate(inputs)
    labels = []
    for task in each:
        labels += [task.query_y, task.support_y] if joint else [task.query_y]
    begin = initial_values(initial, points, outputs)
    residual = np.concatenate(labels) - begin
    places = label_places(each, with_support=joint)
    trained = functools.partial(_trained, tasks, joint, begin)
    if shared and options is not None and not callable(time):
        products = SharedHeads(
            kernel, each, inputs, joint, time, jitter + noise, options
        )
        solved, report = products.evolve(residual)
        system = products.system
        coefficients = system.scatter(solved)
        return Predictor(
            kernel, "body", system.points, coefficients, initial, None, report,
            Response(system.points, products.respond, places, noise),
            functools.partial(trained, products.values, solved),
        )  # fmt: skip
    training = AnyHeads(
        kernel, each, inputs, joint, time, jitter + noise, options,
        resolved or resolve(heads, len(each), outputs),
    )  # fmt: skip
    coefficients, solutions = training.coefficients(residual)
    report = None
    if options is None:
        report = direct(rows, len(points), start, solutions)
    return Predictor(
        kernel, "body", points, coefficients, initial, None, report,
        training.response(points, places, noise, shared=shared),
        functools.partial(trained, training.values, residual),
    )  # fmt: skip


def _trained(
    tasks: Tasks,
    joint: bool,
    begin: np.ndarray,
    values: Callable[[np.ndarray], np.ndarray],
    given: np.ndarray,
    _: Predictor,
) -> Predictions:
    """Values at the queries of what began so and was given this by training."""
    each, found = tasks.each(), begin + values(given)
    own = tiles.consecutive(len(task.points(with_support=joint)) for task in each)
    queries = zip(own, each, strict=True)
    return joined(tasks, [found[rows][: len(task.query_x)] for rows, task in queries])


@over_pairs
def mtl_kernel(
    kernel: KernelFn,
    tasks: Tasks,
    *,
    heads: HeadsLike | Heads | Array = "shared",
    train_on: TrainOn = "query",
) -> Float[np.ndarray, "N N"]:
    """The kernel of multi-task learning on its training samples.

    Returns:
      Symmetric. With heads that differ between tasks alone (all but `class_heads` and a
      correlation ``[T, K, T, K]``) a row a point, for any one output: the tasks one
      after another, in each the queries and then, if joint, the supports. Otherwise a
      row a (task, output, point), in this order.
    """
    each = check_tasks(tasks)
    outputs = each[0].support_y.shape[1]
    resolved = resolve(heads, len(each), outputs)
    units = np.arange(len(resolved.heads.rows))
    rows = rows_of(tiles.chunk(each, with_support=_joint(train_on)), units, resolved)
    made = make_tiles(kernel, rows, resolved.heads)
    return tiles.mirror(tiles.fill(rows[-1].place.stop, made))


def _joint(train_on: TrainOn) -> bool:
    if train_on not in ("query", "joint"):
        raise ValueError(f"`train_on` must be 'query' or 'joint', not {train_on!r}")
    return train_on == "joint"
