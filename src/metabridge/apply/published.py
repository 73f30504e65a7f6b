"""Bodies that are published beside the package: known by name, checked by digest.

They are too large for the package, which holds their names, sizes and SHA-256 digests
(``bodies/published.json``). The files lie in the folder ``bodies`` of the repository.
"""

import hashlib
import json
import os
from pathlib import Path
from typing import NamedTuple

from metabridge.untrusted import expanded, shown

INDEX = Path(__file__).with_name("bodies") / "published.json"
"""``{name: {"bytes": ..., "sha256": ...}}``, written by `experiments.publish`."""
CHECKOUT = Path(__file__).parents[3]
"""The repository, where the package runs from one."""


class Published(NamedTuple):
    """Size and digest of the file of a published body."""

    bytes: int
    sha256: str
    """Hexadecimal."""

    def __str__(self) -> str:
        return f"{self.bytes:,} bytes, SHA-256 {self.sha256}"


def published_bodies() -> dict[str, Published]:
    """Size and digest of the bodies in the repository's folder ``bodies``, by name.

    A name is all that `load_body` and `FewShotClassifier` need if ``NAME.safetensors``
    lies in the folder that ``$METABRIDGE_BODIES`` names; by default, in that of the
    checkout which the package runs from, or in ``./bodies``.
    """
    entries = json.loads(INDEX.read_text(encoding="utf-8"))
    return {name: Published(**entry) for name, entry in entries.items()}


def find(name: str) -> Path | None:
    """The file of a published body; None where no published one has that name.

    Raises:
      ValueError: its file is in none of the folders.
    """
    entry = published_bodies().get(name)
    if entry is None:
        return None
    places = [folder / f"{name}.safetensors" for folder in _folders()]
    for place in places:
        if place.exists():
            return place
    looked = " or ".join(map(shown, places))
    raise ValueError(
        f"the body {name} is published, but not part of the package, and there is no "
        f"{looked}: put bodies/{name}.safetensors of Metabridge's repository there "
        f"({entry}), or set METABRIDGE_BODIES to its folder"
    )


def check_digest(file: Path) -> None:
    """Refuse a file in place of a published body that is not the one published."""
    entry = published_bodies().get(file.stem)
    folders = [folder.resolve() for folder in _folders()]
    if entry is None or file.parent.resolve() not in folders:
        return
    found = digest(file)
    if found != entry:
        raise ValueError(
            f"{shown(file)} is not the published body {file.stem}: it has {found}, but "
            f"should have {entry}; get it again from Metabridge's repository, or give "
            "another body another name"
        )


def digest(file: Path) -> Published:
    """Size and SHA-256 of a file."""
    with file.open("rb") as opened:
        found = hashlib.file_digest(opened, "sha256").hexdigest()
    return Published(file.stat().st_size, found)


def _folders() -> list[Path]:
    """Folders of published bodies, which need not exist."""
    if chosen := os.environ.get("METABRIDGE_BODIES"):
        return [expanded(chosen)]
    checkouts = [CHECKOUT] if (CHECKOUT / "setup.cfg").is_file() else []
    return [folder / "bodies" for folder in (*checkouts, Path())]
