"""The class lists against the papers, and the form that is taken or missed."""

import json
from importlib import resources
from pathlib import Path

import pytest

from metabridge.data import load_dataset
from metabridge.data.datasets.imagenet import SPECS, find
from tests.data.datasets.imagenet import toys
from tests.data.datasets.imagenet.toys import Toy


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(
        FileNotFoundError, match=r"mini_imagenet is not in .*\. Pass as `"
    ):
        load_dataset("mini_imagenet", data_dir=tmp_path, cache_dir=tmp_path / "c")
    with pytest.raises(FileNotFoundError, match=r"gone \(there is no such folder\)"):
        load_dataset("tiered_imagenet", data_dir=tmp_path / "gone")
    assert not (tmp_path / "c").exists()


def test_the_default_is_that_of_tfds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=str(tmp_path)):
        load_dataset("mini_imagenet")


def test_classes_of_another_split_are_refused(toy: Toy, tmp_path: Path) -> None:
    """Lists that differ from the package's would mix seen classes and unseen ones."""
    toys.write_classes(toy, tmp_path / "images")
    listed = {"train": "train", "val": "test", "test": "validation"}
    for short, split in listed.items():
        lines = [
            f"{file.name},{name}"
            for name in toy.spec.classes[split]
            for file in sorted((tmp_path / "images" / name).iterdir())
        ]
        (tmp_path / f"{short}.csv").write_text("\n".join(lines))
    odd = toy.spec.classes["test"][0]
    with pytest.raises(
        ValueError, match=rf"class '{odd}', which is none of .* nor are 1"
    ):
        load_dataset(toy.spec.name, data_dir=tmp_path, cache_dir=tmp_path / "c")


@pytest.mark.parametrize("toy", ["mini_imagenet"], indirect=True)
def test_pickles_come_before_folders(toy: Toy, tmp_path: Path) -> None:
    toys.write_classes(toy, tmp_path)
    assert find(toy.spec, tmp_path).text == f"the class folders in {tmp_path}"
    for short in ("train", "val", "test"):
        (tmp_path / f"mini-imagenet-cache-{short}.pkl").touch()
    assert find(toy.spec, tmp_path).text.startswith("the pickles mini-imagenet-cache")


@pytest.mark.parametrize(
    ("name", "classes", "images"),
    [
        ("mini_imagenet", (64, 16, 20), 60_000),
        ("tiered_imagenet", (351, 97, 160), 779_165),
    ],
)
def test_counts(name: str, classes: tuple[int, ...], images: int) -> None:
    spec = SPECS[name]
    assert tuple(len(names) for names in spec.classes.values()) == classes
    every = [n for names in spec.classes.values() for n in names]
    assert len(set(every)) == sum(classes)
    assert all(n[0] == "n" and len(n) == 9 and n[1:].isdigit() for n in every)
    assert sum(spec.totals.values()) == images
    if spec.per_class is not None:
        for split, names in spec.classes.items():
            assert spec.totals[split] == spec.per_class * len(names)


def test_no_category_of_tiered_imagenet_is_in_two_splits() -> None:
    path = resources.files("metabridge.data") / "splits" / "tiered_imagenet.json"
    category = json.loads(path.read_text())["category_of_class"]
    of_split = [
        {category[name] for name in names}
        for names in SPECS["tiered_imagenet"].classes.values()
    ]
    assert [len(found) for found in of_split] == [20, 6, 8]
    assert len(set.union(*of_split)) == 34
