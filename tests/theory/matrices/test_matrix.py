"""Kernel matrices of many points: tiles, folders, kills, devices, full disks."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from metabridge import theory
from metabridge.theory.matrices.storage import Store
from tests.theory.cases import sphere

KERNEL = theory.relu_network(3)
ROOT = Path(__file__).parents[3]


def _x(seed: int, count: int = 23) -> np.ndarray:
    return sphere(np.random.default_rng(seed), count, 6)


@pytest.mark.parametrize(
    "tile",
    [
        pytest.param(4, marks=pytest.mark.extended),
        7,
        pytest.param(100, marks=pytest.mark.extended),
    ],
)
@pytest.mark.parametrize("other", [False, True])
@pytest.mark.parametrize("on_disk", [False, True])
def test_tiles_make_the_whole(
    tile: int, other: bool, on_disk: bool, tmp_path: Path
) -> None:
    x1, x2 = _x(0), _x(1, 9) if other else None
    actual = theory.kernel_matrix(
        KERNEL, x1, x2, tile=tile, folder=tmp_path / "k" if on_disk else None
    )
    expected = KERNEL(x1, x2)
    for name in ("nngp", "ntk"):
        part = np.asarray(getattr(actual, name))
        np.testing.assert_allclose(part, getattr(expected, name), rtol=1e-12)
        if not other:
            np.testing.assert_array_equal(part, part.T)


@pytest.mark.extended
def test_float32_and_kernels_that_cannot_be_traced() -> None:
    x, expected = _x(2), KERNEL(_x(2))
    for kernel in (KERNEL, lambda x1, x2=None: KERNEL(x1, x2)):
        actual = theory.kernel_matrix(kernel, x, dtype="float32", tile=8)
        assert actual.ntk.dtype == np.float32
        np.testing.assert_allclose(actual.ntk, expected.ntk, rtol=2e-6, atol=1e-6)


def test_what_is_finished_is_not_computed_again(tmp_path: Path) -> None:
    asked: list[tuple[int, int]] = []

    def counted(x1: np.ndarray, x2: np.ndarray | None = None) -> theory.Kernels:
        asked.append((len(x1), len(x1 if x2 is None else x2)))
        if len(asked) == 4:
            raise KeyboardInterrupt
        return KERNEL(x1, x2)

    x = _x(3)
    options: dict[str, Any] = {"tile": 8, "folder": tmp_path, "name": "counted"}
    with pytest.raises(KeyboardInterrupt):
        theory.kernel_matrix(counted, x, **options)
    asked.clear()
    asked.extend([(0, 0)] * 10)
    result = theory.kernel_matrix(counted, x, **options)
    assert len(asked) == 10 + 1 + 4  # the probe, and four of six tiles
    np.testing.assert_allclose(result.ntk, KERNEL(x).ntk, rtol=1e-12)
    theory.kernel_matrix(counted, x, **options)
    assert len(asked) == 16  # the probe alone


_KILLED = """
import sys, numpy as np
from metabridge import theory
from metabridge.theory.matrices import matrix
matrix._FLUSH_EVERY = 0.0
x = np.random.default_rng(0).standard_normal((1500, 20))
theory.kernel_matrix(theory.relu_network(200), x, tile=128, folder=sys.argv[1])
"""


def _environment(**extra: str) -> dict[str, str]:
    path = os.pathsep.join([str(ROOT), *filter(None, sys.path)])
    return os.environ | {"PYTHONPATH": path, "JAX_PLATFORMS": "cpu"} | extra


def _tiles_done(folder: Path) -> int:
    path = folder / "tiles"
    return path.read_text().count("\n") if path.is_file() else 0


@pytest.mark.slow
@pytest.mark.parametrize(("kills", "at_work"), [(1, 1), (20, 18)])
def test_a_killed_computation_gives_the_same_bytes(
    kills: int, at_work: int, tmp_path: Path
) -> None:
    """Killed at random moments; the last kills may come when all is done."""
    rng = np.random.default_rng(kills)
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    x = np.random.default_rng(0).standard_normal((1500, 20))
    theory.kernel_matrix(theory.relu_network(200), x, tile=128, folder=whole)
    command = [sys.executable, "-c", _KILLED, str(killed)]
    total, met = _tiles_done(whole), 0
    for kill in range(kills):
        process = subprocess.Popen(command, env=_environment())
        goal = min(total - 1, int(total * (kill + rng.random()) / kills))
        while process.poll() is None and _tiles_done(killed) < goal:
            time.sleep(0.002)
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            met += 1
        process.wait()
    subprocess.run(command, env=_environment(), check=True, timeout=300)
    for file in ("nngp.npy", "ntk.npy"):
        assert (whole / file).read_bytes() == (killed / file).read_bytes()
    assert met >= at_work


_DEVICES = """
import json, jax, numpy as np
from metabridge import theory
from tests.theory.matrices.test_matrix import many_tasks, trained
x = np.random.default_rng(0).standard_normal((601, 20))
kernel, found = theory.relu_network(3), []
for count in (1, 4):
    devices = jax.devices()[:count]
    assert len(devices) == count
    ntk = theory.kernel_matrix(kernel, x, tile=250, devices=devices).ntk
    found.append([float(np.sum(ntk)), ntk[17].tolist()])
print(json.dumps([found, trained(many_tasks())]))
"""


def many_tasks() -> theory.Tasks:
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((40, 15, 20)), rng.standard_normal((40, 15, 1))
    return theory.Tasks(x[:, :5], y[:, :5], x[:, 5:], y[:, 5:])


def trained(tasks: theory.Tasks) -> list[list[float]]:
    """What products over all devices make of the tasks."""
    predictor = theory.gbml_predictor(
        theory.relu_network(3), tasks, inner=theory.gradient_flow("head", time=1.0),
        solver="conjugate_gradients",
    )  # fmt: skip
    return predictor.function(np.asarray(tasks.support_x)[0]).tolist()


@pytest.mark.slow
def test_four_devices_agree_with_one() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _DEVICES], capture_output=True, text=True, timeout=300,
        env=_environment(XLA_FLAGS="--xla_force_host_platform_device_count=4"),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    (one, four), products = json.loads(done.stdout.splitlines()[-1])
    np.testing.assert_allclose(four[1], one[1], rtol=1e-13)
    np.testing.assert_allclose(four[0], one[0], rtol=1e-13)
    np.testing.assert_allclose(products, trained(many_tasks()), rtol=1e-6, atol=1e-9)


def test_another_computation_in_the_folder(tmp_path: Path) -> None:
    x = _x(4)
    theory.kernel_matrix(KERNEL, x, tile=8, folder=tmp_path)
    computations: list[dict[str, Any]] = [
        {"x1": x + 1, "kernel": KERNEL, "tile": 8},
        {"x1": x, "kernel": theory.relu_network(4), "tile": 8},
        {"x1": x, "kernel": KERNEL, "tile": 9},
        {"x1": x, "kernel": KERNEL, "tile": 8, "dtype": "float32"},
    ]
    for changed in computations:
        with pytest.raises(ValueError, match="another computation"):
            theory.kernel_matrix(folder=tmp_path, **changed)


def test_a_folder_that_was_begun_with_other_tiles_goes_on_with_them(
    tmp_path: Path,
) -> None:
    x = _x(4)
    theory.kernel_matrix(KERNEL, x, tile=8, folder=tmp_path)
    journal = (tmp_path / "tiles").read_text()
    again = theory.kernel_matrix(KERNEL, x, folder=tmp_path)
    np.testing.assert_allclose(again.ntk, KERNEL(x).ntk, rtol=1e-12)
    assert (tmp_path / "tiles").read_text() == journal
    (tmp_path / "kernel.json").write_text("{")
    with pytest.raises(ValueError, match=r"kernel\.json is damaged"):
        theory.kernel_matrix(KERNEL, x, folder=tmp_path)


def test_tiles_of_several_strips() -> None:
    x = np.random.default_rng(0).standard_normal((180, 4))
    found = theory.kernel_matrix(KERNEL, x, tile=100)
    for own, wanted in zip(found, KERNEL(x), strict=True):
        np.testing.assert_allclose(own, wanted, rtol=1e-12)


def test_another_kernel_of_the_same_name(tmp_path: Path) -> None:
    def kernel(depth: int):
        return lambda x1, x2=None: theory.relu_network(depth)(x1, x2)

    theory.kernel_matrix(kernel(2), _x(5), folder=tmp_path)
    with pytest.raises(ValueError, match="another kernel"):
        theory.kernel_matrix(kernel(3), _x(5), folder=tmp_path)


def test_two_processes_do_not_share_a_folder(tmp_path: Path) -> None:
    options: dict[str, Any] = {
        "tile": 8, "symmetric": True, "inputs": (_x(6), None), "name": "",
        "probe": KERNEL(_x(6)[:3], _x(6)[:2]),
    }  # fmt: skip
    with (
        Store(tmp_path, (23, 23), "float64", **options),
        pytest.raises(ValueError, match="another process"),
    ):
        theory.kernel_matrix(KERNEL, _x(6), folder=tmp_path)


@pytest.mark.extended
def test_damaged_folders(tmp_path: Path) -> None:
    x = _x(7)
    theory.kernel_matrix(KERNEL, x, tile=8, folder=tmp_path)
    journal = tmp_path / "tiles"
    whole = journal.read_text()
    journal.write_text(whole[:-3])  # cut off in its last line
    again = theory.kernel_matrix(KERNEL, x, tile=8, folder=tmp_path)
    np.testing.assert_allclose(again.ntk, KERNEL(x).ntk, rtol=1e-12)
    assert sorted(journal.read_text().split("\n")) == sorted(whole.split("\n"))
    journal.write_text("not numbers\n")
    with pytest.raises(ValueError, match="tiles is damaged"):
        theory.kernel_matrix(KERNEL, x, tile=8, folder=tmp_path)
    (tmp_path / "kernel.json").write_text("{")
    with pytest.raises(ValueError, match=r"kernel\.json is damaged"):
        theory.kernel_matrix(KERNEL, x, tile=8, folder=tmp_path)


def test_a_folder_with_other_files_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(ValueError, match=r"thesis\.tex"):
        theory.kernel_matrix(KERNEL, _x(8), folder=tmp_path)
    file = tmp_path / "file"
    file.write_text("x")
    with pytest.raises(ValueError, match="not a folder"):
        theory.kernel_matrix(KERNEL, _x(8), folder=file)


def test_a_full_disk_is_met_before_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(OSError, match=r"need .* kB in .* are free there"):
        theory.kernel_matrix(KERNEL, _x(9), folder=tmp_path)
    assert not list(tmp_path.glob("*.npy"))
    monkeypatch.undo()
    theory.kernel_matrix(KERNEL, _x(9), folder=tmp_path)


def test_bad_input(monkeypatch: pytest.MonkeyPatch) -> None:
    x = _x(10)
    with pytest.raises(ValueError, match="tile"):
        theory.kernel_matrix(KERNEL, x, tile=0)
    with pytest.raises(ValueError, match="NaN"):
        theory.kernel_matrix(KERNEL, np.full((2, 2), np.nan))
    with pytest.raises(ValueError, match="`devices` is empty"):
        theory.kernel_matrix(KERNEL, x, devices=[])
    monkeypatch.setattr("metabridge.parallel.devices.free_host_bytes", lambda: 4000)
    with pytest.raises(ValueError, match="enough for 14 points"):
        theory.kernel_matrix(KERNEL, x)
