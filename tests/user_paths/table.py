"""Every learner with the least options of a training, and what its runs can do."""

from typing import NamedTuple

from metabridge.config import head_names

HEADS: tuple[str, ...] = head_names()
STEPS = 3
IMAGES = 54
"""Training images of so many steps."""
WAYS = 3

RUN = (
    "--dataset", "folder:images", "--augmentation", "none", "--rotations", "False",
    "--model", "mlp", "--width", "8", "--depth", "1",
    "--optimizer", "sgd", "--learning-rate", "0.01",
    "--train-ways", str(WAYS), "--train-shots", "1", "--train-queries", "2",
    "--tasks-per-step", "2", "--validate-every", str(STEPS), "--validation-tasks", "4",
    "--log-every", str(STEPS), "--devices", "1",
    "--ways", str(WAYS), "--shots", "1", "--queries", "2", "--tasks", "6",
)  # fmt: skip
"""Options of every run; a training takes `--steps` beside them."""


class Row(NamedTuple):
    """A learner."""

    options: tuple[str, ...] = ()
    """Of its own, for a training that is cheap."""
    own_head: bool = True
    """Whether it has an adaptation of its own."""
    any_ways: bool = True
    """Whether that takes tasks of other ways than it was trained with."""


_INNER = Row(("--inner-steps", "1"), any_ways=False)
LEARNERS: dict[str, Row] = {
    "mtl": Row(own_head=False),
    "maml": _INNER,
    "anil": _INNER,
    "boil": _INNER,
    "meta_sgd": _INNER,
    "reptile": _INNER,
    "imaml": Row(("--inner-steps", "1", "--cg-steps", "1"), any_ways=False),
    "r2d2": Row(),
    "metaoptnet": Row(("--solver-C", "0.2", "--solver-steps", "2")),
    "protonet": Row(),
    "matching": Row(),
    "rfs": Row(own_head=False),
    "scaled": Row(("--init-scale", "3.0")),
}
"""The built-in ones, and one that `tests.user_paths.own_learner` registers."""

FEW = ("mtl", "maml", "scaled")
"""One of each kind: no adaptation of its own, an inner loop, the user's own."""
KINDS = (*FEW, "metaoptnet", "protonet")
"""These, and of heads that are solved and of those without parameters."""


def heads_of(learner: str) -> list[str]:
    """The heads that a learner can be tested with."""
    return [head for head in HEADS if head != "learner" or LEARNERS[learner].own_head]


def training(learner: str, folder: str, *further: str) -> list[str]:
    """The command line that trains a learner into a folder."""
    options = (*RUN, *LEARNERS[learner].options, *further)
    return ["train", learner, "--steps", str(STEPS), "--run-dir", folder, *options]
