"""What a head inside training costs: forward and backward, milliseconds.

    python -m experiments.heads_benchmark [--repeats 20] [--output FILE.json]
    python -m experiments.heads_benchmark --qpax-repeats 3  # needs the extra `bench`

Tasks are those of MetaOptNet's training on features of ResNet-12 without average
pooling at 32x32 pixels: 8 tasks, 5-way 15-shot 6-query, 2560 dimensions. The loss is
the cross-entropy of the query; the gradient is with respect to all features. Other work
on the machine slows it down: let it run alone; the least time is the least disturbed.

qpax, a general solver of quadratic programmes, solves the same machine (see
`experiments.svm_qp`): at its own tolerances, and in float64 at ones that bring its
derivative close to that of the machine itself. How far a machine is off says how much
its weights and its gradient differ from those of `metabridge.heads.svm` in float64,
relatively. On 2 cores set NPROC=16, the threads of XLA, and OPENBLAS_NUM_THREADS=1, or
jaxlib 0.10.2 waits for ever: two triangular solves that qpax has at once hold all
threads, and each waits for another thread to take its share. Ours has one at a time.
"""

import dataclasses
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import tyro
from jaxtyping import Array, Float, Int

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
    qpax_repeats: int = 0
    """The same for qpax, which takes seconds; 0 leaves it out."""
    output: Path | None = None
    """JSON file for the results."""


def features_of(
    options: Options, dtype: type = np.float32
) -> tuple[Float[Array, "T S D"], Float[Array, "T Q D"]]:
    """Overlapping classes; lengths like those of a body before training."""
    generator = np.random.default_rng(0)
    means = generator.normal(size=(options.tasks, options.ways, 1, options.dimension))

    def draw(count: int) -> Float[Array, "T n D"]:
        shape = (options.tasks, options.ways, count, options.dimension)
        drawn = means + 3.0 * generator.normal(size=shape)
        flat = drawn.reshape(options.tasks, -1, options.dimension)
        # Of the same numbers in float64 as in float32.
        return jnp.asarray(flat.astype(np.float32), dtype)

    return draw(options.shots), draw(options.queries)


def labels_of(options: Options, each: int) -> Int[Array, "n"]:
    return jnp.repeat(jnp.arange(options.ways, dtype=jnp.int32), each)


def gradient(head: Head, options: Options) -> jax.stages.Wrapped:
    """Of the loss in all features, as a function of those."""
    labels = labels_of(options, options.shots)
    targets = labels_of(options, options.queries)

    def task_loss(support: Float[Array, "S D"], query: Float[Array, "Q D"]):
        said = heads.logits(head.fit(support, labels, ways=options.ways), query)
        return optax.softmax_cross_entropy_with_integer_labels(said, targets).mean()

    def loss(both) -> Float[Array, ""]:
        return jax.vmap(task_loss)(*both).mean()

    return jax.jit(jax.grad(loss))


def measure(
    head: Head, options: Options, repeats: int, dtype: type = np.float32
) -> dict[str, float]:
    """Seconds to compile; the least and the median milliseconds of a call."""
    both = features_of(options, dtype)
    since = time.perf_counter()
    compiled = gradient(head, options).lower(both).compile()
    compile_seconds = time.perf_counter() - since
    jax.block_until_ready(compiled(both))
    times = []
    for _ in range(repeats):
        since = time.perf_counter()
        jax.block_until_ready(compiled(both))
        times.append(1e3 * (time.perf_counter() - since))
    return {
        "least_ms": min(times),
        "median_ms": float(np.median(times)),
        "compile_seconds": compile_seconds,
    }


def answers(head: Head, options: Options, dtype: type) -> dict[str, np.ndarray]:
    """The weights of all tasks, and the gradient in the support."""
    both = features_of(options, dtype)
    labels = labels_of(options, options.shots)

    def weights(support: Float[Array, "S D"]) -> Float[Array, "D ways"]:
        return head.fit(support, labels, ways=options.ways).weights

    return {
        "weights_off": np.asarray(jax.jit(jax.vmap(weights))(both[0]), np.float64),
        "gradient_off": np.asarray(gradient(head, options)(both)[0], np.float64),
    }


def worst_residual(options: Options) -> float:
    """Of the machine, over the tasks that are measured."""
    labels = labels_of(options, options.shots)

    def one(support: Float[Array, "S D"]) -> Float[Array, ""]:
        return solve(support, labels, ways=options.ways, C=0.1)[1].residual

    return float(jax.jit(jax.vmap(one))(features_of(options)[0]).max())


def compare(options: Options) -> Iterator[tuple[str, dict[str, float]]]:
    """Qpax and ours: times, and how far they are off."""
    from experiments.svm_qp import svm_qp

    tight = svm_qp(0.1, tolerance=1e-12, relaxation=1e-14)
    runs = {
        "svm": (HEADS["svm"], np.float32, options.repeats),
        "svm float64": (HEADS["svm"], np.float64, options.repeats),
        "qpax": (svm_qp(0.1), np.float32, options.qpax_repeats),
        "qpax float64": (svm_qp(0.1), np.float64, options.qpax_repeats),
        "qpax float64 tight": (tight, np.float64, options.qpax_repeats),
    }
    with jax.enable_x64(True):
        expected = answers(HEADS["svm"], options, np.float64)
        for name, (head, dtype, repeats) in runs.items():
            found = answers(head, options, dtype)
            off = {
                key: float(np.linalg.norm(found[key] - value) / np.linalg.norm(value))
                for key, value in expected.items()
            }
            yield name, measure(head, options, repeats, dtype) | off


def main(options: Options) -> None:
    results: dict = {"cpu_count": os.cpu_count(), "backend": jax.default_backend()}
    for name, head in HEADS.items():
        results[name] = measure(head, options, options.repeats)
        print(name, {key: round(value, 2) for key, value in results[name].items()})
    results["svm"]["worst_residual"] = worst_residual(options)
    print("svm residual", results["svm"]["worst_residual"])
    if options.qpax_repeats:
        results["compared"] = {}
        for name, values in compare(options):
            results["compared"][name] = values
            print(name, {key: f"{value:.3g}" for key, value in values.items()})
    if options.output is not None:
        options.output.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main(tyro.cli(Options))
