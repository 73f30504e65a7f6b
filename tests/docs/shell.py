"""Runs a block of shell in a real shell, where the programs it calls are recorders.

Loops, variables and line continuations are the shell's, and `make` is the real one with
our Makefile; what they would have started is written down instead.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
_LAUNCHERS = {"srun": 1, "ssh": -1, "gcloud": -1}
"""Programs that start a command elsewhere, and its first argument's place."""
_RECORDED = ("metabridge", "python", "pip", "scontrol", *_LAUNCHERS)
_RECORDER = """#!{python}
import json, os, sys
with open({log!r}, "a") as file:
    file.write(json.dumps([os.path.basename(sys.argv[0]), *sys.argv[1:]]) + "\\n")
"""
_MAKE = """#!/bin/sh
exec {make} --silent --no-print-directory --directory {root} \\
  BIN={programs} UV={programs}/pip VENV={programs}/venv "$@"
"""
_ENVIRONMENT = {
    "DATA": "DATA", "RUNS": "runs", "SHARED": "shared", "PROJECT": ".", "POD": "pod",
    "SLURM_ARRAY_TASK_ID": "4", "SLURM_JOB_ID": "1",
}  # fmt: skip
"""Variables that a user or a scheduler has set."""


def commands(script: str, folder: Path) -> Iterator[list[str]]:
    """Yields the commands that a script calls, in their order, as lists of arguments.

    Args:
      script: for bash.
      folder: where it runs, and where the recorders are put.

    Raises:
      AssertionError: the shell has complained.
    """
    log = _install(folder)
    finished = subprocess.run(
        [shutil.which("bash") or "bash", "-c", script],
        cwd=folder,
        env={
            "PATH": f"{folder / 'bin'}:/usr/bin:/bin",
            "HOME": str(folder / "home"),
            **_ENVIRONMENT,
        },
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert not finished.stderr, finished.stderr
    for line in log.read_text().splitlines():
        called = json.loads(line)
        start = _LAUNCHERS.get(called[0])
        if start is None:
            yield called
        elif start > 0:
            yield called[start:]
        else:  # a command line for another shell
            yield from commands(called[-1], folder)


def _install(folder: Path) -> Path:
    """Puts the recorders in place; where they write to, empty."""
    programs, log = folder / "bin", folder / "bin" / "log"
    for needed in (programs / "venv", folder / "home" / ".zfunc", folder / ".venv"):
        needed.mkdir(parents=True, exist_ok=True)
    recorder = _RECORDER.format(python=sys.executable, log=str(log))
    scripts = dict.fromkeys(_RECORDED, recorder)
    scripts["make"] = _MAKE.format(
        make=shutil.which("make"), root=ROOT, programs=programs
    )
    for name, code in scripts.items():
        (programs / name).write_text(code)
        (programs / name).chmod(0o755)
    (programs / "activate").touch()
    if not os.path.lexists(folder / ".venv" / "bin"):
        (folder / ".venv" / "bin").symlink_to(programs)
    log.write_text("")
    return log
