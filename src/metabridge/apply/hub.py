"""Bodies on the Hugging Face hub: ``hf://USER/NAME`` or ``hf://USER/NAME@REVISION``.

A repository holds one body, the file of `export_body`, and its card as ``README.md``.
What is in the library's cache needs no network. The extra ``hub`` has the library.
"""

import re
from pathlib import Path
from typing import Any, NamedTuple

from metabridge.untrusted import shown

_NAME = re.compile(
    r"hf:/{1,2}(?P<repository>[\w.-]+/[\w.-]+)(@(?P<revision>[\w./-]+))?"
)


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
      ValueError: no such repository, none in the cache and no network, or not one body
        in it.
    """
    hub = _import_hub()
    options = {"revision": place.revision, "allow_patterns": ["*.safetensors"]}
    try:
        folder = Path(hub.snapshot_download(place.repository, **options))
    # Of many types: no network, no repository, no permission.
    except Exception as error:
        reason = " ".join(str(error).split())[:300]
        raise ValueError(
            f"cannot get hf://{place.repository} ({type(error).__name__}: "
            f"{shown(reason)}). Without a network: where there is one, `hf download "
            f"{place.repository} --local-dir FOLDER`, bring FOLDER, and name the "
            ".safetensors file in it"
        ) from error
    files = sorted(folder.glob("*.safetensors"))
    if len(files) != 1:
        names = ", ".join(shown(file.name) for file in files) or "none"
        raise ValueError(
            f"hf://{place.repository} must hold the one file of a body, .safetensors, "
            f"but it has {names}"
        )
    return files[0]


def push(place: Place, file: Path, card: Path, *, private: bool = False) -> str:
    """Upload the file of a body and its card; return the address of the repository.

    The repository is made if it is not there. The library finds the user's token (`hf
    auth login`, or ``$HF_TOKEN``).

    Raises:
      ImportError: the library is not installed.
      ValueError: what the hub refuses.
    """
    hub = _import_hub()
    api = hub.HfApi()
    try:
        made = api.create_repo(place.repository, private=private, exist_ok=True)
        for path, name in ((file, file.name), (card, "README.md")):
            api.upload_file(
                path_or_fileobj=str(path),
                path_in_repo=name,
                repo_id=place.repository,
                revision=place.revision,
            )
    except Exception as error:
        reason = " ".join(str(error).split())[:300]
        raise ValueError(
            f"cannot write hf://{place.repository} ({type(error).__name__}: "
            f"{shown(reason)}); {shown(file)} is there: push it again with `hf upload "
            f"{place.repository} {shown(file)}`, after `hf auth login`"
        ) from error
    return str(made)


def _import_hub() -> Any:
    try:
        import huggingface_hub
    except ModuleNotFoundError as error:
        raise ImportError(
            f"bodies of the Hugging Face hub need {error.name!r}, which is not "
            "installed; in the clone of Metabridge: pip install '.[hub]'"
        ) from error
    return huggingface_hub
