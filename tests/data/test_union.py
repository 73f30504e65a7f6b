"""Unions of hand-made datasets, and images converted as Pillow converts them."""

import dataclasses
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from metabridge.data import Dataset, Split, load_dataset
from metabridge.data.union import count_seen, digests, unite, with_shape
from metabridge.registry import DATASETS, register_dataset


def made(
    name: str, shape: tuple[int, int, int], *, seed: int, augmentation: str = "natural"
) -> Dataset:
    """Two classes a split, of three and two random images."""
    generator = np.random.default_rng(seed)
    labels = np.array([0, 0, 0, 1, 1], np.int32)

    def split(part: str) -> Split:
        images = generator.integers(0, 256, (5, *shape), np.uint8)
        return Split(images, labels, (f"{part} a", f"{part} b"))

    parts = {part: split(part) for part in ("train", "validation", "test")}
    statistics = ((0.5,) * shape[2], (0.25,) * shape[2])
    return Dataset(name, **parts, mean=statistics[0], std=statistics[1],
                   augmentation=augmentation)  # fmt: skip


GREY = made("grey", (6, 6, 1), seed=1, augmentation="drawing")
COLOUR = made("colour", (9, 12, 3), seed=2)


def by_pillow(images: np.ndarray, side: int, mode: str) -> np.ndarray:
    rows = []
    for image in images:
        picture = Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)
        small = picture.convert(mode).resize((side, side), Image.Resampling.LANCZOS)
        rows.append(np.asarray(small).reshape(side, side, -1))
    return np.stack(rows)


def test_classes_of_each_split_together() -> None:
    both = unite({"g": GREY, "c": COLOUR}, (6, 6, 1), name="g+c")
    assert both.name == "g+c"
    assert both.augmentation == "drawing"
    for part, split in both.splits():
        names = (f"g/{part} a", f"g/{part} b", f"c/{part} a", f"c/{part} b")
        assert split.class_names == names
        assert split.labels.tolist() == [0, 0, 0, 1, 1, 2, 2, 2, 3, 3]
        assert split.labels.dtype == np.int32
        np.testing.assert_array_equal(split.images[:5], getattr(GREY, part).images)
        expected = by_pillow(getattr(COLOUR, part).images, 6, "L")
        np.testing.assert_array_equal(split.images[5:], expected)
        # From the cache, a page at a time.
        assert isinstance(split.images, np.memmap)
    pixels = both.train.images.astype(np.float64) / 255
    np.testing.assert_allclose(both.mean, pixels.mean((0, 1, 2)), atol=1e-4)
    np.testing.assert_allclose(both.std, pixels.std((0, 1, 2)), atol=1e-4)


def test_an_image_of_another_shape() -> None:
    found = with_shape(GREY, (8, 8, 3))
    expected = by_pillow(GREY.test.images, 8, "RGB")
    np.testing.assert_array_equal(found.test.images, expected)
    for channel in (1, 2):
        np.testing.assert_array_equal(expected[..., 0], expected[..., channel])
    assert found.test.class_names == GREY.test.class_names
    pixels = expected_train = by_pillow(GREY.train.images, 8, "RGB") / 255.0
    np.testing.assert_allclose(found.mean, expected_train.mean((0, 1, 2)), atol=1e-4)
    np.testing.assert_allclose(found.std, pixels.std((0, 1, 2)), atol=1e-4)
    assert found.name == "grey"
    assert found.augmentation == "drawing"
    # Colours by the weights of ITU-R 601, as Pillow rounds them.
    grey = with_shape(COLOUR, (9, 12, 1)).test.images[..., 0]
    weighted = COLOUR.test.images @ np.array([0.299, 0.587, 0.114])
    assert np.abs(grey - weighted).max() <= 1
    assert with_shape(GREY, (6, 6, 1)) is GREY


def sharing(split: str, images: np.ndarray) -> Dataset:
    """A dataset that has some images of another."""
    own = made("other", (6, 6, 1), seed=3)
    pixels = getattr(own, split).images.copy()
    pixels[: len(images)] = images
    changed = dataclasses.replace(getattr(own, split), inputs=pixels)
    return dataclasses.replace(own, **{split: changed})


def test_images_of_another_split_are_refused(caplog: pytest.LogCaptureFixture) -> None:
    shared = sharing("test", GREY.train.images[:2])

    def both(**options: Any) -> Dataset:
        return unite({"g": GREY, "o": shared}, (6, 6, 1), name="g+o", **options)

    message = "2 image.* another split .*'o/test a' of 'test' is in 'g/train a' of 't"
    with pytest.raises(ValueError, match=message):
        both()
    with caplog.at_level(logging.WARNING):
        assert both(allow_duplicates=True).train.num_classes == 4
    assert "2 image(s)" in caplog.text
    with pytest.raises(ValueError, match=message):  # though the other is cached
        both()


def test_what_is_not_refused(caplog: pytest.LogCaptureFixture) -> None:
    same = sharing("train", GREY.train.images[:1])
    with caplog.at_level(logging.WARNING):
        unite({"g": GREY, "o": same}, (6, 6, 1), name="same split")
    assert "1 image(s) of a dataset are in the same split of another" in caplog.text
    caplog.clear()
    # Of a single colour, by which nothing could be known again.
    plain = np.full((2, 6, 6, 1), 7, np.uint8)
    one, two = sharing("train", plain), made("grey", (6, 6, 1), seed=5)
    images = two.test.images.copy()
    images[:2] = 7
    test = dataclasses.replace(two.test, inputs=images)
    two = dataclasses.replace(two, test=test)
    with caplog.at_level(logging.WARNING):
        unite({"o": one, "g": two}, (6, 6, 1), name="plain")
    assert not caplog.text


def test_images_that_were_seen() -> None:
    seen, images = GREY.train.images, GREY.test.images.copy()
    assert count_seen(seen, images) == 0
    images[[0, 3]] = seen[[4, 1]]
    assert count_seen(seen, images) == 2
    assert digests(np.full((1, 2, 2, 3), [1, 2, 3], np.uint8)) == [None]


@pytest.fixture
def registered():
    """The two, of which one is read at any size, and says what it was given."""
    given: list[Any] = []

    def colour(*, image_size: Any = None, brightness: int = 1) -> Dataset:
        given.append((image_size, brightness))
        return COLOUR if image_size is None else with_shape(COLOUR, (*image_size, 3))

    register_dataset("my_grey", lambda: GREY)
    register_dataset("my_colour", colour)
    yield given
    DATASETS.remove("my_grey")
    DATASETS.remove("my_colour")


def test_shape_of_a_union(registered: list[Any], tmp_path: Path) -> None:
    def shape(name: str, **options: Any) -> tuple[int, int, int]:
        return load_dataset(name, cache_dir=tmp_path, **options).image_shape

    assert shape("my_grey+my_colour", brightness=2) == (6, 6, 1)
    assert registered == [((6, 6), 2)]
    assert shape("my_colour+my_grey") == (9, 12, 3)
    assert registered[1:] == [(None, 1)]
    assert shape("my_grey+my_colour", image_size=5) == (5, 5, 1)
    assert shape("my_grey+my_colour", channels=3) == (6, 6, 3)
    assert load_dataset("my_grey+my_colour").name == "my_grey+my_colour"


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("my_grey+my_grey", {}, "names 'my_grey' twice"),
        ("my_grey+mine", {}, "unknown dataset 'mine'"),
        ("my_grey+my_colour", {"data_dir": "x"}, "does not take `data_dir`"),
        ("my_grey+my_colour", {"seeds": 1}, "does not take `seeds`; it takes"),
        ("my_grey+my_colour", {"channels": 4}, "`channels` is 4"),
        ("my_grey+my_colour", {"image_size": 0}, "sides from 1 to"),
    ],
)
def test_unions_that_are_none(
    registered: list[Any], name: str, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        load_dataset(name, **options)


@pytest.mark.slow
def test_two_splits_of_the_same_images(cifar_fs: Dataset, fc100: Dataset) -> None:
    parts = {"cifar_fs": cifar_fs, "fc100": fc100}
    with pytest.raises(ValueError, match=r"31,206 image.* pixel for pixel"):
        unite(parts, (32, 32, 3), name="cifar_fs+fc100")
