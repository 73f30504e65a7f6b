"""JSON, files and names from strangers."""

import os
from pathlib import Path

import pytest

from metabridge import untrusted

ESCAPE = "\x1b[2J"


@pytest.mark.parametrize("name", ["a", "classes of mine/é", "漢字\u3000", "👩\u200d🔬"])
def test_plain_names_are_shown_as_they_are(name: str) -> None:
    assert untrusted.is_safe(name)
    assert untrusted.shown(Path(name)) == name


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (f"a{ESCAPE}b", r"a\x1b[2Jb"),
        ("a\nmetabridge: done", r"a\nmetabridge: done"),
        ("a\x9bb", r"a\x9bb"),
        ("gpj.\u202eexe", r"gpj.\u202eexe"),
        (os.fsdecode(b"a\xff"), r"a\udcff"),
    ],
)
def test_what_would_act_on_a_terminal_is_escaped(name: str, expected: str) -> None:
    assert not untrusted.is_safe(name)
    for text in (untrusted.shown(name), untrusted.quoted(name)):
        assert untrusted.is_safe(text)
        assert expected in text.replace("\\\\", "\\")


def test_long_values_are_shortened() -> None:
    assert len(untrusted.shown("x" * 100_000)) < 1100
    assert len(untrusted.quoted(["x"] * 100_000)) < 1100
    assert untrusted.quoted(10**5000) == "<int>"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[" * 100_000, "nested too deeply"),
        ('{"a":' * 100_000, "nested too deeply"),
        ('{"a": 1, "b": {"c": 1, "c": 2}}', "the key 'c' twice"),
        ("1" * 5000, "integer string conversion"),
        ("nil", "Expecting value"),
    ],
)
def test_json_that_is_refused(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        untrusted.parse_json(text)


def test_files_that_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipe = tmp_path / f"{ESCAPE}pipe"
    os.mkfifo(pipe)  # to read from it would take forever
    with pytest.raises(ValueError, match=r"x1b\[2Jpipe' is no regular file"):
        untrusted.read_json(pipe)
    with pytest.raises(ValueError, match="is no regular file"):
        untrusted.read_json(Path("/dev/zero"))
    path = tmp_path / "a.json"
    with pytest.raises(FileNotFoundError):
        untrusted.read_json(path)
    path.write_text("[1]")
    assert untrusted.read_json(path) == [1]
    path.write_bytes(b'"\xff"')
    with pytest.raises(ValueError, match=r"a\.json is no text in UTF-8 .*save it as"):
        untrusted.read_json(path)
    path.write_text("[")
    with pytest.raises(ValueError, match=r"a\.json is not JSON"):
        untrusted.read_json(path)
    monkeypatch.setattr(untrusted, "MAX_JSON", 10)
    path.write_text("[" + "1," * 5 + "1]")
    with pytest.raises(ValueError, match="has 13 bytes; the limit is 10"):
        untrusted.read_json(path)


@pytest.mark.parametrize(
    "encoding",
    ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le"],
)
def test_texts_of_other_systems_are_read(tmp_path: Path, encoding: str) -> None:
    """As PowerShell's ``>``, Notepad and spreadsheets write them."""
    path = tmp_path / "a.json"
    path.write_bytes('{"a":\r\n"B\u00e4r"}'.encode(encoding))
    assert untrusted.read_text(path) == '{"a":\n"B\u00e4r"}'
    assert untrusted.read_json(path) == {"a": "B\u00e4r"}


@pytest.mark.parametrize("content", [b"\xff\xfe\x00\xd8", "\u00e4".encode("latin1")])
def test_texts_of_no_known_encoding_are_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.csv").write_bytes(content)
    with pytest.raises(ValueError, match=r"a\.csv is no text in UTF-8 .*: save it as"):
        untrusted.read_text(tmp_path / "a.csv")


def test_names_that_look_alike_are_equal_when_composed() -> None:
    apart, together = "Ba\u0308r", "B\u00e4r"
    assert apart != together
    assert untrusted.composed(apart) == untrusted.composed(together) == together
