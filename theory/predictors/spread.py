"""Spread of predictions over random initialisations.

At infinite width the function ``f_0`` that a network begins as is a Gaussian process of
covariance ``C Sigma``, its outputs independent of each other, and what training and
adaptation make of it is linear in it. Predictions on unseen tasks are therefore
Gaussian. With ``P = [I, -A^]``, labels ``Y + noise``, and M, R the maps from labels to
coefficients and from coefficients to the predictions ``P f``,

    F - mean = P f_0(Z) - W^T f_0(points) + E^T noise

where ``E = M R^T`` and W is what E is at the training points (E itself for MTL, and
``B^T E`` for GBML). The covariance is the quadratic form of these weights.

References:
  Lee, Xiao, Schoenholz, Bahri, Novak, Sohl-Dickstein, Pennington. Wide neural networks
    of any depth evolve as linear models under gradient descent. NeurIPS 2019,
    https://arxiv.org/abs/1902.06720. Equation 16 is the case of one task.
  He, Lakshminarayanan, Teh. Bayesian deep ensembles via the neural tangent kernel.
    NeurIPS 2020, https://arxiv.org/abs/2007.05864.
"""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
import scipy.linalg
from jaxtyping import Float, Int, Num

from metabridge.theory.kernels.evaluate import evaluate
from metabridge.theory.matrices.memory import check_matrices
from metabridge.theory.matrices.tiles import TILE, consecutive, runs
from metabridge.theory.types import KernelFn, Layers, OneTask

Respond = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]
"""From R ``[N, M]`` at the training points, E ``[L, M]`` at the labels and W ``[N, M]``
at the points."""

NEW = -1
"""The head of new tasks among the heads, the last."""


@dataclasses.dataclass(frozen=True, eq=False)
class Response:
    """Response of a trained network to its initial function and to its labels' noise.

    Attributes:
      points: training inputs.
      respond: solves the system of training anew, as its factor is not kept.
      labels: which of all examples, the tasks' queries and then supports one task after
        another, the labels of training are.
      noise: variance of the labels' noise.
      heads: under which head each point is trained; None where all heads begin alike.
      correlation: of the heads' initial weights, that of new tasks last.
    """

    points: Num[np.ndarray, "N *X"]
    respond: Respond
    labels: Int[np.ndarray, "L"]
    noise: float = 0.0
    heads: Int[np.ndarray, "N"] | None = None
    correlation: Float[np.ndarray, "H H"] | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class Deviation:
    """Predictions on unseen tasks less their mean: ``weights^T f_0 + E^T noise``.

    Attributes:
      kernel: of the network.
      inputs: the unseen tasks' points, then those of training.
      weights: of ``f_0`` at the inputs, a column a query.
      heads: under which head each input is.
      from_noise: E.
      queries: the columns of each task.
      response: of training.
    """

    kernel: KernelFn
    inputs: Num[np.ndarray, "U *X"]
    weights: Float[np.ndarray, "U M"]
    heads: Int[np.ndarray, "U"]
    from_noise: Float[np.ndarray, "L M"]
    queries: list[Int[np.ndarray, "_"]]
    response: Response


def check_kernel(kernel: KernelFn) -> None:
    """Raises for the kernel of one network, whose Sigma is no covariance of ``f_0``."""
    if not getattr(kernel, "infinite", True):
        raise ValueError(
            "an empirical kernel is of one network, so that no spread over "
            "initialisations follows from it: pass a kernel of infinite width, or "
            "compare predictors of networks from several seeds"
        )


def check_defined(
    kernel: KernelFn, initial: Callable | None, response: Response | None
) -> Response:
    """The response of a trained network; raises where it has no spread."""
    check_kernel(kernel)
    if initial is not None:
        raise ValueError("with a given `initial` nothing is random: leave it out")
    if response is None:
        raise ValueError(
            "no spread over initialisations is defined for these heads, as a new "
            "task's outputs depend on correlations between its own heads: pass "
            "'shared', 'independent' or a correlation [tasks, tasks]"
        )
    return response


def deviation(
    kernel: KernelFn,
    layers: Layers,
    response: Response,
    tasks: Sequence[OneTask],
    maps: Sequence[Float[np.ndarray, "_ _"]],
) -> Deviation:
    """The deviation of predictions on unseen tasks, ``maps`` being P of each.

    Raises:
      ValueError: more queries than the memory holds at once.
    """
    points, heads = response.points, response.heads
    places = consecutive(len(task.query_x) + len(task.support_x) for task in tasks)
    queries = consecutive(map(len, maps))
    shape = (places[-1].stop + len(points), queries[-1].stop)
    check_matrices(
        "the weights of initial functions in predictions", 4, shape, "float64",
        advice="ask for fewer unseen tasks at a time",
    )  # fmt: skip
    unseen = np.concatenate([task.points() for task in tasks])
    R = np.zeros((len(points), shape[1]))
    for run in runs([own.stop - own.start for own in places], TILE):
        columns = slice(places[run][0].start, places[run][-1].stop)
        for start in range(0, len(points), TILE):
            rows = slice(start, start + TILE)
            kernels = evaluate(kernel, unseen[columns], points[rows])
            K = np.asarray(kernels.of(layers)).T
            for own, out, P in zip(places[run], queries[run], maps[run], strict=True):
                shifted = slice(own.start - columns.start, own.stop - columns.start)
                R[rows, out] = K[:, shifted] @ P.T
    if heads is not None and response.correlation is not None:
        R *= response.correlation[heads, NEW][:, None]
    E, W = response.respond(R) if len(points) else (np.zeros((0, shape[1])), R)
    after = np.full(len(points), NEW) if heads is None else heads
    ends = scipy.linalg.block_diag(*(P.T for P in maps))
    return Deviation(
        kernel,
        np.concatenate([unseen, points]),
        np.concatenate([np.asarray(ends), -W]),
        np.concatenate([np.full(len(unseen), NEW), after]),
        E,
        [np.arange(own.start, own.stop) for own in queries],
        response,
    )


def side_by_side(a: Deviation, b: Deviation) -> Deviation:
    """Deviations of two networks of one initialisation on the same tasks.

    A task's columns are its queries of the first network, then those of the second. The
    noise of a label is the same for both.
    """
    unseen = len(a.inputs) - len(a.response.points)
    columns = a.weights.shape[1]
    first, own, other = a.weights[:unseen], a.weights[unseen:], b.weights[unseen:]
    top = np.concatenate([first, b.weights[:unseen]], 1)
    labels = np.union1d(a.response.labels, b.response.labels)
    noise = np.zeros((len(labels), 2 * columns))
    noise[np.searchsorted(labels, a.response.labels), :columns] = a.from_noise
    noise[np.searchsorted(labels, b.response.labels), columns:] = b.from_noise
    pairs = zip(a.queries, b.queries, strict=True)
    C = a.response.correlation
    return Deviation(
        a.kernel,
        np.concatenate([a.inputs, b.inputs[unseen:]]),
        np.concatenate([top, np.asarray(scipy.linalg.block_diag(own, other))]),
        np.concatenate([a.heads, b.heads[unseen:]]),
        noise,
        [np.concatenate([one, columns + two]) for one, two in pairs],
        dataclasses.replace(
            a.response,
            labels=labels,
            correlation=b.response.correlation if C is None else C,
        ),
    )


def covariance(found: Deviation) -> Float[np.ndarray, "M M"]:
    """Covariance of the predictions on all queries."""
    noise = found.response.noise * found.from_noise.T @ found.from_noise
    return _symmetric(found.weights.T @ _products(found) + noise)


def covariances(found: Deviation) -> list[Float[np.ndarray, "_ _"]]:
    """The same, within each task alone."""
    products, blocks = _products(found), []
    for own in found.queries:
        noise = found.from_noise[:, own]
        block = found.weights[:, own].T @ products[:, own]
        blocks.append(_symmetric(block + found.response.noise * noise.T @ noise))
    return blocks


def _symmetric(matrix: np.ndarray) -> np.ndarray:
    return (matrix + matrix.T) / 2


def _products(found: Deviation) -> Float[np.ndarray, "U M"]:
    """``C Sigma`` between the inputs times the weights, a tile and its mirror."""
    C, inputs, heads = found.response.correlation, found.inputs, found.heads
    result = np.zeros(found.weights.shape)
    for start in range(0, len(inputs), TILE):
        rows = slice(start, start + TILE)
        for first in range(0, start + 1, TILE):
            columns = slice(first, first + TILE)
            other = None if start == first else inputs[columns]
            tile = np.asarray(evaluate(found.kernel, inputs[rows], other).nngp)
            if C is not None:
                tile = tile * C[np.ix_(heads[rows], heads[columns])]
            result[rows] += tile @ found.weights[columns]
            if start != first:
                result[columns] += tile.T @ found.weights[rows]
    return result


def sample(
    covariance: Float[np.ndarray, "M M"], shape: tuple[int, int], seed: int
) -> Float[np.ndarray, "n M K"]:
    """``shape = (n, K)`` independent Gaussian draws with mean 0 of a covariance."""
    values, vectors = scipy.linalg.eigh(covariance)
    root = vectors * np.sqrt(np.maximum(values, 0.0))
    members, outputs = shape
    rng = np.random.default_rng(seed)
    return root @ rng.standard_normal((members, len(root), outputs))
