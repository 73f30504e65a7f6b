"""A body from a run's folder, a file, or by its name; the last ones are kept."""

import functools
import os
from importlib import resources
from pathlib import Path
from typing import Any

from metabridge.apply import hub
from metabridge.apply.body import Body, from_run
from metabridge.apply.body_file import read
from metabridge.apply.published import check_digest, find, published_bodies
from metabridge.untrusted import expanded, shown


def pretrained_bodies() -> dict[str, Path]:
    """Files of the bodies that come with the package, by name.

    A name, such as ``omniglot-conv4``, is all that `load_body` and `FewShotClassifier`
    need. The card beside each, of the same name in ``.md``, has its training data,
    accuracy and licence.
    """
    folder = Path(str(resources.files("metabridge.apply") / "bodies"))
    return {file.stem: file for file in sorted(folder.glob("*.safetensors"))}


def load_body(
    path: str | os.PathLike[str], *, data_dir: str | os.PathLike[str] | None = None
) -> Body:
    """Load the body of a run, of a file of `export_body`, or of a name.

    A file is not trusted: it is checked before it is used, and nothing in it is run.

    Args:
      path: folder of a run, of which the best checkpoint is taken; a file; or, where
        there is neither, a name of `pretrained_bodies` or `published_bodies`; or
        ``hf://USER/NAME``, a repository of the Hugging Face hub. What cannot be used
        is a ValueError.
      data_dir: where the dataset of the run is, if not where the run found it.
    """
    place = _place(path)
    if not place.exists():
        beside = ", ".join(published_bodies())
        raise ValueError(
            f"{shown(place)} is neither a run's folder nor a file, nor one of the "
            f"bodies that are included: {', '.join(pretrained_bodies())}"
            + (f", or published: {beside}" if beside else "")
        )
    if place.is_dir():
        return from_run(place, data_dir=data_dir)
    check_digest(place)
    return read(place)


def cached(body: Any, data_dir: str | os.PathLike[str] | None) -> Body:
    """A body as it is, or loaded; once while what is on the disk stays the same."""
    if isinstance(body, Body):
        return body
    if not isinstance(body, str | os.PathLike):
        raise ValueError(
            f"`body` is {type(body).__name__}, but must be a run's folder, a file, a "
            "name or a Body"
        )
    path = _place(body).absolute()
    return _loaded(path, None if data_dir is None else Path(data_dir), _stamp(path))


def _place(path: str | os.PathLike[str]) -> Path:
    """Path of a body; what is on the disk goes before a name."""
    place, name = expanded(path), str(path)
    if place.exists():
        return place
    if (repository := hub.place_of(path)) is not None:
        return hub.fetch(repository)
    return pretrained_bodies().get(name) or find(name) or place


@functools.lru_cache(maxsize=2)
def _loaded(path: Path, data_dir: Path | None, stamp: tuple[int, ...]) -> Body:
    del stamp
    return load_body(path, data_dir=data_dir)


def _stamp(path: Path) -> tuple[int, ...]:
    """Another one once a run has a new checkpoint or a result."""
    places = (path, path / "checkpoints", path / "result.json")
    return tuple(place.stat().st_mtime_ns for place in places if place.exists())
