"""Run folders and explorers that are changed: refused, or shown as harmless text."""

import json
import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from metabridge.report import runs, runs_page
from metabridge.report.closeness import read_explorer
from tests.fuzz.fuzzing import check, each_count, mutated, with_hostile_value
from tests.report import fake

pytestmark = pytest.mark.extended

FILES = ("config.json", "result.json", "metrics.jsonl")


def changed(content: str, generator: random.Random) -> bytes:
    """A file with changed bytes, or JSON with changed values."""
    if generator.random() < 0.4:
        return mutated(content.encode(), generator)
    lines = content.splitlines() if content.count("\n{") > 1 else [content]
    place = generator.randrange(len(lines))
    value = with_hostile_value(json.loads(lines[place]), generator)
    lines[place] = json.dumps(value)
    return "\n".join(lines).encode()


@each_count
def test_changed_run_folders(count: int, tmp_path: Path) -> None:
    folder = fake.finished(tmp_path / "run")
    valid = {name: (folder / name).read_text() for name in FILES}
    generator = random.Random(0)

    def inputs() -> Iterator[dict[str, bytes]]:
        for _ in range(count):
            files = {name: content.encode() for name, content in valid.items()}
            name = generator.choice(FILES)
            yield files | {name: changed(valid[name], generator)}

    def show(files: dict[str, bytes]) -> None:
        for name, content in files.items():
            (folder / name).write_bytes(content)
        found = runs.read([folder])
        try:
            page = runs_page.page_text(found, [], [], 0, by_class=False)
            page.encode()
        except Exception as error:
            raise AssertionError(f"accepted, but not shown: {error!r:.300}") from error
        assert page.count("<script") == 2
        assert not re.search("[\0-\x08\x0b-\x1f\u202a-\u202e]", page)

    report = check(show, inputs())
    assert report.accepted > count // 10
    assert report.refused > count // 4


@each_count
def test_changed_explorers(count: int, tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    valid = fake.explorer()
    generator = random.Random(0)

    def inputs() -> Iterator[bytes]:
        for number in range(count):
            content = {"explorer": valid}
            if number % 2:
                yield mutated(json.dumps(content).encode(), generator)
            else:
                yield json.dumps(with_hostile_value(content, generator)).encode()

    def read(content: bytes) -> None:
        path.write_bytes(content)
        numbers_only(read_explorer(path)[1])

    assert check(read, inputs()).refused > count // 2


def numbers_only(value: Any) -> None:
    """Fails unless there is nothing but numbers in lists and objects."""
    if isinstance(value, dict | list | tuple):
        for inner in value.values() if isinstance(value, dict) else value:
            numbers_only(inner)
    else:
        assert type(value) in (int, float)
