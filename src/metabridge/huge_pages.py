"""Memory in huge pages on Linux, asked for before a program starts.

XLA's CPU backend takes the memory of a step from the C library and gives it back after
each. In pages of 4 KiB, a step of ResNet-12 waits for the kernel 150,000 times, a sixth
of its time. glibc 2.35 and later asks for pages of 2 MiB if a variable of the
environment says so when the program starts:
https://sourceware.org/glibc/manual/latest/html_node/Memory-Allocation-Tunables.html
"""

import contextlib
import os
import platform
import sys
from collections.abc import Iterator
from pathlib import Path

_MODE = Path("/sys/kernel/mm/transparent_hugepage/enabled")
_VARIABLE, _TUNABLE = "GLIBC_TUNABLES", "glibc.malloc.hugetlb"


def restart_with_huge_pages() -> None:
    """Replace this program by itself with the variable set, where that helps.

    Once JAX is imported it is too late: threads have started, and whoever called us may
    have more to do than this command. Programs that cannot be started again from their
    command line go on as they are.
    """
    tunables = tunables_for_huge_pages()
    if tunables is None or "jax" in sys.modules or not _can_start_again():
        return
    sys.stdout.flush()
    sys.stderr.flush()
    with contextlib.suppress(OSError):
        os.execve(
            sys.executable,
            [sys.executable, *sys.orig_argv[1:]],
            {**os.environ, _VARIABLE: tunables},
        )


@contextlib.contextmanager
def in_new_processes() -> Iterator[None]:
    """Set the variable for the processes that start meanwhile, where that helps."""
    tunables, before = tunables_for_huge_pages(), os.environ.get(_VARIABLE)
    if tunables is None:
        yield
        return
    os.environ[_VARIABLE] = tunables
    try:
        yield
    finally:
        del os.environ[_VARIABLE]
        if before is not None:
            os.environ[_VARIABLE] = before


def _can_start_again() -> bool:
    """Tell whether the arguments are the command line's, and the program not stdin."""
    count = len(sys.orig_argv) - len(sys.argv[1:])
    program, arguments = sys.orig_argv[1:count], sys.orig_argv[count:]
    return arguments == sys.argv[1:] and bool(program) and program[-1] != "-"


def tunables_for_huge_pages() -> str | None:
    """Value of ``GLIBC_TUNABLES`` that asks for huge pages; None where it is of no use.

    That is where the user has decided (``GLIBC_TUNABLES=glibc.malloc.hugetlb=0`` leaves
    them off), with another C library, and where the kernel gives them to all or none.
    """
    tunables = os.environ.get(_VARIABLE, "")
    if _TUNABLE in tunables or not _are_on_request():
        return None
    return ":".join(filter(None, [tunables, f"{_TUNABLE}=1"]))


def _are_on_request() -> bool:
    if sys.platform != "linux" or not sys.executable:
        return False
    try:
        if "[madvise]" not in _MODE.read_text(encoding="ascii"):
            return False
        library, version = platform.libc_ver()
        return library == "glibc" and tuple(map(int, version.split("."))) >= (2, 35)
    except (OSError, ValueError):
        return False
