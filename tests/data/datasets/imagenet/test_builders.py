"""What TFDS is told of the datasets; what it prepares is read in test_prepared."""

from pathlib import Path

import pytest

from tests.data.datasets.imagenet import toys
from tests.data.datasets.imagenet.toys import Toy

tfds = pytest.importorskip("tensorflow_datasets")
pytest.importorskip("tensorflow")


@pytest.mark.parametrize(("name", "classes"), [("mini", 100), ("tiered", 608)])
def test_features(tmp_path: Path, name: str, classes: int) -> None:
    from metabridge.data.datasets.imagenet import builders  # noqa: F401

    info = tfds.builder(f"{name}_imagenet", data_dir=tmp_path).info
    assert info.features["image"].shape == (84, 84, 3)
    assert info.features["label"].num_classes == classes
    assert "84x84" in info.description


@pytest.mark.parametrize("toy", ["mini_imagenet"], indirect=True)
def test_forms_without_wordnet_ids_are_refused(toy: Toy, tmp_path: Path) -> None:
    """Their classes cannot be told apart from those of another split."""
    from metabridge.data.datasets.imagenet import builders  # noqa: F401

    folder = tmp_path / "x"
    for split, short in (("train", "train_phase_train"), ("validation", "val")):
        toys.write_labelled(toy, folder, split, short)
    toys.write_labelled(toy, folder, "test", "test")
    builder = tfds.builder(
        toy.spec.name, data_dir=tmp_path / "data", file_format="array_record"
    )
    config = tfds.download.DownloadConfig(manual_dir=str(folder))
    with pytest.raises(ValueError, match="does not name its classes by WordNet ids"):
        builder.download_and_prepare(download_config=config)
