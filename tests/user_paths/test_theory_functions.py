"""Loops of one's own, derivatives and evidence, each in a process of its own."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.user_paths.processes import environment

START = """
import numpy as np
from metabridge import theory
rng = np.random.default_rng(0)
fields = [rng.standard_normal((4, n, size)) for n in (3, 5) for size in (6, 1)]
tasks, kernel = theory.Tasks(*fields), theory.relu_network(2)
"""
SCRIPTS = {
    "spectral": """
inner = theory.spectral("head", g=theory.HeavyBall(lr=0.1, momentum=0.9, steps=20))
gbml = theory.gbml_predictor(kernel, tasks, inner=inner)
print(np.isfinite(gbml(fields[0], fields[1], fields[2])).all())
""",
    "functional": """
import jax; from metabridge.theory import functional as f; x, (t,) = f.positions(tasks)
loss = lambda s: f.gbml_predict(f.relu_kernels(x, depth=2), t, t, time=1.0,
                                inner=f.gradient_flow("head", time=s)).var()
print(np.isfinite(jax.jit(jax.grad(loss))(0.5)))
""",
    "evidence": """
found = theory.evidence(kernel, tasks, noise=0.1)
print(np.isfinite(found.value), found)
""",
}


@pytest.mark.extended
@pytest.mark.parametrize("name", SCRIPTS)
def test_a_few_lines_are_enough(name: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", START + SCRIPTS[name]],
        env=environment({}),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.startswith("True")
