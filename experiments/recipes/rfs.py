"""RFS: classification of all training classes, then a linear head, as published.

Tian, Wang, Krishnan, Tenenbaum, Isola. Rethinking few-shot image classification: a good
embedding is all you need? ECCV 2020, https://arxiv.org/abs/2003.11539;
https://github.com/WangYueFt/rfs.

ResNet-12, SGD with momentum on batches of 64 images for 100 epochs, 0.05
dropped tenfold after epochs 60 and 80.

    python -m experiments.recipes rfs --dataset cifar_fs --data-dir DATA

Ours differs: a batch has one image of each of 64 classes (of 60 on FC100), and 100
epochs are counted in images of the training split; the momentum is Nesterov's; what is
tested is the best in validation, there the last; a test image is embedded as it is,
there with five augmented copies. The weight decay, 5e-4 through the momentum there, is
5e-3; see `experiments.recipes.metaoptnet`. A second run with ``metabridge train rfs
--teacher RUN`` distils.
"""

from experiments.recipes import published
from metabridge.config import Config, ModelConfig, RFSConfig, TrainConfig

# Without distillation.
PUBLISHED = {
    "mini_imagenet": ("62.02 ± 0.63", "79.64 ± 0.44"),
    "tiered_imagenet": ("70.55", "84.74"),
}
_EPOCHS, _BATCH = 100, 64
_IMAGES = {"tiered_imagenet": 448_695, "fc100": 36_000}
"""Images of the training split, where they are not 38,400."""


def config(dataset: str, shots: int) -> Config:
    """The recipe for a dataset and a number of shots."""
    batch = 60 if dataset == "fc100" else _BATCH
    steps = _EPOCHS * _IMAGES.get(dataset, 38_400) // batch
    train = TrainConfig(
        train_ways=batch,
        train_shots=1,
        train_queries=0,
        tasks_per_step=1,
        steps=steps,
        optimizer="sgd",
        learning_rate=0.05,
        weight_decay=5e-3,
        schedule="staircase",
        drops=((0.6, 0.1), (0.8, 0.01)),
        validate_every=steps // 50,
        validation_tasks=500,
    )
    model = ModelConfig("resnet12", drop_rate=0.1)
    return published(dataset, shots, RFSConfig(), model, train, head="logistic", C=1.0)
