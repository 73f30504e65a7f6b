"""Gradient-based meta-learning at infinite width: MAML, ANIL, BOIL and their kin.

``B_i = [I, -A_i]`` takes the predictions of a network at the query and support of task
i to those of the adapted network, up to ``A_i Y'_i``. Meta-training by gradient flow on
``1/2 ||F - Y||^2``, summed over all queries, is kernel regression through it:

    Phi  = B Theta B^T
    f(Z) = f_0(Z) + Theta(Z, all) B^T Phi^-1 (I - exp(-time Phi)) (Y - A Y' - B f_0)

The dependence of A on the trained parameters vanishes at infinite width.

References:
  Wang, Sun, Li. Global convergence and generalization bound of gradient-based
    meta-learning with deep neural nets. 2020, https://arxiv.org/abs/2006.14606.
"""

import itertools
import math
from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Float

from theory import iterative, linalg, tiles
from theory.adaptation import Inner, operator
from theory.iterative import Solver
from theory.kernels import evaluate
from theory.predictor import Initial, Predictor, initial_values, require_queries
from theory.types import KernelFn, Kernels, OneTask, Tasks


def gbml_predictor(
    kernel: KernelFn,
    tasks: Tasks,
    *,
    inner: Inner,
    time: float = math.inf,
    initial: Initial | None = None,
    jitter: float = 0.0,
    solver: Solver = "cholesky",
) -> Predictor:
    """Meta-trains an infinitely wide network by gradient flow through an inner loop.

    Args:
      kernel: ``kernel(x1, x2=None) -> Kernels``.
      tasks: training tasks; the outer loss is on their queries.
      inner: the inner loop: `gradient_flow`, `gradient_steps` or `ridge`.
      time: of the outer loop, in learning rate times steps; infinity by default.
      initial: ``f_0``, a function of inputs ``[N, *X]`` to ``[N, K]``; 0 by default,
        which is its mean over initialisations.
      jitter: added to the diagonal of Phi.
      solver: "conjugate_gradients" holds no matrix over all queries, but evaluates
        every kernel again in each iteration; for training to infinity.

    Returns:
      A predictor of unseen tasks, which adapts with `inner` unless told otherwise.

    Raises:
      theory.SingularKernelError: Phi has no inverse but needs one.
    """
    linalg.check_time(time)
    each = tasks.each()
    require_queries(each)
    chunks = tiles.chunk(each, with_support=True)
    operators = _operators(kernel, chunks, inner)
    before = [initial_values(initial, chunk.inputs, each) for chunk in chunks]
    residuals = []
    for chunk, values in zip(chunks, before, strict=True):
        for span in chunk.spans:
            task, A = each[span.task], operators[span.task]
            adapted = values[span.query] + A @ (task.support_y - values[span.support])
            residuals.append(task.query_y - adapted)
    solved = iterative.evolve(
        lambda: _tiles(kernel, chunks, operators),
        _query_blocks(each),
        np.concatenate(residuals),
        time=time,
        names=query_names(each),
        jitter=jitter,
        solver=solver,
    )
    coefficients = [
        _backward(chunk, operators, solved[chunk.queries]) for chunk in chunks
    ]
    return Predictor(
        kernel,
        "all",
        np.concatenate([chunk.inputs for chunk in chunks]),
        np.concatenate(coefficients),
        initial,
        inner,
    )


def gbml_kernel(
    kernel: KernelFn, tasks: Tasks, *, inner: Inner
) -> Float[np.ndarray, "Q Q"]:
    """The meta kernel ``Phi = B Theta B^T``, for one output.

    Returns:
      Symmetric; a row a query, task after task.
    """
    each = tasks.each()
    chunks = tiles.chunk(each, with_support=True)
    operators = _operators(kernel, chunks, inner)
    rows = sum(len(task.query_x) for task in each)
    return tiles.mirror(tiles.fill(rows, _tiles(kernel, chunks, operators)))


def query_names(tasks: Sequence[OneTask]) -> linalg.Names:
    """Names of the rows of a matrix over all queries."""
    ends = np.cumsum([len(task.query_x) for task in tasks])

    def name(row: int) -> str:
        task = int(np.searchsorted(ends, row, side="right"))
        return f"query {row - ends[task] + len(tasks[task].query_x)} of task {task}"

    return name


def _query_blocks(tasks: Sequence[OneTask]) -> list[slice]:
    """The rows of each task among all queries."""
    ends = np.cumsum([len(task.query_x) for task in tasks]).tolist()
    return [slice(*pair) for pair in itertools.pairwise([0, *ends])]


def _operators(
    kernel: KernelFn, chunks: Sequence[tiles.Chunk], inner: Inner
) -> list[np.ndarray]:
    """The operator A of each task."""
    operators = []
    for chunk in chunks:
        own = evaluate(kernel, chunk.inputs)
        operators += [_operator(inner, own, span) for span in chunk.spans]
    return operators


def _tiles(
    kernel: KernelFn, chunks: Sequence[tiles.Chunk], operators: Sequence[np.ndarray]
) -> Iterator[tuple[slice, slice, np.ndarray]]:
    """Phi on and below its diagonal."""
    for chunk1, chunk2, kernels in tiles.lower_tiles(kernel, chunks):
        tile = _through(np.asarray(kernels.ntk), chunk1, chunk2, operators)
        yield chunk1.queries, chunk2.queries, tile


def _operator(inner: Inner, own: Kernels, span: tiles.Span) -> np.ndarray:
    cross, square = (
        Kernels(*(each[rows, span.support] for each in own))
        for rows in (span.query, span.support)
    )
    return operator(inner, cross, square, what=f"the support of task {span.task}")


def _through(
    tile: np.ndarray,
    chunk1: tiles.Chunk,
    chunk2: tiles.Chunk,
    operators: Sequence[np.ndarray],
) -> np.ndarray:
    """``B_1 tile B_2^T``, task by task."""
    half = np.concatenate(
        [
            tile[:, span.query] - tile[:, span.support] @ operators[span.task].T
            for span in chunk2.spans
        ],
        axis=1,
    )
    return np.concatenate(
        [
            half[span.query] - operators[span.task] @ half[span.support]
            for span in chunk1.spans
        ]
    )


def _backward(
    chunk: tiles.Chunk, operators: Sequence[np.ndarray], values: np.ndarray
) -> np.ndarray:
    """``B^T`` times values at the queries of a chunk: values at all its points."""
    parts, row = [], 0
    for span in chunk.spans:
        own = values[row : row + span.query.stop - span.query.start]
        row += len(own)
        parts += [own, -operators[span.task].T @ own]
    return np.concatenate(parts)
