"""The gap between the methods, held against that between two seeds of one."""

import json
from pathlib import Path

import pytest

from tests.user_paths.calls import command

FAST = (
    "theory", "glyphs", "--ways=3", "--shots=2", "--queries=2", "--tasks=4",
    "--test-tasks=3", "--depth=2",
)  # fmt: skip


@pytest.mark.extended
def test_spread_over_seeds_from_the_command_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "result.json"
    assert command(*FAST, "--members=50", f"--output={output}") == 0
    result = json.loads(output.read_text())
    gaps = [result[f"seed_gap_{name}"] for name in ("mtl", "gbml")]
    assert 0 < result["member_gap"] < result["member_gap_apart"]
    assert min(gaps) > 0
    printed = " ".join(capsys.readouterr().out.split())
    assert f"two of MTL {gaps[0]:.3g}, two of meta-learning {gaps[1]:.3g}." in printed
    assert command(*FAST, "--members=-1") == 2
    assert "`members` must be" in capsys.readouterr().err
