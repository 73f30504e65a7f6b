"""Finished cells of a sweep in files, so that one that was killed goes on."""

import dataclasses
import hashlib
import io
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from metabridge import files
from metabridge.theory.types import Tasks
from metabridge.untrusted import expanded, read_json, shown

_FORMAT = "metabridge.theory.Sweep cells, 1"
_SETTINGS = "settings.json"
_EIGENVALUES = (0.0, *np.logspace(-6, 6, 37))


@dataclasses.dataclass(frozen=True)
class SweepFolder:
    """A folder of cells that have the same settings."""

    path: Path

    @classmethod
    def open(
        cls, folder: str | os.PathLike[str], settings: Mapping[str, Any]
    ) -> "SweepFolder":
        """The folder, made if there is none; settings are kept as digests.

        Raises:
          ValueError: a folder of other settings, or of something else.
        """
        path = expanded(folder)
        wanted = {"format": _FORMAT}
        wanted |= {name: _digest(value) for name, value in settings.items()}
        file = path / _SETTINGS
        if file.exists():
            kept = read_json(file)
            kept = kept if isinstance(kept, dict) else {}
            other = sorted(n for n in wanted | kept if wanted.get(n) != kept.get(n))
            if other:
                raise ValueError(
                    f"`folder` {shown(path)} holds a sweep of other settings "
                    f"({', '.join(map(shown, other))}): pass another folder, or those "
                    "settings"
                )
            return cls(path)
        begun = (one.name.removesuffix(files.PARTIAL) for one in _listed(path))
        if set(begun) - {_SETTINGS}:
            raise ValueError(
                f"`folder` {shown(path)} holds other files: pass a new folder"
            )
        path.mkdir(parents=True, exist_ok=True)
        files.write_json(file, wanted)
        return cls(path)

    def __call__(self, name: str, make: Callable[[], np.ndarray]) -> np.ndarray:
        """The cell of this name, made if it is not there whole."""
        file = self.path / f"{name}.npy"
        try:
            return np.load(file, allow_pickle=False)
        except (OSError, ValueError, EOFError):
            cell, buffer = make(), io.BytesIO()
            np.save(buffer, cell)
            files.write_bytes(file, buffer.getvalue())
            return cell


def _listed(path: Path) -> list[Path]:
    return list(path.iterdir()) if path.is_dir() else []


def _digest(value: Any) -> str:
    """A text that tells settings apart: SHA-256 of arrays, else what it prints as.

    A function of eigenvalues is told apart by its values.
    """
    if isinstance(value, Tasks):
        return _digest(list(vars(value).values()))
    if isinstance(value, np.ndarray) or hasattr(value, "__array__"):
        array = np.asarray(value)
        # Twelve digits: another machine may round the rest in another way.
        rounded = np.char.mod("%.12g", array.astype(np.float64))
        return hashlib.sha256(f"{array.shape}{rounded.tolist()}".encode()).hexdigest()
    if dataclasses.is_dataclass(value):
        own = [getattr(value, f.name) for f in dataclasses.fields(value)]
        return f"{type(value).__name__}{_digest(own)}"
    if callable(value):
        return _digest(np.concatenate([_at(value, one) for one in _EIGENVALUES]))
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_digest, value))}]"
    return repr(value)


def _at(g: Callable[[np.ndarray], Any], eigenvalue: float) -> np.ndarray:
    """The value of g, or NaN where it refuses the eigenvalue."""
    try:
        with np.errstate(all="ignore"):
            return np.ravel(g(np.asarray([eigenvalue])))
    except Exception:  # a user's function may raise anything
        return np.asarray([np.nan])
