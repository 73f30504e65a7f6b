"""Labelled images that Hugging Face `datasets` opens, from the hub or a folder.

``hf:user/name`` is downloaded by that library, or taken from its cache, which needs no
network; ``hf:PATH`` is a folder that it reads: class folders, Parquet files and others,
or what `save_to_disk` has written. ``hf:NAME@REVISION`` is a commit, a tag or a branch.

Columns and the division of the classes are those of `metabridge.data.image_table`: the
library's own splits are taken where they divide the classes, and put together where,
as is usual, they share them. Datasets that need code of their own are not opened.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from metabridge.data import image_table, images
from metabridge.data.dataset import Dataset
from metabridge.data.image_table import Row
from metabridge.data.own_images import Options, load_or_build
from metabridge.data.reading import MAX_PIXELS
from metabridge.extras import import_extra
from metabridge.registry import register_dataset
from metabridge.units import shortened
from metabridge.untrusted import expanded, quoted, shown

_VERSION = 1  # raise when a change here changes the arrays


def load(
    name: str | os.PathLike[str],
    *,
    image_size: int | tuple[int, int] | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
    skip_corrupt: bool = False,
    background: str = "white",
    white_level: float | None = None,
    max_pixels: int = MAX_PIXELS,
    allow_duplicates: bool = False,
    class_split: str | os.PathLike[str] | None = None,
) -> Dataset:
    """Load a dataset of the hub or of a folder, with the options of ``folder:PATH``.

    The encoded images have to fit in memory. `class_split` is a JSON file that divides
    the classes, as ``split.json`` of a folder.
    """
    options = Options(
        image_size, background, white_level, max_pixels, skip_corrupt, allow_duplicates,
        class_split,
    )  # fmt: skip
    where = f"hf:{name}"
    tables = _open(str(name))

    def build(_: Path) -> Dataset:
        rows = (r for p, table in tables.items() for r in _rows(p, table, str(name)))
        splits = image_table.divide(rows, where, options.lists)
        return image_table.build("hf", splits, options)

    stamps = {part: table._fingerprint for part, table in tables.items()}
    return load_or_build(
        "hf",
        where.encode("utf-8", "surrogateescape"),
        options,
        {"version": _VERSION, "tables": stamps},
        build,
        cache_dir,
        title=str(name),
        name=where,
    )


def _open(name: str) -> dict[str, Any]:
    """The tables of a dataset by the library's name of their split."""
    library, path = _import_datasets(), expanded(name)
    if not name:
        raise ValueError('name a dataset: "hf:USER/NAME", or "hf:PATH" of a folder')
    if path.exists():
        saved = ("dataset_dict.json", "state.json")
        with image_table.damage_of(shown(path)):
            if any((path / file).is_file() for file in saved):
                opened = library.load_from_disk(str(path))
            else:
                opened = library.load_dataset(str(path.resolve()))
    else:
        opened = _from_hub(library, name)
    return dict(opened) if isinstance(opened, dict) else {"train": opened}


def _from_hub(library: Any, name: str) -> Any:
    repository, _, revision = name.partition("@")
    try:
        return library.load_dataset(repository, revision=revision or None)
    # No network, no such dataset, one with code: many types of several libraries.
    except Exception as error:
        raise ValueError(
            f"cannot open {quoted(name)}, which is no folder here, as a dataset of the "
            f"Hugging Face hub ({type(error).__name__}: {shown(shortened(error))}). "
            "Without a network: where there is one, run `hf download --repo-type "
            f"dataset {shown(repository)} --local-dir FOLDER`, bring FOLDER, and pass "
            "hf:FOLDER"
        ) from error


def _rows(part: str, table: Any, name: str) -> Iterator[Row]:
    """Rows of a table, with the bytes or the files of their images."""
    library, where = _import_datasets(), f"hf:{name}"
    roots = [os.path.realpath(library.config.HF_CACHE_HOME)]
    if expanded(name).exists():
        roots.append(os.path.realpath(expanded(name)))
    image = image_table.column_of(table.column_names, "image", where)
    label = image_table.column_of(table.column_names, "label", where)
    names = getattr(table.features[label], "names", None)
    feature, own = table.features[image], "split" in table.column_names
    kept = table.select_columns([image, label, *(["split"] if own else [])])
    if isinstance(feature, library.Image):
        kept = kept.cast_column(image, library.Image(decode=False))
    elif not (isinstance(feature, dict) and "bytes" in feature):
        raise ValueError(
            f"the column {image!r} of {where} is {type(feature).__name__}, but must be "
            "an Image, or a struct with `bytes`"
        )
    for number in range(len(kept)):
        with image_table.damage_of(where):
            values = kept[number]
        place = f"{number} of {part!r} of {where}"
        class_name = image_table.class_name(values[label], names, f"row {place}")
        chosen = str(values["split"]) if own else part
        yield Row(_source(values[image], place, roots), class_name, chosen)


def _source(value: Any, place: str, roots: list[str]) -> images.Source:
    """An image, whose bytes are in the table or in a file below some folders."""
    value = value or {}
    content, path = value.get("bytes"), value.get("path")
    if content is not None:
        return images.Encoded(place, content)
    file = Path(os.path.realpath(path or "/"))
    if not file.is_file() or not any(file.is_relative_to(root) for root in roots):
        raise ValueError(
            f"the image of row {place} has neither bytes nor a file in the dataset's "
            f"folder or the cache, but {quoted(path)}"
        )
    return file


def _import_datasets() -> Any:
    library = import_extra("datasets", "opening datasets of Hugging Face", "hub")
    version = getattr(library, "__version__", None)
    if version is None:
        raise ModuleNotFoundError(
            "`datasets` is a folder of that name where Python was started, not the "
            "library of Hugging Face: start it elsewhere",
            name="datasets",
        )
    if int(version.partition(".")[0]) < 4:
        raise ImportError(
            f"`datasets` is {version}, which runs code of what it opens; 4.0 does not: "
            "pip install 'datasets>=4'"
        )
    return library


register_dataset(
    "hf:",
    load,
    summary="images of the Hugging Face hub (hf:USER/NAME) or of a folder it can read",
)
