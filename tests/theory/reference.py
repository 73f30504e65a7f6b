"""Every predictor again, as written on paper: NumPy, float64, explicit matrices.

Nothing here is shared with `theory`: kernels come from the textbook recursion, B is a
matrix, inverses are inverses, exponentials are SciPy's ``expm``, and multi-task
learning has a row for each (point, output).
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import scipy.integrate
import scipy.linalg

Function = Callable[[np.ndarray], np.ndarray]
KernelFunction = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]


class Loop(NamedTuple):
    """An inner loop; ``amount`` is a time, a penalty, or the size of the steps."""

    layers: str
    kind: str
    amount: float
    steps: int = 0


class Task(NamedTuple):
    """One task."""

    support_x: np.ndarray
    support_y: np.ndarray
    query_x: np.ndarray
    query_y: np.ndarray


def relu(
    depth: int, last_W_std: float = 1.0, b_std: float | np.floating = 0.0,
    W_variance: float = 2.0,
) -> KernelFunction:  # fmt: skip
    """The textbook recursion (Cho and Saul 2009), in covariances."""

    def kernel(x1: np.ndarray, x2: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        scale = np.asarray(last_W_std, x1.dtype) ** 2 / W_variance
        half = W_variance / 2
        bias = np.asarray(b_std, x1.dtype) ** 2
        own1, own2 = (W_variance * (x**2).mean(1) for x in (x1, x2))
        # What a linear layer makes of the units; then biases.
        linear = W_variance * x1 @ x2.T / x1.shape[1]
        tangent = np.zeros_like(linear)
        # arccos turns a correlation of 1 - 1e-16 into an angle of 1e-8.
        same = (x1[:, None] == x2[None]).all(-1)
        # 4 arctan(1) and not np.pi, for extended precision.
        pi = 4 * np.arctan(np.ones((), linear.dtype))
        for _ in range(depth):
            size = np.sqrt(np.outer(own1 + bias, own2 + bias))
            before = linear + bias
            theta = np.arccos(np.clip(before / size, -1, 1))
            theta = np.where(same, 0, theta)
            linear = half * size * (np.sin(theta) + (pi - theta) * np.cos(theta)) / pi
            tangent = half * (before + tangent) * (pi - theta) / pi
            own1, own2 = half * (own1 + bias), half * (own2 + bias)
        nngp = scale * linear + bias
        return nngp, nngp + scale * tangent

    return kernel


def of_layers(layers: str, kernels: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """Sigma, Theta - Sigma or Theta."""
    nngp, ntk = kernels
    return {"head": nngp, "body": ntk - nngp, "all": ntk}[layers]


def trained(K: np.ndarray, time: float) -> np.ndarray:
    """``K^-1 (I - exp(-time K))``."""
    eye = np.eye(len(K))
    if time == math.inf:
        return np.linalg.inv(K)
    return np.linalg.inv(K) @ (eye - scipy.linalg.expm(-time * K))


def adaptation(
    kernel: KernelFunction, loop: Loop, query: np.ndarray, support: np.ndarray
) -> np.ndarray:
    """The operator A, by definition or by taking the steps one by one."""
    cross = of_layers(loop.layers, kernel(query, support))
    square = of_layers(loop.layers, kernel(support, support))
    if loop.kind == "flow":
        return cross @ trained(square, loop.amount)
    if loop.kind == "ridge":
        return cross @ np.linalg.inv(square + loop.amount * np.eye(len(square)))
    moved, own = np.zeros(cross.shape), np.zeros(square.shape)
    for _ in range(loop.steps):
        # Columns: what a unit residual on each support example has done so far.
        left = np.eye(len(square)) - own
        moved, own = (
            moved + loop.amount * cross @ left,
            own + loop.amount * square @ left,
        )
    return moved


def gbml(
    kernel: KernelFunction,
    tasks: Sequence[Task],
    loop: Loop,
    time: float = math.inf,
    initial: Function | None = None,
) -> tuple[np.ndarray, Function]:
    """The meta kernel, and the function learned."""
    points = np.concatenate([x for t in tasks for x in (t.query_x, t.support_x)])
    blocks, targets = [], []
    for task in tasks:
        A = adaptation(kernel, loop, task.query_x, task.support_x)
        blocks.append(np.hstack([np.eye(len(A)), -A]))
        targets.append(task.query_y - A @ task.support_y)
    B = np.asarray(scipy.linalg.block_diag(*blocks))
    theta = kernel(points, points)[1]
    phi = B @ theta @ B.T
    begin = initial or (lambda x: np.zeros((len(x), targets[0].shape[1])))
    residual = np.concatenate(targets) - B @ np.asarray(begin(points))
    weights: np.ndarray = B.T @ trained(phi, time) @ residual
    return phi, lambda z: begin(z) + kernel(z, points)[1] @ weights


def mtl(
    kernel: KernelFunction,
    tasks: Sequence[Task],
    C: np.ndarray,
    new: np.ndarray,
    *,
    same: np.ndarray | None = None,
    joint: bool = False,
    time: float = math.inf,
    initial: Function | None = None,
) -> tuple[np.ndarray, Function]:
    """The kernel over (task, output, point), and the function of a new task's heads.

    Args:
      kernel: Sigma and Theta.
      tasks: T of them with K outputs.
      C: ``[T K, T K]``.
      new: ``[K, T K]``.
      same: which units are one row of weights; default: none but itself.
      joint: train on supports too.
      time: of training.
      initial: f_0 of every head.
    """
    outputs = tasks[0].query_y.shape[1]
    same = np.eye(len(C), dtype=bool) if same is None else same
    begin = initial or (lambda x: np.zeros((len(x), outputs)))
    samples = []
    for index, task in enumerate(tasks):
        xs = [task.query_x, task.support_x] if joint else [task.query_x]
        ys = [task.query_y, task.support_y] if joint else [task.query_y]
        x, y = np.concatenate(xs), np.concatenate(ys)
        y = y - begin(x)
        for k in range(outputs):
            samples += [(x[i], index * outputs + k, y[i, k]) for i in range(len(x))]
    points: np.ndarray = np.stack([x for x, _, _ in samples])
    units = np.array([unit for _, unit, _ in samples])
    labels = np.array([y for _, _, y in samples])
    sigma, theta = kernel(points, points)
    K = np.zeros(sigma.shape)
    for a, first in enumerate(units):
        for b, second in enumerate(units):
            K[a, b] = C[first, second] * (theta - sigma)[a, b]
            if same[first, second]:
                K[a, b] += sigma[a, b]
    weights = trained(K, time) @ labels

    def function(z: np.ndarray) -> np.ndarray:
        head, all_layers = kernel(z, points)
        columns = [
            (new[k, units][None] * (all_layers - head)) @ weights
            for k in range(outputs)
        ]
        return begin(z) + np.stack(columns, 1)

    return K, function


def predict(
    kernel: KernelFunction, function: Function, loop: Loop, task: Task
) -> np.ndarray:
    """``A^ Y' + [I, -A^] f([X; X'])``."""
    A = adaptation(kernel, loop, task.query_x, task.support_x)
    return A @ (task.support_y - function(task.support_x)) + function(task.query_x)


def integrate_flow(
    K: np.ndarray, labels: np.ndarray, cross: np.ndarray, time: float
) -> np.ndarray:
    """Predictions of gradient flow from 0, by integrating it instead of solving it."""
    rows = len(K)

    def speed(_: float, state: np.ndarray) -> np.ndarray:
        residual = labels - state[:rows]
        return np.concatenate([K @ residual, cross @ residual])

    solution = scipy.integrate.solve_ivp(
        speed,
        (0.0, time),
        np.zeros(rows + len(cross)),
        method="LSODA",
        rtol=1e-11,
        atol=1e-12,
    )
    return solution.y[rows:, -1]
