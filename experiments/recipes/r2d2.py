"""R2-D2 with its own body, as published.

Bertinetto, Henriques, Torr, Vedaldi. Meta-learning with differentiable closed-form
solvers. ICLR 2019, https://arxiv.org/abs/1805.08136.

Four convolutions of 96, 192, 384 and 512 channels, the features of the last two side by
side; Adam with 5e-3, halved again and again.

    python -m experiments.recipes r2d2 --dataset cifar_fs --data-dir DATA

Ours differs: 60,000 steps of one task with ten halvings, training tasks of the shape of
the test (there the shots vary from task to task), and no dropout in the last blocks.
"""

from experiments.recipes import halvings, published
from metabridge.config import Config, ModelConfig, R2D2Config, TrainConfig

PUBLISHED = {"mini_imagenet": ("51.8", "68.4"), "cifar_fs": ("64.0", "78.9")}


def config(dataset: str, shots: int) -> Config:
    """The recipe for a dataset and a number of shots."""
    train = TrainConfig(
        train_ways=5,
        train_shots=shots,
        train_queries=15,
        tasks_per_step=1,
        steps=60_000,
        optimizer="adam",
        learning_rate=5e-3,
        schedule="staircase",
        drops=halvings(10),
        validate_every=2000,
        validation_tasks=500,
    )
    return published(dataset, shots, R2D2Config(), ModelConfig("conv4_r2d2"), train)
