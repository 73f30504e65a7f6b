"""A trained body with all that is needed to apply it, apart from its data."""

import dataclasses
import functools
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from metabridge import build, unions
from metabridge.apply.adaptation import Adaptation, make_adaptation, make_embedder
from metabridge.apply.inputs import Arrays, Images, check_arrays, check_images
from metabridge.build import Shapes
from metabridge.config import ResolvedConfig, ResolvedEvaluation, with_paths
from metabridge.data import augment
from metabridge.data.dataset import Dataset
from metabridge.data.reading import Reading
from metabridge.learners import Learner, variables_of
from metabridge.precision import in_32_bits
from metabridge.runs import folder as run_folder
from metabridge.runs.provenance import environment
from metabridge.training.scoring import load_run, restore
from metabridge.types import Variables

_KEPT = 4  # bodies applied last, for which what is compiled is kept


@dataclasses.dataclass(frozen=True, eq=False)
class Body:
    """A trained body; it does not change."""

    config: ResolvedConfig
    """Configuration of the run; its `evaluation` is the default adaptation."""
    shapes: Shapes
    """Shape of an input, and number of classes in training."""
    mean: tuple[float, ...]
    """Per channel, of pixels in [0, 1], or per feature; inputs are normalised by it."""
    std: tuple[float, ...]
    """Likewise."""
    variables: Variables
    """Parameters and batch statistics, of NumPy."""
    about: dict[str, Any] = dataclasses.field(default_factory=dict)
    """For people: the dataset's name and fingerprint, the result, parameters, versions,
    licence and card. Of an untrusted file it holds its author's word."""

    def __deepcopy__(self, memo: dict[int, Any]) -> "Body":
        return self  # scikit-learn's `clone` copies; what is compiled is kept for this

    def learner(self, evaluation: ResolvedEvaluation | None = None) -> Learner:
        """The learner, with an adaptation of another kind if one is given."""
        chosen = evaluation or self.config.evaluation
        config = dataclasses.replace(self.config, evaluation=chosen)
        return build.learner(config, self.shapes)

    def with_about(self, **values: Any) -> "Body":
        """The same with more about it."""
        return dataclasses.replace(self, about={**self.about, **values})

    @functools.lru_cache(maxsize=_KEPT)  # noqa: B019
    def adaptation(self, evaluation: ResolvedEvaluation) -> Adaptation:
        """The adaptation to a task, compiled once for this body and these options."""
        learner = self.learner(evaluation)
        return make_adaptation(learner, self.variables, self._normalise)

    @in_32_bits
    def embed(self, inputs: Any) -> np.ndarray:
        """Features ``[N, D]`` of inputs, as `FewShotClassifier` takes them."""
        return self._embedder()(self.checked(inputs))

    @functools.lru_cache(maxsize=_KEPT)  # noqa: B019
    def _embedder(self) -> Callable[[Images | Arrays], np.ndarray]:
        return make_embedder(self.learner(), self.variables, self._normalise)

    def checked(self, inputs: Any) -> Images | Arrays:
        """Check inputs of a user, to be read as those of the training were."""
        shape = self.shapes.input_shape
        if not self.shapes.images:
            return check_arrays(inputs, shape)
        height, width, channels = shape
        shape = (height, width, channels)
        return check_images(inputs, shape, reading_of(self.config))

    def _normalise(self, inputs: Any) -> Any:
        return augment.normalise(inputs, self.mean, self.std)


def reading_of(config: ResolvedConfig) -> Reading:
    """Options by which the images of a run were read, checked."""
    data = config.data
    return Reading(data.background, data.white_level, data.max_pixels)


@in_32_bits
def from_run(run_dir: Path, *, data_dir: str | os.PathLike[str] | None = None) -> Body:
    """The body in the best checkpoint of a run, normalised as its dataset is."""
    _, config, dataset, *_ = run = load_run(run_dir, data_dir=data_dir)
    variables = variables_of(restore(run).state)
    variables = jax.tree.map(np.asarray, jax.device_get(variables))
    try:
        result = run_folder.read_result(run_dir)
    except run_folder.RunError:  # the run is not finished
        result = {}
    about = _about(config, dataset, variables, result)
    config, shapes = with_chosen_weight(config, result), build.shapes_of(dataset)
    # What is applied sees an image once, whatever the run was tested with.
    evaluation = dataclasses.replace(config.evaluation, flips=False)
    config = dataclasses.replace(config, evaluation=evaluation)
    return Body(config, shapes, dataset.mean, dataset.std, variables, about)


def without_paths(config: ResolvedConfig) -> ResolvedConfig:
    """A configuration without folders of the machine that it was run on."""
    name = unions.without_folders(config.data.dataset)
    learner = with_paths(config.learner, lambda path: Path(path.name))
    if learner.distils:
        learner = dataclasses.replace(learner, teacher=None)  # pyright: ignore
    data = dataclasses.replace(
        config.data, dataset=name, data_dir=None, class_split=None
    )
    return dataclasses.replace(config, learner=learner, data=data)


_RESULT = (
    "accuracy", "ci95", "ways", "shots", "queries", "tasks", "head", "flips",
    "best_step",
)  # fmt: skip


def _about(
    config: ResolvedConfig, dataset: Dataset, variables: Variables, result: dict
) -> dict[str, Any]:
    made_by = result.get("provenance", {})
    fingerprint = made_by.get("dataset", {}).get("fingerprint")
    return {
        "dataset": {
            "name": without_paths(config).data.dataset,
            "fingerprint": fingerprint or dataset.fingerprint(),
        },
        "result": {name: result[name] for name in _RESULT if name in result},
        "parameters": sum(leaf.size for leaf in jax.tree.leaves(variables["params"])),
        "versions": made_by.get("versions", environment()["versions"]),
    }


def with_chosen_weight(
    config: ResolvedConfig, result: Mapping[str, Any]
) -> ResolvedConfig:
    """A configuration with the weight of the head that its run chose."""
    if not config.evaluation.tune_head:
        return config
    weights = {name: result.get(name) for name in ("C", "penalty")}
    chosen = {name: value for name, value in weights.items() if value is not None}
    evaluation = dataclasses.replace(config.evaluation, tune_head=False, **chosen)
    return dataclasses.replace(config, evaluation=evaluation)
