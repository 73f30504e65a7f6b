"""The linear system of training, in the form that both kinds of learning share.

Both MTL with a shared initialisation and GBML solve

    M = D + G K G^T

with the kernel K of the different inputs of all tasks, and D and G block-diagonal, a
block a task: for MTL D is the head's kernel within a task and G repeats inputs; for
GBML D is zero and G is ``B = [I, -A]``. K, the only large part, is met in products, in
which an input that occurs in many tasks counts once.
"""

import dataclasses
import hashlib
import itertools
from collections.abc import Sequence

import numpy as np
import scipy.linalg
import scipy.sparse
from jaxtyping import Float, Int, Num

from metabridge.theory.kernels.evaluate import evaluate
from metabridge.theory.matrices.tiles import consecutive, runs
from metabridge.theory.solvers.dense import Names, factor_task, solve_tasks
from metabridge.theory.solvers.krylov import Multiply
from metabridge.theory.solvers.pivoted_cholesky import pivoted_cholesky
from metabridge.theory.types import KernelFn, Kernels, Layers


@dataclasses.dataclass(frozen=True, eq=False)
class TaskSystem:
    """``D + G K G^T`` over the rows of all tasks.

    Attributes:
      kernel: of the network.
      layers: whose kernel K is.
      points: the U different inputs.
      index: which of them the points of each task are.
      maps: block of G of each task, ``[rows, points]``; None where it is the identity.
      diagonal: block of D of each task, ``[rows, rows]``.
      own: block of the whole system of each task, ``[rows, rows]``.
    """

    kernel: KernelFn
    layers: Layers
    points: Num[np.ndarray, "U *X"]
    index: tuple[Int[np.ndarray, "_"], ...]
    maps: tuple[Float[np.ndarray, "_ _"], ...] | None
    diagonal: tuple[Float[np.ndarray, "_ _"], ...]
    own: tuple[Float[np.ndarray, "_ _"], ...]

    @property
    def rows(self) -> list[slice]:
        """The rows of each task."""
        return consecutive(map(len, self.own))

    @property
    def size(self) -> int:
        """Rows of the system."""
        return sum(map(len, self.own))

    def gather(self, values: Float[np.ndarray, "U K"]) -> Float[np.ndarray, "N K"]:
        """``G values``, from different inputs to rows."""
        if self.maps is None:
            return np.concatenate([values[index] for index in self.index])
        pairs = zip(self.maps, self.index, strict=True)
        return np.concatenate([G @ values[index] for G, index in pairs])

    def scatter(self, values: Float[np.ndarray, "N K"]) -> Float[np.ndarray, "U K"]:
        """``G^T values``, from rows to different inputs."""
        parts = [values[rows] for rows in self.rows]
        if self.maps is not None:
            parts = [G.T @ part for G, part in zip(self.maps, parts, strict=True)]
        where = np.concatenate(self.index)
        repeats = scipy.sparse.csr_array(
            (np.ones(len(where)), (where, np.arange(len(where)))),
            shape=(len(self.points), len(where)),
        )
        return repeats @ np.concatenate(parts)

    def multiply(self, products: Multiply) -> Multiply:
        """Products of the system, given those of K."""

        def times(vectors: np.ndarray) -> np.ndarray:
            result = self.gather(products(self.scatter(vectors)))
            for rows, block in zip(self.rows, self.diagonal, strict=True):
                result[rows] += block @ vectors[rows]
            return result

        return times

    @property
    def least_eigenvalue(self) -> float:
        """A lower bound of the system's eigenvalues: the least one of D."""
        return min(float(np.linalg.eigvalsh(block)[0]) for block in self.diagonal)


def distinct(
    inputs: Sequence[Num[np.ndarray, "_ *X"]],
) -> tuple[Num[np.ndarray, "U *X"], list[Int[np.ndarray, "_"]]]:
    """The different inputs of all tasks, in the order of their first occurrence.

    Returns:
      The inputs, and for each task which of them its own are.
    """
    seen: dict[bytes, int] = {}
    first, index = [], []
    for x in itertools.chain.from_iterable(inputs):
        key = hashlib.blake2b(x.tobytes(), digest_size=16).digest()
        if key not in seen:
            seen[key] = len(first)
            first.append(x)
        index.append(seen[key])
    whole = np.asarray(index, np.int64)
    return np.stack(first), [whole[own] for own in consecutive(map(len, inputs))]


def within_tasks(
    kernel: KernelFn, inputs: Sequence[Num[np.ndarray, "_ *X"]], *, group: int = 256
) -> list[Kernels]:
    """Both kernels within each task, of tasks with up to `group` points at a time."""
    result: list[Kernels] = []
    for run in runs(list(map(len, inputs)), group):
        whole = evaluate(kernel, np.concatenate(inputs[run]))
        for own in consecutive(map(len, inputs[run])):
            result.append(Kernels(*(np.array(part[own, own]) for part in whole)))
    return result


def preconditioner(
    system: TaskSystem, *, rank: int, names: Names, seed: int = 0
) -> Multiply:
    """The inverse of the blocks of the tasks plus a low rank, which is near the system.

    With ``K ~ F F^T`` and ``R = G F`` it is ``blocks + R R^T``, whose diagonal blocks
    are those of the system itself; inverted by Woodbury's formula.

    Raises:
      theory.SingularKernelError: the block of a task is singular.
    """
    R = system.gather(
        pivoted_cholesky(
            system.kernel, system.points, layers=system.layers, rank=rank, seed=seed
        )
    )
    factors = [
        (rows, _factor(own, R[rows], rows, names))
        for own, rows in zip(system.own, system.rows, strict=True)
    ]

    E = solve_tasks(factors, R)
    corner = R.T @ E
    corner[np.diag_indices_from(corner)] += 1.0
    inner = scipy.linalg.cho_factor(corner, lower=True, check_finite=False)
    del R

    def apply(values: np.ndarray) -> np.ndarray:
        low_rank = E @ scipy.linalg.cho_solve(inner, E.T @ values)
        return solve_tasks(factors, values) - low_rank

    return apply


def _factor(own: np.ndarray, R: np.ndarray, rows: slice, names: Names) -> np.ndarray:
    """Cholesky factor of a task's block without what the low rank has of it."""
    eye = np.eye(len(own))
    # Raises where the block is singular.
    factor_task(own - 1e-12 * np.trace(own) * eye, rows, names)
    try:
        floor = 1e-10 * np.trace(own) / len(own) * eye
        return scipy.linalg.cholesky(own - R @ R.T + floor, lower=True)
    except np.linalg.LinAlgError:  # round-off; the whole block serves nearly as well
        return scipy.linalg.cholesky(own, lower=True)
