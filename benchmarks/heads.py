"""Heads inside training, forward and backward, beside qpax, a general solver.

    python -m benchmarks.heads [--rounds 20] [--output FILE.json]
    python -m benchmarks.heads --qpax --rounds 3  # needs the extra `bench`

Tasks are those of MetaOptNet's training on features of ResNet-12 without average
pooling at 32x32 pixels: 8 tasks, 5-way 15-shot 6-query, 2560 dimensions. The loss is
the cross-entropy of the query; the gradient is with respect to all features.

qpax solves the same machine (see `benchmarks.svm_qp`): at its own tolerances, and in
float64 at ones that bring its derivative close to that of the machine itself. A
contender's error is how much its weights and its gradient differ from those of
`metabridge.heads.svm` in float64, relatively.
"""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import tyro
from jaxtyping import Array, Float, Int

from benchmarks.harness import Contender, race, report, write
from experiments import arguments
from experiments.arguments import AtLeast
from metabridge import heads
from metabridge.heads import Head
from metabridge.heads.svm import solve

TASKS, WAYS, SHOTS, QUERIES, DIMENSION = 8, 5, 15, 6, 2560
_C = 0.1
# Two triangular solves that qpax has at once hold all threads of XLA, and each waits
# for another thread to take its share: with 2 threads jaxlib 0.10.2 waits for ever.
QPAX_ENVIRONMENT = {"NPROC": "16", "OPENBLAS_NUM_THREADS": "1"}
_TIGHT = {"tolerance": 1e-12, "relaxation": 1e-14}


@dataclasses.dataclass(frozen=True)
class Options:
    """Measure the heads that are differentiable."""

    rounds: Annotated[int, AtLeast(1)] = 20
    """Timed calls of each."""
    qpax: bool = False
    """Beside qpax, which takes seconds a call."""
    output: Path | None = None
    """JSON file for the results."""


def contenders(options: Options) -> dict[str, Contender]:
    """The heads, with their options and types of numbers."""
    if not options.qpax:
        names = ("svm", "ridge", "centroid")
        return {name: Contender("heads:step", {"name": name}) for name in names}
    found = {}
    for name, float64 in (
        ("svm", False),
        ("svm", True),
        ("qpax", False),
        ("qpax", True),
    ):
        environment = QPAX_ENVIRONMENT if name == "qpax" else {}
        title = f"{name} float64" if float64 else name
        build = {"name": name, "float64": float64, "errors": True}
        found[title] = Contender("heads:step", build, environment)
    tight = found["qpax float64"]
    found["qpax float64 tight"] = tight._replace(options={**tight.options, **_TIGHT})
    return found


def step(
    name: str, *, float64: bool = False, errors: bool = False, **options: float
) -> Callable[[], Any]:
    """The gradient of a head's loss; the answer is its errors, if they are wanted."""
    jax.config.update("jax_enable_x64", float64 or errors)
    dtype = np.float64 if float64 else np.float32
    head, both = _head(name, **options), features(dtype)
    compiled = gradient(head).lower(both).compile()
    found = _errors(head, dtype) if errors else None
    if name == "svm":
        found = {**(found or {}), "residual": worst_residual(dtype)}

    def run() -> dict[str, float] | None:
        jax.block_until_ready(compiled(both))
        return found

    return run


def _head(name: str, **options: float) -> Head:
    if name == "qpax":
        from benchmarks.svm_qp import svm_qp

        return svm_qp(_C, **options)
    made = {"svm": heads.svm(_C), "ridge": heads.ridge(50.0)}
    return made.get(name) or heads.centroid()


def features(dtype: type) -> tuple[Float[Array, "T S D"], Float[Array, "T Q D"]]:
    """Overlapping classes; lengths like those of a body before training."""
    generator = np.random.default_rng(0)
    means = generator.normal(size=(TASKS, WAYS, 1, DIMENSION))

    def draw(count: int) -> Float[Array, "T n D"]:
        drawn = means + 3.0 * generator.normal(size=(TASKS, WAYS, count, DIMENSION))
        # Of the same numbers in float64 as in float32.
        flat = drawn.reshape(TASKS, -1, DIMENSION).astype(np.float32)
        return jnp.asarray(flat, dtype)

    return draw(SHOTS), draw(QUERIES)


def labels(each: int) -> Int[Array, "n"]:
    """Labels of a task, class by class."""
    return jnp.repeat(jnp.arange(WAYS, dtype=jnp.int32), each)


def gradient(head: Head) -> jax.stages.Wrapped:
    """Gradient of the loss in all features, as a function of those."""

    def task_loss(support: Float[Array, "S D"], query: Float[Array, "Q D"]):
        logits = heads.logits(head.fit(support, labels(SHOTS), ways=WAYS), query)
        losses = optax.softmax_cross_entropy_with_integer_labels
        return losses(logits, labels(QUERIES)).mean()

    def loss(both) -> Float[Array, ""]:
        return jax.vmap(task_loss)(*both).mean()

    return jax.jit(jax.grad(loss))


def answers(head: Head, dtype: type) -> dict[str, np.ndarray]:
    """The weights of all tasks, and the gradient in the support."""
    both = features(dtype)

    def weights(support: Float[Array, "S D"]) -> Float[Array, "D ways"]:
        return head.fit(support, labels(SHOTS), ways=WAYS).weights

    return {
        "weights": np.asarray(jax.jit(jax.vmap(weights))(both[0]), np.float64),
        "gradient": np.asarray(gradient(head)(both)[0], np.float64),
    }


def _errors(head: Head, dtype: type) -> dict[str, float]:
    found = answers(head, dtype)
    expected = answers(_head("svm"), np.float64)
    return {
        f"error of the {name}": float(
            np.linalg.norm(found[name] - value) / np.linalg.norm(value)
        )
        for name, value in expected.items()
    }


def worst_residual(dtype: type) -> float:
    """Residual of the machine, over the tasks that are measured."""

    def one(support: Float[Array, "S D"]) -> Float[Array, ""]:
        return solve(support, labels(SHOTS), ways=WAYS, C=_C)[1].residual

    return float(jax.jit(jax.vmap(one))(features(dtype)[0]).max())


def main(options: Options) -> None:
    """Measure, print, and write the file if one is wanted."""
    arguments.check(options)
    results = race(contenders(options), rounds=options.rounds)
    found = report("heads", results)
    for name, result in results.items():
        for key, value in (result.answer or {}).items():
            print(f"  {name}, {key}: {value:.3g}")
    write(options.output, found)


if __name__ == "__main__":
    main(tyro.cli(Options, prog="python -m benchmarks.heads"))
