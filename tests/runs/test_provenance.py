"""Which commit a run says that it was made with."""

import subprocess
from pathlib import Path

import pytest

from metabridge.runs import provenance


def test_commit_of_the_checkout_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def git(*arguments: str) -> str:
        who = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
        done = subprocess.run(
            ["git", *who, *arguments],
            cwd=tmp_path, check=True, capture_output=True, text=True,
        )  # fmt: skip
        return done.stdout.strip()

    source = tmp_path / "provenance.py"
    monkeypatch.setattr(provenance, "__file__", str(source))
    assert provenance.provenance()["commit"] is None  # no repository
    git("init", "--quiet")
    source.touch()
    git("commit", "--allow-empty", "--quiet", "-m", "another project")
    # The package is installed within the repository of another project.
    found = provenance.provenance()
    assert (found["commit"], found["uncommitted_changes"]) == (None, False)
    git("add", source.name)
    git("commit", "--quiet", "-m", "its own")
    assert provenance.provenance()["commit"] == git("rev-parse", "HEAD")
    source.write_text("changed")
    assert provenance.provenance()["uncommitted_changes"] is True
