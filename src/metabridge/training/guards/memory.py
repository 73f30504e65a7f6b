"""Memory of a compiled training step, compared with that of its device."""

import jax

from metabridge.config import LearnerOptions
from metabridge.parallel import devices, hosts
from metabridge.units import format_bytes


def check_fits(compiled: jax.stages.Compiled, learner: LearnerOptions) -> float:
    """Refuses a step that the device cannot hold by a ValueError, before it is run.

    Returns the step's arguments, results and temporaries, in megabytes. The arguments
    are on the device already.
    """
    needed, held = needed_bytes(compiled)
    there = held + hosts.least(devices.free_bytes())
    if needed > there:
        raise ValueError(
            f"a training step needs {format_bytes(needed)} of memory, but there are "
            f"{format_bytes(there)}; {_advice(learner)}"
        )
    return needed / 1e6


def needed_bytes(compiled: jax.stages.Compiled) -> tuple[int, int]:
    """Memory of a program while it runs, and the part that its arguments have."""
    sizes = compiled.memory_analysis()
    assert sizes is not None  # CPUs, GPUs and TPUs all give them
    held = sizes.argument_size_in_bytes
    results = sizes.output_size_in_bytes - sizes.alias_size_in_bytes
    return held + results + sizes.temp_size_in_bytes, held


def _advice(learner: LearnerOptions) -> str:
    smaller = ["--tasks-per-step", "--train-queries", "--train-shots"]
    if learner.inner_loop:
        smaller.insert(0, "--inner-steps")
    advice = f"lower {', '.join(smaller[:-1])} or {smaller[-1]}"
    rematerialise = getattr(learner, "rematerialise", None) is False
    return advice + (", or pass --rematerialise" if rematerialise else "")
