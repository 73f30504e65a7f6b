"""Functions in processes of their own, one after the other and several at once."""

import os
import signal
import threading
import time
from pathlib import Path

import pytest

from metabridge import huge_pages
from metabridge.comparison.processes import in_a_process, in_processes, shares
from metabridge.training.guards.preemption import EXIT_CODE, Preempted, watched


def wait_to_be_asked(begun: Path, ended: Path) -> None:
    with watched() as asked:
        begun.touch()
        while not asked():
            time.sleep(0.01)
    ended.touch()
    raise Preempted


@pytest.mark.extended
def test_a_signal_is_handed_on(tmp_path: Path) -> None:
    begun, ended = tmp_path / "begun", tmp_path / "ended"

    def ask() -> None:
        while not begun.exists():
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGTERM)

    thread = threading.Thread(target=ask)
    thread.start()
    with pytest.raises(Preempted) as stopped:
        in_a_process(wait_to_be_asked, begun, ended)
    thread.join()
    assert stopped.value.code == EXIT_CODE
    assert ended.exists()


def test_a_process_has_huge_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huge_pages, "_are_on_request", lambda: True)
    for before, within in (
        (None, "glibc.malloc.hugetlb=1"),
        ("glibc.malloc.check=1", "glibc.malloc.check=1:glibc.malloc.hugetlb=1"),
        ("glibc.malloc.hugetlb=0", "glibc.malloc.hugetlb=0"),
    ):
        monkeypatch.delenv("GLIBC_TUNABLES", raising=False)
        if before is not None:
            monkeypatch.setenv("GLIBC_TUNABLES", before)
        with huge_pages.in_new_processes():
            assert os.environ["GLIBC_TUNABLES"] == within
        assert os.environ.get("GLIBC_TUNABLES") == before
    monkeypatch.delenv("GLIBC_TUNABLES")
    found = in_a_process(os.getenv, "GLIBC_TUNABLES")
    assert found == "glibc.malloc.hugetlb=1"


CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_setaffinity") else 1
needs_two_cores = pytest.mark.skipif(CORES < 2, reason="has one core")


VARIABLES = "TQDM_DISABLE", "XLA_PYTHON_CLIENT_MEM_FRACTION"


def meet(folder: Path, name: str, others: int) -> tuple[list[int], list[str | None]]:
    """Wait until so many have come; fail where they are not called at once."""
    (folder / name).touch()
    end = time.monotonic() + 60
    while len(list(folder.iterdir())) < others:
        if time.monotonic() > end:
            raise TimeoutError
        time.sleep(0.01)
    variables = [os.environ.get(name) for name in VARIABLES]
    return sorted(os.sched_getaffinity(0)), variables


@needs_two_cores
@pytest.mark.extended
def test_processes_at_once_have_cores_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    before = os.sched_getaffinity(0)
    calls = {name: (tmp_path, name, 2) for name in ("a", "b")}
    found = {name: done.result() for name, done in in_processes(meet, calls, 2)}
    assert set(found) == {"a", "b"}
    (first, variables), (second, _) = found.values()
    assert not set(first) & set(second)
    assert set(first) | set(second) == before == os.sched_getaffinity(0)
    assert variables == ["1", "0.375"]
    assert not set(VARIABLES) & set(os.environ)


def fail_or_die(how: str) -> str:
    if how == "die":
        os._exit(9)
    if how == "fail":
        raise ValueError(how)
    return how


@pytest.mark.extended
def test_a_process_that_fails_or_dies_takes_no_other_with_it() -> None:
    calls = {how: (how,) for how in ("die", "fail", "live")}
    found = dict(in_processes(fail_or_die, calls, 1))
    assert found["live"].result() == "live"
    assert type(found["fail"].exception()) is ValueError
    assert "terminated abruptly" in str(found["die"].exception())


@needs_two_cores
@pytest.mark.extended
def test_a_signal_stops_all_and_starts_no_other(tmp_path: Path) -> None:
    names = ("a", "b", "c")
    calls = {n: (tmp_path / f"begun-{n}", tmp_path / f"ended-{n}") for n in names}

    def ask() -> None:
        while not all((tmp_path / f"begun-{name}").exists() for name in "ab"):
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGTERM)

    thread = threading.Thread(target=ask)
    thread.start()
    with pytest.raises(Preempted):
        list(in_processes(wait_to_be_asked, calls, 2))
    thread.join()
    ended = {path.name for path in tmp_path.iterdir()}
    assert ended == {"begun-a", "begun-b", "ended-a", "ended-b"}


def test_cores_are_shared_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_setaffinity", print, raising=False)
    monkeypatch.setattr(
        os, "sched_getaffinity", lambda _: {7, 0, 2, 5, 3}, raising=False
    )
    assert shares(1) == [[0, 2, 3, 5, 7]]
    assert shares(2) == [[0, 2], [3, 5, 7]]
    for jobs in (0, 6):
        with pytest.raises(
            ValueError, match=f"`jobs` is {jobs}, but must be .* 5 cores"
        ):
            shares(jobs)
    monkeypatch.delattr(os, "sched_setaffinity")
    assert shares(3) == [[], [], []]
