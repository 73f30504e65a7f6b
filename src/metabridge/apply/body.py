"""A trained body with all that is needed to apply it, apart from its data."""

import dataclasses
import os
from pathlib import Path
from typing import Any

import jax
import numpy as np

from metabridge import build
from metabridge.apply.images import Images, checked
from metabridge.build import Shapes
from metabridge.config import (
    FOLDER,
    Config,
    EvaluationConfig,
    MTLConfig,
    RFSConfig,
    with_paths,
)
from metabridge.data.dataset import Dataset
from metabridge.data.reading import Reading
from metabridge.learners import Learner, variables_of
from metabridge.precision import in_32_bits
from metabridge.runs import folder as run_folder
from metabridge.runs.provenance import environment
from metabridge.training.scoring import load_run, restore
from metabridge.types import Variables


@dataclasses.dataclass(frozen=True, eq=False)
class Body:
    """What a run has learned; it does not change."""

    config: Config
    """Of the run. Its `evaluation` says how the body adapts unless told otherwise."""
    shapes: Shapes
    """Of its images, and of its classes in training."""
    mean: tuple[float, ...]
    """Per channel, of pixels in [0, 1]; images are normalised with it."""
    std: tuple[float, ...]
    """Likewise."""
    variables: Variables
    """Parameters and batch statistics, of NumPy."""
    about: dict[str, Any] = dataclasses.field(default_factory=dict)
    """For people: the dataset's name and fingerprint, the result, parameters, versions,
    licence and card. Of a file from a stranger it says what the stranger wrote."""

    def __deepcopy__(self, memo: dict[int, Any]) -> "Body":
        return self  # scikit-learn's `clone` copies; what is compiled is kept for this

    def learner(self, evaluation: EvaluationConfig | None = None) -> Learner:
        """The learner, with an adaptation of another kind if one is given."""
        chosen = self.config.evaluation if evaluation is None else evaluation
        config = dataclasses.replace(self.config, evaluation=chosen)
        return build.learner(config, self.shapes)

    def with_about(self, **values: Any) -> "Body":
        """The same with more about it."""
        return dataclasses.replace(self, about={**self.about, **values})

    @in_32_bits
    def embed(self, images: Any) -> np.ndarray:
        """Features ``[N, D]`` of images, as `FewShotClassifier` takes them.

        Raises:
          ValueError: images that cannot be used.
        """
        from metabridge.apply.adaptation import features_of

        return features_of(self)(self.checked(images))

    def checked(self, images: Any) -> Images:
        """Images of a user, to be read as those of the training were.

        Raises:
          ValueError: images that cannot be used.
        """
        return checked(images, self.shapes.image_shape, reading_of(self.config))


def reading_of(config: Config) -> Reading:
    """How the images of a run were read.

    Raises:
      ValueError: an option that is out of its range.
    """
    data = config.data
    return Reading(data.background, data.white_level, data.max_pixels)


@in_32_bits
def from_run(run_dir: Path, *, data_dir: str | os.PathLike[str] | None = None) -> Body:
    """The body in the best checkpoint of a run.

    Args:
      run_dir: folder of the run.
      data_dir: where the dataset is, if not where the run found it; of
        ``folder:PATH`` the folder of images. Its normalisation is taken from it, so it
        has to be there.

    Raises:
      ValueError: no run or checkpoint there, or no dataset.
    """
    _, config, dataset, _ = run = load_run(run_dir, data_dir=data_dir)
    variables = variables_of(restore(run).state)
    variables = jax.tree.map(np.asarray, jax.device_get(variables))
    result = result_of(run_dir)
    return Body(
        _with_chosen_weight(config, result),
        build.shapes_of(dataset),
        dataset.mean,
        dataset.std,
        variables,
        _about(config, dataset, variables, result),
    )


def result_of(run_dir: Path) -> dict[str, Any]:
    """What ``result.json`` of a run says; nothing before the run is finished."""
    try:
        return run_folder.read_result(run_dir)
    except run_folder.RunError:
        return {}


def without_paths(config: Config) -> Config:
    """A configuration without folders of the machine that it was run on."""
    name = config.data.dataset
    if name.startswith(FOLDER):
        name = FOLDER + name.rstrip("/").split("/")[-1].removeprefix(FOLDER)
    learner = with_paths(config.learner, lambda path: Path(path.name))
    if isinstance(learner, MTLConfig | RFSConfig):
        learner = dataclasses.replace(learner, teacher=None)
    data = dataclasses.replace(config.data, dataset=name, data_dir=None)
    return dataclasses.replace(config, learner=learner, data=data)


_RESULT = ("accuracy", "ci95", "ways", "shots", "queries", "tasks", "head", "best_step")


def _about(
    config: Config, dataset: Dataset, variables: Variables, result: dict[str, Any]
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


def _with_chosen_weight(config: Config, result: dict[str, Any]) -> Config:
    """With the weight of the head that the run has chosen on validation tasks."""
    evaluation = config.evaluation
    if not evaluation.tune_head:
        return config
    chosen = {name: result[name] for name in ("C", "penalty") if name in result}
    evaluation = dataclasses.replace(evaluation, tune_head=False, **chosen)
    return dataclasses.replace(config, evaluation=evaluation)
