"""Few-shot tasks of a dataset's inputs, as regression targets of a wide network."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int, Num

from metabridge.data import episodes
from metabridge.data.dataset import Dataset, Split
from metabridge.theory.types import Tasks, one_hot
from metabridge.types import TaskShape


def check(dataset: Dataset, shape: TaskShape) -> None:
    """Raises unless tasks of this shape can be drawn from train and test."""
    for name in ("train", "test"):
        split = getattr(dataset, name)
        episodes.check_shape(shape, split, what=f"split {name!r} of {dataset.name!r}")


def draw(
    dataset: Dataset,
    split: Split,
    shape: TaskShape,
    count: int,
    seed: int | Sequence[int],
    *,
    apart: bool,
    flat: bool = True,
    side: int | None = None,
    raw: bool = False,
) -> tuple[Tasks, Int[np.ndarray, "_"]]:
    """Tasks whose targets are one-hot labels minus their mean, ``1 / ways``.

    Which class of a task is called 0 is random. Pixels are normalised by channel, then
    each image to a mean square of 1.

    Args:
      dataset: with the mean and deviation of its pixels.
      split: where classes and images come from.
      shape: of a task.
      count: of tasks.
      seed: of the draw.
      apart: let no image be in two of the tasks; in training that would make a kernel
        matrix singular.
      flat: images ``[D]``, or ``[H, W, channels]``.
      side: images shrunk to so many pixels a side, by averaging; None for as they are.
      raw: pixels as they are stored, which `theory.empirical_of_run` takes.

    Returns:
      The tasks, and the true label of each query, the same in all.

    Raises:
      ValueError: the split has too few different images for so many tasks.
    """
    rng = np.random.default_rng(seed)
    unused = _different_images(split)
    needed = shape.shots + shape.queries
    drawn = np.empty((count, shape.ways, needed), np.int64)
    for task in range(count):
        enough = [c for c, rows in enumerate(unused) if len(rows) >= needed]
        if len(enough) < shape.ways:
            raise ValueError(
                f"{dataset.name!r} has images for {task} tasks of {shape.ways} ways "
                f"with {needed} images a class, but {count} are to share none; ask for "
                "fewer tasks, shots or queries"
            )
        for place, label in enumerate(rng.choice(enough, shape.ways, replace=False)):
            rows = rng.permutation(unused[label])
            drawn[task, place] = rows[:needed]
            if apart:
                unused[label] = rows[needed:]
    chosen = np.split(drawn, [shape.shots], axis=2)
    labels = [np.repeat(np.arange(shape.ways), part.shape[2]) for part in chosen]
    fields: list[np.ndarray] = []
    for part, own in zip(chosen, labels, strict=True):
        rows = part.reshape(-1)
        x = split.inputs[rows] if raw else pixels(dataset, split, rows, side=side)
        x = x.reshape(count, len(own), *((-1,) if flat else x.shape[1:]))
        y = one_hot(own, shape.ways, centred=True)
        fields += [x, np.tile(y, (count, 1, 1))]
    return Tasks(*fields), labels[1]


def pixels(
    dataset: Dataset, split: Split, rows: Int[np.ndarray, "N"], *, side: int | None
) -> Float[np.ndarray, "N *X"]:
    """Inputs as `draw` gives them."""
    values = np.asarray(split.inputs[rows], np.float64)
    scale = 255.0 if dataset.has_images else 1.0
    values = (values / scale - dataset.mean) / np.asarray(dataset.std)
    if side is not None:
        values = _shrink(values, side)
    return on_sphere(values).reshape(values.shape)


def on_sphere(x: Num[np.ndarray, "N *X"]) -> Float[np.ndarray, "N D"]:
    """Inputs flattened, of unit norm times sqrt(d): a mean square of 1."""
    flat = x.reshape(len(x), -1)
    norm = np.linalg.norm(flat, axis=1, keepdims=True)
    return flat / np.where(norm > 0, norm, 1.0) * flat.shape[1] ** 0.5


def _different_images(split: Split) -> list[np.ndarray]:
    """The rows of each class, an image that occurs twice only once."""
    seen: set[bytes] = set()
    rows: list[list[int]] = [[] for _ in range(split.num_classes)]
    for row, label in enumerate(split.labels.tolist()):
        content = np.asarray(split.inputs[row]).tobytes()
        if content not in seen:
            seen.add(content)
            rows[label].append(row)
    return [np.asarray(own) for own in rows]


def _shrink(images: np.ndarray, side: int) -> np.ndarray:
    """Averages of equal blocks of pixels; a remainder at the edges is left out."""
    height, width = images.shape[1:3]
    if not 1 <= side <= min(height, width):
        raise ValueError(
            f"`side` must be at least 1 and at most that of the images, {height} x "
            f"{width}, but is {side}"
        )
    rows, columns = height // side, width // side
    kept = images[:, : rows * side, : columns * side]
    shape = (len(images), side, rows, side, columns, images.shape[3])
    return kept.reshape(shape).mean((2, 4))
