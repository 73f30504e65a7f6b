"""Runs that are asked to stop: by a scheduler that needs the machine, or by its user.

Slurm, Kubernetes and spot machines send SIGTERM some time before they kill; Slurm and
its launchers also SIGUSR1 (``--signal=USR1@60``). A run then saves and exits with
`EXIT_CODE`, which tells whoever started it to start the same command again.
"""

import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType

EXIT_CODE: int = os.EX_TEMPFAIL
"""75, which sysexits.h calls a temporary failure: try again."""
_SIGNALS = (signal.SIGTERM, signal.SIGUSR1)


class Preempted(SystemExit):
    """The run has saved and stopped; the process ends with `EXIT_CODE`."""

    def __init__(self, code: int = EXIT_CODE) -> None:
        super().__init__(code)


@contextlib.contextmanager
def watched(
    effect: Callable[[int], None] = lambda number: None,
) -> Iterator[Callable[[], bool]]:
    """Yields a function that tells whether a signal has asked to stop.

    The first signal calls `effect` with its number, the second one of a kind has its
    usual effect. Outside of the main thread, where Python handles no signals, the
    answer is always no.
    """
    asked = threading.Event()
    before = {}

    def note(number: int, frame: FrameType | None) -> None:
        del frame
        asked.set()
        signal.signal(number, before[number])
        effect(number)

    if threading.current_thread() is not threading.main_thread():
        yield asked.is_set
        return
    for number in _SIGNALS:
        before[number] = signal.signal(number, note)
    try:
        yield asked.is_set
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def forwarded() -> Iterator[Callable[[], bool]]:
    """Hands a signal on to the processes that this one has started.

    Yields a function that tells whether there was one.

    Raises:
      Preempted: at the end, if there was one.
    """

    def hand_on(number: int) -> None:
        for child in multiprocessing.active_children():
            if child.pid is not None:
                os.kill(child.pid, number)

    with watched(hand_on) as asked:
        try:
            yield asked
        finally:
            if asked():
                raise Preempted
