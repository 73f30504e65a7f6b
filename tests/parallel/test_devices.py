"""What is said of a device is what it says, or the machine."""

from pathlib import Path
from types import SimpleNamespace

import jax
import pytest

from benchmarks.soak import resident_mb
from metabridge.parallel import devices


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


@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="not Linux")
def test_freed_memory_goes_back_to_the_system() -> None:
    blocks = [bytearray(64_000) for _ in range(3000)]  # 192 MB, in the arenas
    kept = blocks[::100]  # holds the top of the heap
    del blocks
    before = resident_mb()
    devices.give_back_host_memory()
    assert before - resident_mb() > 100
    assert len(kept) == 30
