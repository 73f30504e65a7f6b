"""What a head inside training costs: forward and backward, milliseconds.

    python -m experiments.heads_benchmark [--repeats 20] [--output FILE.json]

Tasks are those of MetaOptNet's training on features of ResNet-12 without average
pooling at 32x32 pixels: 8 tasks, 5-way 15-shot 6-query, 2560 dimensions. The loss is
the cross-entropy of the query; the gradient is with respect to all features. Other work
on the machine slows it down: let it run alone; the least time is the least disturbed.
"""

import dataclasses
import json
import os
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import tyro
from jaxtyping import Array, Float

from metabridge import heads
from metabridge.heads import Head
from metabridge.heads.svm import solve

HEADS = {
    "svm": heads.svm(0.1),
    "ridge": heads.ridge(50.0),
    "centroid": heads.centroid(),
}


@dataclasses.dataclass(frozen=True)
class Options:
    """Measure the heads that are differentiable."""

    tasks: int = 8
    ways: int = 5
    shots: int = 15
    queries: int = 6
    dimension: int = 2560
    repeats: int = 20
    """Of which the least time and the median are given."""
    output: Path | None = None
    """JSON file for the results."""


def features_of(
    options: Options,
) -> tuple[Float[Array, "T S D"], Float[Array, "T Q D"]]:
    """Overlapping classes; lengths like those of a body before training."""
    generator = np.random.default_rng(0)
    means = generator.normal(size=(options.tasks, options.ways, 1, options.dimension))

    def draw(count: int) -> Float[Array, "T n D"]:
        shape = (options.tasks, options.ways, count, options.dimension)
        drawn = means + 3.0 * generator.normal(size=shape)
        flat = drawn.reshape(options.tasks, -1, options.dimension)
        return jnp.asarray(flat, jnp.float32)

    return draw(options.shots), draw(options.queries)


def measure(head: Head, options: Options) -> dict[str, float]:
    """Seconds to compile; the least and the median milliseconds of a call."""
    ways = options.ways
    support, query = features_of(options)
    labels = jnp.repeat(jnp.arange(ways, dtype=jnp.int32), options.shots)
    targets = jnp.repeat(jnp.arange(ways, dtype=jnp.int32), options.queries)

    def task_loss(support: Float[Array, "S D"], query: Float[Array, "Q D"]):
        said = heads.logits(head.fit(support, labels, ways=ways), query)
        return optax.softmax_cross_entropy_with_integer_labels(said, targets).mean()

    def loss(both) -> Float[Array, ""]:
        return jax.vmap(task_loss)(*both).mean()

    since = time.perf_counter()
    compiled = jax.jit(jax.grad(loss)).lower((support, query)).compile()
    compile_seconds = time.perf_counter() - since
    jax.block_until_ready(compiled((support, query)))
    times = []
    for _ in range(options.repeats):
        since = time.perf_counter()
        jax.block_until_ready(compiled((support, query)))
        times.append(1e3 * (time.perf_counter() - since))
    return {
        "least_ms": min(times),
        "median_ms": float(np.median(times)),
        "compile_seconds": compile_seconds,
    }


def worst_residual(options: Options) -> float:
    """Of the machine, over the tasks that are measured."""
    labels = jnp.repeat(jnp.arange(options.ways, dtype=jnp.int32), options.shots)

    def one(support: Float[Array, "S D"]) -> Float[Array, ""]:
        return solve(support, labels, ways=options.ways, C=0.1)[1].residual

    return float(jax.jit(jax.vmap(one))(features_of(options)[0]).max())


def main(options: Options) -> None:
    results: dict = {"cpu_count": os.cpu_count(), "backend": jax.default_backend()}
    for name, head in HEADS.items():
        results[name] = measure(head, options)
        print(name, {key: round(value, 2) for key, value in results[name].items()})
    results["svm"]["worst_residual"] = worst_residual(options)
    print("svm residual", results["svm"]["worst_residual"])
    if options.output is not None:
        options.output.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main(tyro.cli(Options))
