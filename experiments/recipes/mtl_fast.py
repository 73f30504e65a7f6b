"""MTL for a budget of hours on a few CPU cores.

The loss and the body are those of `experiments.recipes.mtl`. All else is that of fast
supervised training: a task has one image of each class, at most 64; SGD with Nesterov
momentum, a warm-up and a cosine; images of 16 and of 24 pixels before those of 32 (of
42 and of 63 before 84); crops and flips; the mean of the parameters over the last steps
is what is tested. The weight decay shrinks a weight by 1/e in some 1.7 epochs of
CIFAR-FS at the full rate, as recipes for CIFAR-10 in ten epochs do. Variations, which
`experiments.search` scores on validation tasks, are in ``experiments/searches``.

    python -m experiments.recipes mtl_fast --precision bfloat16 --data-dir DATA

The training does not depend on the shots of the test, so one run serves 1 and 5.
"""

from experiments.recipes import changed, published
from metabridge.config import Config, ModelConfig, MTLConfig, TrainConfig

PUBLISHED: dict[str, tuple[str, str]] = {}
_STEPS = 28_000
_SIDES = {"mini_imagenet": (42, 63, 84), "tiered_imagenet": (42, 63, 84)}
"""Sides of the images in turn, where they are not 16, 24 and 32 pixels."""


def config(dataset: str, shots: int) -> Config:
    """The recipe for a dataset and a number of shots."""
    sides = _SIDES.get(dataset, (16, 24, 32))
    train = TrainConfig(
        train_ways=60 if dataset == "fc100" else 64,
        train_shots=1,
        train_queries=0,
        tasks_per_step=1,
        balanced=True,
        steps=_STEPS,
        optimizer="sgd",
        learning_rate=0.05,
        weight_decay=2e-3,
        decay_all=False,
        schedule="cosine",
        warmup=0.05,
        train_sizes=tuple(zip((0.0, 0.3, 0.6), sides, strict=True)),
        average=0.05,
        validate_every=_STEPS // 14,
        validation_tasks=500,
    )
    model = ModelConfig("resnet12", drop_rate=0.1, drop_ramp=_STEPS // 2)
    learner = MTLConfig(feature_norm=True, logit_scale=10.0)
    recipe = published(dataset, shots, learner, model, train, head="logistic", C=3.0)
    return changed(recipe, data={"augmentation": "crop_flip"})
