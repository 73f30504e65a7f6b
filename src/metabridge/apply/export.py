"""Export of a run's body to one file, with a card in Markdown beside it."""

import os
import string
from importlib import resources
from pathlib import Path
from typing import Any

from metabridge.apply import body_file
from metabridge.apply.body import Body, from_run
from metabridge.output import check_output
from metabridge.units import format_accuracy
from metabridge.untrusted import expanded, is_safe, shown

SUFFIX = ".safetensors"


def export_body(
    run: str | os.PathLike[str] | Body,
    file: str | os.PathLike[str],
    *,
    licence: str | None = None,
    data_dir: str | os.PathLike[str] | None = None,
) -> Path:
    """Write the body of a run, and a card in Markdown beside it.

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
    text = make_card(body, file_name=path.name)
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


def make_card(body: Body, *, file_name: str) -> str:
    """Markdown that describes a body to people, beside the file of this name."""
    config, about = body.config, body.about
    height, width, channels = body.shapes.image_shape
    model, train = config.model, config.train
    data = about.get("dataset", {})
    has_width = model.model in ("conv4", "mlp")
    rows = {
        "learner": config.algorithm,
        "body": f"{model.model} width {model.width}" if has_width else model.model,
        "parameters": f"{about.get('parameters', 0):,}",
        "images": f"{height} x {width}, {'grey' if channels == 1 else 'colour'}",
        "trained on": f"{data.get('name')}, {body.shapes.num_classes} classes",
        "fingerprint of the data": data.get("fingerprint"),
        "training": f"{train.steps} steps, tasks of {train.train_ways} ways and "
        f"{train.train_shots} shots, {train.tasks_per_step} a step, seed {train.seed}",
        "head": config.evaluation.head,
        "accuracy": _accuracy(about.get("result", {})),
        "licence": about.get("licence") or "not stated",
        "versions": ", ".join(
            f"{name} {version}" for name, version in about.get("versions", {}).items()
        ),
    }
    table = "\n".join(f"| {name} | {_cell(value)} |" for name, value in rows.items())
    template = resources.files("metabridge.apply") / "card.md"
    return string.Template(template.read_text(encoding="utf-8")).substitute(
        learner=config.algorithm,
        dataset=_cell(data.get("name")),
        table=table,
        file=file_name,
    )


def _accuracy(result: dict[str, Any]) -> str:
    if "accuracy" not in result:
        return "not measured"
    return (
        f"{format_accuracy(result['accuracy'], result['ci95'])} % "
        f"({result['ways']}-way {result['shots']}-shot, {result['tasks']} unseen "
        f"tasks, head {result['head']}, 95 % interval)"
    )


def _cell(value: object) -> str:
    return shown(value).replace("|", "\\|")
