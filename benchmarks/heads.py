"""Heads inside training, forward and backward.

    python -m benchmarks.heads [--rounds 20] [--output FILE.json]

Tasks are those of MetaOptNet's training on features of ResNet-12 without average
pooling at 32x32 pixels: 8 tasks, 5-way 15-shot 6-query, 2560 dimensions. The loss is
the cross-entropy of the query; the gradient is with respect to all features. The answer
of the support vector machine is its residual, relative to the margin.
"""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int

from benchmarks.harness import Contender, race, report, write
from experiments.arguments import AtLeast, check, parse
from metabridge import heads
from metabridge.heads.svm import solve

TASKS, WAYS, SHOTS, QUERIES, DIMENSION = 8, 5, 15, 6, 2560
_C = 0.1


@dataclasses.dataclass(frozen=True)
class Options:
    """Measure the heads that are differentiable."""

    rounds: Annotated[int, AtLeast(1)] = 20
    """Timed calls of each."""
    output: Path | None = None
    """JSON file for the results."""


def step(name: str) -> Callable[[], float | None]:
    """The gradient of a head's loss in all features."""
    svm, ridge = heads.svm(_C), heads.ridge(50.0)
    head = {"svm": svm, "ridge": ridge, "centroid": heads.centroid()}[name]
    both = features()

    def task_loss(support: Float[Array, "S D"], query: Float[Array, "Q D"]):
        logits = heads.logits(head.fit(support, labels(SHOTS), ways=WAYS), query)
        losses = optax.softmax_cross_entropy_with_integer_labels
        return losses(logits, labels(QUERIES)).mean()

    def loss(both) -> Float[Array, ""]:
        return jax.vmap(task_loss)(*both).mean()

    compiled = jax.jit(jax.grad(loss)).lower(both).compile()
    residual = worst_residual(both[0]) if name == "svm" else None

    def run() -> float | None:
        jax.block_until_ready(compiled(both))
        return residual

    return run


def features() -> tuple[Float[Array, "T S D"], Float[Array, "T Q D"]]:
    """Overlapping classes; lengths like those of a body before training."""
    generator = np.random.default_rng(0)
    means = generator.normal(size=(TASKS, WAYS, 1, DIMENSION))

    def draw(count: int) -> Float[Array, "T n D"]:
        drawn = means + 3.0 * generator.normal(size=(TASKS, WAYS, count, DIMENSION))
        return jnp.asarray(drawn.reshape(TASKS, -1, DIMENSION), jnp.float32)

    return draw(SHOTS), draw(QUERIES)


def labels(each: int) -> Int[Array, "n"]:
    """Labels of a task, class by class."""
    return jnp.repeat(jnp.arange(WAYS, dtype=jnp.int32), each)


def worst_residual(support: Float[Array, "T S D"]) -> float:
    """Residual of the machine, over the tasks that are measured."""

    def one(support: Float[Array, "S D"]) -> Float[Array, ""]:
        return solve(support, labels(SHOTS), ways=WAYS, C=_C)[1].residual

    return float(jax.jit(jax.vmap(one))(support).max())


def main(options: Options) -> None:
    """Measure, print, and write the file if one is wanted."""
    check(options)
    names = ("svm", "ridge", "centroid")
    contenders = {name: Contender("heads:step", {"name": name}) for name in names}
    found = report("heads", race(contenders, rounds=options.rounds))
    print(f"  residual of the machine: {found['svm']['answer']:.3g}")
    write(options.output, found)


if __name__ == "__main__":
    main(parse(Options, "benchmarks.heads"))
