"""Memory of the devices and of the machine, and what its CPU computes fast."""

import contextlib
import ctypes
import os
from pathlib import Path

from metabridge.untrusted import expanded

_MEMINFO = Path("/proc/meminfo")
_CPUINFO = Path("/proc/cpuinfo")
BFLOAT16_FLAGS = ("avx512_bf16", "amx_bf16")
"""Flags of x86 CPUs with products of bfloat16 that are summed in float32."""


def free_bytes() -> int:
    """Free memory of the first device of this process; a CPU has the machine's."""
    import jax  # here: what reads datasets asks for the machine's memory alone

    stats = jax.local_devices()[0].memory_stats()
    if stats and "bytes_limit" in stats:
        return stats["bytes_limit"] - stats["bytes_in_use"]
    return free_host_bytes()


def free_host_bytes() -> int:
    """Free memory of the machine."""
    if _MEMINFO.is_file():
        for line in _MEMINFO.read_text(encoding="utf-8").splitlines():
            if line.startswith("MemAvailable:"):
                return 1024 * int(line.split()[1])
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def give_back_host_memory() -> None:
    """Returns freed memory to the system.

    The allocator of glibc keeps it in an arena a thread, where it fragments: a process
    that trains many times would grow with every run.
    """
    with contextlib.suppress(OSError, AttributeError):  # another C library
        ctypes.CDLL("libc.so.6").malloc_trim(0)


def keep_compiled(folder: str | os.PathLike[str]) -> None:
    """Keep what JAX compiles in a folder, and take from it what is there.

    JAX's keys hold its own version, the compiler's, the options and the kind of device.
    A folder is for one kind of machine.

    Raises:
      OSError: the folder cannot be made.
    """
    import jax

    path = expanded(folder)
    path.mkdir(parents=True, exist_ok=True)
    jax.config.update("jax_compilation_cache_dir", str(path))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)


def cpu_has_bfloat16() -> bool:
    """Tell whether the CPU says that it has products of bfloat16; Linux alone asks."""
    return not _cpu_flags().isdisjoint(BFLOAT16_FLAGS)


def has_avx512() -> bool:
    """Tell whether the CPU says that it has AVX-512; Linux alone asks."""
    return "avx512f" in _cpu_flags()


def _cpu_flags() -> set[str]:
    if not _CPUINFO.is_file():
        return set()
    lines = _CPUINFO.read_text(encoding="utf-8", errors="replace").splitlines()
    return set(next((line for line in lines if line.startswith("flags")), "").split())
