"""Records of a run: JSON lines for scripts, TensorBoard for people."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeGuard

from tensorboardX import SummaryWriter

from metabridge.untrusted import shown


class MetricsWriter:
    """Appends records to ``metrics.jsonl`` and the same numbers to TensorBoard."""

    def __init__(self, folder: Path) -> None:
        path = folder / "metrics.jsonl"
        cut_off = path.is_file() and path.read_bytes()[-1:] not in (b"", b"\n")
        self._file = path.open("a", encoding="utf-8")
        if cut_off:  # by an interruption; the next record has a line of its own
            self._file.write("\n")
        self._board = SummaryWriter(str(folder / "tensorboard"))

    def write(self, step: int, kind: str, values: dict[str, float]) -> None:
        """Appends ``{"step": ..., "kind": kind, ...}``; see `Logger.log` for kinds."""
        self._file.write(json.dumps({"step": step, "kind": kind, **values}) + "\n")
        self._file.flush()
        for name, value in values.items():
            self._board.add_scalar(f"{kind}/{name}", value, step)

    def close(self) -> None:
        self._file.close()
        self._board.close()


def read_metrics(folder: Path, kind: str) -> Iterator[dict[str, Any]]:
    """The records of a kind in a run folder, a later one of a step over an earlier.

    A run that was interrupted and resumed records some steps twice.

    Raises:
      FileNotFoundError: there are none.
      ValueError: a line is no record, or the file no text.
    """
    path = folder / "metrics.jsonl"
    if path.exists() and not path.is_file():
        raise ValueError(f"{shown(path)} is no regular file")
    records: dict[int, dict[str, Any]] = {}
    with path.open(encoding="utf-8") as lines:  # read one by one: they may be long
        for number, line in enumerate(lines, 1):
            try:
                record = json.loads(line)
            except json.JSONDecodeError:
                continue  # cut off by an interruption; its step was recorded anew
            except (ValueError, RecursionError):
                record = None
            if not _is_record(record):
                raise ValueError(
                    f"line {number} of {shown(path)} is no record of a step"
                )
            if record["kind"] == kind:
                records[record["step"]] = record
    return iter(records[step] for step in sorted(records))


def _is_record(record: Any) -> TypeGuard[dict[str, Any]]:
    return (
        isinstance(record, dict)
        and type(record.get("step")) is int
        and isinstance(record.get("kind"), str)
    )
