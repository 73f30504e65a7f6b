"""Few-shot tasks of images, as regression targets."""

import numpy as np
import pytest

from metabridge.data import Dataset, Split
from metabridge.theory.closeness import image_tasks
from metabridge.types import TaskShape

SHAPE = TaskShape(3, 2, 4)


def _split(name: str, classes: int) -> Split:
    rng = np.random.default_rng(classes)
    images = rng.integers(0, 256, (40 * classes, 28, 28, 1), dtype=np.uint8)
    labels = np.repeat(np.arange(classes, dtype=np.int32), 40)
    return Split(images, labels, tuple(f"{name} {label}" for label in range(classes)))


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    """Noise of ten unseen classes."""
    splits = (_split("a", 3), _split("b", 3), _split("c", 10))
    return Dataset("noise", *splits, (0.5,), (0.3,))


def test_image_tasks_share_no_image(dataset: Dataset) -> None:
    drawn, labels = image_tasks.draw(
        dataset, dataset.test, SHAPE, 20, seed=0, apart=True
    )
    np.testing.assert_array_equal(labels, np.repeat([0, 1, 2], 4))
    inputs = [np.asarray(drawn.support_x), np.asarray(drawn.query_x)]
    points = np.concatenate([x.reshape(-1, x.shape[-1]) for x in inputs])
    assert points.shape == (20 * 18, 784)
    assert len(np.unique(points, axis=0)) == len(points)
    np.testing.assert_allclose((points**2).mean(1), 1.0)
    targets = np.asarray(drawn.query_y)
    np.testing.assert_array_equal(targets.argmax(-1), np.tile(labels, (20, 1)))
    np.testing.assert_allclose(targets.sum(-1), 0.0, atol=1e-12)
    with pytest.raises(ValueError, match="share none"):
        image_tasks.draw(dataset, dataset.test, SHAPE, 10_000, seed=0, apart=True)


def test_images_keep_their_shape_and_shrink(dataset: Dataset) -> None:
    options = {"seed": [3, 1], "apart": False, "flat": False}
    whole, _ = image_tasks.draw(dataset, dataset.test, SHAPE, 2, **options)
    small, _ = image_tasks.draw(dataset, dataset.test, SHAPE, 2, side=7, **options)
    x, shrunk = np.asarray(whole.support_x), np.asarray(small.support_x)
    assert x.shape == (2, 6, 28, 28, 1)
    assert shrunk.shape == (2, 6, 7, 7, 1)
    np.testing.assert_allclose((shrunk**2).mean((2, 3, 4)), 1.0)
    block = x[0, 0, :4, :4, 0].mean() / x[0, 0, 4:8, 8:12, 0].mean()
    np.testing.assert_allclose(
        shrunk[0, 0, 0, 0, 0] / shrunk[0, 0, 1, 2, 0], block, rtol=1e-9
    )
    with pytest.raises(ValueError, match="`side`"):
        image_tasks.draw(dataset, dataset.test, SHAPE, 2, side=29, **options)
