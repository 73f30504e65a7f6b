"""The cache: whatever is in its folder, the dataset comes out, or is built anew."""

import json
import os
import pickle
import random
import shutil
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from metabridge.data import cache
from metabridge.untrusted import is_safe
from tests.data.test_cache import assert_equal, make_dataset
from tests.fuzz.fuzzing import HOSTILE, check, each_count, mutated, with_hostile_value

pytestmark = pytest.mark.extended

TRAP = b"cposix\nsystem\n(Vtouch done\ntR."


def header(text: str) -> bytes:
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode("latin1")


def described(shape: str, kind: str) -> bytes:
    return header(f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}}}")


FORGED = (
    b"", b"PK\x03\x04" + bytes(40), TRAP, header("-" * 9000 + "1"), header("(" * 300),
    header("1+" * 4000 + "1"), header("{}"), described("(10**9,)", "|u1"),
    described("(1000000000000, 84, 84, 3)", "|u1"), described("(0, 4, 5, 3)", "|u1"),
    described("(6, 4, 5, 3)", "|O") + pickle.dumps([1]), described("(6,)", "<i4"),
    described("(-1, 4, 5, 3)", "|u1"), described("(True, 4, 5, 3)", "|u1") + bytes(60),
    described("()", "|u1") + b"1", described("(6,)", "<i4") + b"\xff" * 24,
    described("(6,)", "|S1000000000"), b"\x93NUMPY\xff\xff" + bytes(200),
)  # fmt: skip
"""Contents of ``.npy`` files that are none, or promise what they do not hold."""


class Damage:
    """A folder of the cache, sound at first, and what is done to it."""

    def __init__(self, root: Path) -> None:
        self.folder = root / "toy"
        self.sound = root.parent / "sound"
        self.built = 0
        self.load()
        shutil.copytree(self.folder, self.sound)
        self.files = sorted(path.name for path in self.sound.iterdir())

    def load(self) -> Any:
        def build(_: Path) -> Any:
            self.built += 1
            return make_dataset()

        root = self.folder.parent
        return cache.load_or_build("toy", {"v": 1}, build, cache_dir=root)

    def __call__(self, seed: int) -> None:
        generator = random.Random(seed)
        if os.path.islink(self.folder) or not self.folder.is_dir():
            self.folder.unlink(missing_ok=True)
        shutil.rmtree(self.folder, ignore_errors=True)
        shutil.copytree(self.sound, self.folder)
        for _ in range(generator.choice((1, 1, 2))):
            self.harm(generator)
        dataset = self.load()
        assert is_safe("".join(dataset.train.class_names))
        # Names and numbers in the manifest may be others; what is checked is the same.
        for (name, one), (_, other) in zip(
            dataset.splits(), make_dataset().splits(), strict=True
        ):
            if one.images.shape == other.images.shape:
                assert one.images.dtype == other.images.dtype, name
        assert all(0 < value < np.inf for value in dataset.std)

    def harm(self, generator: random.Random) -> None:
        path = self.folder / generator.choice(self.files)
        kind = generator.randrange(7)
        if path.name == "manifest.json" or kind == 0:
            self.harm_manifest(generator)
        elif not path.is_file():
            return
        elif kind == 1:
            path.unlink()
        elif kind == 2:
            path.unlink()
            os.mkfifo(path)
        elif kind == 3:
            path.unlink()
            target = generator.choice(("/dev/zero", path.name, "manifest.json", "/"))
            path.symlink_to(target)
        else:
            content = path.read_bytes()
            content = generator.choice((mutated(content, generator), *FORGED))
            path.write_bytes(content)
            if generator.random() < 0.8:
                self.sign(path, content)

    def harm_manifest(self, generator: random.Random) -> None:
        path = self.folder / "manifest.json"
        if not path.is_file():
            return
        content = path.read_bytes()
        kind = generator.random()
        if kind < 0.1:
            path.unlink()
            os.mkfifo(path)
        elif kind < 0.4:
            path.write_bytes(mutated(content, generator))
        else:
            try:
                values = json.loads(content)
            except ValueError:
                return
            path.write_text(json.dumps(with_hostile_value(values, generator)))

    def sign(self, path: Path, content: bytes) -> None:
        """Puts into the manifest what makes the damage look sound."""
        manifest = self.folder / "manifest.json"
        try:
            values = json.loads(manifest.read_text() if manifest.is_file() else "{}")
            entry = values["files"][path.name]
            entry |= {"bytes": len(content), "crc32": zlib.crc32(content)}
            entry |= {"shape": [6], "dtype": "int32"} if len(content) % 2 else {}
        except (ValueError, KeyError, TypeError):
            return
        manifest.write_text(json.dumps(values))


@each_count
def test_damaged_folders_are_built_anew(count: int, tmp_path: Path) -> None:
    damage = Damage(tmp_path / "cache")
    report = check(damage, range(count), errors=())
    assert report.accepted == count
    assert damage.built > count // 2


@pytest.mark.parametrize("value", HOSTILE, ids=repr)
@pytest.mark.parametrize("key", ["name", "mean", "std", "augmentation"])
def test_a_hostile_description_is_not_believed(
    key: str, value: Any, tmp_path: Path
) -> None:
    damage = Damage(tmp_path / "cache")
    path = damage.folder / "manifest.json"
    manifest = json.loads(path.read_text())
    if key in ("mean", "std"):
        value = [value] * 3
    manifest["dataset"][key] = value
    path.write_text(json.dumps(manifest))
    dataset = damage.load()
    assert all(type(v) is float and abs(v) < 2e308 for v in dataset.mean)
    assert all(type(v) is float and 0 < v < 2e308 for v in dataset.std)
    assert type(dataset.name) is str
    if key == "augmentation":
        assert_equal(dataset, make_dataset())


@pytest.mark.parametrize("content", FORGED)
def test_forged_arrays(content: bytes, tmp_path: Path) -> None:
    damage = Damage(tmp_path / "cache")
    for name in ("train.images.npy", "test.labels.npy"):
        (damage.folder / name).write_bytes(content)
        damage.sign(damage.folder / name, content)
        before = damage.built
        assert_equal(damage.load(), make_dataset())
        assert damage.built == before + 1


def test_a_link_for_the_folder_is_replaced(tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "file").write_text("kept")
    (tmp_path / "cache").mkdir()
    for target in (mine, tmp_path / "nowhere"):
        (tmp_path / "cache" / "toy").symlink_to(target)
        cache.load_or_build(
            "toy", {}, lambda _: make_dataset(), cache_dir=tmp_path / "cache"
        )
        assert not (tmp_path / "cache" / "toy").is_symlink()
        shutil.rmtree(tmp_path / "cache" / "toy")
    assert (mine / "file").read_text() == "kept"
