"""The benchmark of kernels and solvers, at sizes that mean nothing."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_it_measures_and_draws(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "experiments.kernel_benchmark", "--points", "64",
         "--batch", "32", "--tasks", "2", "4", "--agreement-tasks", "3",
         "--output-dir", str(tmp_path)],
        cwd=ROOT, capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads((tmp_path / "results.json").read_text())
    assert found["matrix"]["largest relative difference, float64"] < 1e-6
    assert found["matrix"]["largest relative difference, float32"] < 1e-5
    for name in ("MTL", "GBML", "MTL, time 0.01", "GBML, time 0.01"):
        assert found["agreement"][f"largest relative difference, {name}"] < 1e-6
    rows = [found[f"products, {tasks} tasks"]["rows"] for tasks in (2, 4)]
    assert rows == [200, 400]
    assert found["products, 4 tasks"]["relative residual, float64"] <= 1e-6
    assert (tmp_path / "scaling.png").stat().st_size > 10_000
