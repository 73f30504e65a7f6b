"""Memory of one second-order MAML step with ResNet-12, from the compiled step.

    python -m experiments.maml_memory [--size 84 --inner-steps 5]

Compiles the step for one task without running it, with the inner steps kept and with
them computed again on the way back (``--rematerialise``), and prints what XLA reserves:
arguments, results and temporaries, in GB. On a CPU rematerialised steps are a loop, as
on an accelerator; how XLA lays out temporaries differs between the two.
"""

import dataclasses

import jax
import jax.numpy as jnp
import optax
import tyro

from metabridge.learners import maml
from metabridge.models import ResNet12
from metabridge.training.guards.memory import needed_bytes
from metabridge.types import Examples, Task

_WAYS = 5


@dataclasses.dataclass(frozen=True)
class Options:
    """Memory of a MAML step with ResNet-12."""

    size: int = 84
    """Height and width of the images."""
    shots: int = 5
    """Support images a class."""
    queries: int = 15
    """Query images a class."""
    inner_steps: int = 5
    """Steps of the inner loop."""
    both: bool = False
    """Also without rematerialisation, which takes long to compile."""


def gigabytes(options: Options, *, rematerialise: bool) -> float:
    """What the compiled step reserves."""
    learner = maml(
        ResNet12(),
        optax.adam(1e-3),
        ways=_WAYS,
        inner_lr=0.01,
        inner_steps=options.inner_steps,
        rematerialise=rematerialise,
    )

    def examples(per_class: int) -> Examples:
        count = _WAYS * per_class
        shape = (1, count, options.size, options.size, 3)
        return Examples(
            jax.ShapeDtypeStruct(shape, jnp.float32),  # pyright: ignore[reportArgumentType]
            jax.ShapeDtypeStruct((1, count), jnp.int32),  # pyright: ignore[reportArgumentType]
        )

    task = Task(
        examples(options.shots),
        examples(options.queries),
        jax.ShapeDtypeStruct((1, _WAYS), jnp.int32),  # pyright: ignore[reportArgumentType]
        jax.ShapeDtypeStruct((1,), jnp.int32),  # pyright: ignore[reportArgumentType]
    )
    key = jax.random.key(0)
    image = jnp.zeros((1, options.size, options.size, 3))
    state = jax.eval_shape(learner.init, key, image)
    step = jax.jit(learner.step, donate_argnums=1)
    return needed_bytes(step.lower(key, state, task).compile())[0] / 1e9


def main(options: Options) -> dict[str, float]:
    """Prints and returns the sizes."""
    found = {"rematerialised_gb": gigabytes(options, rematerialise=True)}
    if options.both:
        found["kept_gb"] = gigabytes(options, rematerialise=False)
    for name, value in found.items():
        print(f"{name:18s} {value:.3g}")
    return found


if __name__ == "__main__":
    main(tyro.cli(Options))
