"""From a run to a file that holds its body, and a card beside it."""

import os
from pathlib import Path

from metabridge.apply import body_file
from metabridge.apply.body import Body, from_run
from metabridge.apply.card import card
from metabridge.output import check_output
from metabridge.untrusted import expanded, is_safe, shown

SUFFIX = ".safetensors"


def export_body(
    run: str | os.PathLike[str] | Body,
    file: str | os.PathLike[str],
    *,
    licence: str | None = None,
    data_dir: str | os.PathLike[str] | None = None,
) -> Path:
    """Writes the body of a run, and a card in Markdown beside it.

    Args:
      run: folder of a run, of which the best checkpoint is taken; or a body.
      file: to write, ``NAME.safetensors``; the card is ``NAME.md``.
      licence: of the body, for the card. Default: none is stated.
      data_dir: where the dataset of the run is, if not where the run found it.

    Returns:
      The card's path.

    Raises:
      ValueError: no run there, another suffix, or a file that is there already.
    """
    path = check_output(file, "file")
    beside = path.with_suffix(".md")
    _check(path, beside, licence)
    body = run if isinstance(run, Body) else from_run(expanded(run), data_dir=data_dir)
    if licence is not None:
        body = body.with_about(licence=licence)
    text = card(body, file_name=path.name)
    body_file.write(path, body.with_about(card=text))
    beside.write_text(text, encoding="utf-8")
    return beside


def _check(path: Path, beside: Path, licence: str | None) -> None:
    if path.suffix != SUFFIX:
        raise ValueError(f"`file` is {shown(path)}, but must end in {SUFFIX}")
    if not is_safe(path.name) or '"' in path.name:
        raise ValueError(f"`file` is {shown(path)}: take a name that can be printed")
    for place in (path, beside):
        if place.exists():
            raise ValueError(f"{shown(place)} is there already: choose another name")
    if licence is not None and not is_safe(licence):
        raise ValueError("`licence` must be one line that can be printed")
