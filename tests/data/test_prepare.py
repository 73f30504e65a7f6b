"""Getting a dataset from a server of this machine, from files, and what is refused."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from metabridge.data import load_dataset
from metabridge.data.datasets.cifar import original
from metabridge.data.datasets.omniglot import original as omniglot_original
from metabridge.data.prepare import prepare, summary
from metabridge.registry import DATASETS, Archive
from tests.data.datasets import test_omniglot_forms, written
from tests.data.datasets.test_cifar_forms import assert_is
from tests.data.datasets.test_cifar_forms import images as images  # a fixture
from tests.data.datasets.test_omniglot_forms import inks as inks
from tests.data.servers import Server, serve


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with serve() as found:
        yield found


def publish(
    server: Server, files: list[Path], *names: str, patch: pytest.MonkeyPatch
) -> tuple[Archive, ...]:
    """Puts files on the server, from where datasets are then to be downloaded."""
    archives = []
    for path in files:
        server.files[f"/{path.name}"] = content = path.read_bytes()
        digest = hashlib.sha256(content).hexdigest()
        archives.append(Archive(f"{server.url}/{path.name}", len(content), digest))
    for name in names:
        entry = DATASETS[name]
        traits = entry.traits._replace(archives=tuple(archives))
        patch.setitem(DATASETS._entries, name, entry._replace(traits=traits))
    return tuple(archives)


@pytest.fixture
def cifar(
    images: written.Arrays,
    server: Server,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Path:
    """An archive of made images in place of CIFAR-100's, on the server and here."""
    path = tmp_path / "here" / "cifar-100-python.tar.gz"
    path.parent.mkdir()
    written.write_tar(path, written.cifar_files(images, 1), "cifar-100-python")
    names = ("cifar_fs", "fc100")
    (archive,) = publish(server, [path], *names, patch=monkeypatch)
    monkeypatch.setattr(original, "ARCHIVE", archive)
    return path


def test_download_and_again(
    cifar: Path, images: written.Arrays, server: Server, tmp_path: Path
) -> None:
    lines, root = [], tmp_path / "data"
    for name in ("cifar_fs", "fc100", "cifar_fs"):
        dataset = prepare(
            name, data_dir=root, cache_dir=tmp_path / "cache", tell=lines.append
        )
        assert_is(dataset, name, images)
    size = f"{cifar.stat().st_size / 1e6:.3g} MB"
    url = f"{server.url}/{cifar.name}"
    assert lines == [f"downloading {url} ({size}) to {root}", "decoding it"]
    assert len(server.asked) == 1
    assert [path.name for path in root.iterdir()] == [cifar.name]
    again = load_dataset("cifar_fs", data_dir=root, cache_dir=tmp_path / "cache")
    assert_is(again, "cifar_fs", images)


def test_load_dataset_downloads_too(
    cifar: Path, images: written.Arrays, tmp_path: Path
) -> None:
    options = {"data_dir": tmp_path / "data", "cache_dir": tmp_path / "cache"}
    dataset = load_dataset("fc100", download=True, **options)
    assert_is(dataset, "fc100", images)
    assert (tmp_path / "data" / cifar.name).is_file()


def test_an_interrupted_download_goes_on(
    cifar: Path, images: written.Arrays, server: Server, tmp_path: Path
) -> None:
    server.cut = 1000
    options: dict[str, Any] = {"data_dir": tmp_path / "data"}
    options["cache_dir"] = tmp_path / "cache"
    with pytest.raises(
        OSError, match="1,000 bytes are kept, and the same command goes"
    ):
        prepare("cifar_fs", tell=str, **options)
    assert_is(prepare("cifar_fs", tell=str, **options), "cifar_fs", images)
    assert server.asked[1][1] == "bytes=1000-"


def test_an_archive_downloaded_by_hand(
    cifar: Path, images: written.Arrays, server: Server, tmp_path: Path
) -> None:
    mine = cifar.rename(cifar.with_name("download.bin"))
    lines = []
    dataset = prepare(
        "cifar_fs", data_dir=tmp_path / "data", archives=[mine],
        cache_dir=tmp_path / "cache", tell=lines.append,
    )  # fmt: skip
    assert_is(dataset, "cifar_fs", images)
    assert not server.asked
    assert not lines
    assert mine.is_file()


def test_omniglot_of_which_half_is_there(
    inks: dict[str, written.Arrays],
    server: Server,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    test_omniglot_forms.write(inks, tmp_path / "here", "zip")
    files = [tmp_path / "here" / f"{name}.zip" for name in omniglot_original.SETS]
    publish(server, files, "omniglot", patch=monkeypatch)
    lines = []
    dataset = prepare(
        "omniglot", data_dir=tmp_path / "data", archives=files[:1],
        cache_dir=tmp_path / "cache", tell=lines.append,
    )  # fmt: skip
    test_omniglot_forms.assert_is(dataset, inks)
    assert server.asked == [("/images_evaluation.zip", None)]
    assert len(lines) == 2
    assert summary(dataset, None) == [
        "omniglot is ready: 3/2/2 classes, 21 images 28x28x1",
        "train on it: metabridge train mtl --dataset omniglot",
    ]
    assert summary(dataset, Path("my data"))[1].endswith(" --data-dir 'my data'")


def test_data_that_is_there_is_used(
    images: written.Arrays, server: Server, tmp_path: Path
) -> None:
    files = written.cifar_files(images, 1)
    written.write_files(tmp_path / "cifar-100-python", files)
    options: dict[str, Any] = {"data_dir": tmp_path}
    options["cache_dir"] = tmp_path / "cache"
    assert_is(prepare("fc100", tell=pytest.fail, **options), "fc100", images)
    assert not server.asked


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("glyphs", "'glyphs' is not to be prepared, as it needs nothing that could be"),
        ("mini_imagenet", r"its images are the user's; these are: cifar_fs, fc100, om"),
        ("folder:x", "is not to be prepared"),
        ("nothing", "unknown dataset 'nothing'"),
    ],
)
def test_what_cannot_be_prepared(name: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        prepare(name, data_dir=tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_dataset_of_a_user(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from metabridge.data import Dataset, Split
    from metabridge.data.forms import missing
    from metabridge.registry import register_dataset

    def load(*, data_dir: Path, cache_dir: Path | None = None) -> Dataset:
        del cache_dir
        path = data_dir / "mine.npy"
        if not path.is_file():
            raise missing("mine", data_dir, "mine.npy")
        pixels = np.load(path)
        labels = np.array([0, 0, 1, 1], np.int32)
        parts = {n: Split(pixels, labels, (n, n * 2)) for n in ("a", "b", "c")}
        return Dataset("mine", *parts.values(), mean=(0.5,), std=(0.5,))

    path = tmp_path / "mine.npy"
    np.save(path, np.arange(16, dtype=np.uint8).reshape(4, 2, 2, 1))
    register_dataset("mine", load)
    try:
        publish(server, [path], "mine", patch=monkeypatch)
        dataset = prepare("mine", data_dir=tmp_path / "data", tell=str)
        assert dataset.test.images[3, 1, 1, 0] == 15
    finally:
        monkeypatch.undo()
        DATASETS.remove("mine")


def test_the_archives_are_those_that_are_published() -> None:
    archives = [a for e in DATASETS.values() for a in e.traits.archives]
    assert {a.name for a in archives} == {
        "cifar-100-python.tar.gz", "images_background.zip", "images_evaluation.zip",
    }  # fmt: skip
    for archive in archives:
        assert archive.url.startswith("https://")
        assert len(archive.sha256) == 64
        assert 10**6 < archive.size < 2 * 10**8
