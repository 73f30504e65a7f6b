"""Mutations, limits and measurements, shared by the fuzzing of all loaders.

Every loader is given `count` inputs: 30 by `make test-all`, 10,000 by
`make test-slow`. All inputs follow from a fixed seed. An input may be accepted or
refused with one of the errors that the loader's docstring names; anything else, an
input that takes longer than the limit, or memory that grows fails the test.
"""

import contextlib
import gc
import random
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from metabridge.untrusted import is_safe

each_count = pytest.mark.parametrize(
    "count",
    [
        pytest.param(30, marks=pytest.mark.extended),
        pytest.param(10_000, marks=pytest.mark.slow),
    ],
)
SECONDS = 10.0
"""Limit of one input."""
GROWTH = 48.0
"""MB by which the resident memory may grow once it has settled: a leak of 5.4 kB an
input is more, in 9,000."""
SETTLED = (0, 15, 1000)
"""Inputs before which memory is taken for settled; the last that is reached counts."""
PEAK = 512.0
"""MB by which it may be larger at any time."""
_EDGES = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, 2**63)


class TookTooLongError(BaseException):
    """Not an `Exception`, so that no loader takes it for damage of its input."""


class Report(NamedTuple):
    """Outcome of the inputs."""

    accepted: int
    refused: int
    seconds: float
    slowest: float
    growth: float
    """Of the resident memory once it had settled, in MB."""
    peak: float
    """Largest resident memory over that at the start, in MB."""


def check(
    use: Callable[[Any], object],
    inputs: Iterable[Any],
    *,
    errors: tuple[type[Exception], ...] = (ValueError, OSError),
    safe_messages: bool = True,
) -> Report:
    """Gives a loader all inputs, and asserts what the module's docstring says.

    Args:
      use: the loader.
      inputs: what it is given, one after the other.
      errors: those that it may raise.
      safe_messages: whether what they say must be harmless to a terminal.
    """
    accepted, refused, slowest, settled = 0, 0, 0.0, 0.0
    # What other tests have left is not looked through at each collection, which would
    # take seconds.
    gc.freeze()
    _forget_peak()
    start, since = _resident("VmRSS"), time.perf_counter()
    for number, given in enumerate(inputs):
        if number in SETTLED:
            gc.collect()
            settled = _resident("VmRSS")
        begun = time.perf_counter()
        try:
            with _limit(SECONDS):
                use(given)
            accepted += 1
        except errors as error:
            refused += 1
            message = str(error)
            assert message, f"input {number} is refused without a word"
            assert not safe_messages or is_safe(message), f"{number}: {message!r}"
        except (Exception, TookTooLongError) as error:
            raise AssertionError(
                f"input {number} ends in {type(error).__name__}: {error!s:.300}; it "
                f"is {given!r:.2000}"
            ) from error
        slowest = max(slowest, time.perf_counter() - begun)
    seconds = time.perf_counter() - since
    gc.collect()
    gc.unfreeze()
    report = Report(
        accepted,
        refused,
        seconds,
        slowest,
        _resident("VmRSS") - settled,
        _resident("VmHWM") - start,
    )
    print(f"{accepted + refused} inputs: {report}")
    assert report.growth < GROWTH, report
    assert report.peak < PEAK, report
    return report


def mutated(content: bytes, generator: random.Random) -> bytes:
    """A file with a few things changed: bits, bytes, lengths, parts moved or lost."""
    changed = bytearray(content)
    for _ in range(generator.choice((1, 1, 2, 3, 8))):
        _change(changed, generator)
    return bytes(changed)


def _change(content: bytearray, generator: random.Random) -> None:
    place = generator.randrange(len(content) + 1)
    length = min(generator.choice((1, 1, 2, 4, 16, 256)), len(content) - place)
    kind = generator.randrange(8)
    if kind == 0 and length:
        content[place] ^= 1 << generator.randrange(8)
    elif kind == 1:
        content[place : place + length] = generator.randbytes(length)
    elif kind == 2:
        del content[place : place + length]
    elif kind == 3:
        content[place:place] = content[place : place + length] * generator.choice(
            (1, 9)
        )
    elif kind == 4:  # a length, or a number that is one less than nothing
        size = generator.choice((1, 2, 4, 8))
        value = generator.choice(_EDGES) % (1 << 8 * size)
        order = generator.choice(("little", "big"))
        content[place : place + size] = value.to_bytes(size, order)
    elif kind == 5 and generator.random() < 0.3:
        del content[place:]
    elif kind == 6:
        other = generator.randrange(len(content) + 1)
        content[place : place + length] = content[other : other + length]
    else:
        content[place:place] = generator.randbytes(generator.choice((1, 2, 8)))


HOSTILE: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 10**30, -(10**30), 2**31, 2**63, 1e308, -0.5,
    float("nan"), float("inf"), "", ".", "..", "/", "/etc/passwd", "../../x", "\0",
    "\x1b[2J", "a\nb", "x" * 10_000, "\ud800", "\u202e", "${HOME}", "%s%n", "\u00b2",
    [], {}, [[]], [None], [0, 1], ["a"], {"a": 1}, {"": {}}, [[[[1]]]], [1e400],
)  # fmt: skip
"""JSON values that have misled a programme before."""


def with_hostile_value(value: Any, generator: random.Random) -> Any:
    """A JSON value with one place in it, or a few, changed, lost or added."""
    for _ in range(generator.choice((1, 1, 1, 2, 4))):
        value = _replaced(value, generator, generator.random())
    return value


def _replaced(value: Any, generator: random.Random, depth: float) -> Any:
    if not isinstance(value, dict | list) or not value or depth < 0.1:
        return generator.choice(HOSTILE)
    items: list[Any] = list(
        value.items() if isinstance(value, dict) else enumerate(value)
    )
    place = generator.randrange(len(items))
    key, inner = items[place]
    if depth < 0.2:
        del items[place]
    elif depth < 0.25:
        items.append((str(generator.choice(HOSTILE)), inner))
    else:
        items[place] = key, _replaced(inner, generator, generator.random())
    return dict(items) if isinstance(value, dict) else [item for _, item in items]


@contextlib.contextmanager
def _limit(seconds: float) -> Iterator[None]:
    def stop(number: int, frame: object) -> None:
        raise TookTooLongError(f"more than {seconds} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _resident(name: str) -> float:
    """Resident memory of this process ("VmRSS") or its peak ("VmHWM"), in MB."""
    for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024 / 1e6
    raise AssertionError(f"no {name} in /proc/self/status")


def _forget_peak() -> None:
    with contextlib.suppress(OSError):  # without it the peak of earlier tests counts
        Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")
