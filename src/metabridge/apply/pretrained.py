"""The bodies that come with the package, so that nothing is downloaded.

Each is a file that `export_body` wrote, with its card beside it: what it was trained
on, how accurate it is, and its licence.
"""

from importlib import resources
from pathlib import Path


def pretrained_bodies() -> dict[str, Path]:
    """Their files by name, as ``{"omniglot-conv4": .../omniglot-conv4.safetensors}``.

    A name is all that `load_body` and `FewShotClassifier` need. The card is the file of
    the same name that ends in ``.md``.
    """
    folder = Path(str(resources.files("metabridge.apply") / "bodies"))
    return {file.stem: file for file in sorted(folder.glob("*.safetensors"))}
