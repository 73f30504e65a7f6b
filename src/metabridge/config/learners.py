"""The options of each learner, by the name of its algorithm."""

import dataclasses
from typing import Annotated, ClassVar, Literal

import tyro

from metabridge.config.fields import PathOption


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
    row_norm: bool = False
    """Scale the rows of the heads to unit length in training: a cosine head."""
    learn_scale: bool = False
    """Learn the factor on the training logits, from `logit_scale` on."""
    statistics: Literal["task", "batch"] = "task"
    """Of batch normalisation in training: each task's own, or all tasks' of a step."""
    rotation_weight: float = 0.0
    """Weight of a further loss: which quarter turn an image was given."""
    teacher: PathOption = None
    """Folder of an MTL run to distil from: the same model, heads and data. Default:
    none."""
    distillation: float = 0.5
    """Share of the loss that the teacher has, in [0, 1]."""
    temperature: float = 4.0
    """By which logits are divided for distillation."""


@dataclasses.dataclass(frozen=True)
class GradientBasedConfig:
    """What the learners with an inner loop of gradient steps share."""

    inner_lr: float = 0.1
    """Step size of the inner loop, or its start where it is learned."""
    inner_steps: int = 5
    """Inner steps in training."""
    batch_norm: Literal["batch", "running"] = "batch"
    """Statistics at test time: of the images scored together, or running ones."""
    max_inner_grad_norm: float | None = None
    """Scale inner gradients down to this norm. Default: never."""


@dataclasses.dataclass(frozen=True)
class MAMLConfig(GradientBasedConfig):
    """MAML: the inner loop adapts all layers, and is differentiated through."""

    first_order: bool = False
    """Take the inner gradients for constants."""
    rates: Literal["fixed", "per_step"] = "fixed"
    """Inner rates: as given, or learned, one a step."""
    rematerialise: bool = False
    """Compute inner steps again on the way back: less memory, more time."""
    joint: bool = False
    """Adapt to and judge on support and query together, without a split."""
    zero_head: bool = False
    """Adapt from a head of zeros instead of a meta-learned one."""


@dataclasses.dataclass(frozen=True)
class ANILConfig(MAMLConfig):
    """ANIL: MAML whose inner loop adapts the head alone."""


@dataclasses.dataclass(frozen=True)
class BOILConfig(MAMLConfig):
    """BOIL: MAML whose inner loop adapts the body alone."""

    inner_lr: float = 0.5
    """Step size of the inner loop, or its start where it is learned."""


@dataclasses.dataclass(frozen=True)
class MetaSGDConfig(GradientBasedConfig):
    """Meta-SGD: MAML with a learned rate for every parameter."""

    inner_lr: float = 0.01
    """Where the rates of the inner loop start."""
    inner_steps: int = 1
    """Inner steps in training."""
    first_order: bool = False
    """Take the inner gradients for constants."""
    rematerialise: bool = False
    """Compute inner steps again on the way back: less memory, more time."""
    joint: bool = False
    """Adapt to and judge on support and query together, without a split."""


@dataclasses.dataclass(frozen=True)
class ReptileConfig(GradientBasedConfig):
    """Reptile: moves towards the parameters adapted to each task."""


@dataclasses.dataclass(frozen=True)
class IMAMLConfig(GradientBasedConfig):
    """iMAML: a proximal inner problem, differentiated implicitly."""

    inner_steps: int = 10
    """Inner steps in training."""
    proximity: float = 2.0
    """Weight of the squared distance from the meta-learned parameters."""
    cg_steps: int = 5
    """Conjugate gradient steps of the implicit derivative."""
    joint: bool = False
    """Adapt to and judge on support and query together, without a split."""


@dataclasses.dataclass(frozen=True)
class R2D2Config:
    """R2-D2: ridge regression as a differentiable head."""

    init_scale: float = 10.0
    """Start of the learned factor on the logits."""
    init_shift: float = 0.0
    """Start of the learned shift of the logits."""
    init_penalty: float = 1.0
    """Start of the learned penalty."""


@dataclasses.dataclass(frozen=True)
class MetaOptNetConfig:
    """MetaOptNet: an SVM or ridge regression as a differentiable head."""

    solver: Literal["svm", "ridge"] = "svm"
    """Which head."""
    C: Annotated[float, tyro.conf.arg(name="solver_C")] = 0.1
    """SVM: weight of the hinge losses against the squared weights."""
    penalty: Annotated[float, tyro.conf.arg(name="solver_penalty")] = 50.0
    """Ridge: weight of the squared weights."""
    init_scale: float = 1.0
    """Start of the learned factor on the logits."""
    label_smoothing: float = 0.0
    """Share of the query labels spread over the other classes."""
    solver_steps: int = 20
    """SVM: steps of the interior point method, at most."""


@dataclasses.dataclass(frozen=True)
class ProtoNetConfig:
    """Prototypical networks: nearest class mean in the feature space."""

    distance_scale: float = 1.0
    """Factor on the squared distances."""


@dataclasses.dataclass(frozen=True)
class MatchingConfig:
    """Matching networks: cosine attention over the support."""

    attention_scale: float = 10.0
    """Factor on the cosines (an inverse temperature)."""


@dataclasses.dataclass(frozen=True)
class RFSConfig:
    """RFS: classification over all training classes, then a head on frozen features."""

    teacher: PathOption = None
    """Folder of an RFS run to distil from: the same model and data. Default: none."""
    distillation: float = 0.5
    """Share of the loss that the teacher has, in [0, 1]."""
    temperature: float = 4.0
    """By which logits are divided for distillation."""


@dataclasses.dataclass(frozen=True)
class OwnConfig:
    """What the options of a learner of your own derive from; see `register`."""

    episodic: ClassVar[bool] = True
    """Whether it is trained as it is tested: on tasks of the tested shape with queries,
    and tested by its own adaptation. Else it is trained on tasks of the dataset's
    recipe, and tested with a logistic head."""


LearnerConfig = (
    MTLConfig
    | MAMLConfig
    | ANILConfig
    | BOILConfig
    | MetaSGDConfig
    | ReptileConfig
    | IMAMLConfig
    | R2D2Config
    | MetaOptNetConfig
    | ProtoNetConfig
    | MatchingConfig
    | RFSConfig
    | OwnConfig
)
ALGORITHMS: dict[str, type] = {
    "mtl": MTLConfig,
    "maml": MAMLConfig,
    "anil": ANILConfig,
    "boil": BOILConfig,
    "meta_sgd": MetaSGDConfig,
    "reptile": ReptileConfig,
    "imaml": IMAMLConfig,
    "r2d2": R2D2Config,
    "metaoptnet": MetaOptNetConfig,
    "protonet": ProtoNetConfig,
    "matching": MatchingConfig,
    "rfs": RFSConfig,
}
