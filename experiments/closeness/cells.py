"""Results of a study in files, so that a run that was killed goes on where it stood."""

import contextlib
import dataclasses
import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from metabridge.files import write_json

VERSION = 1
"""Raise it where a change here changes the results."""
BLOCK = 250
"""Unseen tasks of a cell: more of them are more cells."""


@dataclasses.dataclass(frozen=True)
class Cells:
    """The finished cells of a folder, and the seconds that each of them took."""

    folder: Path
    seconds: dict[str, float] = dataclasses.field(default_factory=dict)

    def __call__(
        self, name: str, settings: dict[str, Any], make: Callable[[], dict[str, Any]]
    ) -> dict[str, Any]:
        """The result of the file `name`, made if it is not there with these settings.

        `settings` are all that it depends on; `make` returns what JSON can hold.
        """
        path = self.folder / f"{name}.json"
        wanted = json.loads(json.dumps({"version": VERSION, **settings}, default=str))
        saved = _read(path)
        if saved.get("settings") != wanted:
            print(f"{name} ...", file=sys.stderr, flush=True)
            start = time.perf_counter()
            # Through JSON, so that a run and its continuation see the same values.
            result = json.loads(json.dumps(make()))
            taken = time.perf_counter() - start
            saved = {"settings": wanted, "seconds": taken, "result": result}
            self.folder.mkdir(parents=True, exist_ok=True)
            write_json(path, saved)
        self.seconds[name] = saved["seconds"]
        return saved["result"]


def blocks(count: int) -> Iterator[tuple[int, int]]:
    """``(index, tasks)`` of the cells that so many unseen tasks are split into."""
    for index, start in enumerate(range(0, count, BLOCK)):
        yield index, min(BLOCK, count - start)


def _read(path: Path) -> dict[str, Any]:
    """A cell, or nothing if it is not there or damaged."""
    with contextlib.suppress(OSError, ValueError):
        saved = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(saved, dict) and {"seconds", "result"} <= saved.keys():
            return saved
    return {}
