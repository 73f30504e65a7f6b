"""Options of a run: its learner, data, model, training and evaluation."""

import dataclasses
from pathlib import Path
from typing import Annotated, Literal

import tyro

from metabridge.config.fields import (
    Count,
    CountOrZero,
    NonNegative,
    OpenShare,
    PathOption,
    Positive,
    Range,
    Seed,
    ShareBelowOne,
)
from metabridge.config.learners import LearnerOptions, MTLConfig, Tasks
from metabridge.registry import LEARNERS
from metabridge.task_shape import Imbalance, TaskShape

Classes = Annotated[int, Range(2, 1_000_000)]
Examples = Annotated[int, Range(1, 1_000_000)]
ExamplesOrNone = Annotated[int, Range(0, 1_000_000)]
TestTasks = Annotated[int, Range(2, 10_000_000)]
Steps = Annotated[int, Range(1, 100_000)]
MoreThanOne = Annotated[float, Range(1, without=(1,), text="more than 1 and finite")]
Side = Annotated[int, Range(1, 1024)]
HeadName = Annotated[str, tyro.conf.arg(metavar="HEAD")]
BodyName = Annotated[str, tyro.conf.arg(metavar="BODY")]
DatasetName = Annotated[str, tyro.conf.arg(metavar="NAME")]
Augmentation = Literal["natural", "crop_flip", "drawing", "none"]
ImageSize = Annotated[
    Side | tuple[Side, Side] | None, tyro.conf.arg(metavar="SIDE | HEIGHT WIDTH")
]


@dataclasses.dataclass(frozen=True)
class DataConfig:
    """Where the images come from, and how training changes them."""

    dataset: DatasetName = "glyphs"
    """glyphs, omniglot, cifar_fs, fc100, mini_imagenet, tiered_imagenet, folder:PATH,
    parquet:PATH, hf:NAME, features:PATH or npz:PATH (`metabridge datasets`), or the
    classes of several together:
    glyphs+folder:PATH."""
    data_dir: PathOption = None
    """Folder of the data: of `metabridge prepare`, of TFDS, or of ImageNet's images."""
    image_size: ImageSize = None
    """Side, or height and width, to which images of a folder or a union are resized.
    Default: those of the union's first dataset."""
    skip_corrupt: bool = False
    """Leave out image files that cannot be read, with a warning each."""
    background: str = "white"
    """Colour that transparent images are composed onto: a name or "#rrggbb"."""
    white_level: Positive | None = None
    """Value of images of 16 and 32 bits that becomes white. Default: the largest of the
    file's bit depth."""
    max_pixels: Count = 40_000_000
    """Pixels of an image file as it is decoded. Larger JPEG files are decoded at
    reduced size, other files are refused."""
    allow_duplicates: bool = False
    """Keep images of a folder or a union that are in two splits."""
    class_split: PathOption = None
    """JSON file that divides the classes of a folder, of Parquet files or of a dataset
    of the hub: {"train": [...], "validation": [...], "test": [...]}. Default: as they
    are divided, else 64 : 16 : 20 by name."""
    augmentation: Augmentation | None = None
    """Change of the training images. Default: drawing for drawings; else natural (crop,
    flip, colour jitter) for ResNet-12, crop_flip for smaller bodies, which underfit.
    Inputs that are no images have none."""
    rotations: bool | None = None
    """Let each quarter turn of a training class be a class. Default: for drawings."""


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """The body."""

    model: BodyName | None = None
    """conv4 (four blocks), conv4_r2d2 (R2-D2's wider one), resnet12 (12.4 million
    parameters), resnet18, resnet50, vit_small or vit_base for images; mlp, linear (a
    linear map) or identity for any inputs. Default: conv4, or linear for inputs that
    are no images."""
    width: Annotated[int, Range(1, 8192)] | None = None
    """Channels of Conv4 (default 64), units of the MLP (512) or outputs of the linear
    map (256)."""
    depth: Annotated[int, Range(1, 1000)] = 3
    """Hidden layers of the MLP."""
    drop_rate: ShareBelowOne = 0.1
    """ResNet-12: share of values dropped by dropout and DropBlock."""
    drop_ramp: CountOrZero = 40_000
    """ResNet-12: steps until DropBlock drops as much."""
    average_pool: bool = True
    """ResNet-12: average the last map (640 features) instead of keeping all of it, as
    MetaOptNet does (2,560 of 32x32 pixels, 16,000 of 84x84)."""
    patch_size: Annotated[int, Range(1, 256)] = 16
    """Vision transformers: side of a patch in pixels, of which the sides of an image
    are multiples."""
    registers: Annotated[int, Range(0, 64)] = 0
    """Vision transformers: register tokens beside the patches."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Of the body's computation. Parameters, statistics and heads are float32."""


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """How the body is trained."""

    train_ways: Classes | None = None
    """Classes of a training task. Default: the dataset's recipe for MTL and RFS, no
    more than a folder has for training; as in a test task for the others."""
    train_shots: Examples | None = None
    """Support images a class in training."""
    train_queries: ExamplesOrNone | None = None
    """Query images a class in training; MTL merges them with the support."""
    train_min_ways: Classes | None = None
    """The least classes of a training task; each draws how many from here to
    `train_ways`. Default: all have `train_ways`."""
    train_min_shots: Examples | None = None
    """The least support images of a class; up to `train_shots`, drawn likewise."""
    train_min_queries: Examples | None = None
    """The least query images of a class; up to `train_queries`, drawn likewise. Classes
    with fewer images than `train_shots` + `train_queries` take part, too."""
    train_imbalance: Imbalance = "none"
    """How the shots of the classes of one task differ: not at all; linear (evenly from
    least to most), step (half of the classes the least), or random (each draws)."""
    tasks_per_step: Examples | None = None
    """Tasks of one optimisation step; batch statistics are per task."""
    balanced: bool = False
    """Let no class come twice in a round of tasks, instead of drawing anew for each."""
    task_pool: Tasks | None = None
    """Train on a fixed set of so many tasks, their classes and images settled by the
    seed, their augmentation always fresh. Default: each task is drawn anew, but for
    learners with a head a task (MTL's `num_tasks`)."""
    steps: Count | None = None
    """Optimisation steps. Default: as many as the dataset's recipe has images for."""
    minutes: Positive | None = None
    """Training time, instead of `steps`: as many steps as fit, timed at the start."""
    optimizer: Literal["radam", "adam", "sgd"] = "radam"
    """RAdam (the paper's), Adam, or SGD with Nesterov momentum 0.9."""
    learning_rate: Positive | None = None
    """Step size at the start. Default: of the dataset with Conv4, else of the body."""
    weight_decay: NonNegative = 0.0
    """Decoupled weight decay."""
    decay_all: bool = True
    """Decay all parameters; else only arrays of two axes or more decay, so that biases,
    scales of norms and learned scalars do not."""
    max_grad_norm: Positive | None = None
    """Gradients are scaled down to this Euclidean norm. Default: never."""
    spike: MoreThanOne | None = None
    """A loss so many times the usual one has diverged, as NaN has. Default: none."""
    rollbacks: CountOrZero = 0
    """How often a run that diverges goes back to its last checkpoint, to other tasks
    and half the learning rate; after that it stops."""
    schedule: Literal["cosine", "plateau", "staircase", "constant"] = "cosine"
    """Cosine to 0, reduction by 10 on plateaus of validation accuracy, `drops`, or
    none."""
    drops: tuple[tuple[float, float], ...] = ()
    """Staircase: pairs of a share of the steps, and what the learning rate is times
    from there on, for example 0.6 0.1 0.8 0.01."""
    warmup: ShareBelowOne = 0.0
    """Share of the steps, at the start, over which the learning rate rises linearly
    from near 0. The cosine begins where it ends: a one-cycle schedule."""
    train_sizes: tuple[tuple[float, int], ...] = ()
    """Pairs of a share of the steps, and the side of the training images from there on,
    for example 0 20 0.3 24 0.6 32; before the first share, and in validation and test,
    images have the dataset's own size. Default: always."""
    average: ShareBelowOne = 0.0
    """Share of the steps, at the end, over which the parameters are averaged for
    validation and test (stochastic weight averaging). 0: the last ones are taken."""
    average_decay: OpenShare | None = None
    """Instead of `average`: factor a step on the weights of earlier parameters in their
    exponential moving average, for example 0.999. Default: none."""
    patience: Count = 4
    """Plateau: validations without progress before a reduction."""
    early_stop: Count | None = None
    """Stop after so many validations without progress. Default: never."""
    validate_every: Count | None = None
    """Steps between validations, each with a checkpoint. Default: a tenth of all."""
    checkpoint_minutes: Positive = 5.0
    """Minutes after which a checkpoint is written between validations, too."""
    validation_tasks: TestTasks = 500
    """Tasks of a validation."""
    log_every: Count = 20
    """Steps between records of loss and speed."""
    stream: bool | None = None
    """Read the images of every step from the disk, ahead of it, instead of holding all
    on the device. Default: if they would take more than half of its free memory."""
    devices: int | None = None
    """Devices that share the tasks of a step. Default: as many as divide them."""
    seed: Seed = 0
    """Of initialisation, tasks, augmentation and dropout."""

    @property
    def shape(self) -> TaskShape:
        """Sizes of a training task; 0 for those that are still open."""
        return TaskShape(
            self.train_ways or 0,
            self.train_shots or 0,
            self.train_queries or 0,
            self.train_min_ways,
            self.train_min_shots,
            self.train_min_queries,
            self.train_imbalance,
        )


@dataclasses.dataclass(frozen=True)
class EvaluationConfig:
    """How it is scored on unseen tasks."""

    ways: Classes = 5
    """Classes of a test task."""
    shots: Examples = 5
    """Support images a class."""
    queries: Examples = 15
    """Query images a class."""
    min_ways: Classes | None = None
    """The least classes of a test task; each draws how many from here to `ways`.
    Default: all have `ways`. See `train_min_ways`, too."""
    min_shots: Examples | None = None
    """The least support images of a class; up to `shots`, drawn likewise."""
    min_queries: Examples | None = None
    """The least query images of a class; up to `queries`, drawn likewise."""
    imbalance: Imbalance = "none"
    """How the shots of the classes of one task differ; see `train_imbalance`."""
    tasks: TestTasks = 2000
    """Test tasks."""
    head: HeadName | None = None
    """How a test task is adapted to: learner (its own adaptation), or a head on frozen
    features (logistic or ridge regression, svm, centroid, attention), or finetune,
    which trains body and head. Default: learner; logistic for learners without an
    adaptation of their own (MTL, RFS)."""
    C: Positive = 3.0
    """Logistic regression and SVM: weight of the data against the squared weights."""
    penalty: Positive = 1.0
    """Ridge regression: weight of the squared weights."""
    tune_head: bool = False
    """Choose C or the penalty by accuracy on the validation tasks, among powers of ten
    and their triples."""
    flips: bool = False
    """Take the mean of the features of an image and of its mirror image, in validation,
    too. For heads on frozen features, and not for drawings."""
    finetune_steps: Annotated[int, Range(0, 100_000)] = 10
    """Fine-tuning: steps of Adam on the support."""
    finetune_rate: Positive = 1e-3
    """Fine-tuning: Adam's learning rate."""
    test_steps: Steps | None = None
    """Learners with an inner loop: its steps in a test. Default: as in training."""
    evaluation_seed: Seed = 0
    """Of the validation and test tasks."""
    interval: Literal["closed", "open"] = "closed"
    """Which of two accuracies and intervals `accuracy` and `ci95` of the result are;
    both are in it. Closed: of `tasks` that may share images, for the mean over these
    very test images. Open: of as many tasks as the split holds without an image in two
    of them, for the mean over further images of the same classes."""
    keep_logits: bool | None = None
    """Keep the logits of all test queries beside the predictions, in evaluation.npz.
    Default: up to 64 MB."""
    coverage: OpenShare | None = None
    """Measure calibration (before and after a temperature) and conformal prediction
    sets, too: the share of queries whose set of classes is to hold the right one, for
    example 0.9. As many validation tasks as `tasks` are evaluated for it. Default:
    neither."""
    conformity_score: Literal["lac", "aps"] = "lac"
    """Of conformal sets: least ambiguous sets (the smallest), or adaptive ones (larger
    where a query is hard)."""

    @property
    def shape(self) -> TaskShape:
        """Sizes of a test task."""
        return TaskShape(*(getattr(self, name) for name in TaskShape._fields))


@dataclasses.dataclass(frozen=True)
class RunOptions:
    """Where a run is written, and the processes that train it."""

    run_dir: Path | None = None
    """Folder of the run. Default: a new one under runs/."""
    resume: bool = False
    """Go on with the run in that folder, or begin it if there is none. More --steps
    than it had train a finished run further."""
    dry_run: bool = False
    """Print the resolved configuration and what the run would take (memory, disk,
    time), and stop. Nothing is written but the caches of the dataset and of
    --compile-cache."""
    compile_cache: Path | None = None
    """Folder that keeps compiled programs, so that a resumed or repeated run need not
    compile; one folder is for one kind of machine."""
    loggers: tuple[Literal["wandb", "mlflow"], ...] = ()
    """Where records go beside the run folder: Weights & Biases, MLflow."""
    cluster: bool = False
    """Train together with the other processes that Slurm, Kubernetes, Open MPI or a TPU
    pod has started with this command."""
    coordinator: str | None = None
    """Host and port of the first of several processes, where none of these has started
    them."""
    num_processes: int | None = None
    """How many there are."""
    process_id: int | None = None
    """Which one this is, from 0."""


SECTIONS = (DataConfig, ModelConfig, TrainConfig, EvaluationConfig, RunOptions)
"""What `metabridge train` takes whatever the learner."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ResolvedData(DataConfig):
    """`DataConfig` with nothing left open that a run needs."""

    augmentation: Augmentation = dataclasses.field()
    rotations: bool = dataclasses.field()


@dataclasses.dataclass(frozen=True, kw_only=True)
class ResolvedModel(ModelConfig):
    """`ModelConfig` with nothing left open that a run needs."""

    model: BodyName = dataclasses.field()
    width: Annotated[int, Range(1, 8192)] = dataclasses.field()


@dataclasses.dataclass(frozen=True, kw_only=True)
class ResolvedTrain(TrainConfig):
    """`TrainConfig` with nothing left open that a run needs.

    With `minutes`, `steps` and `validate_every` are 0 until steps have been timed.
    """

    train_ways: Classes = dataclasses.field()
    train_shots: Examples = dataclasses.field()
    train_queries: ExamplesOrNone = dataclasses.field()
    tasks_per_step: Examples = dataclasses.field()
    steps: CountOrZero = dataclasses.field()
    validate_every: CountOrZero = dataclasses.field()
    learning_rate: Positive = dataclasses.field()


@dataclasses.dataclass(frozen=True, kw_only=True)
class ResolvedEvaluation(EvaluationConfig):
    """`EvaluationConfig` with nothing left open that a run needs."""

    head: HeadName = dataclasses.field()


@dataclasses.dataclass(frozen=True)
class Config:
    """Everything that makes a run what it is."""

    learner: LearnerOptions = dataclasses.field(default_factory=MTLConfig)
    data: DataConfig = dataclasses.field(default_factory=DataConfig)
    model: ModelConfig = dataclasses.field(default_factory=ModelConfig)
    train: TrainConfig = dataclasses.field(default_factory=TrainConfig)
    evaluation: EvaluationConfig = dataclasses.field(default_factory=EvaluationConfig)

    @property
    def algorithm(self) -> str:
        """Name of the learner.

        Raises:
          ValueError: options of a learner of your own that is not registered.
        """
        for name, entry in LEARNERS.items():
            if type(self.learner) is entry.traits:
                return name
        raise ValueError(
            f"{type(self.learner).__name__} are options of no known learner: call "
            "`metabridge.register` where they are defined"
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class ResolvedConfig(Config):
    """A `Config` that `resolve` has completed and checked."""

    data: ResolvedData = dataclasses.field()
    model: ResolvedModel = dataclasses.field()
    train: ResolvedTrain = dataclasses.field()
    evaluation: ResolvedEvaluation = dataclasses.field()
