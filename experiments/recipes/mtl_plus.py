"""MTL with what `experiments.ablation` found to help, chosen on validation tasks alone.

The loss, the body and the data are those of `experiments.recipes.mtl`. Beyond it:

- wide training tasks instead of 5 ways, logits times 10 on features of unit length, and
  a cosine instead of a plateau schedule: the defaults of ``metabridge train mtl``;
- `BEYOND`: the options that gained validation accuracy in the table of docs/results.md;
- a second generation that distils from the first, which gained most there.

    python -m experiments.recipes mtl_plus --data-dir DATA --run-dir FIRST
    python -m experiments.recipes mtl_plus --data-dir DATA --teacher FIRST

It was chosen with Conv4-64 on CIFAR-FS; with ResNet-12 it has not been run to the end.
"""

import dataclasses
from typing import Any

from experiments.recipes import changed, mtl
from metabridge.config import Config, MTLConfig

PUBLISHED: dict[str, tuple[str, str]] = {}
_WAYS, _IMAGES = 20, 5
BEYOND: dict[str, Any] = {
    "learner": {"learn_scale": True},
    "evaluation": {"tune_head": True},
}
"""Options that help, by section."""


def config(dataset: str, shots: int) -> Config:
    """The recipe for a dataset and a number of shots."""
    # As many images as the paper's code sees in its epochs.
    steps = mtl.images(dataset, shots) // (_WAYS * _IMAGES)
    paper = changed(
        mtl.config(dataset, shots),
        data={"augmentation": None},  # the body's
        model={"drop_ramp": steps // 2},
        train={
            "train_ways": _WAYS,
            "train_shots": _IMAGES,
            "tasks_per_step": 1,
            "steps": steps,
            "learning_rate": None,  # the default: 1e-3 for ResNet-12
            "schedule": "cosine",
            "early_stop": None,
            "validate_every": steps // 50,
        },
    )
    learner = MTLConfig(logit_scale=10.0, init_scale=1.0)
    return changed(dataclasses.replace(paper, learner=learner), **BEYOND)
