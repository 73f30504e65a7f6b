"""Small stand-ins for the datasets: the same names and checks, fewer classes."""

import dataclasses
import json
import pickle
from pathlib import Path

import numpy as np
from PIL import Image

from metabridge.data import SPLITS, Dataset
from metabridge.data.datasets.imagenet.form import SIDE, SPECS, Spec

CLASSES = {"train": 3, "validation": 2, "test": 2}
PER_CLASS = 4


@dataclasses.dataclass(frozen=True)
class Toy:
    """A few classes of a dataset with images of random pixels."""

    spec: Spec
    pixels: dict[str, np.ndarray]
    """By class, uint8 ``[4, 84, 84, 3]``."""

    def of(self, split: str) -> np.ndarray:
        return np.concatenate([self.pixels[name] for name in self.spec.classes[split]])


def make(spec: Spec) -> Toy:
    generator = np.random.default_rng(0)
    shape = (PER_CLASS, SIDE, SIDE, 3)
    names = [name for split in SPLITS for name in spec.classes[split]]
    pixels = {n: generator.integers(0, 256, shape, dtype=np.uint8) for n in names}
    return Toy(spec, pixels)


def spec(name: str) -> Spec:
    """A dataset of 3/2/2 of the classes, with 4 images of each."""
    whole = SPECS[name]
    return Spec(
        name,
        PER_CLASS if whole.per_class else None,
        {split: CLASSES[split] * PER_CLASS for split in SPLITS},
        {split: whole.classes[split][: CLASSES[split]] for split in SPLITS},
    )


def assert_is(dataset: Dataset, toy: Toy, *, named: bool = True) -> None:
    """The dataset is the toy; its classes have their names if the form holds them."""
    assert dataset.image_shape == (SIDE, SIDE, 3)
    for name, split in dataset.splits():
        np.testing.assert_array_equal(split.images, toy.of(name), err_msg=name)
        assert split.images_per_class.tolist() == [PER_CLASS] * CLASSES[name]
        if named:
            assert split.class_names == toy.spec.classes[name]


def write_classes(toy: Toy, folder: Path, *splits: str) -> None:
    """A folder a class of some splits (default: of all), of PNG files."""
    for name in (n for split in splits or SPLITS for n in toy.spec.classes[split]):
        (folder / name).mkdir(parents=True)
        for row, pixels in enumerate(toy.pixels[name]):
            Image.fromarray(pixels).save(folder / name / f"{name}_{row}.png")


def write_labelled(toy: Toy, folder: Path, split: str, short: str) -> None:
    """A pickle of one split whose classes are numbers."""
    folder.mkdir(exist_ok=True)
    labels = np.repeat(np.arange(CLASSES[split]), PER_CLASS).tolist()
    content = {"data": toy.of(split), "labels": labels}
    file = folder / f"miniImageNet_category_split_{short}.pickle"
    file.write_bytes(pickle.dumps(content))


def part_of_mini_imagenet(root: Path) -> Spec:
    """The dataset that ``mini_imagenet_64`` is: 25 classes with 100 images each."""
    lists = json.loads((root / "split.json").read_text())
    classes = {split: tuple(sorted(lists[split])) for split in SPLITS}
    totals = {split: 100 * len(names) for split, names in classes.items()}
    return Spec("mini_imagenet", 100, totals, classes)
