"""Starting Python programs on virtual devices, for tests of several devices."""

import os
import socket
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def started(
    *arguments: str | Path, devices: int, **environment: str
) -> subprocess.Popen[str]:
    """``python ARGUMENTS`` with so many virtual devices of the CPU."""
    return subprocess.Popen(
        [sys.executable, *map(str, arguments)],
        env=os.environ
        | {
            "XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} "
            f"--xla_force_host_platform_device_count={devices}",
            "JAX_PLATFORMS": "cpu",
            "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path]),
        }
        | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def last_lines(*processes: subprocess.Popen[str], timeout: float = 900) -> list[str]:
    """The last line that each prints; all of them must end well."""
    try:
        told = [process.communicate(timeout=timeout) for process in processes]
    finally:
        for process in processes:
            process.kill()
    for process, (_, errors) in zip(processes, told, strict=True):
        assert process.returncode == 0, errors[-3000:]
    return [output.strip().splitlines()[-1] for output, _ in told]


def free_port() -> int:
    """A port of this machine that nobody listens at."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return listening.getsockname()[1]
