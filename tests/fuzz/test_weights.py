"""State dicts of PyTorch and safetensors, changed at random."""

import random
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from metabridge.weights import read_weights
from tests.fuzz.fuzzing import check, each_count, mutated
from tests.weights import torch_format
from tests.weights.torch_format import View

CONTENT = {
    "model": {
        "conv1.weight": np.arange(24, dtype=np.float32).reshape(2, 3, 4),
        "half": np.ones(3, np.float16),
        "turned": View(np.arange(6, dtype=np.float32), 0, (3, 2), (1, 3)),
    },
    "epoch": 3,
}


def contents(folder: Path) -> list[bytes]:
    """A file of each format."""
    torch_format.write_zip(folder / "zip", CONTENT)
    torch_format.write_legacy(folder / "legacy", CONTENT)
    save_file({"a": np.ones((2, 3), np.float32)}, folder / "safetensors")
    return [(folder / name).read_bytes() for name in ("zip", "legacy", "safetensors")]


def changed_pickles(folder: Path, generator: random.Random) -> Iterator[bytes]:
    """Zips whose checks are right, with a changed pickle in them."""
    with zipfile.ZipFile(folder / "zip") as archive:
        parts = {info.filename: archive.read(info) for info in archive.infolist()}
    place = folder / "changed"
    while True:
        with zipfile.ZipFile(place, "w") as archive:
            for name, part in parts.items():
                pickled = name.endswith(".pkl")
                archive.writestr(name, mutated(part, generator) if pickled else part)
        yield place.read_bytes()


@each_count
def test_changed_files(count: int, tmp_path: Path) -> None:
    generator = random.Random(0)
    files = contents(tmp_path)
    pickles = changed_pickles(tmp_path, generator)
    path = tmp_path / "weights"

    def use(content: bytes) -> None:
        path.write_bytes(content)
        for entry in read_weights(path).values():
            assert entry.read().shape == entry.shape

    for content in files:
        use(content)
    whole = (mutated(generator.choice(files), generator) for _ in range(count))
    report = check(use, whole)
    assert report.refused > report.accepted / 10
    check(use, (next(pickles) for _ in range(count)))


@pytest.mark.extended
def test_tensors_that_share_a_storage_cannot_multiply_it(tmp_path: Path) -> None:
    numbers = np.ones(10_000, np.float32)
    views = {f"w{n}": View(numbers, 0, (10_000,), (1,)) for n in range(100)}
    torch_format.write_zip(tmp_path / "a", views)
    with pytest.raises(ValueError, match="larger than a file of its size holds"):
        read_weights(tmp_path / "a")
