"""Tasks and inner loops that the tests share."""

import numpy as np

from metabridge import theory
from metabridge.theory.types import Array, KernelFn
from tests.theory import reference

# Our inner loop beside the reference's.
LOOPS = {
    "ANIL": (
        theory.gradient_flow("head", time=0.7),
        reference.Loop("head", "flow", 0.7),
    ),
    "ANIL to the end": (
        theory.gradient_flow("head", time=np.inf),
        reference.Loop("head", "flow", np.inf),
    ),
    "MAML": (
        theory.gradient_flow("all", time=0.3),
        reference.Loop("all", "flow", 0.3),
    ),
    "BOIL": (
        theory.gradient_flow("body", time=0.4),
        reference.Loop("body", "flow", 0.4),
    ),
    "MAML, 5 steps": (
        theory.gradient_steps("all", lr=0.1, steps=5),
        reference.Loop("all", "steps", 0.1, 5),
    ),
    "ANIL, 1 step": (
        theory.gradient_steps("head", lr=0.5, steps=1),
        reference.Loop("head", "steps", 0.5, 1),
    ),
    "BOIL, 3 large steps": (
        theory.gradient_steps("body", lr=0.35, steps=3),
        reference.Loop("body", "steps", 0.35, 3),
    ),
    "R2-D2": (
        theory.ridge("head", penalty=0.2),
        reference.Loop("head", "ridge", 0.2),
    ),
    "iMAML": (
        theory.ridge("all", penalty=1.5),
        reference.Loop("all", "ridge", 1.5),
    ),
}


def textbook(depth: int, *, last_W_std: float = 1.0, b_std: float = 0.0) -> KernelFn:
    """The kernel of `relu_network` as the reference has it: nothing to compile."""
    network = reference.relu(depth, last_W_std, b_std)

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


def one(task: reference.Task) -> theory.Tasks:
    """One task without a leading axis."""
    return theory.Tasks(*task)
