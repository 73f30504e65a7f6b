"""The value types refuse what is no few-shot dataset; the fingerprint of one."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from metabridge.data import Dataset, Split
from metabridge.data import dataset as dataset_module

IMAGES = np.zeros((4, 5, 6, 1), np.uint8)
LABELS = np.array([0, 0, 1, 1], np.int32)


def make(**changes: Any) -> Split:
    options = {"inputs": IMAGES, "labels": LABELS, "class_names": ("a", "b")}
    return Split(**(options | changes))


def make_dataset(**changes: Any) -> Dataset:
    options: dict[str, Any] = {
        "name": "toy",
        "train": make(class_names=("a", "b")),
        "validation": make(class_names=("c", "d")),
        "test": make(class_names=("e", "f")),
        "mean": (0.5,),
        "std": (0.5,),
    }
    return Dataset(**(options | changes))


def test_sizes() -> None:
    dataset = make_dataset()
    assert dataset.image_shape == (5, 6, 1)
    assert [name for name, _ in dataset.splits()] == ["train", "validation", "test"]
    assert dataset.train.num_classes == 2
    assert dataset.train.images_per_class.tolist() == [2, 2]


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"inputs": IMAGES.astype(np.int32)}, TypeError, "must be images, uint8"),
        ({"inputs": IMAGES[..., 0]}, TypeError, "must be images, uint8"),
        ({"inputs": np.zeros(4, np.float32)}, TypeError, "of floating point"),
        ({"inputs": np.zeros((4, 0), np.float32)}, ValueError, "are empty"),
        ({"inputs": np.zeros((4, 5, 6, 4), np.uint8)}, ValueError, "1 or 3 channels"),
        ({"labels": LABELS[:3]}, TypeError, r"must be int32 \[4\]"),
        ({"labels": LABELS.astype(np.int64)}, TypeError, r"must be int32 \[4\]"),
        ({"labels": LABELS[::-1]}, ValueError, "must ascend"),
        ({"labels": np.zeros(4, np.int32)}, ValueError, r"each of 0\.\.1"),
        ({"labels": LABELS + np.int32(1)}, ValueError, r"each of 0\.\.1"),
        ({"class_names": ("a", "a")}, ValueError, "a name twice"),
    ],
)
def test_bad_splits(
    changes: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        make(**changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"test": make(class_names=("b", "e"))}, "'b' .* 'train' and in 'test'"),
        ({"test": make(inputs=np.zeros((4, 5, 5, 1), np.uint8))}, "differ in shape"),
        ({"mean": (0.5, 0.5, 0.5)}, "one an entry of the last axis"),
    ],
)
def test_bad_datasets(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_dataset(**changes)


def test_a_fingerprint_is_of_all_that_a_result_depends_on() -> None:
    base = make_dataset().fingerprint()
    assert base == make_dataset(name="moved", augmentation="drawing").fingerprint()
    other = IMAGES.copy()
    other[3, 4, 5, 0] = 1
    changed = [
        make_dataset(train=make(inputs=other)),
        make_dataset(test=make(inputs=other, class_names=("e", "f"))),
        make_dataset(train=make(labels=np.array([0, 1, 1, 1], np.int32))),
        make_dataset(train=make(class_names=("a", "g"))),
        make_dataset(train=make(class_names=("c", "d")), validation=make()),
        make_dataset(mean=(0.25,)),
        make_dataset(std=(0.25,)),
    ]
    found = [base, *(dataset.fingerprint() for dataset in changed)]
    assert len(set(found)) == len(found)


def test_mapped_images_have_the_fingerprint_of_those_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = np.random.default_rng(0).integers(0, 256, (4, 5, 6, 1), np.uint8)
    np.save(tmp_path / "images.npy", images)
    mapped = np.load(tmp_path / "images.npy", mmap_mode="r")
    expected = make_dataset(train=make(inputs=images)).fingerprint()
    for size in (1, 31, 60, 1 << 24):  # of a chunk; one image at least
        monkeypatch.setattr(dataset_module, "_CHUNK_BYTES", size)
        assert make_dataset(train=make(inputs=mapped)).fingerprint() == expected
        backwards = make(inputs=images[::-1].copy()[::-1])
        assert make_dataset(train=backwards).fingerprint() == expected


def test_statistics_equal_numpys() -> None:
    images = np.random.default_rng(0).integers(0, 200, (20, 7, 5, 3), dtype=np.uint8)
    mean, std = dataset_module.pixel_statistics(images)
    scaled = images.astype(np.float64) / 255
    np.testing.assert_allclose(mean, scaled.mean((0, 1, 2)), atol=5.1e-5)
    np.testing.assert_allclose(std, scaled.std((0, 1, 2)), atol=5.1e-5)


def test_constant_images_have_a_std_to_divide_by() -> None:
    _, std = dataset_module.pixel_statistics(np.zeros((2, 3, 3, 1), np.uint8))
    assert std == (0.0039,)


def test_sorting_takes_the_wanted_classes_in_their_order() -> None:
    labels = np.array([5, 2, 5, 9, 2, 5])
    images = np.arange(6, dtype=np.uint8)[:, None, None, None]
    split = dataset_module.sorted_split(images, labels, {9: "nine", 5: "five"})
    assert split.images.ravel().tolist() == [3, 0, 2, 5]
    assert split.labels.tolist() == [0, 1, 1, 1]
    assert split.labels.dtype == np.int32
    assert split.class_names == ("nine", "five")
