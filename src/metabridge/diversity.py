"""Diversity of few-shot tasks: distances between their Task2Vec embeddings.

Embeddings: Achille, Lam, Tewari, Ravichandran, Maji, Fowlkes, Soatto, Perona. Task2Vec:
Task embedding for meta-learning. ICCV 2019, https://arxiv.org/abs/1902.03545. The
diversity coefficient, the mean distance of a pair of tasks: Miranda, Yu, Wang, Koyejo.
The curse of low task diversity. 2022, https://arxiv.org/abs/2208.01545.

The embedding of a task is the diagonal Fisher information of a fixed body, the probe,
once a softmax head has been fitted on its features of the task's images x. For a
parameter w it is ``mean over x of sum_c p(c|x) (d log p(c|x) / d w)^2``: the labels are
those of the model, and their expectation is exact, since classes are few. As in the
paper it is averaged over each filter, here every array of two axes or more over all but
its last; biases and the scales of norms are left out. Normalisation is that of
inference. The paper's own experiments estimate it by a variational bound instead, and
its published code from one sampled label an image and the gradient of a mini-batch.
"""

import math
import os
from collections.abc import Callable
from typing import Annotated, Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Array, Float, Int, UInt8

from metabridge.apply import Body, load_body, pretrained_bodies
from metabridge.config.fields import Range, Seed, typed
from metabridge.data import augment, episodes
from metabridge.data.dataset import Dataset
from metabridge.data.registry import load_dataset
from metabridge.data.sampler import example_of
from metabridge.files import write_json
from metabridge.heads import logistic
from metabridge.heads.base import Linear, logits, unit_norm
from metabridge.learners.base import Embed
from metabridge.learners.body import make_embed
from metabridge.models import Conv4
from metabridge.output import check_output
from metabridge.precision import in_32_bits
from metabridge.registry import BODIES
from metabridge.types import TaskShape, Variables

SplitName = Literal["train", "validation", "test"]
Tasks = Annotated[int, Range(10, 10_000)]
_RESAMPLES = 2000
_GRADIENTS = 1 << 20
"""Numbers held at once of gradients in the largest array: more leave the CPU's cache."""


class Diversity(NamedTuple):
    """Task diversity of a split, and what it was computed from."""

    diversity: float
    """Mean distance of a pair of tasks, in [0, 1]."""
    ci95: tuple[float, float]
    """Ends of its 95 % interval, by bootstrap over tasks."""
    embeddings: Float[np.ndarray, "T F"]
    distances: Float[np.ndarray, "T T"]
    classes: list[tuple[str, ...]]
    """Names of the classes of each task."""
    about: dict[str, Any]
    """Dataset, split, probe, shape and seed of the tasks."""


class Probe(NamedTuple):
    """A fixed body, with the normalisation of its images."""

    name: str
    embed: Embed
    """Features ``[N, D]``."""
    variables: Variables
    """The body is ``variables["params"]["body"]``."""
    mean: tuple[float, ...]
    std: tuple[float, ...]


@in_32_bits
def task_diversity(
    dataset: str | Dataset,
    *,
    body: str | os.PathLike[str] | Body | None = None,
    random_body: int | None = None,
    tasks: int = 100,
    ways: int = 5,
    shots: int = 10,
    split: SplitName = "train",
    seed: int = 0,
    data_dir: str | os.PathLike[str] | None = None,
    image_size: Any = None,
    output: str | os.PathLike[str] | None = None,
) -> Diversity:
    """Compute the Task2Vec embeddings and the diversity coefficient of random tasks.

    Numbers are comparable only between those of one probe, ways and shots.

    Args:
      dataset: a dataset, or its name as `load_dataset` takes it.
      body: the probe, as `load_body` takes it. Default: the included body for images of
        this shape, or if there is none a Conv4 of random weights.
      random_body: seed of a Conv4 of random weights to be the probe instead.
      tasks: number of tasks, drawn as those of an evaluation: classes and images
        without replacement within a task, tasks independent.
      ways: classes of a task.
      shots: images a class, on which the head is fitted and the information taken.
      split: whose classes the tasks are made of.
      seed: of the tasks, and of the bootstrap.
      data_dir: where the data is, for a name.
      image_size: of the images of a folder, for a name.
      output: JSON file for the result.

    Raises:
      ValueError: options out of range, tasks the split does not hold, or a probe for
        images of another shape.
    """
    tasks, seed = typed(Tasks, tasks, "tasks"), typed(Seed, seed, "seed")
    split = typed(SplitName, split, "split")
    if random_body is not None:
        random_body = typed(Seed, random_body, "random_body")
        if body is not None:
            raise ValueError("`body` and `random_body` both name a probe; pass one")
    file = None if output is None else check_output(output)
    given = None if body is None else _load_probe(body)
    if isinstance(dataset, str):
        options = {"data_dir": data_dir, "image_size": image_size}
        dataset = load_dataset(dataset, **options)
    chosen: Any = getattr(dataset, split)
    shape = TaskShape(ways, shots, 0)
    what = f"split {split!r} of {dataset.name!r}"
    episodes.check_shape(shape, chosen, what=what)
    probe = _check_probe(given, dataset) or _default_probe(dataset, random_body)

    max_size, classes = int(chosen.images_per_class.max()), episodes.class_index(chosen)
    keys = jax.random.split(jax.random.key(seed), tasks)
    draw = jax.jit(
        jax.vmap(
            lambda key: episodes.sample_episode(key, classes, shape, max_size=max_size)
        )
    )
    drawn = jax.device_get(draw(keys))
    embed_task = make_task_embedder(probe, shape)
    rows = drawn.support.reshape(tasks, -1)
    embeddings = np.stack([embed_task(chosen.images[these]) for these in rows])
    distances = task_distances(embeddings)
    mean, interval = mean_distance(distances, seed)
    names = [tuple(chosen.class_names[c] for c in those) for those in drawn.classes]
    about = {
        "dataset": dataset.name, "split": split, "probe": probe.name, "tasks": tasks,
        "ways": ways, "shots": shots, "seed": seed,
    }  # fmt: skip
    found = Diversity(mean, interval, embeddings, distances, names, about)
    if file is not None:
        write_json(file, _as_json(found))
    return found


def make_task_embedder(
    probe: Probe, shape: TaskShape
) -> Callable[[UInt8[np.ndarray, "S H W c"]], Float[np.ndarray, "F"]]:
    """Compile the embedding of a task from its support images, class by class.

    The head is logistic regression with C = 3 (`metabridge.heads.logistic`), MTL's.
    """
    variables = jax.device_put(probe.variables)
    labels = episodes.labels(shape.ways, shape.shots)

    def normalise(images: UInt8[Array, "N H W c"]) -> Float[Array, "N H W c"]:
        return augment.normalise(images, probe.mean, probe.std)

    @jax.jit
    def fit(variables: Variables, images: UInt8[Array, "S H W c"]) -> Linear:
        features = probe.embed(variables, normalise(images))
        return logistic(C=3.0).fit(features, labels, ways=shape.ways)

    @jax.jit
    def fisher(
        variables: Variables, classifier: Linear, images: UInt8[Array, "N H W c"]
    ) -> Float[Array, "N F"]:
        return filter_fisher(probe.embed, variables, classifier, normalise(images))

    largest = max(leaf.size for leaf in jax.tree.leaves(variables["params"]["body"]))
    at_once = max(_GRADIENTS // (shape.ways * largest), 1)

    def embed_task(images: UInt8[np.ndarray, "S H W c"]) -> Float[np.ndarray, "F"]:
        classifier = fit(variables, images)
        parts = np.array_split(images, math.ceil(len(images) / at_once))
        found = [np.asarray(fisher(variables, classifier, part)) for part in parts]
        return np.concatenate(found).mean(0)

    return embed_task


def filter_fisher(
    embed: Embed,
    variables: Variables,
    classifier: Linear,
    images: Float[Array, "N *X"],
) -> Float[Array, "N F"]:
    """Diagonal Fisher information of a body at each image, averaged over each filter.

    ``sum_c p(c|x) (d log p(c|x) / d w)^2`` with p the softmax of the classifier on the
    body's features. F counts the last axes of all arrays of two axes or more, in the
    order of the tree.
    """
    leaves, structure = jax.tree.flatten(variables["params"]["body"])
    kernels = [leaf for leaf in leaves if leaf.ndim > 1]

    def scores(kernels: list[Array], image: Float[Array, "*X"]) -> Float[Array, "ways"]:
        rest = iter(kernels)
        body = [next(rest) if leaf.ndim > 1 else leaf for leaf in leaves]
        params = {**variables["params"], "body": structure.unflatten(body)}
        features = embed({**variables, "params": params}, image[None])
        return logits(classifier, features)[0]

    def of_image(image: Float[Array, "*X"]) -> Float[Array, "F"]:
        found, pull_back = jax.vjp(lambda kernels: scores(kernels, image), kernels)
        p = jax.nn.softmax(found)

        def of_class(cotangent: Float[Array, "ways"]) -> Float[Array, "F"]:
            (gradients,) = pull_back(cotangent)
            means = [jnp.square(g).mean(tuple(range(g.ndim - 1))) for g in gradients]
            return jnp.concatenate(means)

        # Of log p(c|x) by the logits, e_c - p, times the root of p(c|x).
        cotangents = jnp.sqrt(p)[:, None] * (jnp.eye(len(p), dtype=p.dtype) - p[None])
        return jax.vmap(of_class)(cotangents).sum(0)

    with nn.intercept_methods(_differentiate_as_product):
        return jax.vmap(of_image)(images)


def task_distances(embeddings: Float[np.ndarray, "T F"]) -> Float[np.ndarray, "T T"]:
    """Distances of pairs of embeddings, in [0, 1].

    Task2Vec's symmetric one: the cosine distance of ``a / (a + b)`` and ``b / (a + b)``
    element by element (section 3.3); where both are zero, so are these.

    Raises:
      ValueError: an embedding of zeros, which has no direction.
    """
    embeddings = np.asarray(embeddings, np.float64)
    if not embeddings.any(1).all():
        raise ValueError("a task has no Fisher information in the probe; take another")
    distances = np.empty((len(embeddings), len(embeddings)))
    for number, a in enumerate(embeddings):
        total = a[None] + embeddings
        total[total == 0] = 1.0
        ours, theirs = a[None] / total, embeddings / total
        norms = np.linalg.norm(ours, axis=1) * np.linalg.norm(theirs, axis=1)
        distances[number] = 1.0 - (ours * theirs).sum(1) / norms
    np.fill_diagonal(distances, 0.0)
    return np.clip(distances, 0.0, 1.0)


def mean_distance(
    distances: Float[np.ndarray, "T T"], seed: int = 0
) -> tuple[float, tuple[float, float]]:
    """Mean over pairs of tasks, and the ends of its 95 % interval.

    Pairs share tasks, so that they are not independent: the bootstrap draws tasks with
    replacement, leaves out pairs of a task with itself, and takes the percentiles 2.5
    and 97.5 of 2,000 means.
    """
    count = len(distances)
    generator = np.random.default_rng(seed)
    often = generator.multinomial(count, np.full(count, 1 / count), _RESAMPLES)
    weights = np.concatenate([np.ones((1, count)), often])
    sums = ((weights @ distances) * weights).sum(1)
    means = sums / (count**2 - np.square(weights).sum(1))
    low, high = np.percentile(means[1:], [2.5, 97.5])
    return float(means[0]), (float(low), float(high))


def _load_probe(body: str | os.PathLike[str] | Body) -> tuple[str, Body]:
    if isinstance(body, Body):
        return str(body.about.get("name", "a body that was passed")), body
    return str(body), load_body(body)


def _check_probe(given: tuple[str, Body] | None, dataset: Dataset) -> Probe | None:
    """The probe of a body, which must take the images of the dataset."""
    if given is None:
        return None
    name, body = given
    found, wanted = dataset.image_shape, body.shapes.image_shape
    if found != wanted:
        raise ValueError(
            f"images of {dataset.name!r} are {list(found)}, but the probe {name} takes "
            f"{list(wanted)}: choose another `body`, or `random_body`"
        )
    embed = body.learner().embed
    if embed is None:
        raise ValueError(f"the body {name} has no features to fit a head on")
    return Probe(name, embed, body.variables, body.mean, body.std)


def _default_probe(dataset: Dataset, seed: int | None) -> Probe:
    """The included body for images of this shape, else one of random weights."""
    for name in pretrained_bodies() if seed is None else ():
        body = load_body(name)
        if body.shapes.image_shape == dataset.image_shape:
            probe = _check_probe((name, body), dataset)
            assert probe is not None
            return probe
    seed = seed or 0
    least, (height, width, _) = BODIES.find("conv4").traits.min_side, dataset.image_shape
    if min(height, width) < least:
        raise ValueError(
            f"the probe conv4 needs {least}x{least} pixels at least, but "
            f"{dataset.name!r} has {height}x{width}: pass `image_size`, or a `body`"
        )
    model = Conv4()
    variables = model.init(jax.random.key(seed), example_of(dataset), train=False)
    variables = {**variables, "params": {"body": variables["params"]}}
    name = f"conv4 of random weights, seed {seed}"
    embed = make_embed(model, unit_norm)
    return Probe(name, embed, variables, dataset.mean, dataset.std)


def _differentiate_as_product(
    next_call: Callable[..., Any], args: Any, kwargs: Any, context: Any
) -> Any:
    """Take the gradient of a plain convolution in its kernel by a product of patches.

    Where each image has a gradient of its own, that takes half the time of JAX's, which
    is a convolution of many groups. Values and other gradients stay what they are.
    """
    layer = context.module
    plain = (
        type(layer) is nn.Conv
        and context.method_name == "__call__"
        and layer.padding == "SAME"
        and layer.strides in (1, (1, 1), None)
        and layer.kernel_dilation in (1, None)
        and layer.input_dilation in (1, None)
        and layer.feature_group_count == 1
        and layer.dtype is None
        and not layer.use_bias
        and layer.mask is None
        and args[0].ndim == 4
    )
    if not plain:
        return next_call(*args, **kwargs)
    images, kernel = args[0], layer.get_variable("params", "kernel")
    fixed, layout = jax.lax.stop_gradient(kernel), ("NHWC", "HWIO", "NHWC")
    outputs = jax.lax.conv_general_dilated(
        images, fixed, (1, 1), "SAME", dimension_numbers=layout
    )
    patches = jax.lax.conv_general_dilated_patches(
        jax.lax.stop_gradient(images), kernel.shape[:2], (1, 1), "SAME",
        dimension_numbers=layout,
    )  # fmt: skip
    change = (kernel - fixed).transpose(2, 0, 1, 3)  # zero, as patches are ordered
    return outputs + patches @ change.reshape(-1, kernel.shape[-1])


def _as_json(found: Diversity) -> dict[str, Any]:
    rounded = [[float(f"{v:.6g}") for v in row] for row in found.embeddings]
    return {
        **found.about,
        "diversity": found.diversity,
        "ci95": list(found.ci95),
        "classes": [list(names) for names in found.classes],
        "embeddings": rounded,
    }
