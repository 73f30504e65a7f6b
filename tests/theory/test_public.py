"""The public names, what importing them costs, and the example of the documentation."""

import inspect
import os
import subprocess
import sys
from pathlib import Path

import pytest

from metabridge import theory

_ROOT = Path(__file__).parents[2]

SIGNATURES = {
    "Tasks": ("support_x", "support_y", "query_x", "query_y"),
    "relu_network": ("depth",),
    "from_stax": ("kernel_fn",),
    "gradient_flow": ("layers", "time"),
    "gradient_steps": ("layers", "lr", "steps"),
    "ridge": ("layers", "penalty"),
    "mtl_predictor": ("kernel", "tasks", "heads", "train_on", "time"),
    "gbml_predictor": ("kernel", "tasks", "inner", "time"),
    "mtl_kernel": ("kernel", "tasks", "heads", "train_on"),
    "gbml_kernel": ("kernel", "tasks", "inner"),
    "relu_depths": ("x1", "x2", "depths"),
    "compare": ("kernel", "tasks", "test_tasks", "inner", "adaptation"),
    "depth_sweep": ("tasks", "test_tasks", "depths", "times", "inner", "adaptation"),
    "sweep": ("tasks", "unseen", "kernels", "values", "inner", "times", "draws"),
    "Closeness": ("gap", "relative_gap", "transfer"),
}


@pytest.mark.parametrize("name", SIGNATURES)
def test_signature(name: str) -> None:
    parameters = list(inspect.signature(getattr(theory, name)).parameters)
    own = [parameter for parameter in parameters if parameter in SIGNATURES[name]]
    assert own == list(SIGNATURES[name])
    assert parameters[: min(2, len(own))] == own[:2]


def test_every_public_name_is_documented() -> None:
    names = [name for name in vars(theory) if not name.startswith("_")]
    things = [vars(theory)[name] for name in names]
    own = [t for t in things if inspect.isclass(t) or inspect.isfunction(t)]
    assert len(own) > 25
    assert all(thing.__doc__ for thing in own)


_ALIAS = """
import sys, warnings
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    import theory
    import theory.kernels.relu
    import theory.matrix
    from theory import image_tasks
(warning,) = [w for w in caught if w.category is DeprecationWarning]
assert "from metabridge import theory" in str(warning.message)
assert warning.filename == "<string>", warning.filename
from metabridge import theory as new
from metabridge.theory.closeness import image_tasks as moved
assert theory is new and theory.kernels is new.kernels and image_tasks is moved
assert theory.kernels.relu is sys.modules["metabridge.theory.kernels.relu"]
assert theory.matrix is sys.modules["metabridge.theory.matrices.matrix"]
assert not new.__spec__.name == "theory"
"""


def _python(code: str, folder: Path) -> None:
    path = [str(_ROOT / "src"), *filter(None, sys.path)]
    path = [part for part in path if Path(part) != _ROOT]
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(path)},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.extended
@pytest.mark.parametrize(
    "checkout", [True, pytest.param(False, marks=pytest.mark.slow)]
)
def test_the_old_name_gives_the_same_modules(checkout: bool, tmp_path: Path) -> None:
    _python(_ALIAS, _ROOT if checkout else tmp_path)


@pytest.mark.slow
def test_a_users_own_theory_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "theory.py").write_text("raise SystemExit('imported')")
    command = [
        "theory", "glyphs", "--ways=2", "--shots=1", "--queries=1", "--tasks=2",
        "--test-tasks=1", "--depth=1",
    ]  # fmt: skip
    _python(f"from metabridge import cli; cli.main({command})", tmp_path)
