"""Class folders in every layout, lists of files, and what can be wrong with them."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from metabridge.data import load_dataset
from tests.data.datasets.imagenet import toys
from tests.data.datasets.imagenet.toys import Toy

NAMES = {"train": "train", "validation": "val", "test": "test"}


def load(toy: Toy, root: Path, **options):
    cache = root.parent / "cache"
    return load_dataset(toy.spec.name, data_dir=root, cache_dir=cache, **options)


@pytest.mark.parametrize(
    "places",
    [
        ("train", "validation", "test"),
        ("train", "val", "test"),
        ("train", "train", "train"),
        ("images", "images", "images"),
        ("ILSVRC/Data/CLS-LOC/train",) * 3,
        (".", ".", "."),
    ],
    ids=lambda places: "-".join(places).replace("/", "."),
)
def test_layouts(toy: Toy, tmp_path: Path, places: tuple[str, ...]) -> None:
    for split, place in zip(NAMES, places, strict=True):
        toys.write_classes(toy, tmp_path / "x" / place, split)
    (tmp_path / "x" / places[2] / "n99999999").mkdir()  # others do not matter
    (tmp_path / "x" / places[2] / toy.spec.classes["test"][0] / "list.txt").touch()
    toys.assert_is(load(toy, tmp_path / "x"), toy)


def test_imagenets_own_validation_files_are_not_taken(toy: Toy, tmp_path: Path) -> None:
    """All classes are in ``train/``, and again, with other images, in ``val/``."""
    for split in NAMES:
        toys.write_classes(toy, tmp_path / "x" / "train", split)
        for name in toy.spec.classes[split]:
            (tmp_path / "x" / "val" / name).mkdir(parents=True)
            Image.new("RGB", (9, 9)).save(tmp_path / "x" / "val" / name / "0.JPEG")
    toys.assert_is(load(toy, tmp_path / "x"), toy)


def test_the_data_may_move(toy: Toy, tmp_path: Path) -> None:
    toys.write_classes(toy, tmp_path / "x" / "train")
    toys.assert_is(load(toy, tmp_path / "x"), toy)
    built = (tmp_path / "cache" / toy.spec.name / "manifest.json").stat().st_mtime_ns
    (tmp_path / "x").rename(tmp_path / "y")
    toys.assert_is(load(toy, tmp_path / "y"), toy)
    again = (tmp_path / "cache" / toy.spec.name / "manifest.json").stat().st_mtime_ns
    assert again == built


def write_lists(toy: Toy, root: Path, *, in_class_folders: bool) -> None:
    for split, short in NAMES.items():
        toys.write_classes(toy, root / "images", split)
        lines = ["filename,label"]
        for name in toy.spec.classes[split]:
            for file in sorted((root / "images" / name).iterdir()):
                lines.append(f"{file.name},{name}")
                if not in_class_folders:
                    file.rename(root / "images" / file.name)
            if not in_class_folders:
                (root / "images" / name).rmdir()
        (root / f"{short}.csv").write_text("\n".join(lines) + "\n")


@pytest.mark.parametrize("in_class_folders", [False, True])
def test_lists_of_files(toy: Toy, tmp_path: Path, in_class_folders: bool) -> None:
    write_lists(toy, tmp_path / "x", in_class_folders=in_class_folders)
    toys.assert_is(load(toy, tmp_path / "x"), toy)


def test_lists_that_name_other_classes_are_read_again(toy: Toy, tmp_path: Path) -> None:
    write_lists(toy, tmp_path / "x", in_class_folders=False)
    before = load(toy, tmp_path / "x").test.images
    path = tmp_path / "x" / "test.csv"
    one, other = toy.spec.classes["test"]
    swapped = {f",{one}": f",{other}", f",{other}": f",{one}"}
    lines = path.read_text().splitlines()
    path.write_text(
        "\n".join(f"{x[:-10]}{swapped.get(x[-10:], x[-10:])}" for x in lines)
    )
    after = load(toy, tmp_path / "x").test.images
    np.testing.assert_array_equal(after, np.concatenate([before[4:], before[:4]]))


def test_images_beyond_the_number_of_a_class(toy: Toy, tmp_path: Path) -> None:
    """mini-ImageNet takes the first by name, tiered-ImageNet has them all."""
    toys.write_classes(toy, tmp_path / "x")
    first = tmp_path / "x" / toy.spec.classes["train"][0]
    Image.new("RGB", (500, 375)).save(first / "z.JPEG")
    if toy.spec.per_class is not None:
        toys.assert_is(load(toy, tmp_path / "x"), toy)
    else:
        with pytest.raises(
            ValueError, match=r"has 12 images in split 'train', but .* 13"
        ):
            load(toy, tmp_path / "x")


def test_missing_classes_are_named(toy: Toy, tmp_path: Path) -> None:
    toys.write_classes(toy, tmp_path / "x")
    gone = toy.spec.classes["validation"][1]
    shutil.rmtree(tmp_path / "x" / gone)
    with pytest.raises(
        ValueError,
        match=rf"has 2 classes in split 'validation'.*of 1 .*missing: {gone}",
    ):
        load(toy, tmp_path / "x")


def test_a_class_short_of_an_image(toy: Toy, tmp_path: Path) -> None:
    toys.write_classes(toy, tmp_path / "x")
    name = toy.spec.classes["test"][1]
    (tmp_path / "x" / name / f"{name}_2.png").unlink()
    with pytest.raises(ValueError, match=rf"(fewest, 3,|class '{name}' .* has 3)"):
        load(toy, tmp_path / "x")


def test_broken_images_are_named_or_left_out(toy: Toy, tmp_path: Path) -> None:
    toys.write_classes(toy, tmp_path / "x")
    name = toy.spec.classes["train"][1]
    file = tmp_path / "x" / name / f"{name}_2.png"
    file.write_bytes(file.read_bytes()[:999])
    with pytest.raises(ValueError, match=rf"cannot read the image .*{file.name}"):
        load(toy, tmp_path / "x")
    dataset = load(toy, tmp_path / "x", skip_corrupt=True)
    assert dataset.train.images_per_class.tolist() == [4, 3, 4]
    np.testing.assert_array_equal(
        dataset.train.images, np.delete(toy.of("train"), 6, 0)
    )
    for row in (0, 1):
        (file.parent / f"{name}_{row}.png").write_bytes(b"")
    with pytest.raises(
        ValueError, match=rf"class .{name}. in what could be read has 1 im"
    ):
        load(toy, tmp_path / "x", skip_corrupt=True)


def test_a_changed_file_is_read_again(toy: Toy, tmp_path: Path) -> None:
    toys.write_classes(toy, tmp_path / "x")
    toys.assert_is(load(toy, tmp_path / "x"), toy)
    name = toy.spec.classes["test"][0]
    Image.new("RGB", (84, 84)).save(tmp_path / "x" / name / f"{name}_0.png")
    assert not load(toy, tmp_path / "x").test.images[0].any()


@pytest.mark.extended
def test_real_files(
    real_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """25 of mini-ImageNet's classes: refused as the whole, taken as what they are."""
    root = real_data / "mini_imagenet_64"
    options: dict[str, Any] = {"data_dir": root, "cache_dir": tmp_path}
    with pytest.raises(ValueError, match=r"has 64 classes in split 'train'.*of 14 of"):
        load_dataset("mini_imagenet", **options)
    spec = toys.part_of_mini_imagenet(root)
    monkeypatch.setitem(toys.SPECS, "mini_imagenet", spec)
    dataset = load_dataset("mini_imagenet", **options)
    assert dataset.train.images.shape == (1400, 84, 84, 3)
    name = spec.classes["test"][2]
    file = sorted((root / "images" / name).iterdir())[7]
    with Image.open(file) as image:
        resized = image.convert("RGB").resize((84, 84), Image.Resampling.LANCZOS)
    np.testing.assert_array_equal(dataset.test.images[207], np.asarray(resized))
