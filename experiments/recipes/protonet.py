"""Prototypical networks with Conv4, as published.

Snell, Swersky, Zemel. Prototypical networks for few-shot learning. NeurIPS 2017,
https://arxiv.org/abs/1703.05175.

Conv4 with 64 channels, training tasks of 30 classes for 1 shot and 20 for 5, with 15
queries a class (on FC100's 60 classes too); Adam with 1e-3, halved every 2,000 tasks.
Reached there on mini-ImageNet: 49.42 ± 0.78 % (1-shot) and 68.20 ± 0.66 % (5-shot).

    python -m experiments.recipes protonet --dataset mini_imagenet --data-dir DATA

The length of training, 22,000 tasks, and the augmentation are ours.
"""

from metabridge.config import (
    Config,
    DataConfig,
    EvaluationConfig,
    ModelConfig,
    ProtoNetConfig,
    TrainConfig,
)

_STEPS, _HALVED_EVERY = 22_000, 2000


def config(dataset: str, shots: int) -> Config:
    """The recipe for a dataset and a number of shots."""
    halvings = range(1, _STEPS // _HALVED_EVERY)
    return Config(
        learner=ProtoNetConfig(),
        data=DataConfig(dataset=dataset, augmentation="crop_flip", rotations=False),
        model=ModelConfig("conv4", width=64),
        train=TrainConfig(
            train_ways=30 if shots == 1 else 20,
            train_shots=shots,
            train_queries=15,
            tasks_per_step=1,
            steps=_STEPS,
            optimizer="adam",
            learning_rate=1e-3,
            schedule="staircase",
            drops=tuple((k * _HALVED_EVERY / _STEPS, 0.5**k) for k in halvings),
            validate_every=1000,
            validation_tasks=500,
        ),
        evaluation=EvaluationConfig(ways=5, shots=shots, tasks=2000, head="learner"),
    )
