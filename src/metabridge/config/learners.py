"""The options of each learner, and what the rest of a run asks of it."""

import dataclasses
import math
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import tyro

from metabridge.config.fields import (
    InnerSteps,
    NonNegative,
    PathOption,
    Positive,
    Range,
    Share,
    ShareBelowOne,
)
from metabridge.config.weighting import Weighting, check_weighting

if TYPE_CHECKING:
    from metabridge.config.sections import Config

Tasks = Annotated[int, Range(1, 1_000_000)]


@dataclasses.dataclass(frozen=True)
class LearnerOptions:
    """Options of a learner; those of one of your own derive from it, see `register`.

    The class variables are the traits that the rest of a run asks for.
    """

    episodic: ClassVar[bool] = True
    """Whether it is trained as it is tested: on tasks of the tested shape with queries,
    and tested by its own adaptation. Else it is trained on tasks of the dataset's
    recipe, and tested with a logistic head."""
    adapts: ClassVar[bool] = True
    """Whether it has an adaptation of its own, ``head="learner"``."""
    fixed_ways: ClassVar[bool] = False
    """Whether that adaptation takes as many classes as a training task has."""
    inner_loop: ClassVar[bool] = False
    """Whether its training differentiates steps of an inner loop; for advice."""
    distils: ClassVar[bool] = False
    """Whether its field `teacher` names a run to distil from; the factory is given the
    variables of that run."""
    masks: ClassVar[bool] = False
    """Whether it leaves out the fillers of unequal tasks (`Examples.mask`); else it is
    given equal tasks alone."""

    @property
    def max_learning_rate(self) -> float:
        """Bound on the default of `TrainConfig.learning_rate`."""
        return math.inf

    @property
    def fixed_tasks(self) -> int | None:
        """Size of the fixed set of training tasks; None if each is drawn anew."""
        return None

    def check(self, config: "Config") -> None:
        """Raise ValueError for options that do not go with the rest of a run."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class DistilledConfig(LearnerOptions):
    """Options that learners have whose training is classification, as MTL's is."""

    masks: ClassVar[bool] = True
    episodic: ClassVar[bool] = False
    adapts: ClassVar[bool] = False
    distils: ClassVar[bool] = True
    teacher: PathOption = None
    """Folder of a run of the same learner to distil from, with the same model, heads
    and data. Default: none."""
    distillation: Share = 0.5
    """Share of the loss that the teacher has, in [0, 1]."""
    temperature: Positive = 4.0
    """By which logits are divided for distillation."""
    label_smoothing: ShareBelowOne = 0.0
    """Share of each label that is spread evenly over the classes it is among. The
    teacher's predictions stay what they are."""


@dataclasses.dataclass(frozen=True)
class MTLConfig(DistilledConfig):
    """Multi-task learning: a shared body, a linear head a task, joint training."""

    heads: Literal["class_table", "shared", "independent"] = "class_table"
    """A row per training class, or a head per task of a fixed set of training tasks,
    started alike (shared) or each on its own (independent)."""
    num_tasks: Tasks = 1000
    """Size of the fixed set of training tasks; no matter for the class table."""
    feature_norm: bool = True
    """Scale features to unit length in training."""
    logit_scale: Positive = 10.0
    """Factor on the training logits. The published code has 1."""
    init_scale: Positive = 1.0
    """Of the heads' initial weights. The published code has sqrt(classes / ways)."""
    row_norm: bool = False
    """Scale the rows of the heads to unit length in training: a cosine head."""
    learn_scale: bool = False
    """Learn the factor on the training logits, from `logit_scale` on."""
    statistics: Literal["task", "batch"] = "task"
    """Of batch normalisation in training: each task's own, or all tasks' of a step."""
    rotation_weight: NonNegative = 0.0
    """Weight of a further loss: which quarter turn an image was given."""
    weighting: Weighting = "uniform"
    """The tasks of a step: their mean; losses weighted by learned variances
    (uncertainty) or by how they fall (dwa), of a fixed set of tasks; or gradients of
    the body, which conflict less as pcgrad, cagrad and upgrad sum them."""
    cagrad_c: ShareBelowOne | None = None
    """CAGrad: distance of the update from the mean gradient, as a share of the mean's
    length. Default: 0.5."""
    dwa_temperature: Positive | None = None
    """DWA: by which the ratios of losses are divided; high ones weigh tasks alike.
    Default: 2."""
    measure_conflicts: bool = False
    """Record how far the gradients of the tasks of a step conflict, as pcgrad, cagrad
    and upgrad do anyway."""

    @property
    def fixed_tasks(self) -> int | None:
        return None if self.heads == "class_table" else self.num_tasks

    def check(self, config: "Config") -> None:
        check_weighting(self, config)
        if self.rotation_weight and config.data.rotations:
            raise ValueError(
                "`rotation_weight` asks for the turn of an image, which cannot be told "
                "where `rotations` makes classes of turns: leave out one of the two"
            )
        if config.train.balanced and self.fixed_tasks is not None:
            raise ValueError(
                "`balanced` tasks are drawn anew, so `heads` must be a table"
            )


@dataclasses.dataclass(frozen=True)
class GradientBasedConfig(LearnerOptions):
    """Options that all learners with an inner loop of gradient steps have."""

    masks: ClassVar[bool] = True
    fixed_ways: ClassVar[bool] = True
    inner_loop: ClassVar[bool] = True
    inner_lr: Positive = 0.1
    """Step size of the inner loop, or its start where it is learned."""
    inner_steps: InnerSteps = 5
    """Inner steps in training."""
    batch_norm: Literal["batch", "running"] = "batch"
    """Statistics at test time: of the images scored together, or running ones."""
    max_inner_grad_norm: Positive | None = None
    """Scale inner gradients down to this norm. Default: never."""

    @property
    def max_learning_rate(self) -> float:
        return 3e-3


@dataclasses.dataclass(frozen=True, kw_only=True)
class DifferentiatedConfig(GradientBasedConfig):
    """Options of learners that differentiate through their inner loop."""

    first_order: bool = False
    """Take the inner gradients for constants."""
    rematerialise: bool = False
    """Compute inner steps again on the way back: less memory, more time."""
    joint: bool = False
    """Adapt to and evaluate on support and query together, without a split."""


@dataclasses.dataclass(frozen=True)
class MAMLConfig(DifferentiatedConfig):
    """MAML: the inner loop adapts all layers, and is differentiated through."""

    rates: Literal["fixed", "per_step"] = "fixed"
    """Inner rates: as given, or learned, one a step."""
    zero_head: bool = False
    """Adapt from a head of zeros instead of a meta-learned one."""

    @property
    def max_learning_rate(self) -> float:
        # With learned inner rates nothing above it has been tried.
        return math.inf if self.rates == "fixed" else super().max_learning_rate


@dataclasses.dataclass(frozen=True)
class ANILConfig(MAMLConfig):
    """ANIL: MAML whose inner loop adapts the head alone."""


@dataclasses.dataclass(frozen=True)
class BOILConfig(MAMLConfig):
    """BOIL: MAML whose inner loop adapts the body alone."""

    inner_lr: Positive = 0.5
    """Step size of the inner loop, or its start where it is learned."""


@dataclasses.dataclass(frozen=True)
class MetaSGDConfig(DifferentiatedConfig):
    """Meta-SGD: MAML with a learned rate for every parameter."""

    inner_lr: Positive = 0.01
    """Where the rates of the inner loop start."""
    inner_steps: InnerSteps = 1
    """Inner steps in training."""


@dataclasses.dataclass(frozen=True)
class ReptileConfig(GradientBasedConfig):
    """Reptile: moves towards the parameters adapted to each task."""


@dataclasses.dataclass(frozen=True)
class IMAMLConfig(GradientBasedConfig):
    """iMAML: a proximal inner problem, differentiated implicitly."""

    inner_steps: InnerSteps = 10
    """Inner steps in training."""
    proximity: Positive = 2.0
    """Weight of the squared distance from the meta-learned parameters."""
    cg_steps: InnerSteps = 5
    """Conjugate gradient steps of the implicit derivative."""
    joint: bool = False
    """Adapt to and evaluate on support and query together, without a split."""


@dataclasses.dataclass(frozen=True)
class R2D2Config(LearnerOptions):
    """R2-D2: ridge regression as a differentiable head."""

    masks: ClassVar[bool] = True
    init_scale: Positive = 10.0
    """Start of the learned factor on the logits."""
    init_shift: float = 0.0
    """Start of the learned shift of the logits."""
    init_penalty: Positive = 1.0
    """Start of the learned penalty."""


@dataclasses.dataclass(frozen=True)
class MetaOptNetConfig(LearnerOptions):
    """MetaOptNet: an SVM or ridge regression as a differentiable head."""

    masks: ClassVar[bool] = True
    solver: Literal["svm", "ridge"] = "svm"
    """Which head."""
    C: Annotated[Positive, tyro.conf.arg(name="solver_C")] = 0.1
    """SVM: weight of the hinge losses against the squared weights."""
    penalty: Annotated[Positive, tyro.conf.arg(name="solver_penalty")] = 50.0
    """Ridge: weight of the squared weights."""
    init_scale: Positive = 1.0
    """Start of the learned factor on the logits."""
    label_smoothing: ShareBelowOne = 0.0
    """Share of each query label that is spread evenly over the classes of its task."""
    solver_steps: InnerSteps = 20
    """SVM: steps of the interior point method, at most."""


@dataclasses.dataclass(frozen=True)
class ProtoNetConfig(LearnerOptions):
    """Prototypical networks: nearest class mean in the feature space."""

    masks: ClassVar[bool] = True
    distance_scale: Positive = 1.0
    """Factor on the squared distances."""


@dataclasses.dataclass(frozen=True)
class MatchingConfig(LearnerOptions):
    """Matching networks: cosine attention over the support."""

    masks: ClassVar[bool] = True
    attention_scale: Positive = 10.0
    """Factor on the cosines (an inverse temperature)."""


@dataclasses.dataclass(frozen=True)
class RFSConfig(DistilledConfig):
    """RFS: classification over all training classes, then a head on frozen features."""
