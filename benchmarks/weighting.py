"""Steps of MTL with its tasks weighed, beside those of their mean.

    python -m benchmarks.weighting

A step has Conv4 and 8 tasks of 5 ways with 5 images a class.
"""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

from benchmarks.harness import Contender, race, report, write
from benchmarks.ours import CLASSES, batch
from experiments.arguments import AtLeast, check, parse

WEIGHTINGS = ("uniform", "uncertainty", "dwa", "pcgrad", "cagrad", "upgrad")
Size = Annotated[int, AtLeast(1)]


@dataclasses.dataclass(frozen=True)
class Options:
    """Time training steps with each weighting of tasks."""

    only: tuple[str, ...] = WEIGHTINGS[1:]
    """Which, beside the mean."""
    tasks: Annotated[int, AtLeast(2)] = 8
    """Tasks of a step."""
    shots: Size = 5
    """Images a class."""
    width: Size = 64
    """Channels of Conv4."""
    size: Annotated[int, AtLeast(16)] = 28
    """Height and width of the images."""
    channels: Size = 1
    """Channels of the images."""
    rounds: Size = 10
    """Timed steps of each."""
    output: Path | None = None
    """JSON file for the results."""


def step(
    weighting: str, tasks: int, shots: int, width: int, size: int, channels: int
) -> Callable[[], float]:
    """A training step, which returns its loss."""
    import jax
    import jax.numpy as jnp
    import optax

    from metabridge import learners, models

    learner = learners.mtl(
        models.Conv4(width),
        optax.radam(1e-3),
        heads=learners.class_table(CLASSES),
        weighting=weighting,  # pyright: ignore[reportArgumentType]
        task_pool=tasks,
    )
    data = batch(tasks, shots, 0, size, channels)
    data = data._replace(task_id=jnp.arange(tasks, dtype=jnp.int32))
    state = jax.jit(learner.init)(jax.random.key(0), data.support.inputs[0])
    compiled = jax.jit(learner.step, donate_argnums=1)

    def run() -> float:
        nonlocal state
        state, info = compiled(jax.random.key(0), state, data)
        return float(info.loss)

    return run


def main(options: Options) -> None:
    """Measure, print, and write the file if one is wanted.

    Raises:
      ValueError: an option out of its range, or an unknown weighting.
    """
    check(options)
    if unknown := set(options.only) - set(WEIGHTINGS):
        raise ValueError(f"unknown {sorted(unknown)}; known are {list(WEIGHTINGS)}")
    names = [name for name in WEIGHTINGS if name in {WEIGHTINGS[0], *options.only}]
    arguments = dataclasses.asdict(options)
    for name in ("only", "rounds", "output"):
        del arguments[name]
    contenders = {
        name: Contender("weighting:step", {"weighting": name, **arguments})
        for name in names
    }
    results = race(contenders, rounds=options.rounds)
    title = f"a step of {options.tasks} tasks, Conv4 of {options.width} channels"
    write(options.output, report(title, results))


if __name__ == "__main__":
    main(parse(Options, "benchmarks.weighting"))
