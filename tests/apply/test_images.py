"""Images of users: every form gives what a folder of them would."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from metabridge.apply.images import checked

GENERATOR = np.random.default_rng(0)
COLOUR = GENERATOR.integers(0, 256, (5, 12, 10, 3), dtype=np.uint8)
GREY = COLOUR[..., 0]


def read(images, shape=(12, 10, 3)) -> np.ndarray:
    source = checked(images, shape)
    return np.concatenate([source.read(0, 2), source.read(2, len(source))])


def test_images_of_the_right_form_are_taken_as_they_are() -> None:
    assert np.array_equal(read(COLOUR), COLOUR)
    assert np.array_equal(read(GREY, (12, 10, 1)), GREY[..., None])
    assert np.array_equal(read(list(COLOUR)), COLOUR)


def test_floats_are_rounded_to_the_same_pixels() -> None:
    for dtype in (np.float32, np.float64):
        assert np.array_equal(read(COLOUR.astype(dtype) / dtype(255)), COLOUR)


def test_grey_and_colour() -> None:
    repeated = np.repeat(GREY[..., None], 3, axis=-1)
    assert np.array_equal(read(GREY), repeated)
    assert np.array_equal(read(GREY[..., None]), repeated)
    grey = read(COLOUR, (12, 10, 1))
    expected = COLOUR @ np.asarray([0.299, 0.587, 0.114])
    assert np.abs(grey[..., 0] - expected).max() <= 1


def test_files_arrays_and_sizes_agree(tmp_path: Path) -> None:
    paths = []
    for number, pixels in enumerate(COLOUR):
        paths.append(tmp_path / f"{number}.png")
        Image.fromarray(pixels).save(paths[-1])
    shape = (8, 8, 3)
    from_files = read(paths, shape)
    assert from_files.shape == (5, 8, 8, 3)
    assert np.array_equal(from_files, read(COLOUR, shape))
    assert np.array_equal(from_files, read([str(path) for path in paths], shape))
    assert np.array_equal(from_files, read(np.asarray(list(map(str, paths))), shape))
    sizes = [COLOUR[0], COLOUR[1, :7], GREY[2]]
    mixed = read(sizes, shape)
    assert np.array_equal(mixed[:1], from_files[:1])
    assert mixed.shape == (3, 8, 8, 3)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        ("a.png", "one path"),
        ([], "is empty"),
        (np.zeros((0, 8, 8, 3), np.uint8), "is empty"),
        (3, "not a list or an array"),
        (np.zeros((8, 8, 3), np.uint8), r"images\[None\]"),
        (np.zeros((4, 64), np.uint8), r"\[N, H, W, c\] or \[N, H, W\]"),
        (np.zeros((2, 3, 8, 8), np.uint8), r"transpose \[c, H, W\]"),
        (np.zeros((2, 8, 8, 4), np.uint8), "1 or 3 channels"),
        (np.zeros((2, 8, 8), np.int64), "int64"),
        (np.zeros((2, 8, 8), complex), "Complex data not supported"),
        ([np.zeros((8, 0), np.uint8)], r"not \[8, 0\]"),
        ([np.zeros(8, np.uint8)], r"\[H, W\] or \[H, W, c\]"),
        (["a.png", np.zeros((8, 8), np.uint8)], "mixes paths and arrays"),
    ],
)
def test_what_is_refused_at_once(images, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        checked(images, (8, 8, 3))


@pytest.mark.parametrize(
    ("value", "message"),
    [(255.0, "divide by what is white"), (-0.1, "from -0.1"), (np.nan, "NaN")],
)
def test_floats_out_of_their_range(value: float, message: str) -> None:
    images = np.full((3, 8, 8), 0.5)
    images[1, 2, 3] = value
    for form in (images, list(images)):
        with pytest.raises(ValueError, match=message):
            checked(form, (8, 8, 1)).read(0, 3)


def test_files_that_are_no_images_are_named(tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("no image")
    for name in ("text.png", "nowhere.png"):
        with pytest.raises(ValueError, match=name):
            checked([tmp_path / name], (8, 8, 1)).read(0, 1)
