"""CIFAR-FS and FC100 from the forms that people have, against arrays made here."""

import pickle
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from metabridge.data import SPLITS, Dataset, load_dataset
from metabridge.data.dataset import class_lists
from metabridge.data.datasets.cifar import loading, original, pickles
from metabridge.data.forms import MissingDataError
from tests.data.datasets import written
from tests.data.test_tfds_source import prepare

PER_CLASS = 3
NAMES = sorted(n for names in class_lists("cifar_fs").values() for n in names)
PATTERNS = {"cifar_fs": "CIFAR_FS_{}.pickle", "fc100": "FC100_{}.pickle"}


@pytest.fixture
def images(monkeypatch: pytest.MonkeyPatch) -> written.Arrays:
    """All 100 classes, with three images of random pixels each."""
    monkeypatch.setattr(loading, "PER_CLASS", PER_CLASS)
    generator = np.random.default_rng(0)
    shape = (PER_CLASS, 32, 32, 3)
    return {name: generator.integers(0, 256, shape, dtype=np.uint8) for name in NAMES}


def load(name: str, root: Path) -> Dataset:
    return load_dataset(name, data_dir=root, cache_dir=root / "cache")


def assert_is(dataset: Dataset, name: str, images: written.Arrays) -> None:
    assert dataset.name == name
    for split, names in class_lists(name).items():
        found = dict(dataset.splits())[split]
        assert found.class_names == tuple(names)
        assert set(found.images_per_class.tolist()) == {PER_CLASS}
        np.testing.assert_array_equal(
            found.images, np.concatenate([images[each] for each in names])
        )


@pytest.mark.parametrize("name", PATTERNS)
@pytest.mark.parametrize("as_bytes", [True, False])
def test_python_files(
    images: written.Arrays, tmp_path: Path, name: str, as_bytes: bool
) -> None:
    files = written.cifar_files(images, 1, as_bytes=as_bytes)
    written.write_files(tmp_path / "cifar-100-python", files)
    assert_is(load(name, tmp_path), name, images)
    # The folder itself may be given, too.
    inside = tmp_path / "cifar-100-python"
    assert_is(load_dataset(name, data_dir=inside, cache_dir=tmp_path), name, images)


@pytest.mark.parametrize("name", PATTERNS)
def test_the_archive(images: written.Arrays, tmp_path: Path, name: str) -> None:
    files = written.cifar_files(images, 1)
    archive = tmp_path / "cifar-100-python.tar.gz"
    written.write_tar(archive, files, "cifar-100-python")
    assert_is(load(name, tmp_path), name, images)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["cache", archive.name]


def numbers(name: str, kind: str) -> dict[str, dict[str, int]]:
    """The label of each class of each split; copies of the pickles differ in them."""
    lists = class_lists(name)
    if kind == "of CIFAR-100":
        return {s: {n: NAMES.index(n) for n in names} for s, names in lists.items()}
    firsts: dict[str, int] = dict(zip(SPLITS, (0, 64, 80), strict=True))
    # In some other order than ours.
    return {
        split: {n: firsts[split] + i for i, n in enumerate(reversed(names))}
        for split, names in lists.items()
    }


@pytest.mark.parametrize("protocol", [0, 2, 4])
@pytest.mark.parametrize("name", PATTERNS)
def test_pickles_with_the_labels_of_cifar_100(
    images: written.Arrays, tmp_path: Path, name: str, protocol: int
) -> None:
    labels = numbers(name, "of CIFAR-100")
    few = {each: found[:2] for each, found in images.items()}
    written.write_split_pickles(tmp_path, PATTERNS[name], few, labels, protocol)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loading, "PER_CLASS", 2)
        dataset = load(name, tmp_path)
    for split, names in class_lists(name).items():
        found = dict(dataset.splits())[split]
        assert found.class_names == tuple(names)
        np.testing.assert_array_equal(
            found.images, np.concatenate([few[each] for each in names])
        )


@pytest.mark.parametrize("name", PATTERNS)
@pytest.mark.parametrize("inside", [True, False])
def test_classes_are_known_by_their_images(
    images: written.Arrays,
    tmp_path: Path,
    name: str,
    inside: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    known = {pickles.digest(found): each for each, found in images.items()}
    monkeypatch.setattr(pickles, "known_digests", lambda: known)
    folder = {"cifar_fs": "CIFAR-FS", "fc100": "FC100"}[name] if inside else "."
    written.write_split_pickles(
        tmp_path / folder, PATTERNS[name], images, numbers(name, "from 0")
    )
    assert_is(load(name, tmp_path), name, images)


def test_unknown_images_keep_their_numbers(
    images: written.Arrays, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    labels = numbers("cifar_fs", "from 0")
    written.write_split_pickles(tmp_path, PATTERNS["cifar_fs"], images, labels)
    dataset = load("cifar_fs", tmp_path)
    assert dataset.test.class_names == tuple(f"test {n}" for n in range(80, 100))
    first = {number: each for each, number in labels["test"].items()}[80]
    np.testing.assert_array_equal(dataset.test.images[:PER_CLASS], images[first])
    assert "are not CIFAR-100's: classes are numbers" in caplog.text


def test_pickles_of_the_wrong_split_are_noticed(
    images: written.Arrays, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = {pickles.digest(found): each for each, found in images.items()}
    monkeypatch.setattr(pickles, "known_digests", lambda: known)
    labels = numbers("fc100", "from 0")
    labels["test"], labels["validation"] = labels["validation"], labels["test"]
    written.write_split_pickles(tmp_path, PATTERNS["fc100"], images, labels)
    with pytest.raises(ValueError, match=r"FC100_val.*has class .* not in 'validation"):
        load("fc100", tmp_path)


def test_digest_is_of_the_images_in_any_order() -> None:
    images = np.random.default_rng(0).integers(0, 256, (7, 4, 4, 3), dtype=np.uint8)
    assert pickles.digest(images) == pickles.digest(images[::-1])
    changed = images.copy()
    changed[3, 0, 0, 0] ^= 1
    assert pickles.digest(images) != pickles.digest(changed)
    # By hand: the digest of two equal images is twice that of one.
    twice = (2 * int(pickles.digest(images[:1]), 16)) % 2**64
    assert int(pickles.digest(images[[0, 0]]), 16) == twice


def test_the_digests_of_the_package_are_of_the_hundred_classes() -> None:
    assert sorted(pickles.known_digests().values()) == NAMES


def test_a_missing_pickle_is_named(images: written.Arrays, tmp_path: Path) -> None:
    labels = numbers("cifar_fs", "from 0")
    written.write_split_pickles(tmp_path, PATTERNS["cifar_fs"], images, labels)
    (tmp_path / "CIFAR_FS_val.pickle").unlink()
    with pytest.raises(ValueError, match=r"cifar_fs, but not CIFAR_FS_val\.pickle"):
        load("cifar_fs", tmp_path)


PIXELS = np.zeros((4, 32, 32, 3), np.uint8)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([1], "must be a dict with `data`"),
        ({"data": PIXELS}, "must be a dict with `data`"),
        ({"data": PIXELS, "labels": [0, 1]}, "must be a dict with `data`"),
        ({"data": PIXELS * 1.0, "labels": [0] * 4}, "must be a dict with `data`"),
        ({"data": PIXELS, "labels": [0.5] * 4}, "must be a dict with `data`"),
        ({"data": PIXELS, "labels": [[]] * 4}, "must be a dict with `data`"),
        ({"data": PIXELS, "labels": [0, 0, 1, 1]}, "has 64 classes, but .* has 2"),
        ({"data": print}, r"train\.pickle is not a pickle of arrays .*asks for"),
    ],
)
def test_odd_pickles(tmp_path: Path, content: Any, message: str) -> None:
    for short in ("train", "val", "test"):
        file = tmp_path / f"CIFAR_FS_{short}.pickle"
        file.write_bytes(pickle.dumps(content))
    with pytest.raises(ValueError, match=message):
        load("cifar_fs", tmp_path)


def test_missing_images_are_noticed(images: written.Arrays, tmp_path: Path) -> None:
    images["apple"] = images["apple"][1:]
    files = written.cifar_files(images, 1)
    written.write_files(tmp_path / "cifar-100-python", files)
    with pytest.raises(ValueError, match=r"3 images of each class.*2 of 'apple'"):
        load("fc100", tmp_path)


def damaged(files: dict[str, bytes], file: str, change: dict[str, Any]) -> None:
    content = pickle.loads(files[file])
    files[file] = pickle.dumps(content | change, 2)


@pytest.mark.parametrize(
    ("file", "change", "message"),
    [
        ("train", {b"data": 3}, "train of .* must have `data`, uint8 .N, 3072."),
        ("test", {b"fine_labels": [1]}, "test of .* must have `data`"),
        ("meta", {b"fine_label_names": []}, "not name the 100 .*: it names 0"),
        ("meta", {b"fine_label_names": 7}, "not name the 100 classes"),
        ("meta", {b"fine_label_names": [b"apple"] * 100}, "not name the 100 classes"),
        ("meta", {b"fine_label_names": [[]] * 100}, "not name the 100 classes"),
    ],
)
def test_odd_python_files(
    images: written.Arrays, tmp_path: Path, file: str, change: Any, message: str
) -> None:
    files = written.cifar_files(images, 1)
    damaged(files, file, change)
    written.write_files(tmp_path / "cifar-100-python", files)
    with pytest.raises(ValueError, match=message):
        load("cifar_fs", tmp_path)


def test_files_without_the_content(images: written.Arrays, tmp_path: Path) -> None:
    files = written.cifar_files(images, 1)
    files["meta"] = pickle.dumps({"other": 1})
    written.write_files(tmp_path / "cifar-100-python", files)
    with pytest.raises(ValueError, match="has no `fine_label_names`"):
        load("cifar_fs", tmp_path)


def test_an_archive_without_a_file(images: written.Arrays, tmp_path: Path) -> None:
    files = written.cifar_files(images, 1)
    archive = tmp_path / "cifar-100-python.tar.gz"
    written.write_tar(archive, files, "elsewhere")
    with pytest.raises(ValueError, match="has no cifar-100-python/train: get it again"):
        load("cifar_fs", tmp_path)
    archive.write_bytes(archive.read_bytes()[:1000])
    with pytest.raises(ValueError, match=r"python\.tar\.gz cannot be read"):
        load("cifar_fs", tmp_path)


def test_order_of_the_forms(images: written.Arrays, tmp_path: Path) -> None:
    lists = class_lists("cifar_fs")

    def found() -> str:
        return loading.find("cifar_fs", lists, tmp_path).key

    files = written.cifar_files(images, 1)
    written.write_tar(tmp_path / original.ARCHIVE.name, files, "cifar-100-python")
    assert found() == "archive"
    written.write_files(tmp_path / "cifar-100-python", files)
    assert found() == "python"
    labels = numbers("cifar_fs", "from 0")
    written.write_split_pickles(tmp_path, PATTERNS["cifar_fs"], images, labels)
    assert found() == "pickles"
    shutil.move(prepare(tmp_path / "x", "3.0.2").parent, tmp_path / "cifar100")
    file = tmp_path / "cifar100/3.0.2" / "toy-train.array_record-00000-of-00001"
    file.rename(file.with_name(file.name.replace("toy", "cifar100")))
    assert found() == "3.0.2"


@pytest.mark.parametrize("name", PATTERNS)
def test_missing_data_says_what_to_do(tmp_path: Path, name: str) -> None:
    root = tmp_path / "my data"
    with pytest.raises(MissingDataError) as caught:
        load_dataset(name, data_dir=root)
    message = str(caught.value)
    assert f"{name!r} is not in {root} (there is no such folder)" in message
    assert f"metabridge prepare {name} --data-dir '{root}'" in message
    assert "`load_dataset(..., download=True)`" in message
    assert PATTERNS[name].format("train") in message
    prepare(tmp_path / "y", "3.0.2", "tfrecord").parent.rename(tmp_path / "cifar100")
    with pytest.raises(MissingDataError, match=r"3\.0\.2 \(tfrecord, but array_record"):
        load_dataset(name, data_dir=tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "form"),
    [
        pytest.param("cifar_fs", "folder", marks=pytest.mark.extended),
        pytest.param("fc100", "pickles", marks=pytest.mark.extended),
        pytest.param("fc100", "archive", marks=pytest.mark.slow),
    ],
)
def test_real_images(
    name: str, form: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """All of CIFAR-100, in an order that keeps that of each class: equal to the bit."""
    dataset: Dataset = request.getfixturevalue(name)
    images = {
        each: split.images[600 * row : 600 * row + 600]
        for _, split in dataset.splits()
        for row, each in enumerate(split.class_names)
    }
    if form == "pickles":  # whose classes are known by their images alone
        written.write_split_pickles(
            tmp_path, PATTERNS[name], images, numbers(name, "from 0")
        )
    elif form == "folder":
        files = written.cifar_files(images, 100)
        written.write_files(tmp_path / "cifar-100-python", files)
    else:
        files = written.cifar_files(images, 100)
        written.write_tar(tmp_path / original.ARCHIVE.name, files, "cifar-100-python")
    assert load(name, tmp_path).fingerprint() == dataset.fingerprint()
