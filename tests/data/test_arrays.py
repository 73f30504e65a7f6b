"""Statistics and sorting, against NumPy in float64."""

import numpy as np

from metabridge.data import dataset as arrays


def test_statistics_equal_numpys() -> None:
    images = np.random.default_rng(0).integers(0, 200, (20, 7, 5, 3), dtype=np.uint8)
    mean, std = arrays.pixel_statistics(images)
    scaled = images.astype(np.float64) / 255
    np.testing.assert_allclose(mean, scaled.mean((0, 1, 2)), atol=5.1e-5)
    np.testing.assert_allclose(std, scaled.std((0, 1, 2)), atol=5.1e-5)


def test_constant_images_have_a_std_to_divide_by() -> None:
    _, std = arrays.pixel_statistics(np.zeros((2, 3, 3, 1), np.uint8))
    assert std == (0.0039,)


def test_sorting_takes_the_wanted_classes_in_their_order() -> None:
    labels = np.array([5, 2, 5, 9, 2, 5])
    images = np.arange(6, dtype=np.uint8)[:, None, None, None]
    split = arrays.sorted_split(images, labels, {9: "nine", 5: "five"})
    assert split.images.ravel().tolist() == [3, 0, 2, 5]
    assert split.labels.tolist() == [0, 1, 1, 1]
    assert split.labels.dtype == np.int32
    assert split.class_names == ("nine", "five")
