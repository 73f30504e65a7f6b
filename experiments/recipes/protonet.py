"""Prototypical networks with Conv4, as published.

Snell, Swersky, Zemel. Prototypical networks for few-shot learning. NeurIPS 2017,
https://arxiv.org/abs/1703.05175.

Conv4 with 64 channels, training tasks of 30 classes for 1 shot and 20 for 5, with 15
queries a class (on FC100's 60 classes too); Adam with 1e-3, halved every 2,000 tasks.

    python -m experiments.recipes protonet --dataset mini_imagenet --data-dir DATA

The length of training, 22,000 tasks, and the augmentation are ours.
"""

from experiments.recipes import halvings, published
from metabridge.config import Config, ModelConfig, ProtoNetConfig, TrainConfig

PUBLISHED = {"mini_imagenet": ("49.42 ± 0.78", "68.20 ± 0.66")}


def config(dataset: str, shots: int) -> Config:
    """The recipe for a dataset and a number of shots."""
    train = TrainConfig(
        train_ways=30 if shots == 1 else 20,
        train_shots=shots,
        train_queries=15,
        tasks_per_step=1,
        steps=22_000,
        optimizer="adam",
        learning_rate=1e-3,
        schedule="staircase",
        drops=halvings(10),
        validate_every=1000,
        validation_tasks=500,
    )
    model = ModelConfig("conv4", width=64)
    return published(dataset, shots, ProtoNetConfig(), model, train)
