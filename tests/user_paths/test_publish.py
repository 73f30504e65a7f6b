"""From a run to a published body, by the real command in a copy of the repository."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.user_paths.processes import ROOT

LOAD = """
import pathlib
import metabridge

print(metabridge.load_body("toys-mlp").about["card"])
file = pathlib.Path(metabridge.__file__).parents[2] / "bodies/toys-mlp.safetensors"
for change in (lambda: file.write_bytes(file.read_bytes()[:-1]), file.unlink):
    change()
    try:
        metabridge.load_body("toys-mlp")
    except ValueError as error:
        print(error)
"""


@pytest.mark.extended
def test_published_and_loaded_by_name(
    trained: Callable[[str], Path], tmp_path: Path
) -> None:
    for folder in ("src/metabridge", "experiments"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    shutil.copy(ROOT / "setup.cfg", tmp_path)
    run = trained("mtl")

    def python(*arguments: str) -> str:
        path = os.pathsep.join([str(tmp_path / "src"), str(tmp_path)])
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=run.parents[1],  # the data of the run is there
            env=os.environ | {"PYTHONPATH": path},
            capture_output=True,
            text=True,
            timeout=600,
        )
        assert done.returncode == 0, done.stderr[-3000:]
        return done.stdout

    said = python("-m", "experiments.publish", str(run), "--name", "toys-mlp")
    assert "bodies/toys-mlp.safetensors: " in said
    card, *errors = python("-c", LOAD).split("/toys-mlp.safetensors")
    assert "rounded to float16" in card
    assert " is not the published body toys-mlp" in errors[0]
    assert "not part of the package" in "".join(errors)
