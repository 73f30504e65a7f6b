"""Datasets of a user's arrays: what is accepted, in memory and in files."""

import dataclasses
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from metabridge.data import Dataset, from_arrays, load_dataset
from metabridge.data.arrays import statistics

RNG = np.random.default_rng(0)
CLASSES, EACH = 12, 5
X = (RNG.normal(size=(CLASSES * EACH, 4)) * [1, 10, 0, 3] + [0, 5, 2, -1]).astype("f4")
LABELS = np.repeat(np.arange(CLASSES), EACH)
SPLIT = ["train"] * 6 + ["validation"] * 3 + ["test"] * 3
NAMES = [f"class {c}" for c in range(CLASSES)]


def test_inputs_are_grouped_by_class_and_standardised_by_the_training_classes() -> None:
    order = RNG.permutation(len(X))
    made = from_arrays(X[order], LABELS[order], np.array(SPLIT)[LABELS[order]])
    assert made.test.class_names == ("9", "10", "11")
    assert not made.has_images
    assert made.augmentation == "none"
    for c in range(6):
        found = made.train.inputs[made.train.labels == c]
        expected = X[order][LABELS[order] == c]
        np.testing.assert_array_equal(found, expected)
    train = X[LABELS < 6].astype(np.float64)
    np.testing.assert_allclose(made.mean, train.mean(0), rtol=1e-6)
    np.testing.assert_allclose(np.delete(made.std, 2), np.delete(train.std(0), 2))
    assert made.std[2] == 1.0  # constant


def test_the_last_axis_of_signals_is_standardised() -> None:
    signals = RNG.normal(size=(len(X), 7, 2)) * [1, 4]
    made = from_arrays(signals, LABELS, SPLIT)
    assert (made.input_shape, len(made.mean)) == ((7, 2), 2)
    np.testing.assert_allclose(made.std, signals[LABELS < 6].std((0, 1)))
    mean, std = statistics(signals + 1e6)  # two passes: no cancellation
    np.testing.assert_allclose(mean, 1e6 + signals.mean((0, 1)))
    np.testing.assert_allclose(std, signals.std((0, 1)), rtol=1e-6)


def test_features_may_be_left_as_they_are() -> None:
    made = from_arrays(X, LABELS, SPLIT, standardise=False)
    assert (made.mean, made.std) == ((0.0,) * 4, (1.0,) * 4)


def test_images_are_images() -> None:
    images = RNG.integers(0, 256, (len(X), 6, 6, 3), dtype=np.uint8)
    made = from_arrays(images, LABELS, SPLIT, augmentation="crop_flip")
    assert made.has_images
    assert made.augmentation == "crop_flip"
    np.testing.assert_allclose(
        made.mean, images[LABELS < 6].mean((0, 1, 2)) / 255, atol=1e-4
    )
    counts = from_arrays(images[..., :2], LABELS, SPLIT)  # of no image
    assert counts.train.inputs.dtype == np.float32


@pytest.mark.parametrize(
    "split",
    [
        SPLIT,
        np.array(SPLIT)[LABELS],
        dict(enumerate(SPLIT)),
        [{"validation": "val"}.get(s, s.upper()) for s in SPLIT],
    ],
    ids=["by class", "by example", "mapping", "other names"],
)
def test_ways_to_say_the_split(split: Any) -> None:
    made = from_arrays(X, LABELS, split, class_names=NAMES)
    assert made.validation.class_names == ("class 6", "class 7", "class 8")


def test_names_by_label_where_some_labels_do_not_occur() -> None:
    kept = np.isin(LABELS, (0, 6, 9))
    splits = {0: "train", 6: "val", 9: "test"}
    made = from_arrays(X[kept], LABELS[kept], splits, class_names=NAMES)
    assert made.test.class_names == ("class 9",)


def test_there_and_back(tmp_path: Path) -> None:
    features = from_arrays(X, LABELS, SPLIT, class_names=NAMES, standardise=False)
    for made, kind in (
        (features, "features"),
        (from_arrays(X, LABELS, SPLIT, class_names=NAMES), "npz"),
        (from_arrays(np.zeros((60, 4, 4, 1), "u1"), LABELS, SPLIT), "npz"),
        (dataclasses.replace(features, std=(2.0,) * 4), "npz"),
        (
            from_arrays(
                np.zeros((60, 4, 4, 3), "u1"), LABELS, SPLIT, augmentation="drawing"
            ),
            "npz",
        ),
    ):
        again = load_dataset(f"{kind}:{made.save(tmp_path / 'a.npz')}")
        assert again.fingerprint() == made.fingerprint()
        assert again.augmentation == made.augmentation
        assert again.name == f"{kind}:{tmp_path / 'a.npz'}"


def test_a_folder_of_arrays_is_mapped(tmp_path: Path) -> None:
    for name, array in (("features", X), ("labels", LABELS), ("split", SPLIT)):
        np.save(tmp_path / f"{name}.npy", array)
    made = load_dataset(f"features:{tmp_path}")
    for _, split in made.splits():
        assert isinstance(split.inputs, np.memmap)
    np.testing.assert_array_equal(made.train.inputs, X[LABELS < 6])


def with_nan() -> np.ndarray:
    changed = X.copy()
    changed[-1, 2] = np.nan
    return changed


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "no split": ({"split": None}, "there is no `split`: say of each example or of"),
    "labels of the wrong length": (
        {"labels": LABELS[:7]},
        r"`labels` are \[7\], but there are 60 inputs",
    ),
    "labels of real numbers": ({"labels": LABELS / 2}, "`labels` are float64: pass"),
    "NaN": ({"inputs": with_nan()}, "hold NaN or infinity"),
    "complex numbers": ({"inputs": X * 1j}, "complex64: pass numbers"),
    "objects": ({"inputs": X.astype(object)}, "`inputs` are object"),
    "one number each": ({"inputs": X[:, 0]}, r"must be \[N, ...\]"),
    "a class in two splits": (
        {"split": ["test", *np.array(SPLIT)[LABELS][1:]]},
        "class '0' is in 'train' and in 'test'",
    ),
    "an unknown split": ({"split": ["x", *SPLIT[1:]]}, "'x' is none of train, valid"),
    "a split without classes": ({"split": ["train"] * 12}, "each need classes"),
    "a split of another length": ({"split": SPLIT[:5]}, "pass one an example or one a"),
    "a mapping with gaps": ({"split": {0: "train"}}, "of which split '1' is"),
    "a class of one example": (
        {"labels": np.array([99, *LABELS[1:]]), "split": ["test", *SPLIT[1:], "test"]},
        "class '99'.*1 image|class '99' in the arrays has 1",
    ),
    "too few names": ({"class_names": NAMES[:3]}, "`class_names` has 3 names"),
    "an augmentation": ({"augmentation": "natural"}, "only images have one"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_arrays(name: str) -> None:
    changes, message = BAD[name]
    arguments = {"inputs": X, "labels": LABELS, "split": SPLIT} | changes
    with pytest.raises((ValueError, TypeError), match=message):
        Dataset.from_arrays(**arguments)


def write(path: Path, **arrays: Any) -> Path:
    np.savez(path, **{"features": X, "labels": LABELS, "split": SPLIT} | arrays)
    return path


def test_bad_files(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    with pytest.raises(FileNotFoundError, match=r'pass "features:PATH" with an .npz'):
        load_dataset(f"features:{path}")

    def refused(message: str) -> None:
        with pytest.raises(ValueError, match=f"{re.escape(str(path))}.*{message}"):
            load_dataset(f"features:{path}")

    path.write_bytes(b"no archive")
    refused("is no .npz file")
    np.savez(path, labels=LABELS, split=SPLIT)
    refused("labels, split, but needs either `features`")
    np.savez(path, features=X, split=SPLIT)
    refused("no array `labels`")
    np.savez(path, features=X, labels=LABELS)
    refused("there is no `split`")
    np.savez_compressed(path, features=X, labels=LABELS, split=SPLIT)
    refused("compressed: write it with numpy.savez")
    write(path, class_names=np.array([print] * 12, dtype=object))
    refused("cannot be read: Object arrays")
    write(path, features=with_nan())
    refused("NaN")


@pytest.mark.extended
def test_a_union_is_of_images(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="a union is of images, but 'features:"):
        load_dataset(f"glyphs+features:{write(tmp_path / 'a.npz')}", image_size=28)
