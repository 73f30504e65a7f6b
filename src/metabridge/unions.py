"""Names of unions of datasets, as in "glyphs+folder:birds", and their traits.

A "+" separates two datasets. In a path it is part of the path, unless what follows, up
to the next "+", is the name of a dataset or begins as one with a path: "folder:a+b" is
the folder ``a+b``, "folder:a+glyphs" a union. A folder of that name is
"folder:a+glyphs/".
"""

from collections.abc import Iterable
from pathlib import PurePath

from metabridge.registry import DATASETS, DatasetTraits

WITH_PATH = ("folder:", "npz:", "features:", "parquet:")
"""What the name of a dataset begins with whose rest is a path on this machine."""
_HUB = "hf:"  # the rest is a path if it is absolute, which paths that exist become


def split_name(name: str) -> tuple[str, ...]:
    """Names of the datasets of a union; of any other dataset its own."""
    if not isinstance(name, str):
        DATASETS.find(name)  # raises
    parts: list[str] = []
    for piece in name.split("+"):
        if parts and has_path(parts[-1]) and not (piece in DATASETS or has_path(piece)):
            parts[-1] += f"+{piece}"
        else:
            parts.append(piece)
    return tuple(parts)


def join_names(names: Iterable[str]) -> str:
    """The name of a union, with a "/" behind paths that would be parted without it."""
    return "+".join(n if split_name(n) == (n,) else f"{n}/" for n in names)


def has_path(name: str) -> bool:
    """Tell whether a name is of a dataset such as "folder:PATH"."""
    return any(key.endswith(":") and name.startswith(key) for key in DATASETS)


def split_path(name: str) -> tuple[str, str]:
    """Parts of a dataset's name: "folder:" and the path, or "" and the name."""
    prefix = next((each for each in WITH_PATH if name.startswith(each)), "")
    if name.startswith(_HUB) and PurePath(name.removeprefix(_HUB)).is_absolute():
        prefix = _HUB
    return prefix, name.removeprefix(prefix)


def without_folders(name: str) -> str:
    """A name with the last part of each path: "glyphs+folder:birds"."""

    def shortened(part: str) -> str:
        prefix, place = split_path(part)
        return f"{prefix}{PurePath(place).name}" if prefix else part

    return join_names(map(shortened, split_name(name)))


def title_of(name: str) -> str:
    """A name for people and run folders: of a path its last part alone."""
    parts = (split_path(part)[1] for part in split_name(name))
    return "+".join(part.rstrip("/").split("/")[-1] for part in parts)


def labels_of(names: Iterable[str]) -> tuple[str, ...]:
    """Names of the datasets of a union without paths, "folder2" of a second folder.

    They stay as they are when a folder moves.
    """
    labels: list[str] = []
    kinds = [name.partition(":")[0] for name in names]
    for number, kind in enumerate(kinds):
        count = kinds[: number + 1].count(kind)
        labels.append(kind if count == 1 else f"{kind}{count}")
    return tuple(labels)


def is_open(name: str) -> bool:
    """Tell whether only the data says which classes there are: of a user's own."""
    entries = [DATASETS.find(part) for part in split_name(name)]
    return any(entry.name.endswith(":") or not entry.builtin for entry in entries)


def traits_of(name: str) -> DatasetTraits:
    """Traits of a dataset or a union.

    The recipe of a union is that of its first dataset, for as many images as the one
    that takes most. With drawings among them no image is mirrored; quarter turns are
    classes if all are drawings.

    Raises:
      ValueError: an unknown dataset; the message lists the known ones.
    """
    found = [DATASETS.find(part).traits for part in split_name(name)]
    first, recipes = found[0], [traits.recipe for traits in found]
    if len(found) == 1:
        return first
    recipe = {
        **first.recipe,
        "images": max(recipe["images"] for recipe in recipes),
        "rotations": all(recipe["rotations"] for recipe in recipes),
    }
    if any(recipe.get("augmentation") == "drawing" for recipe in recipes):
        recipe["augmentation"] = "drawing"
    needs_data_dir = any(traits.needs_data_dir for traits in found)
    return DatasetTraits(f"union of {name}", needs_data_dir, recipe)
