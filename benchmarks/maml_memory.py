"""Memory of one second-order MAML step with ResNet-12, from the compiled step.

    python -m benchmarks.maml_memory [--size 84 --inner-steps 5]

Compiles the step for one task without running it, with the inner steps kept and with
them computed again on the way back (``--rematerialise``), and prints what XLA reserves:
arguments, results and temporaries, in GB. On a CPU rematerialised steps are a loop, as
on an accelerator; how XLA lays out temporaries differs between the two.
"""

import dataclasses
from typing import Annotated

import jax
import optax

from benchmarks import ours
from experiments.arguments import AtLeast, parse
from metabridge.learners import maml
from metabridge.models import ResNet12
from metabridge.training.guards.memory import needed_bytes


@dataclasses.dataclass(frozen=True)
class Options:
    """Memory of a MAML step with ResNet-12."""

    size: Annotated[int, AtLeast(1)] = 84
    """Height and width of the images."""
    shots: Annotated[int, AtLeast(1)] = 5
    """Support images a class."""
    queries: Annotated[int, AtLeast(1)] = 15
    """Query images a class."""
    inner_steps: Annotated[int, AtLeast(1)] = 5
    """Steps of the inner loop."""
    both: bool = False
    """Also without rematerialisation, which takes long to compile."""


def gigabytes(options: Options, *, rematerialise: bool) -> float:
    """What the compiled step reserves."""
    steps = {"inner_steps": options.inner_steps, "rematerialise": rematerialise}
    common = {"ways": ours.WAYS, "inner_lr": ours.INNER_LR}
    learner = maml(ResNet12(), optax.adam(1e-3), **common, **steps)
    task = ours.batch(1, options.shots, options.queries, options.size, channels=3)
    key = jax.random.key(0)
    state = jax.eval_shape(learner.init, key, task.support.inputs[0])
    step = jax.jit(learner.step, donate_argnums=1)
    return needed_bytes(step.lower(key, state, task).compile())[0] / 1e9


def main(options: Options) -> dict[str, float]:
    """Print and return the sizes."""
    found = {"rematerialised_gb": gigabytes(options, rematerialise=True)}
    if options.both:
        found["kept_gb"] = gigabytes(options, rematerialise=False)
    for name, value in found.items():
        print(f"{name:18s} {value:.3g}")
    return found


if __name__ == "__main__":
    main(parse(Options, "benchmarks.maml_memory"))
