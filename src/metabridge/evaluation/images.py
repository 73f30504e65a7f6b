"""Tasks from images: each is drawn, adapted to and scored on the device.

Tasks are spread over the devices of all hosts.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key, UInt8

from metabridge.data import augment, episodes
from metabridge.data.dataset import Dataset, Split
from metabridge.evaluation.scores import Evaluate, Score, Summarise, accuracy, score
from metabridge.learners import Learner
from metabridge.parallel import hosts
from metabridge.parallel.mesh import over_rows, to_local
from metabridge.types import Examples, Scalar, TaskShape, Variables


def normaliser(
    dataset: Dataset,
) -> Callable[[UInt8[Array, "N H W c"]], Float[Array, "N H W c"]]:
    """Makes the function that normalises images as those of a dataset."""
    return lambda images: augment.normalise(images, dataset.mean, dataset.std)


def image_evaluator(
    learner: Learner,
    dataset: Dataset,
    split: Split,
    shape: TaskShape,
    *,
    summarise: Summarise = score,
) -> Evaluate:
    """Makes the function that scores a learner on one task after the other."""
    max_size = int(split.images_per_class.max())
    normalise = normaliser(dataset)

    def task_accuracy(
        variables: Variables, bank: episodes.ImageBank, key: Key[Array, ""]
    ) -> Scalar:
        drawn = episodes.sample_episode(key, bank.classes, shape, max_size=max_size)
        support = Examples(
            normalise(bank.images[drawn.support.reshape(-1)]),
            episodes.labels(shape.ways, shape.shots),
        )
        adapted = learner.adapt(variables, support, ways=shape.ways)
        query = normalise(bank.images[drawn.query.reshape(-1)])
        return accuracy(learner.logits(adapted, query), shape)

    @over_rows
    def accuracies_of(
        variables: Variables, bank: episodes.ImageBank, keys: Key[Array, "n"]
    ) -> Float[Array, "n"]:
        # One a device: tasks that adapt a body are slow in groups.
        return jnp.stack([task_accuracy(variables, bank, key) for key in keys])

    @functools.cache  # not before it is needed
    def bank() -> episodes.ImageBank:
        return to_local(episodes.image_bank(split))

    def evaluate(variables: Variables, key: Key[Array, ""], num_tasks: int) -> Score:
        variables, count = to_local(variables), jax.local_device_count()
        own = jax.random.split(key, num_tasks)[hosts.share(num_tasks)]
        rounds = -(-len(own) // count)
        keys = own[np.arange(rounds * count) % max(len(own), 1)].reshape(rounds, count)
        found = [accuracies_of(variables, bank(), these) for these in keys]
        accuracies = np.concatenate([np.zeros(0, np.float32), *jax.device_get(found)])
        own_accuracies = accuracies[: len(own)]
        return summarise(np.asarray(hosts.gathered(own_accuracies, num_tasks)))

    return evaluate
