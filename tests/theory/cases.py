"""Tasks and inner loops that the tests share."""

from typing import Any

import numpy as np

from metabridge import theory
from metabridge.theory.types import Array, KernelFn
from tests.theory import reference

Pair = tuple[theory.Inner, reference.Loop]
"""Our inner loop beside the reference's."""


def _flow(layers: theory.Layers, time: float) -> Pair:
    own = theory.gradient_flow(layers, time=time)
    return own, reference.Loop(layers, "flow", time)


def _steps(layers: theory.Layers, lr: float, steps: int) -> Pair:
    own = theory.gradient_steps(layers, lr=lr, steps=steps)
    return own, reference.Loop(layers, "steps", lr, steps)


def _ridge(layers: theory.Layers, penalty: float) -> Pair:
    own = theory.ridge(layers, penalty=penalty)
    return own, reference.Loop(layers, "ridge", penalty)


LOOPS = {
    "ANIL": _flow("head", 0.7),
    "ANIL to the end": _flow("head", np.inf),
    "MAML": _flow("all", 0.3),
    "BOIL": _flow("body", 0.4),
    "MAML, 5 steps": _steps("all", 0.1, 5),
    "ANIL, 1 step": _steps("head", 0.5, 1),
    "BOIL, 3 large steps": _steps("body", 0.35, 3),
    "R2-D2": _ridge("head", 0.2),
    "iMAML": _ridge("all", 1.5),
}


def textbook(
    depth: int, *, last_W_std: float = 1.0, b_std: float = 0.0, W_std: float = 2**0.5
) -> KernelFn:
    """The kernel of `relu_network` as the reference has it: nothing to compile."""
    W_variance = 2.0 if W_std == 2**0.5 else W_std**2
    network = reference.relu(depth, last_W_std, b_std, W_variance)

    def kernel(x1: Array, x2: Array | None = None) -> theory.Kernels:
        flat = [
            np.asarray(x, np.float64).reshape(len(x), -1)
            for x in (x1, x1 if x2 is None else x2)
        ]
        return theory.Kernels(*network(*flat))

    return kernel


def sphere(rng: np.random.Generator, count: int, size: int) -> np.ndarray:
    """Unit vectors times sqrt(size)."""
    x = rng.standard_normal((count, size))
    return x / np.linalg.norm(x, axis=1, keepdims=True) * size**0.5


def tanh_tasks(seed: int, count: int) -> theory.Tasks:
    """The setting of the tables: inputs on a sphere, targets linear behind a tanh."""
    rng = np.random.default_rng(seed)
    fields: list[list[np.ndarray]] = [[], [], [], []]
    for _ in range(count):
        weights = rng.standard_normal(20)
        for place, size in ((0, 4), (2, 6)):
            x = sphere(rng, size, 20)
            fields[place].append(x)
            fields[place + 1].append(np.tanh(x @ weights / 20**0.5)[:, None])
    return theory.Tasks(*map(np.stack, fields))


def unequal_tasks(
    seed: int, count: int = 3, *, outputs: int = 2, size: int = 7
) -> list[reference.Task]:
    """Tasks of different sizes with inputs that are not normalised."""
    rng = np.random.default_rng(seed)
    tasks = []
    for index in range(count):
        supports, queries = 3 + index % 2, 4 + index % 3
        tasks.append(
            reference.Task(
                rng.standard_normal((supports, size)),
                rng.standard_normal((supports, outputs)),
                rng.standard_normal((queries, size)),
                rng.standard_normal((queries, outputs)),
            )
        )
    return tasks


def equal_tasks(
    seed: int, count: int = 4, *, outputs: int = 2, size: int = 8
) -> theory.Tasks:
    """Tasks of one size as arrays."""
    rng = np.random.default_rng(seed)
    return theory.Tasks(
        np.stack([sphere(rng, 3, size) for _ in range(count)]),
        rng.standard_normal((count, 3, outputs)),
        np.stack([sphere(rng, 5, size) for _ in range(count)]),
        rng.standard_normal((count, 5, outputs)),
    )


def as_tasks(tasks: list[reference.Task]) -> theory.Tasks:
    """The reference's tasks as ours."""
    columns = zip(*tasks, strict=True)
    return theory.Tasks(*(list(column) for column in columns))


def ask(predictor: theory.Predictor, test: Any, **options: Any) -> np.ndarray:
    """Predictions on an unseen task, or on several of one size."""
    given = (test.support_x, test.support_y, test.query_x)
    return np.asarray(predictor(*given, **options))


def curve(x: np.ndarray) -> np.ndarray:
    """A function that no network at initialisation is likely to be."""
    return np.stack([np.sin(x[:, 0]) + 0.3, x[:, 1] * x[:, 2]], 1)


def one(task: reference.Task) -> theory.Tasks:
    """One task without a leading axis."""
    return theory.Tasks(*task)
