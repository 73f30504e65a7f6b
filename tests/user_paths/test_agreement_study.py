"""The study of agreement from the command line: its plan trains and writes nothing."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.user_paths.processes import environment

pytestmark = pytest.mark.extended


def call(*arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "experiments.agreement", *arguments]
    done = subprocess.run(
        command, env=environment({}), capture_output=True, text=True, timeout=60
    )
    assert done.returncode == code, done.stderr
    return done


def test_a_plan_lists_all_runs_at_once(tmp_path: Path) -> None:
    folder = tmp_path / "study"
    given = ("--widths", "16", "32", "--output", str(folder), "--plan")
    text = call("--learners", "mtl", "anil", *given).stdout
    # Four rates each, of which one serves the comparison, too.
    assert text.count("| missing |") == 2 * 4 + 2 * 2 * 3 - 2
    assert "| width-32/mtl-RATE-2 | missing | 300 | 60,000 |  |" in text
    assert "18 of 18 runs are to be trained" in text
    assert not folder.exists()
    error = call("--learners", "mtl", "no", *given, code=1).stderr
    assert error.startswith("agreement: unknown learner 'no' in `learners`")
