"""Pickles in the forms people have, and those that are traps, damaged or odd."""

import io
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from metabridge.data import SPLITS, load_dataset
from tests.data.datasets.imagenet import toys
from tests.data.datasets.imagenet.toys import PER_CLASS, Toy

SHORT = {"train": "train", "validation": "val", "test": "test"}


def dump(path: Path, content: Any, protocol: int = 2) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(pickle.dumps(content, protocol))


def load(toy: Toy, root: Path):
    cache = root.parent / "cache"
    return load_dataset(toy.spec.name, data_dir=root, cache_dir=cache)


def labels_of(toy: Toy, split: str, first: int = 0) -> list[int]:
    classes = len(toy.spec.classes[split])
    return np.repeat(np.arange(first, first + classes), PER_CLASS).tolist()


def png_of(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


mini = pytest.mark.parametrize("toy", ["mini_imagenet"], indirect=True)
tiered = pytest.mark.parametrize("toy", ["tiered_imagenet"], indirect=True)


@mini
@pytest.mark.parametrize("ending", ["pkl", "pickle"])
@pytest.mark.parametrize("validation", ["val", "validation"])
def test_caches_of_ren(toy: Toy, tmp_path: Path, ending: str, validation: str) -> None:
    for split, short in {**SHORT, "validation": validation}.items():
        rows = np.arange(len(toy.of(split))).reshape(-1, PER_CLASS)
        names = toy.spec.classes[split]
        content = {
            "image_data": toy.of(split),
            "class_dict": dict(zip(names, rows.tolist(), strict=True)),
        }
        dump(tmp_path / "x" / f"mini-imagenet-cache-{short}.{ending}", content)
    toys.assert_is(load(toy, tmp_path / "x"), toy)


@mini
@pytest.mark.parametrize("named", [False, True])
def test_category_splits_of_lee(toy: Toy, tmp_path: Path, named: bool) -> None:
    for split in SPLITS:
        short = "train_phase_train" if split == "train" else SHORT[split]
        content = {"data": toy.of(split), "labels": labels_of(toy, split, 64)}
        if named:
            names = toy.spec.classes[split]
            content["catname2label"] = {n: 64 + i for i, n in enumerate(names)}
        file = f"miniImageNet_category_split_{short}.pickle"
        dump(tmp_path / "x" / file, content, protocol=0)
    dataset = load(toy, tmp_path / "x")
    toys.assert_is(dataset, toy, named=named)
    if not named:
        assert dataset.test.class_names == ("test 64", "test 65")


@tiered
@pytest.mark.parametrize("as_bytes", [False, True])
def test_png_lists_of_ren(toy: Toy, tmp_path: Path, as_bytes: bool) -> None:
    for split, short in SHORT.items():
        files = [
            png if as_bytes else np.frombuffer(png, np.uint8)[:, None]
            for png in map(png_of, toy.of(split))
        ]
        dump(tmp_path / "x" / f"{short}_images_png.pkl", files)
        classes = len(toy.spec.classes[split])
        labels = {
            "label_specific": np.asarray(labels_of(toy, split)),
            "label_specific_str": [f"{split} bird {k}" for k in range(classes)],
            "label_general": np.zeros(len(files), int),
        }
        dump(tmp_path / "x" / f"{short}_labels.pkl", labels)
    dataset = load(toy, tmp_path / "x")
    toys.assert_is(dataset, toy, named=False)
    assert dataset.test.class_names == ("test bird 0", "test bird 1")


@tiered
@pytest.mark.parametrize("key", ["labels", "label_specific", None])
def test_arrays_of_lee(toy: Toy, tmp_path: Path, key: str | None) -> None:
    (tmp_path / "x").mkdir()
    generator = np.random.default_rng(1)
    for split, short in SHORT.items():
        labels = np.asarray(labels_of(toy, split))
        # In any order: within a class the order of the file stays.
        order = np.argsort(generator.permutation(labels), kind="stable").argsort()
        images = tmp_path / "x" / f"{short}_images.npz"
        np.savez(images, images=toy.of(split)[order])
        content = labels[order] if key is None else {key: labels[order]}
        dump(tmp_path / "x" / f"{short}_labels.pkl", content)
    toys.assert_is(load(toy, tmp_path / "x"), toy, named=False)


@tiered
def test_archives_of_opencv_are_turned(toy: Toy, tmp_path: Path) -> None:
    """Blue comes first in them; natural images have more red."""
    for pixels in toy.pixels.values():
        pixels[..., 0] = pixels[..., 0] // 2 + 100
        pixels[..., 2] //= 2
    for split, short in SHORT.items():
        (tmp_path / "x").mkdir(exist_ok=True)
        images = tmp_path / "x" / f"{short}_images.npz"
        np.savez(images, images=toy.of(split)[..., ::-1])
        labels = {"label_specific": np.asarray(labels_of(toy, split))}
        dump(tmp_path / "x" / f"{short}_labels.pkl", labels)
    toys.assert_is(load(toy, tmp_path / "x"), toy, named=False)


@tiered
@pytest.mark.parametrize("odd", ["text", None, 3.5, np.zeros(3)])
def test_odd_png_files_are_named_or_left_out(
    toy: Toy, tmp_path: Path, odd: Any
) -> None:
    for split, short in SHORT.items():
        # As Python 2 has it.
        files: list[Any] = [png_of(p).decode("latin1") for p in toy.of(split)]
        if split == "train":
            files[5] = odd
        dump(tmp_path / "x" / f"{short}_images_png.pkl", files)
        dump(tmp_path / "x" / f"{short}_labels.pkl", labels_of(toy, split))
    with pytest.raises(ValueError, match=r"cannot read the image 5 of .*train_images"):
        load(toy, tmp_path / "x")
    dataset = load_dataset(
        toy.spec.name,
        data_dir=tmp_path / "x",
        cache_dir=tmp_path / "cache",
        skip_corrupt=True,
    )
    assert dataset.train.images_per_class.tolist() == [4, 3, 4]


@mini
def test_a_missing_pickle_is_named(toy: Toy, tmp_path: Path) -> None:
    for short in ("train", "val"):
        dump(tmp_path / "x" / CACHE.format(short), {})
    with pytest.raises(ValueError, match=r"but not mini-imagenet-cache-test\.pkl"):
        load(toy, tmp_path / "x")


PIXELS = np.zeros((4, 84, 84, 3), np.uint8)
CACHE, SPLIT = "mini-imagenet-cache-{}.pkl", "miniImageNet_category_split_{}.pickle"


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        (CACHE, {"images": PIXELS}, "has no `image_data`"),
        (CACHE, [1], "has no `image_data`"),
        (CACHE, {"image_data": PIXELS, "class_dict": [1]}, "`class_dict` .* is list"),
        (
            CACHE,
            {"image_data": PIXELS.astype(np.float32), "class_dict": {}},
            r"must be uint8 \[N, 84, 84, 3\], but they are float32 \[4, 84, 84, 3\]",
        ),
        (
            CACHE,
            {"image_data": PIXELS, "class_dict": {"a": [3, 4]}},
            r"names images that it does not hold \(4 are",
        ),
        (CACHE, {"image_data": PIXELS, "class_dict": {"a": [-1]}}, "does not hold"),
        (CACHE, {"image_data": PIXELS, "class_dict": {"a": "b"}}, "does not hold"),
        (SPLIT, {"data": PIXELS, "labels": [0, 1]}, "must be 4 integers.*are int64"),
        (SPLIT, {"data": PIXELS, "labels": [0.0] * 4}, "must be 4 integers"),
    ],
)
def test_odd_contents(tmp_path: Path, file: str, content: Any, message: str) -> None:
    for short in ("train", "train_phase_train", "val", "test"):
        dump(tmp_path / "x" / file.format(short), content)
    with pytest.raises(ValueError, match=message):
        load_dataset("mini_imagenet", data_dir=tmp_path / "x", cache_dir=tmp_path)


@tiered
def test_archives_without_images(toy: Toy, tmp_path: Path) -> None:
    for split, short in SHORT.items():
        dump(tmp_path / "x" / f"{short}_labels.pkl", {"labels": labels_of(toy, split)})
        np.savez(tmp_path / "x" / f"{short}_images.npz", pictures=PIXELS)
    with pytest.raises(
        ValueError, match=r"train_images\.npz is no archive with an arr"
    ):
        load(toy, tmp_path / "x")


def test_counts_are_checked(tmp_path: Path) -> None:
    for short in SHORT.values():
        content = {"image_data": PIXELS, "class_dict": {"a": [0, 1], "b": [2, 3]}}
        dump(tmp_path / CACHE.format(short), content)
    with pytest.raises(ValueError, match=r"has 64 classes in split 'train'.* has 2$"):
        load_dataset("mini_imagenet", data_dir=tmp_path, cache_dir=tmp_path)
