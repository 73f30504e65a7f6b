"""Data, model, training and evaluation: what a run is told whatever its learner."""

import dataclasses
from typing import Annotated, Literal

import tyro

from metabridge.config.fields import PathOption

HeadName = Literal[
    "own", "logistic", "ridge", "svm", "centroid", "attention", "finetune"
]
DatasetName = Annotated[str, tyro.conf.arg(metavar="NAME")]
ImageSize = Annotated[
    int | tuple[int, int] | None, tyro.conf.arg(metavar="SIDE | HEIGHT WIDTH")
]


@dataclasses.dataclass(frozen=True)
class DataConfig:
    """Where the images come from, and how training changes them."""

    dataset: DatasetName = "glyphs"
    """glyphs, omniglot, cifar_fs, fc100, mini_imagenet, tiered_imagenet or folder:PATH
    (`metabridge datasets`)."""
    data_dir: PathOption = None
    """TFDS folder that holds the prepared dataset, or where ImageNet's images are."""
    image_size: ImageSize = None
    """Side, or height and width, to which the images of a folder are resized."""
    skip_corrupt: bool = False
    """Leave out image files that cannot be read, with a warning each."""
    background: str = "white"
    """Colour that transparent images are composed onto: a name or "#rrggbb"."""
    white_level: float | None = None
    """Value of images of 16 and 32 bits that becomes white. Default: the largest of the
    file's bit depth."""
    max_pixels: int = 40_000_000
    """Pixels of an image file as it is decoded. Larger JPEG files are decoded at
    reduced size, other files are refused."""
    allow_duplicates: bool = False
    """Keep image files of a folder that are in two splits."""
    augmentation: Literal["natural", "crop_flip", "drawing", "none"] | None = None
    """Change of the training images. Default: drawing for drawings; else natural (crop,
    flip, colour jitter) for ResNet-12, crop_flip for smaller bodies, which underfit."""
    rotations: bool | None = None
    """Let each quarter turn of a training class be a class. Default: for drawings."""


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """The body."""

    model: Literal["conv4", "conv4_r2d2", "resnet12", "mlp"] = "conv4"
    """Conv4 (four blocks), R2-D2's wider one, ResNet-12 (12.4 million parameters), or
    an MLP."""
    width: int | None = None
    """Channels of Conv4 (default 64) or units of the MLP (default 512)."""
    depth: int = 3
    """Hidden layers of the MLP."""
    drop_rate: float = 0.1
    """ResNet-12: share of values dropped by dropout and DropBlock."""
    drop_ramp: int = 40_000
    """ResNet-12: steps until DropBlock drops as much."""
    average_pool: bool = True
    """ResNet-12: average the last map (640 features) instead of keeping all of it, as
    MetaOptNet does (2,560 of 32x32 pixels, 16,000 of 84x84)."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Of the body's computation. Parameters, statistics and heads are float32."""


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """How the body is trained."""

    train_ways: int | None = None
    """Classes of a training task. Default: the dataset's recipe for MTL and RFS, no
    more than a folder has for training; as in a test task for the others."""
    train_shots: int | None = None
    """Support images a class in training."""
    train_queries: int | None = None
    """Query images a class in training; MTL merges them with the support."""
    tasks_per_step: int | None = None
    """Tasks of one optimisation step; batch statistics are per task."""
    balanced: bool = False
    """Let no class come twice in a round of tasks, instead of drawing anew for each."""
    steps: int | None = None
    """Optimisation steps. Default: as many as the dataset's recipe has images for."""
    minutes: float | None = None
    """Training time, instead of `steps`: as many steps as fit, timed at the start."""
    optimizer: Literal["radam", "adam", "sgd"] = "radam"
    """RAdam (the paper's), Adam, or SGD with Nesterov momentum 0.9."""
    learning_rate: float | None = None
    """Step size at the start. Default: the recipe's; for ResNet-12 the paper's 1e-3."""
    weight_decay: float = 0.0
    """Decoupled weight decay."""
    max_grad_norm: float | None = None
    """Gradients are scaled down to this Euclidean norm. Default: never."""
    spike: float | None = None
    """A loss so many times the usual one has diverged, as NaN has. Default: none."""
    rollbacks: int = 0
    """How often a run that diverges goes back to its last checkpoint, to other tasks
    and half the learning rate; after that it stops."""
    schedule: Literal["cosine", "plateau", "staircase", "constant"] = "cosine"
    """Cosine to 0, reduction by 10 on plateaus of validation accuracy, `drops`, or
    none."""
    drops: tuple[tuple[float, float], ...] = ()
    """Staircase: pairs of a share of the steps, and what the learning rate is times
    from there on, for example 0.6 0.1 0.8 0.01."""
    average: float = 0.0
    """Share of the steps, at the end, over which the parameters are averaged for
    validation and test (stochastic weight averaging). 0: the last ones are taken."""
    patience: int = 4
    """Plateau: validations without progress before a reduction."""
    early_stop: int | None = None
    """Stop after so many validations without progress. Default: never."""
    validate_every: int | None = None
    """Steps between validations, each with a checkpoint. Default: a tenth of all."""
    checkpoint_minutes: float = 5.0
    """Minutes after which a checkpoint is written between validations, too."""
    validation_tasks: int = 500
    """Tasks of a validation."""
    log_every: int = 20
    """Steps between records of loss and speed."""
    stream: bool | None = None
    """Read the images of every step from the disk, ahead of it, instead of holding all
    on the device. Default: if they would take more than half of its free memory."""
    devices: int | None = None
    """Devices that share the tasks of a step. Default: as many as divide them."""
    seed: int = 0
    """Of initialisation, tasks, augmentation and dropout."""


@dataclasses.dataclass(frozen=True)
class EvaluationConfig:
    """How it is scored on unseen tasks."""

    ways: int = 5
    """Classes of a test task."""
    shots: int = 5
    """Support images a class."""
    queries: int = 15
    """Query images a class."""
    tasks: int = 2000
    """Test tasks."""
    head: HeadName | None = None
    """How a test task is adapted to: the learner's own way, or a head on its frozen
    features: logistic or ridge regression, an SVM, centroids, or attention; finetune
    trains body and head. Default: own; logistic for learners that have no way of their
    own (MTL, RFS)."""
    C: float = 3.0
    """Logistic regression and SVM: weight of the data against the squared weights."""
    penalty: float = 1.0
    """Ridge regression: weight of the squared weights."""
    tune_head: bool = False
    """Choose C or the penalty by accuracy on the validation tasks, among powers of ten
    and their triples."""
    finetune_steps: int = 10
    """Fine-tuning: steps of Adam on the support."""
    finetune_rate: float = 1e-3
    """Fine-tuning: Adam's learning rate."""
    test_steps: int | None = None
    """Learners with an inner loop: its steps in a test. Default: as in training."""
    evaluation_seed: int = 0
    """Of the validation and test tasks."""
