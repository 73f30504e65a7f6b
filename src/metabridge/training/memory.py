"""Memory of a compiled training step, compared with what its device has."""

import os
from pathlib import Path

import jax

from metabridge.config import GradientBasedConfig, LearnerConfig

_MEMINFO = Path("/proc/meminfo")


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
    sizes = compiled.memory_analysis()
    assert sizes is not None  # CPUs, GPUs and TPUs all tell
    held = sizes.argument_size_in_bytes
    needed = (
        held
        + sizes.output_size_in_bytes
        - sizes.alias_size_in_bytes
        + sizes.temp_size_in_bytes
    )
    there = held + free_bytes()
    if needed > there:
        raise ValueError(
            f"a training step needs {needed / 1e9:.3g} GB of memory, but there are "
            f"{there / 1e9:.3g} GB; {_advice(learner)}"
        )
    return needed / 1e6


def free_bytes() -> int:
    """What is left of the first device's memory; for a CPU, of the machine's."""
    stats = jax.devices()[0].memory_stats()
    if stats and "bytes_limit" in stats:
        return stats["bytes_limit"] - stats["bytes_in_use"]
    if _MEMINFO.is_file():
        for line in _MEMINFO.read_text(encoding="utf-8").splitlines():
            if line.startswith("MemAvailable:"):
                return 1024 * int(line.split()[1])
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _advice(learner: LearnerConfig) -> str:
    smaller = ["--tasks-per-step", "--train-queries", "--train-shots"]
    if isinstance(learner, GradientBasedConfig):
        smaller.insert(0, "--inner-steps")
    advice = f"lower {', '.join(smaller[:-1])} or {smaller[-1]}"
    rematerialise = getattr(learner, "rematerialise", None) is False
    return advice + (", or pass --rematerialise" if rematerialise else "")
