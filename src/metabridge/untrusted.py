"""Untrusted files: JSON with limits, files that are files, names safe to print.

A file that somebody else made may be a pipe that never ends, nest so deeply that the
parser overflows, or have a name that clears the terminal it is printed on. What is
wrong with one is a ValueError that names it; OSError where it cannot be read.
"""

import json
import os
import re
import stat
import unicodedata
import zipfile
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

MAX_JSON = 64 * 2**20
"""Bytes of a JSON file; a larger one is refused before it is read."""
_LONGEST = 1000  # characters of a name or a value in a message

# Control characters (escape sequences of terminals among them), line and paragraph
# separators, marks that turn the direction of writing, bytes that are no UTF-8.
_UNSAFE = re.compile(
    "[\0-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)


def is_safe(text: str) -> bool:
    """Tell whether text can be printed without harm to the terminal."""
    return _UNSAFE.search(text) is None


def shown(name: object) -> str:
    """Format a path or name for a message: quoted if unsafe, shortened if very long."""
    text = _shortened(str(name))
    return text if is_safe(text) else f"'{_escaped(text)}'"


def quoted(value: object) -> str:
    """`repr` of a value from JSON, shortened where it is very long."""
    try:
        text = _escaped(repr(value))
    except (ValueError, RecursionError):  # an integer of thousands of digits
        text = f"<{type(value).__name__}>"
    return _shortened(text)


def _shortened(text: str) -> str:
    half = _LONGEST // 2
    return text if len(text) <= _LONGEST else f"{text[:half]}...{text[-half:]}"


def _escaped(text: str) -> str:
    return _UNSAFE.sub(lambda found: ascii(found.group())[1:-1], text)


def expanded(path: str | os.PathLike[str]) -> Path:
    """A path with ``~`` replaced; as it is, where there is no such user."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        return Path(path)


def composed(name: str) -> str:
    """A name in Unicode's form NFC, in which names that look alike are equal.

    macOS writes file names with accents apart from their letters (NFD), editors and
    other systems write them as one character.
    """
    return unicodedata.normalize("NFC", name)


def parse_json(text: str) -> Any:
    """Parse JSON in which an object has each key once."""
    try:
        return json.loads(text, object_pairs_hook=_unique)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) != len(pairs):
        ((twice, _),) = Counter(key for key, _ in pairs).most_common(1)
        raise ValueError(f"it has the key {quoted(twice)} twice")
    return values


def read_text(path: Path) -> str:
    """Read a file of at most `MAX_JSON` bytes in UTF-8, UTF-16 or UTF-32."""
    about = check_regular(path)
    if about.st_size > MAX_JSON:
        raise ValueError(
            f"{shown(path)} has {about.st_size:,} bytes; the limit is {MAX_JSON:,}"
        )
    content = path.read_bytes()
    encoding = json.detect_encoding(content)  # by marks and zeros at the start
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{shown(path)} is no text in UTF-8 ({error.reason} at byte {error.start}, "
            f"read as {encoding}): save it as UTF-8"
        ) from error
    return text.replace("\r\n", "\n").replace("\r", "\n")


def read_json(path: Path) -> Any:
    """Read the JSON value in a file, as `read_text` and `parse_json` do."""
    text = read_text(path)
    try:
        return parse_json(text)
    except ValueError as error:
        raise ValueError(f"{shown(path)} is not JSON: {error}") from error


def map_file(path: Path) -> "np.ndarray":
    """Map the array in a ``.npy`` file read-only."""
    check_regular(path)
    import numpy as np

    try:
        return np.lib.format.open_memmap(path, mode="r")
    except OSError:
        raise
    # A forged header can raise nearly anything: its shape is an expression.
    except Exception as error:
        raise ValueError(
            f"{shown(path)} holds no array: {shown(error)} ({type(error).__name__})"
        ) from error


def read_arrays(path: Path) -> "dict[str, np.ndarray]":
    """Read the arrays of an uncompressed ``.npz`` file; none of them is a pickle.

    A forged one can raise nearly anything.
    """
    check_regular(path)
    import numpy as np

    with zipfile.ZipFile(path) as archive:
        if any(info.compress_type != zipfile.ZIP_STORED for info in archive.infolist()):
            raise ValueError("its arrays are compressed")  # to any size
    with np.load(path, allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


def check_regular(path: Path) -> os.stat_result:
    """Status of a path; a ValueError unless it is a regular file."""
    about = path.stat()
    if not stat.S_ISREG(about.st_mode):
        raise ValueError(f"{shown(path)} is no regular file")
    return about
