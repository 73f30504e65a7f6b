"""Files that a command writes are checked first; its streams take any text."""

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from metabridge.output import check_output, prepare_streams

TEXT = "±"


def test_where_a_file_may_go(tmp_path: Path) -> None:
    path = tmp_path / "a.html"
    assert check_output(str(path)) == path
    path.write_text("from before")
    assert check_output(path) == path
    assert path.read_text() == "from before"
    deep = tmp_path / "made" / "a.html"
    with pytest.raises(ValueError, match=r"`page` is .*its folder does not exist"):
        check_output(deep, "page")
    with pytest.raises(ValueError, match="is a folder; name a file"):
        check_output(tmp_path)
    assert check_output(deep, make_folder=True) == deep
    assert deep.parent.is_dir()


def test_a_place_that_cannot_be_written_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.access", lambda path, mode: path != tmp_path)
    with pytest.raises(OSError, match=f"{tmp_path} cannot be written"):
        check_output(tmp_path / "a.html")


def test_what_the_encoding_lacks_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii", write_through=True)
    monkeypatch.setattr("sys.stdout", stream)
    prepare_streams()
    print(TEXT)
    assert raw.getvalue() == b"?\n"


def test_closed_streams_are_not_left_to_the_next_file(tmp_path: Path) -> None:
    """Without pytest, which has streams of its own, and with nothing heavy."""
    code = f"""if True:
        from metabridge.output import prepare_streams
        prepare_streams()
        import os, sys
        file = open({str(tmp_path / "file")!r}, "w")
        assert file.fileno() > 2, file.fileno()
        print("dropped")
        os.write(1, b"dropped, too")
        print("dropped", file=sys.stderr)
        file.write({TEXT!r})"""
    done = subprocess.run(
        ["sh", "-c", 'exec "$0" -c "$1" <&- >&- 2>&-', sys.executable, code],
        env=os.environ | {"PYTHONUTF8": "1"},
        timeout=60,
    )
    assert done.returncode == 0
    assert (tmp_path / "file").read_text(encoding="utf-8") == TEXT
