"""Similarity of the layers of bodies: between runs, and before and after adaptation.

Layers are what a body sows into Flax's collection "intermediates", as the built-in ones
do after each block, and its features. Normalisation is by the running statistics, as
for features.
"""

import os
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Array, Float

from metabridge import build
from metabridge.data.dataset import Dataset, Split
from metabridge.evaluation import Tasks
from metabridge.evaluation.batches import to_host_in_batches
from metabridge.evaluation.images import normaliser
from metabridge.learners import variables_of
from metabridge.learners.base import MovingBody
from metabridge.runs.evaluation import split_digest
from metabridge.runs.folder import RunError
from metabridge.similarity.kept import Kept
from metabridge.similarity.measures import centred_gram, gram_cka
from metabridge.training.scoring import load_run, restore
from metabridge.training.unseen import LoadedRun
from metabridge.types import Examples, RawInputs, Variables

_BATCH = 50
Grams = dict[str, Float[np.ndarray, "N N"]]
"""`measures.centred_gram` by the name of a layer."""


def pick_images(split: Split, count: int) -> np.ndarray:
    """Rows of at most `count` images spread evenly over the classes of a split."""
    sizes = split.images_per_class
    first = np.cumsum(sizes) - sizes
    if count < split.num_classes:
        chosen = np.linspace(0, split.num_classes - 1, count).round().astype(np.int64)
        return first[chosen]
    each = count // split.num_classes
    chosen = first[:, None] + np.arange(each)
    inside = np.arange(each) < sizes[:, None]
    rows = chosen.T[inside.T]  # first images of all classes, then second ones
    return np.sort(rows[:count])


def layers_of(
    body: nn.Module, dataset: Dataset
) -> Callable[[Variables, RawInputs], dict[str, Float[Array, "N ..."]]]:
    """Makes the function from images to the outputs of all layers, in float32."""
    normalise = normaliser(dataset)

    def outputs(variables: Variables, images: Array) -> dict[str, Array]:
        arrays = {
            "params": variables["params"]["body"],
            "batch_stats": variables["batch_stats"],
        }
        features, state = body.apply(
            arrays, normalise(images), train=False, mutable=["intermediates"]
        )
        sown = jax.tree.leaves_with_path(state.get("intermediates", {}))
        count = len(images)
        found = {
            _name(path): leaf
            for path, leaf in sown
            if leaf.ndim > 1 and leaf.shape[0] == count
        }
        return {
            name: leaf.reshape(count, -1).astype(jnp.float32)
            for name, leaf in (found | {"features": jnp.asarray(features)}).items()
        }

    return jax.jit(outputs)


def _name(path: tuple) -> str:
    """Name of what was sown, without the place in the tuple that Flax puts it into."""
    keys = [str(key.key) for key in path if isinstance(key, jax.tree_util.DictKey)]
    return "/".join(keys)


def compare_bodies(
    runs: Sequence[Kept],
    num_images: int,
    num_tasks: int,
    *,
    data_dir: str | os.PathLike[str] | None = None,
    tell: Callable[[str], None] = lambda line: None,
) -> tuple[dict[str, Float[np.ndarray, "R R"]], dict[str, dict[str, float]]]:
    """Linear CKA of the layers of all pairs of runs, and of each run's adaptation.

    Args:
      runs: on the same test tasks.
      num_images: test images on which bodies are compared with each other.
      num_tasks: test tasks on whose queries a body that adapts is compared with itself.

    Returns:
      A symmetric matrix for each layer that all bodies have; and, by name of the runs
      whose body adapts, the mean over tasks for each layer of the CKA of the body
      before with the body after adaptation.
    """
    grams, moved = [], {}
    for run in runs:
        tell(f"{run.name}: layers on {num_images} test images")
        loaded = load_run(run.folder, data_dir=data_dir)
        if run.evaluation.about.get("split_digest") != split_digest(
            loaded.dataset.test
        ):
            raise RunError(
                f"the test images of {run.name} are not those of its kept evaluation: "
                "pass the data it was tested on as `data_dir` (--data-dir)"
            )
        variables = variables_of(restore(loaded).state)
        outputs = layers_of(_body(loaded), loaded.dataset)
        rows = pick_images(loaded.dataset.test, num_images)
        grams.append(_grams(outputs, variables, loaded.dataset.test.inputs[rows]))
        tasks = Tasks(*(x[:num_tasks] for x in run.evaluation.closed.tasks))
        changes = _compare_adapted(loaded, variables, outputs, tasks)
        if changes:
            moved[run.name] = changes
    shared = [name for name in grams[0] if all(name in each for each in grams)]
    between = {
        name: np.array([[gram_cka(a[name], b[name]) for a in grams] for b in grams])
        for name in shared
    }
    return between, moved


def _body(run: LoadedRun) -> nn.Module:
    return build.model(run.config.model, run.dataset.input_shape[0])


def _grams(
    outputs: Callable[..., dict[str, Array]], variables: Variables, images: np.ndarray
) -> Grams:
    def of_batch(batch: np.ndarray) -> dict[str, Array]:
        return outputs(variables, jnp.asarray(batch))

    size = min(_BATCH, len(images))
    found = to_host_in_batches(of_batch, np.asarray(images), size)
    return {name: centred_gram(layer) for name, layer in found.items()}


def _compare_adapted(
    run: LoadedRun,
    variables: Variables,
    outputs: Callable[..., dict[str, Array]],
    tasks: Tasks,
) -> dict[str, float]:
    """Mean CKA of each layer before and after adaptation, on the tasks' queries."""
    learner, dataset = run.learner, run.dataset
    moving = learner.adaptation
    if not isinstance(moving, MovingBody) or moving.body_of is None:
        return {}
    body_of, normalise = moving.body_of, normaliser(dataset)
    ways = tasks.classes.shape[1]

    @jax.jit
    def adapt(variables: Variables, support: Array) -> Variables:
        labels = jnp.repeat(jnp.arange(ways, dtype=jnp.int32), len(support) // ways)
        examples = Examples(normalise(support), labels)
        return body_of(learner.adapt(variables, examples, ways=ways))

    found = []
    for support, query in zip(tasks.support, tasks.query, strict=True):
        shown = (dataset.test.inputs[rows.reshape(-1)] for rows in (support, query))
        own, asked = (np.asarray(images) for images in shown)
        adapted = adapt(variables, jnp.asarray(own))
        before, after = (_grams(outputs, v, asked) for v in (variables, adapted))
        found.append({name: gram_cka(before[name], after[name]) for name in before})
    names = found[0] if found else {}
    return {name: float(np.mean([each[name] for each in found])) for name in names}
