"""MAML with Conv4, as published.

Finn, Abbeel, Levine. Model-agnostic meta-learning for fast adaptation of deep networks.
ICML 2017, https://arxiv.org/abs/1703.03400.

Conv4 with 32 channels, 5 inner steps of 0.01, 4 tasks a step, 60,000 steps of Adam with
1e-3; 10 inner steps in a test, which normalises by its own batch.

    python -m experiments.recipes maml --dataset mini_imagenet --data-dir DATA

The augmentation (crop and flip) is ours.
"""

from experiments.recipes import published
from metabridge.config import (
    Config,
    LearnerOptions,
    MAMLConfig,
    ModelConfig,
    TrainConfig,
)

PUBLISHED = {
    "mini_imagenet": ("48.70 ± 1.84", "63.11 ± 0.92"),
    "tiered_imagenet": ("51.67", "70.30"),  # by others, as the next
    "cifar_fs": ("58.9", "71.5"),
}
_MAML = MAMLConfig(inner_lr=0.01, inner_steps=5)


def config(dataset: str, shots: int, learner: LearnerOptions = _MAML) -> Config:
    """The recipe for a dataset and a number of shots; ANIL's is the same."""
    train = TrainConfig(
        train_ways=5,
        train_shots=shots,
        train_queries=15,
        tasks_per_step=4,
        steps=60_000,
        optimizer="adam",
        learning_rate=1e-3,
        schedule="constant",
        validate_every=2000,
        validation_tasks=200,
    )
    model = ModelConfig("conv4", width=32)
    return published(dataset, shots, learner, model, train, test_steps=10)
