"""Processes with an odd locale, closed streams, or no home folder to write to."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.user_paths.calls import result
from tests.user_paths.processes import call, driven, shell
from tests.user_paths.table import training

Runs = Callable[[str], Path]
ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
"""The locale C without what Python does to make up for it."""


@pytest.mark.extended
def test_in_the_locale_c_and_without_a_home_folder(
    trained: Runs, tmp_path: Path
) -> None:
    """One process for both; the cache goes to the temporary folder."""
    folder, run = str(tmp_path / "run"), str(trained("mtl"))
    few, scratch = ("--examples", "1", "--tasks", "2"), tmp_path / "tmp"
    scratch.mkdir()
    calls = [
        call("command", *training("mtl", folder)),
        call("command", "evaluate", run),
        call("command", "verify", run),
        call("command", "export", run, str(tmp_path / "body.safetensors")),
        call("command", "report", run, *few, "--output", str(tmp_path / "page.html")),
        call("command", "datasets"),
        call("classify", run, head="centroid"),
    ]
    homeless = {"METABRIDGE_CACHE": None, "HOME": "/proc/missing"}
    changes = {**ASCII, **homeless, "TMPDIR": str(scratch)}
    found = driven(calls, tmp_path / "found.json", changes)
    assert found[:-1] == [0] * (len(calls) - 1)
    assert found[-1] == [name for name in "abc" for _ in range(3)]
    assert result(folder)["accuracy"] == result(run)["accuracy"]
    assert list(scratch.glob("metabridge-cache-*/folder*"))


@pytest.mark.slow
def test_a_character_that_the_locale_lacks_is_replaced(trained: Runs) -> None:
    done = shell(f"mb evaluate {trained('mtl')}", ASCII)
    assert done.returncode == 0, done.stderr
    assert b" ? " in done.stdout  # plus or minus


@pytest.mark.slow
def test_with_a_closed_output(trained: Runs, tmp_path: Path) -> None:
    """Nothing that is printed finds its way into a file that is written."""
    page = tmp_path / "page.html"
    options = f"--output {page} --examples 0 --tasks 0"
    done = shell(f"mb report {trained('mtl')} {options} >&- 2>&-", {})
    assert done.returncode == 0
    assert page.read_bytes().startswith(b"<!doctype html>")
    assert done.stdout == done.stderr == b""


@pytest.mark.extended
def test_training_with_closed_streams(trained: Runs, tmp_path: Path) -> None:
    arguments = " ".join(training("mtl", str(tmp_path / "run")))
    done = shell(f"mb {arguments} <&- >&- 2>&-", {})
    assert done.returncode == 0
    recorded = result(str(trained("mtl")))["provenance"]["checkpoint"]
    assert result(str(tmp_path / "run"))["provenance"]["checkpoint"] == recorded


@pytest.mark.slow
def test_a_program_that_is_kept_is_not_compiled_again(
    trained: Runs, tmp_path: Path
) -> None:
    kept, found = tmp_path / "kept", []
    for name in ("first", "second"):
        arguments = " ".join(training("mtl", str(tmp_path / name)))
        done = shell(f"mb {arguments} --compile-cache {kept}", {})
        assert done.returncode == 0, done.stderr
        found.append({path.name for path in kept.glob("*-cache")})
        assert (
            result(str(tmp_path / name))["accuracy"]
            == (result(str(trained("mtl")))["accuracy"])
        )
    # Others may come in the second time: kept is what takes 0.2 seconds to compile.
    assert found[0] <= found[1]
    steps = [{x for x in names if x.startswith("jit_step-")} for names in found]
    assert steps[0]
    assert steps[0] == steps[1]


@pytest.mark.extended
def test_the_commands_of_a_shell(trained: Runs, tmp_path: Path) -> None:
    """The whole way, a process each."""
    run, train = tmp_path / "run", " ".join(training("mtl", str(tmp_path / "run")))
    script = f"""set -e
        mb {train}
        mb evaluate {run} --shots 2 --output {tmp_path}/two.json
        mb verify {run}
        mb export {run} {tmp_path}/body.safetensors
        mb report {run} --output {tmp_path}/page.html"""
    done = shell(script, {})
    assert done.returncode == 0, done.stderr.decode()[-3000:]
    names = {path.name for path in tmp_path.iterdir()}
    assert {"run", "two.json", "body.safetensors", "body.md", "page.html"} <= names
