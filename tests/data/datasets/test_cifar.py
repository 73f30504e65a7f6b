"""CIFAR-FS and FC100 against a direct read of CIFAR-100."""

import time
from pathlib import Path

import numpy as np
import pytest

from metabridge.data import SPLITS, Dataset, load_dataset, tfds_source
from metabridge.data.dataset import class_lists

CLASSES = {"cifar_fs": (64, 16, 20), "fc100": (60, 20, 20)}


@pytest.mark.slow
@pytest.mark.parametrize("name", CLASSES)
def test_sizes_and_classes(name: str, request: pytest.FixtureRequest) -> None:
    dataset: Dataset = request.getfixturevalue(name)
    assert dataset.name == name
    assert dataset.image_shape == (32, 32, 3)
    assert tuple(s.num_classes for _, s in dataset.splits()) == CLASSES[name]
    for _, split in dataset.splits():
        assert set(split.images_per_class.tolist()) == {600}
    listed = class_lists(name)
    assert {n: list(s.class_names) for n, s in dataset.splits()} == listed


@pytest.mark.parametrize("name", CLASSES)
def test_class_lists_divide_the_hundred_classes(name: str) -> None:
    listed = class_lists(name)
    assert tuple(len(listed[split]) for split in SPLITS) == CLASSES[name]
    assert len({c for split in SPLITS for c in listed[split]}) == 100


@pytest.mark.extended
def test_images_are_those_of_tfds(real_data: Path, cifar_fs: Dataset) -> None:
    tfds = pytest.importorskip("tensorflow_datasets")
    source = tfds.data_source("cifar100", data_dir=real_data / "tfds", split="test")
    names = (
        tfds.builder("cifar100", data_dir=real_data / "tfds")
        .info.features["label"]
        .names
    )
    by_name = {
        class_name: split.images[row * 600 : (row + 1) * 600]
        for _, split in cifar_fs.splits()
        for row, class_name in enumerate(split.class_names)
    }
    for index in range(0, len(source), 97):
        example = source[index]
        run = by_name[names[example["label"]]]
        assert np.any(np.all(run == example["image"], axis=(1, 2, 3)))


@pytest.mark.slow
def test_fc100_splits_share_no_superclass(real_data: Path, fc100: Dataset) -> None:
    source = tfds_source.find("cifar100", real_data / "tfds")
    names = tfds_source.class_names(source, "label")
    coarse = {}
    for example in tfds_source.read(source, "test"):
        coarse[names[example["label"]]] = int(example["coarse_label"])
    groups = [{coarse[c] for c in s.class_names} for _, s in fc100.splits()]
    assert [len(group) for group in groups] == [12, 4, 4]
    assert len(set().union(*groups)) == 20


@pytest.mark.extended
def test_warm_cache_is_ready_in_two_seconds(
    real_data: Path, cache_dir: Path, cifar_fs: Dataset
) -> None:
    start = time.perf_counter()
    again = load_dataset("cifar_fs", data_dir=real_data / "tfds", cache_dir=cache_dir)
    assert time.perf_counter() - start < 2.0
    np.testing.assert_array_equal(again.test.images[::500], cifar_fs.test.images[::500])
