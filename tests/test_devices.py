"""What is said of a device is what it says, or the machine."""

from pathlib import Path
from types import SimpleNamespace

import jax
import pytest

from metabridge import devices


def test_free_memory_is_the_devices_or_the_machines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stats: dict[str, int] | None = {"bytes_limit": 100, "bytes_in_use": 30}
    device = SimpleNamespace(memory_stats=lambda: stats)
    monkeypatch.setattr(jax, "local_devices", lambda: [device])
    assert devices.free_bytes() == 70
    stats = None
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal: 9 kB\nMemAvailable:    5 kB\n")
    monkeypatch.setattr(devices, "_MEMINFO", meminfo)
    assert devices.free_bytes() == 5 * 1024
    monkeypatch.setattr(devices, "_MEMINFO", tmp_path / "none")
    assert devices.free_bytes() > 1_000_000
