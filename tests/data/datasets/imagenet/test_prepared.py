"""Datasets that TFDS has prepared: by our own builders, and ImageNet."""

from pathlib import Path
from typing import Any

import pytest

from metabridge.data import SPLITS, load_dataset
from tests.data.datasets.imagenet import toys
from tests.data.datasets.imagenet.toys import Toy

pytestmark = pytest.mark.extended


@pytest.fixture(scope="module")
def tfds() -> Any:
    """The library, imported only where it is needed, as it takes seconds."""
    pytest.importorskip("tensorflow")
    return pytest.importorskip("tensorflow_datasets")


def prepare(tfds: Any, builder: Any, manual_dir: Path) -> None:
    config = tfds.download.DownloadConfig(manual_dir=str(manual_dir))
    builder.download_and_prepare(download_config=config)


def test_what_the_builders_prepare_is_read_back(
    tfds: Any, toy: Toy, tmp_path: Path
) -> None:
    from metabridge.data.datasets.imagenet import builders  # noqa: F401

    toys.write_classes(toy, tmp_path / "x")
    builder = tfds.builder(
        toy.spec.name, data_dir=tmp_path / "data", file_format="array_record"
    )
    prepare(tfds, builder, tmp_path / "x")
    data, cache = tmp_path / "data", tmp_path / "cache"
    dataset = load_dataset(toy.spec.name, data_dir=data, cache_dir=cache)
    toys.assert_is(dataset, toy)
    records = builder.as_data_source("test")
    assert len(records) == toy.spec.totals["test"]
    names = builder.info.features["label"].names
    assert names == sorted(n for split in SPLITS for n in toy.spec.classes[split])


def test_imagenet(tfds: Any, toy: Toy, tmp_path: Path) -> None:
    from tests.data.datasets.imagenet.imagenet2012 import Imagenet2012

    Imagenet2012.toy = toy
    options = {"data_dir": tmp_path, "file_format": "array_record"}
    prepare(tfds, Imagenet2012(**options), tmp_path)
    dataset = load_dataset(toy.spec.name, data_dir=tmp_path, cache_dir=tmp_path / "c")
    toys.assert_is(dataset, toy)


def test_another_format_is_refused(tfds: Any, toy: Toy, tmp_path: Path) -> None:
    from tests.data.datasets.imagenet.imagenet2012 import Imagenet2012

    Imagenet2012.toy = toy
    prepare(tfds, Imagenet2012(data_dir=tmp_path, file_format="tfrecord"), tmp_path)
    with pytest.raises(FileNotFoundError, match="array_record is needed"):
        load_dataset(toy.spec.name, data_dir=tmp_path, cache_dir=tmp_path / "c")


@pytest.mark.parametrize(("name", "classes"), [("mini", 100), ("tiered", 608)])
def test_features(tfds: Any, tmp_path: Path, name: str, classes: int) -> None:
    from metabridge.data.datasets.imagenet import builders  # noqa: F401

    info = tfds.builder(f"{name}_imagenet", data_dir=tmp_path).info
    assert info.features["image"].shape == (84, 84, 3)
    assert info.features["label"].num_classes == classes
    assert "84x84" in info.description


@pytest.mark.parametrize("toy", ["mini_imagenet"], indirect=True)
def test_forms_without_wordnet_ids_are_refused(
    tfds: Any, toy: Toy, tmp_path: Path
) -> None:
    """Their classes cannot be told apart from those of another split."""
    from metabridge.data.datasets.imagenet import builders  # noqa: F401

    folder = tmp_path / "x"
    for split, short in (("train", "train_phase_train"), ("validation", "val")):
        toys.write_labelled(toy, folder, split, short)
    toys.write_labelled(toy, folder, "test", "test")
    builder = tfds.builder(
        toy.spec.name, data_dir=tmp_path / "data", file_format="array_record"
    )
    with pytest.raises(ValueError, match="does not name its classes by WordNet ids"):
        prepare(tfds, builder, folder)
