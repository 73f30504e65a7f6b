"""What numbers of a configuration may be, whatever the data.

The largest are far beyond what anybody trains; they turn away numbers that would take
all memory, never end, or overflow.
"""

from typing import Any

_COUNT = 2**31 - 1  # steps are counted in 32 bits on the device
_DRAWN = 10_000_000
_LOOP = 100_000
_SEED = 2**32 - 1  # JAX would cut off the rest, so that 2**32 were 0

WHOLE: dict[str, tuple[int, int]] = {
    "steps": (1, _COUNT),
    "tasks_per_step": (1, 1_000_000),
    "train_ways": (2, 1_000_000),
    "train_shots": (1, 1_000_000),
    "train_queries": (0, 1_000_000),
    "validate_every": (1, _COUNT),
    "validation_tasks": (2, _DRAWN),
    "log_every": (1, _COUNT),
    "ways": (2, 1_000_000),
    "shots": (1, 1_000_000),
    "queries": (1, 1_000_000),
    "tasks": (2, _DRAWN),
    "finetune_steps": (0, _LOOP),
    "test_steps": (1, _LOOP),
    "width": (1, 8192),
    "depth": (1, 1000),
    "drop_ramp": (0, _COUNT),
    "seed": (0, _SEED),
    "evaluation_seed": (0, _SEED),
    "rollbacks": (0, _COUNT),
    "patience": (1, _COUNT),
    "early_stop": (1, _COUNT),
    "image_size": (1, 1024),
    "max_pixels": (1, _COUNT),
    # Of the learners.
    "num_tasks": (1, 1_000_000),
    "inner_steps": (1, _LOOP),
    "cg_steps": (1, _LOOP),
    "solver_steps": (1, _LOOP),
}
"""Smallest and largest value of every whole number, by the name of its field."""
_MAY_BE_OPEN = ("test_steps", "early_stop", "image_size")


def check_whole(section: Any, *, may_be_open: tuple[str, ...] = ()) -> None:
    """Raises ValueError for a whole number of a section that is out of its range.

    Args:
      section: a dataclass of `metabridge.config`.
      may_be_open: fields that may be None, beside those that always may.
    """
    for name, (least, most) in WHOLE.items():
        if not hasattr(section, name):
            continue
        value = getattr(section, name)
        if value is None and name in (*_MAY_BE_OPEN, *may_be_open):
            continue
        sides: Any = value if isinstance(value, tuple) else (value,)  # of `image_size`
        if value is None or min(sides) < least:
            raise ValueError(f"`{name}` is {value}, but must be at least {least}")
        if max(sides) > most:
            raise ValueError(f"`{name}` is {value}, but must be at most {most}")
