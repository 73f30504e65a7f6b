"""Bodies on the Hugging Face hub: ``hf://USER/NAME`` or ``hf://USER/NAME@REVISION``.

A repository holds one body, the file of `export_body` as ``body.safetensors``, and its
card as ``README.md``.
What is in the library's cache needs no network. The extra ``hub`` has the library.
"""

import re
from pathlib import Path
from typing import Any, NamedTuple

from metabridge.extras import import_extra
from metabridge.units import shortened
from metabridge.untrusted import shown

_NAME = re.compile(
    r"hf:/{1,2}(?P<repository>[\w.-]+/[\w.-]+)(@(?P<revision>[\w./-]+))?"
)


FILE = "body.safetensors"
"""Name of a body in its repository."""


class Place(NamedTuple):
    """A repository of the hub."""

    repository: str
    """USER/NAME."""
    revision: str | None
    """Branch, tag or commit; None for the main branch."""


def place_of(name: Any) -> Place | None:
    """The repository that "hf://USER/NAME" names; None for any other name.

    Raises:
      ValueError: it begins with hf:/ but names none.
    """
    text = str(name)
    if not text.startswith("hf:/"):
        return None
    found = _NAME.fullmatch(text)
    if found is None:
        raise ValueError(
            f"{shown(text)} must be hf://USER/NAME or hf://USER/NAME@REVISION"
        )
    return Place(found["repository"], found["revision"])


def fetch(place: Place) -> Path:
    """The file of the body in a repository, from the cache or downloaded.

    Raises:
      ImportError: the library is not installed.
      ValueError: no such repository, none in the cache and no network, or no file
        ``body.safetensors`` in it.
    """
    hub = import_hub()
    options = {"revision": place.revision, "filename": FILE}
    try:
        return Path(hub.hf_hub_download(place.repository, **options))
    # Of many types: no network, no repository, no permission.
    except Exception as error:
        raise ValueError(
            f"cannot get hf://{place.repository} ({type(error).__name__}: "
            f"{shown(shortened(error))}). Without a network: where there is one, "
            f"`hf download {place.repository} --local-dir FOLDER`, bring FOLDER, and "
            "name the .safetensors file in it"
        ) from error


def push(place: Place, file: Path, card: Path, *, private: bool = False) -> str:
    """Upload the file of a body and its card; return the address of the repository.

    The repository is made if it is not there. The library finds the user's token (`hf
    auth login`, or ``$HF_TOKEN``).

    Raises:
      ImportError: the library is not installed.
      ValueError: what the hub refuses.
    """
    hub = import_hub()
    api = hub.HfApi()
    try:
        made = api.create_repo(place.repository, private=private, exist_ok=True)
        # Always of one name, so that a repository never holds two bodies.
        for path, name in ((file, FILE), (card, "README.md")):
            api.upload_file(
                path_or_fileobj=str(path),
                path_in_repo=name,
                repo_id=place.repository,
                revision=place.revision,
            )
    except Exception as error:
        raise ValueError(
            f"cannot write hf://{place.repository} ({type(error).__name__}: "
            f"{shown(shortened(error))}); {shown(file)} is there: push it again with "
            f"`hf upload {place.repository} {shown(file)}`, after `hf auth login`"
        ) from error
    return str(made)


def import_hub() -> Any:
    """The library of the hub.

    Raises:
      ImportError: it is not installed.
    """
    return import_extra(
        "huggingface_hub", "reading or writing bodies of the hub", "hub"
    )
