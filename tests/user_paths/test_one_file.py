"""A new learner, head, body or dataset is one file and its test.

One of each (`tests/user_paths/added`) is put into a copy of the package, no other file
is touched, and the command line of the copy trains and tests with all four.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.user_paths.processes import ROOT

ADDED = {
    "scaled.py": "learners",
    "cosine.py": "heads",
    "shallow.py": "models",
    "stripes.py": "data/datasets",
}
COMMAND = (
    "train scaled --factor 0.3 --dataset stripes --model shallow --head cosine "
    "--augmentation none --steps 4 --validate-every 4 --validation-tasks 10 --tasks 20 "
    "--shots 2 --queries 2 --train-queries 2 --tasks-per-step 2"
)


@pytest.mark.extended
def test_one_of_each_in_a_copy_of_the_package(tmp_path: Path) -> None:
    package, run = tmp_path / "src" / "metabridge", tmp_path / "run"
    shutil.copytree(ROOT / "src" / "metabridge", package)
    for name, folder in ADDED.items():
        shutil.copy(Path(__file__).with_name("added") / name, package / folder / name)
    done = subprocess.run(
        [sys.executable, "-m", "metabridge", *COMMAND.split(), "--run-dir", str(run)],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(package.parent)},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    config = json.loads((run / "config.json").read_text(encoding="utf-8"))
    result = json.loads((run / "result.json").read_text(encoding="utf-8"))
    assert result["algorithm"] == "scaled"
    assert "scaled" in json.dumps(config)
    assert config["data"]["dataset"] == "stripes"
    assert config["model"] | {"model": "shallow", "width": 16} == config["model"]
    assert config["evaluation"]["head"] == "cosine"
    assert result["accuracy"] > 0.5  # of five ways
