"""Memory of a compiled training step, compared with what its device has."""

import jax

from metabridge.config import GradientBasedConfig, LearnerConfig
from metabridge.parallel import devices
from metabridge.units import format_bytes


def check_fits(compiled: jax.stages.Compiled, learner: LearnerConfig) -> float:
    """Refuses a step that the device cannot hold, before it is run.

    Args:
      compiled: the step; its arguments are on the device already.
      learner: whose options the advice names.

    Returns:
      The step's arguments, results and temporaries, in megabytes.

    Raises:
      ValueError: they do not fit; what is needed, what is there and what to change.
    """
    needed, held = needed_bytes(compiled)
    there = held + devices.free_bytes()
    if needed > there:
        raise ValueError(
            f"a training step needs {format_bytes(needed)} of memory, but there are "
            f"{format_bytes(there)}; {_advice(learner)}"
        )
    return needed / 1e6


def needed_bytes(compiled: jax.stages.Compiled) -> tuple[int, int]:
    """What a program needs while it runs, and the part that its arguments have."""
    sizes = compiled.memory_analysis()
    assert sizes is not None  # CPUs, GPUs and TPUs all tell
    held = sizes.argument_size_in_bytes
    needed = (
        held
        + sizes.output_size_in_bytes
        - sizes.alias_size_in_bytes
        + sizes.temp_size_in_bytes
    )
    return needed, held


def _advice(learner: LearnerConfig) -> str:
    smaller = ["--tasks-per-step", "--train-queries", "--train-shots"]
    if isinstance(learner, GradientBasedConfig):
        smaller.insert(0, "--inner-steps")
    advice = f"lower {', '.join(smaller[:-1])} or {smaller[-1]}"
    rematerialise = getattr(learner, "rematerialise", None) is False
    return advice + (", or pass --rematerialise" if rematerialise else "")
