"""Run folders: names, refusals, provenance."""

import dataclasses
import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from metabridge.config import Config, DataConfig, resolve
from metabridge.files import write_json
from metabridge.runs import folder as run_folder
from metabridge.runs.provenance import peak_memory_mb
from metabridge.training import RunError

CONFIG = resolve(Config())


def test_a_new_folder_gets_configuration_and_provenance(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "run"
    run_folder.open_run(folder, CONFIG, resume=False)
    assert run_folder.read_config(folder) == CONFIG
    provenance = json.loads((folder / "provenance.json").read_text())
    assert provenance["command"].startswith("metabridge")
    assert set(provenance["versions"]) >= {"metabridge", "jax", "flax", "optax"}
    assert provenance["cpu_count"] >= 1
    assert provenance.keys() >= {"commit", "uncommitted_changes", "devices", "python"}
    assert not list(folder.glob("*.partial"))


@pytest.mark.parametrize("names", [(), ("lock",), ("config.json.partial", "lock")])
def test_what_a_killed_start_leaves_is_no_obstacle(
    names: tuple[str, ...], tmp_path: Path
) -> None:
    for name in names:
        (tmp_path / name).write_text('{"algori')
    run_folder.open_run(tmp_path, CONFIG, resume=False)
    assert run_folder.read_config(tmp_path) == CONFIG


def test_a_start_that_was_killed_between_its_files_is_completed(tmp_path: Path) -> None:
    run_folder.open_run(tmp_path, CONFIG, resume=False)
    (tmp_path / "provenance.json").unlink()
    run_folder.open_run(tmp_path, CONFIG, resume=True)
    assert (tmp_path / "provenance.json").is_file()


def test_one_process_at_a_time(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "run"
    with run_folder.locked(folder):
        with (
            pytest.raises(RunError, match=r"another process is at work in .*run: wait"),
            run_folder.locked(folder),
        ):
            pass
        assert [path.name for path in folder.iterdir()] == ["lock"]
    assert not folder.parent.exists()  # nothing came of it
    with run_folder.locked(folder):
        run_folder.open_run(folder, CONFIG, resume=False)
    names = {path.name for path in folder.iterdir()}
    assert names == {"config.json", "provenance.json"}


_HOLDS = """
import sys, time
from pathlib import Path
from metabridge.files import write_json
from metabridge.runs import folder as run_folder
from metabridge.runs.provenance import peak_memory_mb
with run_folder.locked(Path(sys.argv[1])):
    print("ready", flush=True)
    time.sleep(600)
"""


@pytest.mark.extended
def test_the_lock_of_a_process_that_is_killed_is_free(tmp_path: Path) -> None:
    command = [sys.executable, "-c", _HOLDS, str(tmp_path / "run")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        with (
            pytest.raises(RunError, match="another process is at work"),
            run_folder.locked(tmp_path / "run"),
        ):
            pass
        process.send_signal(signal.SIGKILL)
    assert (tmp_path / "run" / "lock").is_file()
    with run_folder.locked(tmp_path / "run"):
        run_folder.open_run(tmp_path / "run", CONFIG, resume=False)


def test_a_finished_run_has_its_result(tmp_path: Path) -> None:
    run_folder.open_run(tmp_path, CONFIG, resume=False)
    assert run_folder.finished(tmp_path, CONFIG) is None
    write_json(tmp_path / "result.json", {"accuracy": 0.5})
    expected = {"accuracy": 0.5, "run_dir": str(tmp_path)}
    assert run_folder.finished(tmp_path, CONFIG) == expected
    other = dataclasses.replace(CONFIG, train=dataclasses.replace(CONFIG.train, seed=3))
    with pytest.raises(RunError, match=r"train\.seed was 0, is 3"):
        run_folder.finished(tmp_path, other)
    (tmp_path / "result.json").write_text("{")
    assert run_folder.finished(tmp_path, CONFIG) is None


def test_opening_again_needs_resume_and_the_same_configuration(tmp_path: Path) -> None:
    run_folder.open_run(tmp_path, CONFIG, resume=True)  # none there: it starts
    with pytest.raises(RunError, match=r"already holds a run: pass --resume"):
        run_folder.open_run(tmp_path, CONFIG, resume=False)
    run_folder.open_run(tmp_path, CONFIG, resume=True)
    other = dataclasses.replace(
        CONFIG, train=dataclasses.replace(CONFIG.train, seed=3, steps=7)
    )
    with pytest.raises(RunError, match=r"train\.steps was 1000, is 7") as error:
        run_folder.open_run(tmp_path, other, resume=True)
    assert "train.seed was 0, is 3" in str(error.value)
    assert run_folder.read_config(tmp_path) == CONFIG


def test_runs_of_earlier_versions_have_relative_paths(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    now = resolve(Config(data=DataConfig(dataset="folder:birds")))
    before = dataclasses.replace(
        now, data=dataclasses.replace(now.data, **before_places(now))
    )
    run_folder.open_run(tmp_path / "run", before, resume=False)
    assert run_folder.check_run(tmp_path / "run", now, resume=True) == before
    # What it returned is checked again when the folder is opened.
    run_folder.open_run(tmp_path / "run", before, resume=True)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    with pytest.raises(RunError, match=r"data\.dataset was 'folder:.*/elsewhere/birds"):
        run_folder.check_run(tmp_path / "run", now, resume=True)


def before_places(config: Config) -> dict[str, Any]:
    return dataclasses.asdict(config.data) | {"dataset": "folder:birds"}


def test_other_peoples_folders_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    for resume in (False, True):
        with pytest.raises(RunError, match="is not empty and holds no run"):
            run_folder.open_run(tmp_path, CONFIG, resume=resume)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_reading_what_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"holds no run: there is no .*config\.json"):
        run_folder.read_config(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(RunError, match=r"config\.json cannot be used: .*not JSON"):
        run_folder.read_config(tmp_path)


def test_names_of_new_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folder = run_folder.choose(CONFIG)
    assert folder == Path("runs/mtl-glyphs-5way-5shot-seed0")
    folder.mkdir(parents=True)
    assert run_folder.choose(CONFIG).name == "mtl-glyphs-5way-5shot-seed0-2"
    data = dataclasses.replace(CONFIG.data, dataset="folder:/a/birds/")
    own = dataclasses.replace(CONFIG, data=data)
    assert run_folder.choose(own).name == "mtl-birds-5way-5shot-seed0"


def test_files_are_written_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    write_json(path, {"a": 1})
    with pytest.raises(TypeError):
        write_json(path, {"a": object()})
    assert json.loads(path.read_text()) == {"a": 1}


def test_peak_memory_is_in_megabytes() -> None:
    assert 20 < peak_memory_mb() < 200_000


def test_what_cannot_change_the_result_may_be_another_when_resumed(
    tmp_path: Path,
) -> None:
    run_folder.open_run(tmp_path, CONFIG, resume=False)
    other = {"devices": 3, "log_every": 7, "checkpoint_minutes": 1.0, "stream": True}
    config = dataclasses.replace(
        CONFIG, train=dataclasses.replace(CONFIG.train, **other)
    )
    assert run_folder.check_run(tmp_path, config, resume=True) == config


def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(OSError, match=r"cannot be written \(.*\): make it writable"),
        run_folder.locked(tmp_path / "file" / "run"),
    ):
        pass
