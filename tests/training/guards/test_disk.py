"""Disks that are too small, full, or not ours to write."""

import os
import subprocess
import sys
import tempfile
from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest

from metabridge.training.guards import disk

ROOT = Path(__file__).parents[2]
TREE = {"a": np.zeros(25_000_000, np.float32)}  # 100 MB
Usage = namedtuple("Usage", "total used free")


def python(code: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(ROOT), *filter(None, sys.path)])
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        env=os.environ | {"PYTHONPATH": path, "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
        timeout=300,
    )


def test_room_for_four_checkpoints_and_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "run" / "checkpoints"
    free = {"bytes": 484e6}
    usage = lambda _: Usage(1e12, 0, free["bytes"])  # noqa: E731
    monkeypatch.setattr(disk.shutil, "disk_usage", usage)
    disk.check_space(folder, TREE)
    assert not folder.parent.exists()
    free["bytes"] = 483e6
    message = (
        r"checkpoints need 484 MB in .*checkpoints \(4 of 105 MB and 64 MB for the "
        r"rest\), but 483 MB are free there: free some space, or pass a --run-dir"
    )
    with pytest.raises(OSError, match=message):
        disk.check_space(folder, TREE)
    # What an interrupted run has there already is part of it.
    folder.mkdir(parents=True)
    (folder / "1").write_bytes(bytes(1_000_000))
    disk.check_space(folder, TREE)
    free["bytes"] = 482e6
    with pytest.raises(OSError, match="free there and 1 MB theirs already"):
        disk.check_space(folder, TREE)


_UNPRIVILEGED = """
import os, sys
from pathlib import Path
import jax, numpy as np
from metabridge.training.guards.disk import check_space
if os.getuid() == 0:
    os.setgid(65534)
    os.setuid(65534)
try:
    check_space(Path(sys.argv[1]), {"a": np.zeros(3)})
except OSError as error:
    print(error)
"""


@pytest.mark.extended
def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    for parent in (tmp_path, *tmp_path.parents):  # pytest keeps them to the user
        if Path(tempfile.gettempdir()) in parent.parents:
            parent.chmod(0o755)
    (tmp_path / "runs").mkdir(mode=0o555)
    done = python(_UNPRIVILEGED, tmp_path / "runs" / "new")
    assert done.returncode == 0, done.stderr[-2000:]
    expected = f"{tmp_path / 'runs'} cannot be written (Permission denied): make it"
    assert done.stdout.startswith(expected)


_FULL = """
import resource, sys
from pathlib import Path
import jax, numpy as np
from metabridge.learners import State
from metabridge.training.checkpoint import Checkpoints, Progress, TrainState

def state(size):
    values = np.random.default_rng(0).normal(size=size).astype(np.float32)
    return State({"w": jax.numpy.asarray(values)}, {}, {}, jax.numpy.asarray(0))

def at(step):
    return TrainState(Progress(step, 1.0, 0.5, 0.5, 0), state(50_000), {})

folder, last = Path(sys.argv[1]), sys.argv[2]
checkpoints = Checkpoints(folder)
checkpoints.save(at(100))
checkpoints.close()
checkpoints = Checkpoints(folder)
_, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
try:
    try:
        checkpoints.save(at(200))
        if last == "save":
            checkpoints.save(at(300))
    finally:
        checkpoints.close()
except OSError as error:
    print(error)
resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
checkpoints = Checkpoints(folder)
found = checkpoints.restore(state(50_000), {})
checkpoints.save(at(200))
checkpoints.close()
print(found[0].step, sorted(path.name for path in folder.iterdir()))
"""


@pytest.mark.extended
@pytest.mark.parametrize(
    "last", [pytest.param("save", marks=pytest.mark.slow), "close"]
)
def test_a_disk_that_is_full_while_saving(last: str, tmp_path: Path) -> None:
    done = python(_FULL, tmp_path / "c", last)
    assert done.returncode == 0, done.stderr[-2000:]
    message, after = done.stdout.splitlines()
    assert message.startswith(
        f"checkpoint 200 could not be saved in {tmp_path / 'c'} ("
    )
    assert "the newest good one is 100. " in message
    assert message.endswith(
        "free some space, and run the same command again with --resume"
    )
    assert after == "100 ['100', '200']"
