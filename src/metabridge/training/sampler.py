"""Training batches, drawn and augmented inside the compiled step."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key, UInt8

from metabridge.data import augment, episodes
from metabridge.data.dataset import Dataset
from metabridge.data.episodes import ImageBank
from metabridge.types import Examples, Task, TaskShape

Sample = Callable[[Key[Array, ""], ImageBank], Task]
"""``sample(key, bank)``: one task, its images augmented and normalised."""


def task_sampler(
    dataset: Dataset,
    shape: TaskShape,
    *,
    augmentation: str,
    rotations: bool = False,
    num_tasks: int | None = None,
    tasks_key: Key[Array, ""] | None = None,
) -> Sample:
    """Makes the function that draws a training task.

    Args:
      dataset: its training split is what the bank will hold.
      shape: ways, shots and queries.
      augmentation: a name that `augment.augmentation` knows.
      rotations: let quarter turns of a class count as classes.
      num_tasks: draw from a fixed set of so many tasks, classes and images settled,
        instead of a fresh one each time; the augmentation is always fresh.
      tasks_key: what settles the fixed set.
    """
    change = augment.augmentation(augmentation, dataset.mean, dataset.std)
    max_size = int(dataset.train.images_per_class.max())

    def sample(key: Key[Array, ""], bank: ImageBank) -> Task:
        key_task, key_support, key_query = jax.random.split(key, 3)
        task_id = jnp.asarray(-1, jnp.int32)
        if num_tasks is not None and tasks_key is not None:
            task_id = jax.random.randint(key_task, (), 0, num_tasks, jnp.int32)
            key_task = jax.random.fold_in(tasks_key, task_id)
        drawn = episodes.sample_episode(
            key_task, bank.classes, shape, max_size=max_size, rotations=rotations
        )

        def examples(key: Key[Array, ""], rows: Int[Array, "ways n"]) -> Examples:
            per_class = rows.shape[1]
            images = bank.images[rows.reshape(-1)]
            if rotations:
                images = _quarter_turns(images, jnp.repeat(drawn.turns, per_class))
            if not rows.size:
                return Examples(
                    jnp.zeros(images.shape, jnp.float32), jnp.zeros(0, jnp.int32)
                )
            return Examples(change(key, images), episodes.labels(shape.ways, per_class))

        return Task(
            examples(key_support, drawn.support),
            examples(key_query, drawn.query),
            drawn.classes,
            task_id,
        )

    return sample


def _quarter_turns(
    images: UInt8[Array, "N H W c"], turns: Int[Array, "N"]
) -> UInt8[Array, "N H W c"]:
    turned = [jnp.rot90(images, k, (1, 2)) for k in range(4)]
    which = [(turns == k)[:, None, None, None] for k in range(4)]
    return jnp.select(which, turned)


def example_of(dataset: Dataset) -> Float[Array, "1 H W c"]:
    """An input of the right shape, to initialise a learner with."""
    return jnp.zeros((1, *dataset.image_shape), jnp.float32)
