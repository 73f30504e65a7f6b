"""Training batches, drawn and augmented inside the compiled step."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from metabridge.data import augment, episodes
from metabridge.data.dataset import Dataset
from metabridge.data.episodes import Bank, ClassIndex, Episode, TaskInputs
from metabridge.types import Examples, RawInputs, Task, TaskShape


@dataclasses.dataclass(frozen=True, eq=False)  # keys have no hash
class Sampler:
    """A sampler of training tasks; its methods are pure functions of a key."""

    shape: TaskShape
    max_size: int
    """Images of the largest class."""
    change: augment.Augment
    """Augmentation and normalisation."""
    side: int | None = None
    """To which square images are reduced once they are augmented; None leaves them."""
    rotations: bool = False
    """Let quarter turns of a class count as classes."""
    num_tasks: int | None = None
    """Draw from a fixed set of so many tasks, classes and images settled, instead of a
    fresh one each time; the augmentation is always fresh."""
    tasks_key: Key[Array, ""] | None = None
    """PRNG key of the fixed set, and of the rounds of `balanced`."""
    balanced: bool = False
    """No class comes twice in a round of tasks; each round has an order of its own, and
    leaves out what does not fill a task. Otherwise each task draws anew."""

    def draw(
        self,
        key: Key[Array, ""],
        classes: ClassIndex,
        number: Int[Array, ""] | None = None,
    ) -> tuple[Episode, Int[Array, ""]]:
        """Draw the rows of a task, and its number in the fixed set or -1.

        `number` is that of the task among all that are drawn; `balanced` needs it.
        """
        key_task, _, _ = jax.random.split(key, 3)
        task_id = jnp.asarray(-1, jnp.int32)
        if self.num_tasks is not None and self.tasks_key is not None:
            task_id = jax.random.randint(key_task, (), 0, self.num_tasks, jnp.int32)
            key_task = jax.random.fold_in(self.tasks_key, task_id)
        drawn = episodes.sample_episode(
            key_task,
            classes,
            self.shape,
            max_size=self.max_size,
            rotations=self.rotations,
            chosen=self._of_round(classes, number) if self.balanced else None,
        )
        return drawn, task_id

    def _of_round(
        self, classes: ClassIndex, number: Int[Array, ""] | None
    ) -> Int[Array, "ways"]:
        if number is None or self.tasks_key is None:
            raise ValueError("balanced tasks need their number and `tasks_key`")
        every = classes.size.shape[0] * (4 if self.rotations else 1)
        tasks = every // self.shape.ways
        key = jax.random.fold_in(self.tasks_key, number // tasks)
        first = (number % tasks) * self.shape.ways
        order = jax.random.permutation(key, jnp.arange(every, dtype=jnp.int32))
        return jax.lax.dynamic_slice(order, (first,), (self.shape.ways,))

    def __call__(
        self,
        key: Key[Array, ""],
        source: Bank | TaskInputs,
        number: Int[Array, ""] | None = None,
    ) -> Task:
        """Draw one task, its inputs augmented and normalised.

        The source has all inputs, or those that `draw` finds for this key.
        """
        _, key_support, key_query = jax.random.split(key, 3)
        drawn, task_id = self.draw(key, source.classes, number)
        if isinstance(source, TaskInputs):
            support, query = source.support, source.query
        else:
            support = source.inputs[drawn.support.reshape(-1)]
            query = source.inputs[drawn.query.reshape(-1)]
        support = self._examples(key_support, support, drawn, drawn.support)
        query = self._examples(key_query, query, drawn, drawn.query)
        return Task(support, query, drawn.classes, task_id)

    def _examples(
        self,
        key: Key[Array, ""],
        inputs: RawInputs,
        drawn: Episode,
        rows: Int[Array, "ways n"],
    ) -> Examples:
        per_class = rows.shape[1]
        labels, mask = episodes.labels_of(rows, self.shape)
        if not per_class:
            side, (*_, channels) = self.side, inputs.shape
            shape = inputs.shape if side is None else (0, side, side, channels)
            return Examples(jnp.zeros(shape, jnp.float32), labels, mask)
        if self.rotations:
            turns = jnp.repeat(drawn.turns, per_class)[:, None, None, None]
            turned = [jnp.rot90(inputs, k, (1, 2)) for k in range(4)]
            inputs = jnp.select([turns == k for k in range(4)], turned)
        changed = self.change(key, inputs)
        if self.side is not None:
            changed = augment.reduce_size(changed, self.side)
        return Examples(changed, labels, mask)


def task_sampler(
    dataset: Dataset, shape: TaskShape, *, augmentation: str, **options: Any
) -> Sampler:
    """The sampler of a dataset's training split; `options` are fields of `Sampler`."""
    change = augment.augmentation(augmentation, dataset.mean, dataset.std)
    max_size = int(dataset.train.images_per_class.max())
    return Sampler(shape, max_size, change, **options)


def example_of(dataset: Dataset) -> Float[Array, "1 *X"]:
    """An input of the right shape, to initialise a learner with."""
    return jnp.zeros((1, *dataset.input_shape), jnp.float32)
