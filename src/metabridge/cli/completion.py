"""Scripts for shell completion, with the help of each option on one line."""

import ast
import contextlib
import io
import sys
from collections.abc import Iterator, Sequence
from typing import Any

_ASKED = "--tyro-print-completion"
_SPECIFICATION = "COMPLETION_SPEC = "


@contextlib.contextmanager
def mend_completion(arguments: Sequence[str]) -> Iterator[None]:
    """A context in which a printed completion script has no help of several lines.

    Tyro's scripts take each line of an option's help for a word to complete.
    """
    if not any(argument.startswith(_ASKED) for argument in arguments):
        yield
        return
    printed = io.StringIO()
    try:
        with contextlib.redirect_stdout(printed):
            yield
    finally:
        for line in printed.getvalue().splitlines(keepends=True):
            sys.stdout.write(_mend(line))


def _mend(line: str) -> str:
    """A line of the script; the one that holds the options, with joined lines."""
    if not line.startswith(_SPECIFICATION):
        return line
    options = ast.literal_eval(line.removeprefix(_SPECIFICATION))
    return f"{_SPECIFICATION}{_joined(options)!r}\n"


def _joined(value: Any) -> Any:
    """Nested lists and dictionaries, with the lines of their texts joined."""
    if isinstance(value, dict):
        return {key: _joined(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_joined(inner) for inner in value]
    return " ".join(value.split()) if isinstance(value, str) else value
