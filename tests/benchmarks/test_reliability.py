"""The benchmark of kills and checkpoints: refusals, and its quick form."""

import json
from pathlib import Path

import pytest

from benchmarks import reliability
from tests.experiments.refused import assert_help_names, assert_refused


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--kills", "0"], "`kills` must be finite and at least 1"),
        (["--steps", "10"], "`steps` must be finite and at least 100"),
        (["--parts"], "`parts` is empty"),
        (["--parts", "kernel", "kernel"], "`parts` has a value twice"),
    ],
)
def test_bad_arguments(
    arguments: list[str],
    says: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    main = reliability.main
    assert_refused(main, arguments, says, tmp_path / "out", capsys)


@pytest.mark.slow
def test_help() -> None:
    options = ["--parts", "--kills", "--quick", "--output-dir"]
    assert_help_names("benchmarks.reliability", options)


@pytest.mark.slow
def test_runs_that_are_killed_end_as_one_that_is_not(tmp_path: Path) -> None:
    reliability.main(["--quick", "--output-dir", str(tmp_path)])
    found = json.loads((tmp_path / "results.json").read_text())
    training, kernel = found["training"], found["kernel"]
    assert training["kills"] == kernel["kills"] == 2
    assert training["runs finished"] >= 1
    assert training["runs equal to the bit"] == training["runs finished"]
    assert training["two runs that nobody killed are equal"] is True
    assert training["steps lost beyond the newest checkpoint"] == 0
    assert kernel["matrices equal to the bit"] == kernel["matrices finished"] >= 1
    for name in ("conv4 on glyphs", "resnet12 on 32x32"):
        measured = found[f"checkpoints, {name}"]
        assert measured["seconds in the call"] > 0
        assert measured["megabytes"] > 0.01
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == []
