"""Functions called in processes of their own, one or several at once."""

import contextlib
import itertools
import multiprocessing
import os
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from typing import Any, TypeVar

from metabridge import huge_pages
from metabridge.training.guards import preemption

_T = TypeVar("_T")
_SHARE_OF_A_GPU = 0.75
"""What JAX takes of the memory of a GPU when it starts, if nothing else is said."""


def in_a_process(function: Callable[..., _T], *arguments: Any) -> _T:
    """Call a function in a process of its own, whose device memory ends with it."""
    with preemption.forwarded(), _pool() as pool:
        return _start(pool, function, arguments).result()


def in_processes(
    function: Callable[..., _T], calls: Mapping[str, tuple[Any, ...]], jobs: int
) -> Iterator[tuple[str, "Future[_T]"]]:
    """Call a function with each of some arguments, `jobs` at once, each in a process.

    Networks too small for all cores finish sooner together, each on its share of them:
    XLA's threads keep to those that a process may use. Where the system has no way to
    say so (macOS), each uses all. Likewise each has its share of the memory of a GPU.
    Progress bars are left out.

    Yields:
      Names of `calls` as they finish, with what has been returned or raised.

    Raises:
      Preempted: this process was asked to stop, and all of its own have stopped.
    """
    waiting = list(calls.items())
    free = shares(jobs)
    variables = {
        "TQDM_DISABLE": "1",
        "XLA_PYTHON_CLIENT_MEM_FRACTION": f"{_SHARE_OF_A_GPU / jobs:.3f}",
    }
    with preemption.forwarded() as asked, contextlib.ExitStack() as stopping:
        running: dict[Future[_T], tuple[str, list[int], ProcessPoolExecutor]] = {}
        while (waiting or running) and not asked():
            while waiting and free:
                (name, arguments), cores = waiting.pop(0), free.pop()
                pool = stopping.enter_context(_pool())
                with _on(cores), _environment(variables):
                    running[_start(pool, function, arguments)] = name, cores, pool
            for done in wait(running, return_when=FIRST_COMPLETED).done:
                name, cores, pool = running.pop(done)
                pool.shutdown()
                free.append(cores)
                yield name, done


def shares(jobs: int) -> list[list[int]]:
    """The cores that this process may use, in `jobs` parts; empty where unknown.

    Raises:
      ValueError: there are fewer cores than jobs.
    """
    if not hasattr(os, "sched_setaffinity"):
        return [[] for _ in range(jobs)]
    cores = sorted(os.sched_getaffinity(0))
    if not 1 <= jobs <= len(cores):
        raise ValueError(
            f"`jobs` is {jobs}, but must be between 1 and the {len(cores)} cores that "
            "this process may use"
        )
    ends = [len(cores) * k // jobs for k in range(jobs + 1)]
    return [cores[a:b] for a, b in itertools.pairwise(ends)]


def _pool() -> ProcessPoolExecutor:
    return ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"))


def _start(
    pool: ProcessPoolExecutor, function: Callable[..., _T], arguments: tuple[Any, ...]
) -> "Future[_T]":
    with huge_pages.in_new_processes():
        return pool.submit(function, *arguments)  # starts the process


@contextlib.contextmanager
def _on(cores: list[int]) -> Iterator[None]:
    """Let the processes that this thread starts meanwhile use some cores alone."""
    if not cores:
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@contextlib.contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Set variables for the processes that start meanwhile, but those that are set."""
    own = {name: own for name, own in variables.items() if name not in os.environ}
    os.environ.update(own)
    try:
        yield
    finally:
        for name in own:
            del os.environ[name]
