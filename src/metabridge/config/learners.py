"""The options of each learner, by the name of its algorithm."""

import dataclasses
from typing import Literal


@dataclasses.dataclass(frozen=True)
class MTLConfig:
    """Multi-task learning: a shared body, a linear head a task, joint training."""

    heads: Literal["class_table", "shared", "independent"] = "class_table"
    """A row per training class, or a head per task of a fixed set of training tasks,
    started alike (shared) or each on its own (independent)."""
    num_tasks: int = 1000
    """Size of the fixed set of training tasks; no matter for the class table."""
    feature_norm: bool = True
    """Scale features to unit length in training."""
    logit_scale: float = 10.0
    """Factor on the training logits. The published code has 1."""
    init_scale: float = 1.0
    """Of the heads' initial weights. The published code has sqrt(classes / ways)."""


LearnerConfig = MTLConfig
ALGORITHMS: dict[str, type] = {"mtl": MTLConfig}
