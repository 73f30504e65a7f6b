"""Starting the driver and the shell command in environments of their own."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
COMMAND = Path(sys.executable).with_name("metabridge")

Call = tuple[str, list[Any], dict[str, Any]]


def call(name: str, *arguments: Any, **options: Any) -> Call:
    """A call for the driver; see `tests.user_paths.calls`."""
    return name, list(arguments), options


def environment(changes: Mapping[str, str | None]) -> dict[str, str]:
    """That of the tests with changes; None takes a variable away."""
    variables = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path]),
        "METABRIDGE_LEARNERS": "tests.user_paths.own_learner",
        "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
        "JAX_PLATFORMS": "cpu",
    }
    variables |= {name: value for name, value in changes.items() if value is not None}
    return {
        name: value for name, value in variables.items() if changes.get(name, value)
    }


def driven(
    calls: Sequence[Call],
    output: Path,
    changes: Mapping[str, str | None],
    *,
    x64_later: bool = False,
) -> list[Any]:
    """What each of some calls returned, made in one process of its own.

    Args:
      calls: of `call`.
      output: a file for the driver.
      changes: of the environment.
      x64_later: switch JAX to 64 bits once it is imported.
    """
    told = {"x64_later": x64_later, "output": str(output), "calls": list(calls)}
    done = subprocess.run(
        [sys.executable, "-m", "tests.user_paths.driver"],
        input=json.dumps(told),
        env=environment(changes),
        capture_output=True,
        text=True,
        encoding="utf-8",
        errors="replace",
        timeout=600,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(output.read_text(encoding="utf-8"))


def shell(
    script: str, changes: Mapping[str, str | None]
) -> subprocess.CompletedProcess[bytes]:
    """A script of ``sh`` in which `mb` is the installed command."""
    return subprocess.run(
        ["sh", "-c", f'mb() {{ "{COMMAND}" "$@"; }}; {script}'],
        env=environment(changes),
        capture_output=True,
        timeout=600,
    )
