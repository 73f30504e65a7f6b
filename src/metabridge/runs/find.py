"""Finished runs in folders, and names that tell them apart."""

import os
from collections.abc import Sequence
from pathlib import Path

from metabridge.untrusted import expanded, shown


def find_runs(
    given: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
) -> list[Path]:
    """Find finished runs: in these folders or one level below, else under ``runs/``."""
    if not given:
        if found := _within(Path("runs"), depth=2):
            return found
        raise ValueError(
            "there is no finished run under runs/: name run folders, or train with "
            "`metabridge train`"
        )
    found: list[Path] = []
    given = [given] if isinstance(given, str | os.PathLike) else given
    for folder in map(expanded, given):
        if not folder.is_dir():
            raise ValueError(f"{shown(folder)} is no folder: name the folder of a run")
        if _is_finished(folder):
            found.append(folder)
            continue
        if (folder / "config.json").exists():
            raise ValueError(
                f"the run in {shown(folder)} is not finished: there is no result.json; "
                "go on with `metabridge train ... --resume`"
            )
        if not (inside := _within(folder, depth=1)):
            raise ValueError(f"{shown(folder)} holds no finished run")
        found += inside
    return list({folder.resolve(): folder for folder in found}.values())


def name_runs(folders: Sequence[Path]) -> list[str]:
    """Names of folders, preceded by those of folders above until no two are alike."""
    whole = [folder.resolve() for folder in folders]
    found = []
    for folder in whole:
        others = [other.parts for other in whole if other != folder]
        own, length = folder.parts, 1
        while any(other[-length:] == own[-length:] for other in others):
            length += 1
        found.append(shown("/".join(own[-length:])))
    return found


def _within(folder: Path, *, depth: int) -> list[Path]:
    """Finished runs in the folders of a folder, and in theirs."""
    found = []
    inside = folder.iterdir() if folder.is_dir() else ()
    for inner in sorted(path for path in inside if path.is_dir()):
        if _is_finished(inner):
            found.append(inner)
        elif depth > 1:
            found += _within(inner, depth=depth - 1)
    return found


def _is_finished(folder: Path) -> bool:
    return (folder / "result.json").is_file() and (folder / "config.json").is_file()
