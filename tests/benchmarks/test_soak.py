"""The soak: what it makes of the sizes it sees, and both of its forms, for a moment."""

import json
import mmap
import sys
from pathlib import Path
from typing import Literal

import pytest

from benchmarks import soak
from experiments.arguments import parse


def test_growth_is_from_the_second_fifth_to_the_last() -> None:
    filling = [100.0, 150.0]
    assert soak.growth([*filling, 200.0, 200.0, 0.0, 0.0, 0.0, 0.0, 220.0, 220.0]) == (
        pytest.approx(0.1)
    )
    assert soak.growth([1.0, 2.0, 2.0, 2.0, 2.0]) == 0.0


def test_resident_memory_is_in_megabytes() -> None:
    # Pages of its own: what `malloc` gives may have been resident before.
    with mmap.mmap(-1, 50_000_000) as block:
        before = soak.resident_mb()
        for _ in range(50):
            block.write(b"x" * 1_000_000)
        assert 40 < soak.resident_mb() - before < 60


def test_bad_options_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["soak", "--minutes", "-1"])
    with pytest.raises(SystemExit, match=r"benchmarks\.soak: `minutes` must be finite"):
        parse(soak.Options, "benchmarks.soak")
    monkeypatch.setattr(sys, "argv", ["soak", "--minutes", "1"])
    assert parse(soak.Options, "benchmarks.soak").minutes == 1.0


@pytest.mark.slow
@pytest.mark.parametrize("runs", ["one", "many"])
def test_the_sizes_are_written_down(
    runs: Literal["one", "many"], tmp_path: Path
) -> None:
    options = soak.Options(
        minutes=0.2, runs=runs, steps=4, tasks=4, seconds=0.5, output_dir=tmp_path
    )  # fmt: skip
    found = soak.main(options)
    written = json.loads((tmp_path / "soak.json").read_text(encoding="utf-8"))
    assert written == found
    assert len(found["resident_mb"]) >= 5
    assert abs(found["growth"]) < 0.5
