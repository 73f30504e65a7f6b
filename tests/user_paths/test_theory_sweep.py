"""A sweep of three lines of Python, kept in files, by a real interpreter."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from metabridge import theory

SCRIPT = """
import numpy as np
from metabridge import theory

def draw(seed):
    x = np.random.default_rng(seed).standard_normal((5, 8, 6))
    tasks = theory.Tasks(x[:3, :4], x[:3, :4, :1], x[:3, 4:], x[:3, 4:, :1])
    return tasks, theory.Tasks(x[3:, :4], x[3:, :4, :1], x[3:, 4:])

head = theory.gradient_flow("head", time=1.0)
s = theory.sweep(draw, kernels=theory.relu_network, values=(1, 2), inner=head,
                 adaptation=head, draws=2, folder="cells")
s.save("sweep.npz"); s.plot("sweep.png")
print(s)
"""


@pytest.mark.extended
def test_sweep_save_and_load(tmp_path: Path) -> None:
    run = [sys.executable, "-c", SCRIPT]
    printed = [
        subprocess.run(
            run, cwd=tmp_path, capture_output=True, text=True, check=True, timeout=300
        ).stdout
        for _ in range(2)
    ]
    assert printed[0] == printed[1]  # the second from the files of the first
    found = theory.load(tmp_path / "sweep.npz")
    assert str(found) + "\n" == printed[0]
    assert found.gap.shape == (2, 1, 1, 1, 2)
    assert np.isfinite(found.gap).all()
    assert (tmp_path / "sweep.png").stat().st_size > 1000
