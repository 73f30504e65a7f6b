"""Images of users, in every form as a folder of them; labels there and back."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from metabridge.apply.inputs import check_images, encode_labels
from metabridge.data import images
from metabridge.data.reading import Reading

GENERATOR = np.random.default_rng(0)
COLOUR = GENERATOR.integers(0, 256, (5, 12, 10, 3), dtype=np.uint8)
GREY = COLOUR[..., 0]


def read(given, shape=(12, 10, 3)) -> np.ndarray:
    source = check_images(given, shape)
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
    sizes = [COLOUR[0], COLOUR[1, :7], GREY[2], paths[3], Image.fromarray(COLOUR[4])]
    mixed = read(sizes, shape)
    assert np.array_equal(mixed[[0, 3, 4]], from_files[[0, 3, 4]])
    assert mixed.shape == (5, 8, 8, 3)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("a.png", "one path"),
        ([], "is empty"),
        (np.zeros((0, 8, 8, 3), np.uint8), "is empty"),
        (3, "not a list or an array"),
        (np.zeros((8, 8, 3), np.uint8), r"images\[None\]"),
        (np.zeros((4, 64), np.uint8), r"\[N, H, W, c\] or \[N, H, W\]"),
        (np.zeros((2, 3, 8, 8), np.uint8), r"transpose \[c, H, W\]"),
        (np.zeros((2, 8, 8, 5), np.uint8), "1 to 4 channels"),
        (b"\x89PNG", "one image, bytes: pass a list"),
        (Image.new("RGB", (8, 8)), "one image, Image: pass a list"),
        (np.zeros((2, 8, 8), np.int64), "int64"),
        (np.zeros((2, 8, 8), complex), "Complex data not supported"),
        ([np.zeros((8, 0), np.uint8)], r"not \[8, 0\]"),
        ([np.zeros(8, np.uint8)], r"\[H, W\] or \[H, W, c\]"),
    ],
)
def test_what_is_refused_at_once(given, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_images(given, (8, 8, 3))


@pytest.mark.parametrize(
    ("value", "message"),
    [(255.0, "divide by what is white"), (-0.1, "from -0.1"), (np.nan, "NaN")],
)
def test_floats_out_of_their_range(value: float, message: str) -> None:
    floats = np.full((3, 8, 8), 0.5)
    floats[1, 2, 3] = value
    for form in (floats, list(floats)):
        with pytest.raises(ValueError, match=message):
            check_images(form, (8, 8, 1)).read(0, 3)


def test_files_that_are_no_images_are_named(tmp_path: Path) -> None:
    """And no option is advised: `FewShotClassifier` has none of the reader's."""
    (tmp_path / "text.png").write_text("no image")
    forms = (tmp_path / "text.png", tmp_path / "nowhere.png", b"no image")
    for form, name in zip(forms, ("text.png", "nowhere.png", "0 of `im"), strict=True):
        with pytest.raises(ValueError, match=name) as caught:
            check_images([form], (8, 8, 1)).read(0, 1)
        assert str(caught.value).endswith("; repair or remove it")


FORMS = {
    "grey": (Image.fromarray(GREY[0]), "PNG"),
    "palette": (Image.fromarray(COLOUR[0]).quantize(50), "PNG"),
    "grey and alpha": (Image.fromarray(COLOUR[0, ..., :2], "LA"), "PNG"),
    "alpha": (Image.fromarray(np.dstack([COLOUR[0], GREY[1]])), "PNG"),
    "turned": (Image.fromarray(COLOUR[0]), "JPEG"),
    "16 bits": (Image.fromarray(GREY[0].astype(np.uint16) * np.uint16(99)), "PNG"),
    "floats": (Image.fromarray(GREY[0].astype(np.float32) / np.float32(255)), "TIFF"),
}


@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize("shape", [(8, 8, 3), (8, 8, 1)])
def test_paths_bytes_pillow_images_and_arrays_agree(
    tmp_path: Path, name: str, shape: tuple[int, int, int]
) -> None:
    """With the options of a run and without, and as a folder of images is read."""
    image, kind = FORMS[name]
    exif = Image.Exif()
    exif[0x0112] = 6
    path = tmp_path / "image"
    image.save(path, kind, **({"exif": exif} if name == "turned" else {}))
    forms: list[Any] = [path, str(path), path.read_bytes()]
    with Image.open(path) as held:
        forms.append(held)
        if name not in ("turned", "palette"):  # whose arrays are something else
            forms.append(np.asarray(held))
        for reading in (Reading(), Reading("#8040ff", 30_000.0)):
            if name == "floats" and reading.white_level:
                continue  # arrays of floats are in [0, 1] whatever the option
            expected = np.zeros((1, *shape), np.uint8)
            images.decode([path], expected, reading=reading)
            assert np.ptp(expected) > 20
            for form in forms:
                found = check_images([form], shape, reading).read(0, 1)
                np.testing.assert_array_equal(found, expected, err_msg=str(type(form)))


def test_one_pillow_image_may_stand_twice_in_a_list(tmp_path: Path) -> None:
    """It is read from its file when its pixels are asked for, in which thread ever."""
    Image.fromarray(COLOUR[0]).save(tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as image:
        found = check_images([image] * 16, (12, 10, 3)).read(0, 16)
    assert np.array_equal(found, np.stack([COLOUR[0]] * 16))
    (tmp_path / "b.png").write_bytes((tmp_path / "a.png").read_bytes()[:100])
    with (
        Image.open(tmp_path / "b.png") as image,
        pytest.raises(ValueError, match="cannot read image 0 of `images`"),
    ):
        check_images([image], (12, 10, 3)).read(0, 1)


@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        (["dog", "cat", "dog"], ["cat", "dog"]),
        ([3, 1, 3, -2], [-2, 1, 3]),
        ([True, False], [False, True]),
        ([("a", 1), ("b", 2), ("a", 1)], [("a", 1), ("b", 2)]),
        (["x", 1, "x"], ["x", 1]),  # no order: as they come
        ([1.0, 2.0], [1.0, 2.0]),
    ],
)
def test_there_and_back(labels: list, classes: list) -> None:
    found, codes = encode_labels(labels, len(labels))
    assert list(found) == classes
    assert codes.dtype == np.int32
    assert list(found[codes]) == labels


def test_arrays_keep_their_type() -> None:
    for labels in (np.asarray(["b", "a"]), np.asarray([4, 2], np.uint8)):
        classes, codes = encode_labels(labels, 2)
        assert classes.dtype == labels.dtype
        assert np.array_equal(classes, np.unique(labels))
        assert codes.tolist() == [1, 0]
    scalars = list(np.asarray([3, 1, 3]))
    assert encode_labels(scalars, 3)[0].dtype == np.int64
    objects = np.asarray(["b", "a"], object)
    assert encode_labels(objects, 2)[0].tolist() == ["a", "b"]


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (None, "requires y to be passed"),
        (["a", "b", "c"], "2 images, but 3 labels"),
        (["a", "a"], "the one class 'a'"),
        (["a", None], "None"),
        ([1.0, float("nan")], "NaN"),
        ([0.5, 1.0], "Unknown label type: continuous"),
        ([["a"], ["b"]], "not hashable"),
        (np.zeros((2, 1), int), r"not \[2, 1\]"),
    ],
)
def test_labels_that_make_no_classes(labels, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        encode_labels(labels, 2)
