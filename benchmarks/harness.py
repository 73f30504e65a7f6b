"""Contenders timed step by step in turn, each in a process of its own.

On a shared machine a sequence of ours and then theirs measures the machine's hour: the
same code gave ratios between 0.16 and 1.7. Here every contender takes one step a round,
and the rounds are compared one by one. Those whose turn it is not are stopped, so that
no idle thread of theirs takes a core. A contender may run in another checkout, with
that checkout's interpreter.
"""

import contextlib
import json
import os
import signal
import statistics
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from metabridge.huge_pages import tunables_for_huge_pages

_WORKER = Path(__file__).with_name("worker.py")
ROOT = Path(__file__).parents[1]
# Memory of a process that has waited, stopped, while others compiled may be paged out
# or split into small pages: it took up to a tenth longer than the last to start.
_WARM_UP_ROUNDS = 2


class Contender(NamedTuple):
    """A function that builds a step, and where it runs."""

    build: str
    """``module:function`` of this package, or ``file:function``. What the step returns,
    if JSON has it, is the answer where it is called for the first time."""
    options: Mapping[str, Any] = {}
    """Arguments of the function, as JSON has them."""
    environment: Mapping[str, str] = {}
    """Variables of the process, set before it starts."""
    checkout: Path = ROOT
    """Where packages are looked for first."""
    python: Path = Path(sys.executable)
    """Interpreter, with what is installed for it."""


class Result(NamedTuple):
    """Times of a contender."""

    seconds: list[float]
    """Of its step, a round each."""
    ready_seconds: float
    """Until the first step was done, compilation included."""
    answer: Any
    """Of the first step."""
    peak_gigabytes: float
    """Largest resident memory of the process."""


def race(
    contenders: Mapping[str, Contender],
    *,
    rounds: int = 5,
    warm_up: int = _WARM_UP_ROUNDS,
) -> dict[str, Result]:
    """Time contenders in turn.

    Args:
      contenders: by name. One that lacks a package is left out, which is printed.
      rounds: steps of each that are timed.
      warm_up: steps of each before those, after the first, which makes it ready.

    Raises:
      RuntimeError: a contender failed.
    """
    with contextlib.ExitStack() as stack:
        running, said = {}, {}
        for name, contender in contenders.items():
            process = stack.enter_context(_started(contender))
            ready = _answer(process, name)
            if "missing" not in ready:
                running[name], said[name] = process, [ready]
                process.send_signal(signal.SIGSTOP)
            elif not running:
                raise RuntimeError(f"{name} needs {ready['missing']}")
            else:
                print(f"{name} is left out: {ready['missing']} is not installed")
        for number in range(-warm_up, rounds):
            # Who follows whom changes from round to round.
            for name in list(running)[:: -1 if number % 2 else 1]:
                step = _step(running[name], name)
                if number >= 0:
                    said[name].append(step)
    return {
        name: Result(
            [step["seconds"] for step in steps],
            ready["ready_seconds"],
            ready["answer"],
            [ready, *steps][-1]["peak_gigabytes"],
        )
        for name, (ready, *steps) in said.items()
    }


def report(title: str, results: Mapping[str, Result]) -> dict[str, Any]:
    """Print the times, each beside the first contender's, and return them as JSON."""
    print(f"{title}, {len(next(iter(results.values())).seconds)} rounds")
    found = {}
    base = next(iter(results))
    for name, result in results.items():
        pairs = zip(result.seconds, results[base].seconds, strict=True)
        ratios = [own / other for own, other in pairs]
        # One round has a ratio, but no quartiles.
        both = ratios if ratios[1:] else 2 * ratios
        low, middle, high = statistics.quantiles(both, n=4, method="inclusive")
        found[name] = {
            "least_ms": 1e3 * min(result.seconds),
            "median_ms": 1e3 * statistics.median(result.seconds),
            f"ratio to {base}": middle,
            "ratio's quartiles": [low, high],
            **result._asdict(),
        }
        print(
            f"  {name:24} least {found[name]['least_ms']:10.4g} ms, "
            f"median {found[name]['median_ms']:10.4g} ms, "
            f"{middle:.3f} [{low:.3f}, {high:.3f}] of {base}, ready after "
            f"{result.ready_seconds:.3g} s, {result.peak_gigabytes:.2g} GB",
            flush=True,
        )
    return found


def write(output: Path | None, results: Mapping[str, Any]) -> None:
    """Write results with the machine that they are of, if a file is wanted."""
    if output is not None:
        machine = {"cores": os.cpu_count(), "load": os.getloadavg()[0]}
        output.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps({"machine": machine, **results}, indent=2, default=str)
        output.write_text(text + "\n", encoding="utf-8")


@contextlib.contextmanager
def _started(contender: Contender) -> Iterator[subprocess.Popen]:
    file, function = contender.build.rsplit(":", 1)
    path = (_WORKER.parent / file).with_suffix(".py")
    options = json.dumps(dict(contender.options))
    tunables = tunables_for_huge_pages()  # as `metabridge train` has them
    pages = {} if tunables is None else {"GLIBC_TUNABLES": tunables}
    command = [str(contender.python), str(_WORKER), str(path), function, options]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        cwd=contender.checkout, env={**os.environ, **pages, **contender.environment},
    )  # fmt: skip
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def _step(process: subprocess.Popen, name: str) -> dict[str, float]:
    process.send_signal(signal.SIGCONT)
    assert process.stdin is not None
    process.stdin.write("step\n")
    process.stdin.flush()
    said = _answer(process, name)
    process.send_signal(signal.SIGSTOP)
    return said


def _answer(process: subprocess.Popen, name: str) -> dict[str, Any]:
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise RuntimeError(f"{name} failed with code {process.wait()}; see above")
    return json.loads(line)
