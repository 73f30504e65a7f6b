"""Training steps of this package or of an older one, for `benchmarks.steps`.

Only names of the public API, so that the same lines run in another checkout.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

WAYS, SHOTS, QUERIES, TASKS, STEPS, INNER_LR = 5, 5, 15, 4, 5, 0.01
CLASSES = 64


def batch(tasks: int, shots: int, queries: int, size: int, channels: int) -> Any:
    """Tasks of noise: speed does not depend on what the images show."""
    import jax.numpy as jnp

    from metabridge.types import Examples, Task

    generator = np.random.default_rng(0)

    def examples(per_class: int) -> Examples:
        shape = (tasks, WAYS * per_class, size, size, channels)
        labels = np.tile(np.repeat(np.arange(WAYS), per_class), (tasks, 1))
        return Examples(
            jnp.asarray(generator.normal(size=shape), jnp.float32),
            jnp.asarray(labels, jnp.int32),
        )

    classes = jnp.tile(jnp.arange(WAYS, dtype=jnp.int32), (tasks, 1))
    return Task(examples(shots), examples(queries), classes, -jnp.ones(tasks, int))


def start(
    name: str, size: int, channels: int, width: int, images: int, dtype: str = "float32"
) -> Any:
    """A learner, its first state, and a batch; `dtype` is of MTL's body."""
    import jax
    import jax.numpy as jnp
    import optax

    from metabridge import learners, models

    if name in ("mtl", "resnet12"):
        half: Any = {} if dtype == "float32" else {"dtype": jnp.dtype(dtype)}
        resnet = name == "resnet12"
        body = models.ResNet12(**half) if resnet else models.Conv4(width, **half)
        heads = learners.class_table(CLASSES)
        learner = learners.mtl(body, optax.radam(1e-3), heads=heads)
        data = batch(1, images // WAYS, 0, size, channels)
    else:
        options: dict[str, Any] = {"inner_lr": INNER_LR, "inner_steps": STEPS}
        if name != "anil":
            options["first_order"] = name == "first-order maml"
        make = learners.anil if name == "anil" else learners.maml
        learner = make(models.Conv4(width), optax.adam(1e-3), ways=WAYS, **options)
        data = batch(TASKS, SHOTS, QUERIES, size, channels)
    state = jax.jit(learner.init)(jax.random.key(0), data.support.inputs[0])
    return learner, state, data


def step(**options: Any) -> Callable[[], float]:
    """A training step, which returns its loss; options are those of `start`."""
    import jax

    learner, state, data = start(**options)
    compiled = jax.jit(learner.step, donate_argnums=1)

    def run() -> float:
        nonlocal state
        state, info = compiled(jax.random.key(0), state, data)
        return float(info.loss)

    return run


def matrix_product(side: int) -> Callable[[], None]:
    """A product of square matrices, whose speed is the machine's peak."""
    import jax

    matrix = jax.random.normal(jax.random.key(0), (side, side))
    product = jax.jit(jax.numpy.matmul)

    def run() -> None:
        product(matrix, matrix).block_until_ready()

    return run
