"""The folder of a kernel that is being computed, changed between two attempts."""

import json
import os
import random
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from metabridge.theory.matrices.storage import Store
from metabridge.theory.types import Kernels
from tests.fuzz.fuzzing import HOSTILE, check, each_count, mutated, with_hostile_value
from tests.fuzz.test_cache import FORGED

pytestmark = pytest.mark.extended

POINTS = np.arange(12.0).reshape(6, 2)


def store(folder: Path) -> Store:
    return Store(
        folder,
        (6, 6),
        "float64",
        tile=3,
        symmetric=True,
        inputs=(POINTS, None),
        name="toy",
        probe=Kernels(np.ones((2, 2)), np.full((2, 2), 0.5)),
    )


def use(folder: Path) -> None:
    """Goes on with a computation, and reads what it made."""
    with store(folder) as opened:
        assert opened.kernels.nngp.shape == opened.kernels.ntk.shape == (6, 6)
        assert opened.done <= {(row, column) for row in range(6) for column in range(6)}
        opened.kernels.ntk[3:, 3:] = 1.0
        opened.finish([(3, 3)])
    assert opened.opened().ntk[5, 5] == 1.0


@pytest.fixture
def sound(tmp_path: Path) -> Path:
    folder = tmp_path / "sound"
    use(folder)
    return folder


@each_count
def test_changed_folders(count: int, sound: Path, tmp_path: Path) -> None:
    folder, mine = tmp_path / "folder", tmp_path / "mine"
    mine.write_bytes(b"kept" * 200)
    names = ["kernel.json", "kernel.json", *(path.name for path in sound.iterdir())]

    def harm(path: Path, generator: random.Random) -> None:
        kind = generator.randrange(8)
        if kind < 3 or not path.is_file() or path.is_symlink():
            path.unlink(missing_ok=True)
            if kind == 1:
                os.mkfifo(path)
            elif kind == 2:
                path.symlink_to(mine)
        elif path.name == "kernel.json" and kind < 7:
            values = with_hostile_value(json.loads(path.read_text()), generator)
            path.write_text(json.dumps(values))
        elif path.suffix == ".npy" and kind < 6:
            path.write_bytes(generator.choice(FORGED))
        else:
            path.write_bytes(mutated(path.read_bytes(), generator))

    def changed(number: int) -> None:
        generator = random.Random(number)
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(sound, folder)
        harm(folder / generator.choice(names), generator)
        if number % 4 == 0:
            (folder / "kernel.json.partial").symlink_to(mine)
        try:
            use(folder)
        finally:
            assert mine.read_bytes() == b"kept" * 200
            sizes = [path.lstat().st_size for path in folder.iterdir()]
            assert max(sizes, default=0) < 50_000

    report = check(changed, range(count))
    assert report.accepted > count // 20
    assert report.refused > count // 2


@pytest.mark.parametrize(
    "name", ["tiles", "nngp.npy", "ntk.npy", "kernel.json.partial"]
)
def test_links_are_not_written_through(name: str, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.write_bytes(b"kept")
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / name).symlink_to(mine)
    with pytest.raises(ValueError, match=f"{name} is a link"):
        use(folder)
    assert mine.read_bytes() == b"kept"


@pytest.mark.parametrize("probe", [*HOSTILE, [[[1, 1], [1, 1]], [[0.5, 0.5], [0.5]]]])
def test_values_that_are_not_those_of_the_kernel(probe: Any, sound: Path) -> None:
    path = sound / "kernel.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"probe": probe}))
    with pytest.raises(ValueError, match="was computed with another kernel"):
        use(sound)


@pytest.mark.parametrize("line", ["6 0", "0 99", "1 -1", "9" * 5000 + " 1", "\u0661 1"])
def test_tiles_that_are_nowhere(line: str, sound: Path) -> None:
    (sound / "tiles").write_text(f"0 0\n{line}\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"tiles|ascii"):
        use(sound)


def test_a_forged_shape_does_not_enlarge_the_file(sound: Path) -> None:
    path = sound / "ntk.npy"
    content = path.read_bytes().replace(b"(6, 6)", b"(6, 600000000)"[:6])
    forged = FORGED[8]
    for made in (content[:-8], forged):
        path.write_bytes(made)
        with pytest.raises(ValueError, match=r"ntk\.npy holds"):
            use(sound)
        assert path.stat().st_size == len(made)
