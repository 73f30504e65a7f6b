"""Features files: their content, and calls that were cut off."""

import errno
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from metabridge import embed, load_dataset
from metabridge.data import from_arrays
from tests.apply import bodies

DATA = bodies.dataset()
TOTAL = sum(len(split.labels) for _, split in DATA.splits())


def pixels(images: np.ndarray) -> np.ndarray:
    return images.reshape(len(images), -1)[:, :10] / 255.0


def test_features_are_those_of_the_body(tmp_path: Path) -> None:
    body = bodies.body("mtl", DATA)
    file = embed(body, DATA, tmp_path / "a.npz", batch=16)
    found = load_dataset(f"features:{file}")
    for (_, ours), (_, split) in zip(found.splits(), DATA.splits(), strict=True):
        assert ours.class_names == split.class_names
        np.testing.assert_array_equal(ours.labels, split.labels)
        np.testing.assert_allclose(ours.inputs, body.embed(split.images), atol=1e-6)
    assert not found.has_images
    assert [path.name for path in tmp_path.iterdir()] == ["a.npz"]


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_a_call_that_was_cut_off_goes_on(dtype: Any, tmp_path: Path) -> None:
    whole = embed(pixels, DATA, tmp_path / "whole.npz", batch=7, dtype=dtype, name="x")
    calls: list[int] = []

    def cut_off(images: np.ndarray) -> np.ndarray:
        calls.append(len(images))
        if len(calls) in (3, 4):
            raise KeyboardInterrupt
        return pixels(images)

    output = tmp_path / "part.npz"
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            embed(cut_off, DATA, output, batch=7, dtype=dtype, name="x")
    assert not output.exists()
    embed(cut_off, DATA, output, batch=7, dtype=dtype, name="x")
    # Only those cut off came again, and the first, to see that the body is the same.
    assert sum(calls) == TOTAL + 3 * 7
    assert output.read_bytes() == whole.read_bytes()


def test_the_beginning_of_another_file_is_not_taken(tmp_path: Path) -> None:
    def cut_off(images: np.ndarray) -> np.ndarray:
        if (tmp_path / "a.npz.begun" / "progress.json").exists():
            raise KeyboardInterrupt
        return pixels(images)

    with pytest.raises(KeyboardInterrupt):
        embed(cut_off, DATA, tmp_path / "a.npz", batch=8, name="x")
    for changes in ({"name": "y"}, {"batch": 9}, {"dtype": "float16"}):
        options: dict[str, Any] = {"batch": 8, "name": "x"} | changes
        with pytest.raises(ValueError, match="beginning of a file with another body"):
            embed(pixels, DATA, tmp_path / "a.npz", **options)


def test_another_function_of_the_same_name_is_found_out(tmp_path: Path) -> None:
    def cut_off(images: np.ndarray) -> np.ndarray:
        if (tmp_path / "a.npz.begun" / "progress.json").exists():
            raise KeyboardInterrupt
        return pixels(images)

    with pytest.raises(KeyboardInterrupt):
        embed(cut_off, DATA, tmp_path / "a.npz", batch=8, name="x")
    with pytest.raises(ValueError, match="beginning of a file with another body"):
        embed(
            lambda images: 2 * pixels(images),
            DATA,
            tmp_path / "a.npz",
            batch=8,
            name="x",
        )


def test_features_that_float16_does_not_hold(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="exceed float16: pass float32"):
        embed(lambda x: 1e6 * pixels(x), DATA, tmp_path / "a.npz", dtype="float16")


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda images: images, r"must give features \[N, D\]"),
        (lambda images: pixels(images) * np.inf, "NaN or infinity"),
        (lambda images: pixels(images)[:1], "1 rows of features for 128 inputs"),
    ],
)
def test_a_body_that_gives_no_features(
    function: Any, message: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=message), np.errstate(invalid="ignore"):
        embed(function, DATA, tmp_path / "a.npz")
    with pytest.raises(ValueError, match=r"must end in \.npz"):
        embed(pixels, DATA, tmp_path / "a.txt")
    with pytest.raises(ValueError, match="`batch` is 0"):
        embed(pixels, DATA, tmp_path / "a.npz", batch=0)


_PROCESS = """
import sys, time
import numpy as np
from metabridge import embed
def slow(images):
    time.sleep(0.02)
    return images.reshape(len(images), -1)[:, :64].astype(np.float32)
embed(slow, "npz:" + sys.argv[2], sys.argv[1], batch=8, name="slow")
"""


@pytest.mark.extended
def test_a_process_that_is_killed_three_times(tmp_path: Path) -> None:
    inputs = np.random.default_rng(0).normal(size=(3000, 64)).astype(np.float32)
    labels, split = np.arange(3000) % 30, ["train", "validation", "test"] * 10
    data = from_arrays(inputs, labels, split).save(tmp_path / "data.npz")

    def start(output: Path) -> subprocess.Popen[bytes]:
        return subprocess.Popen([sys.executable, "-c", _PROCESS, output, data])

    output, begun = tmp_path / "a.npz", tmp_path / "a.npz.begun" / "progress.json"
    for _ in range(3):
        before = begun.read_bytes() if begun.exists() else b""
        process = start(output)
        while not begun.exists() or begun.read_bytes() == before:
            assert process.poll() is None
            time.sleep(0.02)
        time.sleep(0.1)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        assert not output.exists()
    assert start(output).wait() == 0
    embed(lambda x: x, str(f"npz:{data}"), tmp_path / "b.npz", batch=8, name="slow")
    assert output.read_bytes() == (tmp_path / "b.npz").read_bytes()


def test_a_disk_that_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage: Any = type("Usage", (), {"free": 1000})
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda _: usage)
        with pytest.raises(OSError, match=r"need .* in .*, but 1 kB are free there"):
            embed(pixels, DATA, tmp_path / "a.npz")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(OSError, match=r"features\.npy \(No space left on device; "):
        embed(pixels, DATA, tmp_path / "a.npz")
    assert not list(tmp_path.iterdir())


def test_the_space_of_the_features_is_taken_at_the_start(tmp_path: Path) -> None:
    blocks: list[int] = []

    def watch(images: np.ndarray) -> np.ndarray:
        file = tmp_path / "a.npz.begun" / "features.npy"
        if file.exists():
            blocks.append(512 * file.stat().st_blocks - file.stat().st_size)
        return np.repeat(pixels(images), 1000, axis=1)

    embed(watch, DATA, tmp_path / "a.npz", batch=16)
    assert min(blocks) >= 0


def test_two_that_make_the_same_file(tmp_path: Path) -> None:
    output = tmp_path / "a.npz"

    def second(images: np.ndarray) -> np.ndarray:
        with pytest.raises(OSError, match=r"another process is making .*a\.npz"):
            embed(pixels, DATA, output, batch=16)
        return pixels(images)

    embed(second, DATA, output, batch=16)
    assert [path.name for path in tmp_path.iterdir()] == ["a.npz"]
    (tmp_path / "a.npz.begun").mkdir()  # left by one that was killed
    (tmp_path / "a.npz.begun" / "lock").touch()
    embed(pixels, DATA, output, batch=16)
    assert [path.name for path in tmp_path.iterdir()] == ["a.npz"]
