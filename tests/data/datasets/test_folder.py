"""Class folders: layouts, splits, and every way in which they can be wrong."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from metabridge.data import SPLITS, Dataset, load_dataset


def write_class(folder: Path, value: int, *, count: int = 3, mode: str = "RGB") -> None:
    """A class folder of constant images, each a little brighter than the last."""
    folder.mkdir(parents=True)
    for index in range(count):
        pixels = np.full((6, 8), value + index, np.uint8)
        Image.fromarray(pixels).convert(mode).save(folder / f"{index}.png")


def write_classes(root: Path, names: str, **options: Any) -> None:
    for index, name in enumerate(names):
        write_class(root / name, 10 * (index + 1), **options)


def load(root: Path, tmp_path: Path, **options: Any) -> Dataset:
    return load_dataset(f"folder:{root}", cache_dir=tmp_path / "cache", **options)


def classes(dataset: Dataset) -> dict[str, tuple[str, ...]]:
    return {name: split.class_names for name, split in dataset.splits()}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Five classes a..e with a split file."""
    root = tmp_path / "images of mine"
    write_classes(root, "abcde")
    write_split(root, train=["c", "a"], validation=["e"], test=["b", "d"])
    return root


def write_split(root: Path, **lists: Any) -> None:
    (root / "split.json").write_text(json.dumps(lists))


def test_split_file_decides(root: Path, tmp_path: Path) -> None:
    dataset = load(root, tmp_path)
    assert dataset.name == f"folder:{root}"
    assert dataset.augmentation == "natural"
    assert dataset.image_shape == (6, 8, 3)
    assert classes(dataset) == {
        "train": ("a", "c"),
        "validation": ("e",),
        "test": ("b", "d"),
    }
    assert dataset.test.images[:, 0, 0, 0].tolist() == [20, 21, 22, 40, 41, 42]
    assert dataset.test.labels.tolist() == [0, 0, 0, 1, 1, 1]


def test_images_folder_and_val_alias(tmp_path: Path) -> None:
    write_classes(tmp_path / "x" / "images", "abc")
    write_split(tmp_path / "x", train=["a"], val=["b"], test=["c"])
    assert classes(load(tmp_path / "x", tmp_path))["validation"] == ("b",)


@pytest.mark.parametrize("validation", ["val", "validation"])
def test_split_folders(tmp_path: Path, validation: str) -> None:
    write_class(tmp_path / "x" / "train" / "a", 1)
    write_class(tmp_path / "x" / validation / "b", 1)
    write_class(tmp_path / "x" / "test" / "c", 1)
    assert classes(load(tmp_path / "x", tmp_path)) == {
        "train": ("a",),
        "validation": ("b",),
        "test": ("c",),
    }


@pytest.mark.slow
def test_real_folder(real_data: Path, cache_dir: Path) -> None:
    root = real_data / "mini_imagenet_64"
    dataset = load_dataset(f"folder:{root}", cache_dir=cache_dir)
    lists = json.loads((root / "split.json").read_text())
    assert classes(dataset) == {split: tuple(sorted(lists[split])) for split in SPLITS}
    assert dataset.image_shape == (64, 64, 3)
    name = dataset.test.class_names[2]
    files = sorted((root / "images" / name).iterdir())
    assert len(files) == 100
    for index in (0, 57, 99):
        expected = np.asarray(Image.open(files[index]).convert("RGB"))
        np.testing.assert_array_equal(dataset.test.images[200 + index], expected)
    smaller = load_dataset(f"folder:{root}", cache_dir=cache_dir, image_size=32)
    assert smaller.image_shape == (32, 32, 3)
    halved = dataset.train.images.reshape(-1, 32, 2, 32, 2, 3).mean((2, 4))
    assert np.abs(smaller.train.images - halved).mean() < 5


def test_without_a_split_the_names_decide(tmp_path: Path) -> None:
    names = [f"class{index:02d}" for index in range(25)]
    for where in ("one", "two"):
        for index, name in enumerate(names if where == "one" else names[::-1]):
            write_class(tmp_path / where / name, index, count=2)
    one, two = load(tmp_path / "one", tmp_path), load(tmp_path / "two", tmp_path)
    assert classes(one) == classes(two)
    assert [s.num_classes for _, s in one.splits()] == [16, 4, 5]
    assert sorted(sum(classes(one).values(), ())) == names
    assert one.train.class_names != tuple(names[:16])


def test_grey_stays_grey_and_mixed_is_colour(tmp_path: Path) -> None:
    write_classes(tmp_path / "grey", "abc", mode="L")
    assert load(tmp_path / "grey", tmp_path).image_shape == (6, 8, 1)
    write_classes(tmp_path / "mixed", "abc", mode="L")
    write_class(tmp_path / "mixed" / "d", 7)
    assert load(tmp_path / "mixed", tmp_path).image_shape == (6, 8, 3)


def test_cache_follows_the_files(root: Path, tmp_path: Path) -> None:
    before = load(root, tmp_path).test.images[0, 0, 0, 0]
    assert before == 20
    path = root / "b" / "0.png"
    Image.fromarray(np.full((6, 8, 3), 99, np.uint8)).save(path)
    os.utime(path, ns=(1, 1))
    assert load(root, tmp_path).test.images[0, 0, 0, 0] == 99
    write_split(root, train=["c"], validation=["e"], test=["b", "d"])
    assert classes(load(root, tmp_path))["train"] == ("c",)


def test_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no folder .*/nowhere"):
        load(tmp_path / "nowhere", tmp_path)
    with pytest.raises(FileNotFoundError, match='pass "folder:PATH"'):
        load_dataset("folder:")
    (tmp_path / "x.zip").write_bytes(b"")
    with pytest.raises(ValueError, match=r"x\.zip is a file"):
        load(tmp_path / "x.zip", tmp_path)


def test_too_few_classes(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    with pytest.raises(ValueError, match=r"0 class folder.*at least 3"):
        load(tmp_path / "x", tmp_path)
    write_classes(tmp_path / "x", "ab")
    with pytest.raises(ValueError, match=r"2 class folder.*at least 3"):
        load(tmp_path / "x", tmp_path)


@pytest.mark.parametrize("count", [0, 1])
def test_class_with_too_few_images(root: Path, tmp_path: Path, count: int) -> None:
    for index in range(count, 3):
        (root / "d" / f"{index}.png").unlink()
    with pytest.raises(
        ValueError, match=rf"class 'd' .* has {count} image.*at least 2"
    ):
        load(root, tmp_path)


def test_broken_images_are_left_out_when_told(root: Path, tmp_path: Path) -> None:
    path = root / "d" / "1.png"
    path.write_bytes(path.read_bytes()[:50])
    dataset = load(root, tmp_path, skip_corrupt=True)
    assert dataset.test.images_per_class.tolist() == [3, 2]
    assert dataset.test.images[:, 0, 0, 0].tolist() == [20, 21, 22, 40, 42]
    with pytest.raises(ValueError, match=r"d/1\.png"):  # not from the cache either
        load(root, tmp_path)
    (root / "d" / "0.png").write_bytes(b"")
    with pytest.raises(ValueError, match=r"'d' in what could be read has 1 image"):
        load(root, tmp_path, skip_corrupt=True)


def test_differing_sizes_are_named(root: Path, tmp_path: Path) -> None:
    Image.new("RGB", (9, 6)).save(root / "e" / "2.png")
    with pytest.raises(ValueError, match=r"a/0\.png is 6 x 8 .*/e/2\.png is 6 x 9"):
        load(root, tmp_path)
    assert load(root, tmp_path, image_size=(4, 5)).image_shape == (4, 5, 3)


@pytest.mark.parametrize(
    ("lists", "message"),
    [
        ({"train": ["a"], "validation": [], "test": ["b"]}, "'validation' .* is empty"),
        ({"train": ["a"], "test": ["b"]}, "'validation' is a list"),
        ({"train": "a", "validation": ["e"], "test": ["b"]}, "'train' is a list"),
        ({"train": ["a"], "validation": [1], "test": ["b"]}, "'validation' is a list"),
        (
            {"train": ["a"], "validation": ["e"], "test": ["a", "b"]},
            "'a' is in 'train' and in 'test'",
        ),
        (
            {"train": ["a"], "validation": ["e"], "test": ["b", "z"]},
            "'z' in 'test'.*no such class",
        ),
        (
            {"train": ["a"], "validation": ["e"], "test": ["../secret"]},
            "'../secret' in 'test'.*no such class",
        ),
        (["a"], "must be an object"),
        ("{'train': }", r"split\.json is not JSON"),
    ],
)
def test_bad_split_files(root: Path, tmp_path: Path, lists: Any, message: str) -> None:
    write_class(tmp_path / "secret", 1)
    text = lists if isinstance(lists, str) else json.dumps(lists)
    (root / "split.json").write_text(text)
    with pytest.raises(ValueError, match=message):
        load(root, tmp_path)


def test_incomplete_split_folders(tmp_path: Path) -> None:
    write_class(tmp_path / "x" / "train" / "a", 1)
    write_class(tmp_path / "x" / "test" / "c", 1)
    with pytest.raises(ValueError, match="needs one of each of train, validation"):
        load(tmp_path / "x", tmp_path)
    write_class(tmp_path / "x" / "val" / "a", 1)
    with pytest.raises(ValueError, match="'a' is in 'train' and in 'validation'"):
        load(tmp_path / "x", tmp_path)
    write_split(tmp_path / "x", train=[])
    with pytest.raises(ValueError, match=r"and a split\.json"):
        load(tmp_path / "x", tmp_path)


def test_links_out_of_the_folder_are_refused(root: Path, tmp_path: Path) -> None:
    write_class(tmp_path / "secret", 1)
    link = root / "d" / "7.png"
    link.symlink_to(tmp_path / "secret" / "0.png")
    with pytest.raises(ValueError, match=r"d/7\.png is a link .* outside"):
        load(root, tmp_path)
    link.unlink()
    (root / "f").symlink_to(tmp_path / "secret")
    with pytest.raises(ValueError, match=r"/f is a link .* outside"):
        load(root, tmp_path)
    (root / "f").unlink()
    link.symlink_to(root / "a" / "0.png")
    assert load(root, tmp_path).test.images_per_class.tolist() == [3, 4]


def test_hostile_folder_names_stay_in_the_cache(tmp_path: Path) -> None:
    root = tmp_path / "..x*;$(y) \u00e9"
    write_classes(root, "abc")
    load(root, tmp_path)
    inside = [p.name for p in (tmp_path / "cache").iterdir() if p.is_dir()]
    assert len(inside) == 1
    assert inside[0].startswith("folder-_x_y_")


def write_noise(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path, "PNG")


def write_lists(root: Path, folder: Path, splits: dict[str, str]) -> None:
    """Lists that divide the files of classes ``abcde``, flat in ``images`` or not."""
    folder.mkdir(parents=True, exist_ok=True)
    for split, names in splits.items():
        lines = [f"{name}{n}.png,{name}" for name in names for n in range(2)]
        (folder / f"{split}.csv").write_text("\n".join(["filename,label", *lines]))
    for seed, name in enumerate("abcde"):
        for number in range(3):
            write_noise(root / f"{name}{number}.png", 10 * seed + number)


@pytest.mark.parametrize("folder", [".", "split"])
def test_lists_decide(
    tmp_path: Path, folder: str, caplog: pytest.LogCaptureFixture
) -> None:
    """And not the names of the class folders, in an order of their own."""
    splits = {"train": "be", "val": "d", "test": "a"}
    write_lists(tmp_path / "x" / "images", tmp_path / "x" / folder, splits)
    dataset = load(tmp_path / "x", tmp_path)
    assert classes(dataset) == {
        "train": ("b", "e"),
        "validation": ("d",),
        "test": ("a",),
    }
    assert dataset.train.images_per_class.tolist() == [2, 2]
    with Image.open(tmp_path / "x" / "images" / "e1.png") as image:
        np.testing.assert_array_equal(dataset.train.images[3], np.asarray(image))
    assert caplog.text.count("7 images that no list names") == 1
    load(tmp_path / "x", tmp_path)  # from the cache: the warning is not repeated
    assert caplog.text.count("no list names") == 1


def test_splits_that_are_given_twice_are_refused(root: Path, tmp_path: Path) -> None:
    for name in ("train", "val", "test"):
        (root / f"{name}.csv").write_text("filename,label\n")
    with pytest.raises(ValueError, match=r"lists \(train\.csv, .*\) and a split\.json"):
        load(root, tmp_path)
    (root / "split.json").unlink()
    write_class(root / "train" / "a", 1)
    with pytest.raises(ValueError, match=r"split folders \(train\) and lists \(train"):
        load(root, tmp_path)


def test_lists_that_lead_out_of_the_folder_are_refused(tmp_path: Path) -> None:
    splits = {"train": "ab", "val": "c", "test": "d"}
    write_lists(tmp_path / "x" / "images", tmp_path / "x", splits)
    (tmp_path / "secret.png").write_bytes(b"")
    file = tmp_path / "x" / "images" / "a0.png"
    file.unlink()
    file.symlink_to(tmp_path / "secret.png")
    with pytest.raises(ValueError, match=r"a0\.png is a link .* outside"):
        load(tmp_path / "x", tmp_path)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_split_files_of_other_systems(tmp_path: Path, encoding: str) -> None:
    """A name of accents on their own, as macOS has it, in a file that has letters."""
    apart, together = "Ba\u0308r", "B\u00e4r"
    for seed, name in enumerate((apart, "b", "c")):
        for number in range(2):
            write_noise(tmp_path / "x" / name / f"{number}.png", 2 * seed + number)
    lists = {"train": [together], "validation": ["b"], "test": ["c"]}
    text = json.dumps(lists, ensure_ascii=False)
    (tmp_path / "x" / "split.json").write_text(text, encoding=encoding)
    assert classes(load(tmp_path / "x", tmp_path))["train"] == (apart,)


def test_a_class_of_other_files_says_what_they_are(root: Path, tmp_path: Path) -> None:
    for number in range(3):
        (root / "d" / f"{number}.png").rename(root / "d" / f"{number}.heic")
    with pytest.raises(ValueError, match=r"'d' .* 0 image.*end in 3 \.heic \(register"):
        load(root, tmp_path)


def test_copies_across_splits(
    root: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("a", "b"):
        write_noise(root / name / "same.png", 0)
    with pytest.raises(ValueError, match=r"b/same\.png of a/same\.png.*`allow_dupli"):
        load(root, tmp_path)
    assert len(load(root, tmp_path, allow_duplicates=True).test.images) == 7
    assert caplog.text.count("b/same.png of a/same.png") == 1
    with pytest.raises(ValueError, match="`allow_duplicates`"):  # nor from the cache
        load(root, tmp_path)


def test_options_of_reading_make_another_dataset(root: Path, tmp_path: Path) -> None:
    Image.new("RGBA", (8, 6), (0, 0, 0, 0)).save(root / "b" / "0.png")
    for _ in range(2):  # built, and from the cache
        assert load(root, tmp_path).test.images[0].min() == 255
        dark = load(root, tmp_path, background="#102030")
        assert dark.test.images[0, 0, 0].tolist() == [16, 32, 48]
    with pytest.raises(ValueError, match="`background` is 'no colour'"):
        load(root, tmp_path, background="no colour")


def test_folders_of_splits_in_other_letters_are_splits(tmp_path: Path) -> None:
    """Else their classes would be divided anew, those of tests among training's."""
    for place in ("Training/a", "Training/b", "Testing/a"):
        write_class(tmp_path / "x" / place, 2)
    with pytest.raises(ValueError, match=r"split folders \['Testing', 'Training'\]"):
        load(tmp_path / "x", tmp_path)
    for place in ("Training/a", "Training/b", "Valid/c", "TEST/d"):
        write_class(tmp_path / "y" / place, 2)
    found = load(tmp_path / "y", tmp_path)
    assert [len(split.class_names) for _, split in found.splits()] == [2, 1, 1]
