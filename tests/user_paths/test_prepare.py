"""`metabridge prepare`, and training by the line that it prints."""

import shlex
from pathlib import Path

import pytest

from tests.data.datasets import written
from tests.data.datasets.test_cifar_forms import images as images  # a fixture
from tests.data.servers import Server
from tests.data.test_prepare import cifar as cifar
from tests.data.test_prepare import server as server
from tests.user_paths.calls import command
from tests.user_paths.processes import shell

SHORT = [
    "--model=mlp", "--width=8", "--depth=1", "--steps=2", "--validate-every=2",
    "--validation-tasks=5", "--tasks=5", "--train-ways=3", "--train-shots=2",
    "--train-queries=1", "--ways=3", "--shots=1", "--queries=1", "--head=centroid",
]  # fmt: skip


@pytest.mark.extended
def test_prepare_and_train(
    cifar: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("METABRIDGE_CACHE", str(tmp_path / "cache"))
    root = tmp_path / "my data"
    assert command("prepare", "cifar_fs", "--data-dir", str(root)) == 0
    *_, ready, line = capsys.readouterr().out.splitlines()
    assert ready == "cifar_fs is ready: 64/16/20 classes, 300 images 32x32x3"
    told, _, train = line.partition(": ")
    assert told == "train on it"
    program, *arguments = shlex.split(train)
    assert program == "metabridge"
    run = tmp_path / "run"
    assert command(*arguments, f"--run-dir={run}", *SHORT) == 0
    assert (run / "result.json").is_file()
    # What is there is used, and the other split of the same images needs no more.
    assert command("prepare", "fc100", "--data-dir", str(root)) == 0
    assert "downloading" not in capsys.readouterr().out


def test_archives_by_hand(
    cifar: Path,
    server: Server,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("METABRIDGE_CACHE", str(tmp_path / "cache"))
    place = ("--data-dir", str(tmp_path / "data"))
    assert command("prepare", "fc100", *place, "--archive", str(cifar)) == 0
    assert not server.asked
    assert "fc100 is ready" in capsys.readouterr().out
    other = tmp_path / "other.zip"
    written.write_zip(other, {"a": b"b"})
    assert command("prepare", "fc100", *place, "--archive", str(other)) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "is not cifar-100-python.tar.gz" in line


def test_an_interruption_ends_in_a_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("metabridge.data.prepare.prepare", stop)
    assert command("prepare", "cifar_fs") == 130
    assert capsys.readouterr().err == (
        "metabridge: stopped; the same command goes on\n"
    )


@pytest.mark.extended
def test_without_a_network(tmp_path: Path) -> None:
    nowhere = "http://127.0.0.1:9"
    changes = {"HTTPS_PROXY": nowhere, "https_proxy": nowhere, "NO_PROXY": None}
    done = shell(f"mb prepare omniglot --data-dir {tmp_path}/data", changes)
    assert done.returncode == 2
    (line,) = done.stderr.decode().splitlines()
    assert line.startswith("metabridge: cannot download https://github.com/brendenlake")
    assert "By hand: get that file (9.46 MB) elsewhere, put it in" in line
    assert not list((tmp_path / "data").iterdir())
