"""Labelled images in Parquet files, as the Hugging Face hub stores datasets.

``PATH`` is a file, or a folder of files (also in folders there). The column `image`
has the bytes of an image file, or a struct with them in `bytes`; `label` is text, or an
integer, named where the file's schema names it (`ClassLabel`). The splits are those of
a column `split`, else of names such as ``train-00000-of-00002.parquet``, if they divide
the classes; see `metabridge.data.image_table`. ``split.json`` in the folder comes
first, as for ``folder:PATH``.
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from metabridge.data import forms, image_table, images
from metabridge.data.dataset import Dataset
from metabridge.data.image_table import Row
from metabridge.data.own_images import Options, load_or_build
from metabridge.data.reading import MAX_PIXELS
from metabridge.extras import import_extra
from metabridge.registry import register_dataset
from metabridge.untrusted import expanded, quoted, shown

_VERSION = 1  # raise when a change here changes the arrays
_BATCH = 256
_PART = re.compile(r"([A-Za-z]+)(-\d+-of-\d+)?(-[0-9a-f]+)?")


def load(
    path: str | os.PathLike[str],
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
    """Load the images of Parquet files, with the options of ``folder:PATH``.

    The encoded images have to fit in memory. `class_split` is a JSON file that divides
    the classes, in place of ``split.json``.
    """
    options = Options(
        image_size, background, white_level, max_pixels, skip_corrupt, allow_duplicates,
        class_split,
    )  # fmt: skip
    root = expanded(path).resolve()
    files = _files(root, path)
    own = root / "split.json"
    lists = options.lists or (own if own.is_file() else None)
    base = root if root.is_dir() else root.parent
    stamps = forms.stamps([*files, *([own] if lists == own else [])], base)

    def build(_: Path) -> Dataset:
        rows = (row for file in files for row in _rows(file))
        splits = image_table.divide(rows, shown(root), lists)
        return image_table.build("parquet", splits, options)

    return load_or_build(
        "parquet",
        os.fsencode(root),
        options,
        {"version": _VERSION, "files": image_table.listing_hash(stamps)},
        build,
        cache_dir,
        title=root.stem,
        name=f"parquet:{path}",
    )


def _files(root: Path, path: str | os.PathLike[str]) -> list[Path]:
    if root.is_file():
        return [root]
    found = sorted(p for p in root.rglob("*.parquet") if p.is_file()) if path else []
    if not found:
        what = "no Parquet file in" if root.is_dir() else "no file or folder"
        raise FileNotFoundError(
            f"there is {what} {quoted(str(path))}: {shown(root)}; pass "
            '"parquet:PATH" with the path of a .parquet file or of a folder of them'
        )
    return found


def _rows(path: Path) -> Iterator[Row]:
    """Rows of a file, with the bytes of their images."""
    where = shown(path)
    library = import_extra("pyarrow.parquet", "reading Parquet files", "hub")
    with _damage_of(path):
        file = library.ParquetFile(path)
        names, metadata = file.schema_arrow.names, file.schema_arrow.metadata
    image = image_table.column_of(names, "image", where)
    label = image_table.column_of(names, "label", where)
    named = image_table.names_in(metadata, label)
    columns = [image, label, *(["split"] if "split" in names else [])]
    stem = _PART.fullmatch(path.stem)
    number = 0
    batches = file.iter_batches(_BATCH, columns=columns)
    while True:
        with _damage_of(path):
            batch = next(batches, None)
            found = [] if batch is None else batch.to_pylist()
        if batch is None:
            return
        for values in found:
            place = f"row {number} of {where}"
            part = values.get("split") if "split" in values else stem and stem[1]
            if part is not None and not isinstance(part, str):
                raise ValueError(
                    f"{place} has the split {quoted(part)}, but needs text"
                )
            content = _content(values[image], place)
            name = image_table.class_name(values[label], named, place)
            yield Row(images.Encoded(f"{number} of {where}", content), name, part)
            number += 1


def _content(value: Any, place: str) -> bytes:
    content = value.get("bytes") if isinstance(value, dict) else value
    if not isinstance(content, bytes):
        kind = "no bytes" if isinstance(value, dict) else type(content).__name__
        raise ValueError(
            f"the image of {place} is {kind}: the bytes of an image file are needed, "
            "not its path or its pixels"
        )
    return content


def _damage_of(path: Path) -> Any:
    return image_table.damage_of(shown(path))


register_dataset(
    "parquet:",
    load,
    summary="your own images in Parquet files, with columns image and label",
)
