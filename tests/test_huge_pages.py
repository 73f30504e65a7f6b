"""Huge pages: asked for by a restart, once, where they are on request."""

import json
import os
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from metabridge import cli, huge_pages

PRINT = """
import json, os, sys
from metabridge import huge_pages
huge_pages._are_on_request = lambda: True
huge_pages.restart_with_huge_pages()
print(json.dumps([os.environ.get("GLIBC_TUNABLES"), os.getpid(), sys.argv[1:]]))
"""


@pytest.fixture
def mode(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "enabled"
    path.write_text("always [madvise] never\n")
    monkeypatch.setattr(huge_pages, "_MODE", path)
    monkeypatch.setattr(huge_pages.platform, "libc_ver", lambda: ("glibc", "2.36"))
    monkeypatch.setattr(huge_pages.sys, "platform", "linux")
    monkeypatch.delenv("GLIBC_TUNABLES", raising=False)
    return path


def test_are_asked_for_beside_what_the_user_has_set(
    mode: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert huge_pages.tunables_for_huge_pages() == "glibc.malloc.hugetlb=1"
    monkeypatch.setenv("GLIBC_TUNABLES", "glibc.malloc.check=1")
    both = "glibc.malloc.check=1:glibc.malloc.hugetlb=1"
    assert huge_pages.tunables_for_huge_pages() == both
    monkeypatch.setenv("GLIBC_TUNABLES", "glibc.malloc.hugetlb=0")
    assert huge_pages.tunables_for_huge_pages() is None


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("[always] madvise never", ("glibc", "2.36")),
        ("always madvise [never]", ("glibc", "2.36")),
        ("always [madvise] never", ("glibc", "2.31")),
        ("always [madvise] never", ("", "")),
    ],
)
def test_are_left_alone_where_of_no_use(
    text: str, version: tuple[str, str], mode: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mode.write_text(text)
    monkeypatch.setattr(huge_pages.platform, "libc_ver", lambda: version)
    assert huge_pages.tunables_for_huge_pages() is None


def printed(*arguments: str, stdin: str = "") -> tuple[list[Any], int]:
    """What `PRINT` says in a process, and the number of that process."""
    environment = {k: v for k, v in os.environ.items() if k != "GLIBC_TUNABLES"}
    with subprocess.Popen(
        [sys.executable, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment,
        text=True,
    ) as process:
        return json.loads(process.communicate(stdin)[0]), process.pid


def test_the_same_process_runs_again_with_its_arguments() -> None:
    found, number = printed("-c", PRINT, "a b", "--c")
    assert found == ["glibc.malloc.hugetlb=1", number, ["a b", "--c"]]


@pytest.mark.parametrize("arguments", [(), ("-",), ("-", "train")])
def test_a_program_that_stdin_holds_goes_on(arguments: tuple[str, ...]) -> None:
    found, number = printed(*arguments, stdin=PRINT)
    assert found == [None, number, list(arguments[1:])]


@pytest.mark.parametrize(
    "change",
    [
        "sys.argv = ['metabridge', 'train']",
        "sys.executable = '/no/such'",
    ],
)
def test_a_program_that_cannot_be_repeated_goes_on(change: str) -> None:
    found, _ = printed("-c", f"import sys; {change}\n{PRINT}", "a")
    assert found[0] is None


@pytest.mark.parametrize(
    ("arguments", "restarts"),
    [
        (["train", "mtl"], True),
        (["--plugin", "json", "train", "mtl"], True),
        (["datasets"], False),
    ],
)
def test_commands_that_train_ask_for_them(
    arguments: list[str], restarts: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cli, "restart_with_huge_pages", lambda: sys.exit(7))
    monkeypatch.setattr(sys, "argv", ["metabridge", *arguments])
    with pytest.raises(SystemExit, match="7") if restarts else nullcontext():
        cli.main()
