"""The study of regression from the command line: its help, a tiny run, and again."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.user_paths.processes import environment

pytestmark = pytest.mark.extended
COMMAND = [sys.executable, "-m", "experiments.regression"]
SMALL = (
    "--parts", "width", "subspace", "--widths", "4", "8", "16", "--seeds", "2",
    "--tasks", "2", "--unseen", "3", "--shots", "3", "--queries", "3", "--points", "4",
    "--steps", "2", "--adaptation-steps", "2", "--linear-steps", "2",
    "--linear-batches", "2", "3", "--linear-seeds", "2", "--linear-tasks", "2",
    "--linear-lrs", "0.01", "--linear-inner-lrs", "0.01",
    "--linear-tuning-batch", "2", "--test-tasks", "5",
)  # fmt: skip


def call(*arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [*COMMAND, *arguments], env=environment({}), capture_output=True, text=True
    )
    assert done.returncode == code, done.stderr
    return done


def test_help_and_errors_of_one_line() -> None:
    assert "--adaptation-steps" in call("--help").stdout
    error = call("--widths", "4", code=1).stderr
    assert error == (
        "regression: `widths` and `linear_batches` need two values each for a slope\n"
    )
    error = call("--linear-inner-lrs", "0", code=1).stderr
    assert error.startswith(
        "regression: `linear_inner_lrs` must be finite and at least"
    )
    assert len(error.splitlines()) == 1


@pytest.mark.slow
def test_a_tiny_study_is_made_and_taken_up_again(tmp_path: Path) -> None:
    arguments = [*SMALL, "--output", str(tmp_path)]
    assert call(*arguments, "--plan").stdout.count("missing") == 9 + 3 + 20
    first = call(*arguments).stdout
    assert "| power of the width |" in first
    assert "| fixed tasks of MTL | angle |" in first
    for name in ("results.json", "findings.md", "width.png", "subspace.png"):
        assert (tmp_path / name).stat().st_size
    assert call(*arguments, "--plan").stdout.count("done") == 9 + 3 + 20
    assert call(*arguments).stdout == first
