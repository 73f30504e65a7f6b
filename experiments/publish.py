"""Publish the body of a finished run: file, card and digest.

    python -m experiments.publish RUN --name cifar_fs-resnet12 --licence "..."

writes ``bodies/NAME.safetensors`` in float16, its card ``bodies/NAME.md``, and size and
SHA-256 digest into the index that is part of the package. The body computes in float32
on every machine, whatever the precision of the run. It scores the file, and
publishes nothing if that differs from the run's accuracy by more than 0.05 points. The
same run gives the same file to the bit.
"""

import dataclasses
import re
import sys
import tempfile
from pathlib import Path

import tyro

from metabridge import evaluate_body, export_body, load_body, pretrained_bodies
from metabridge.apply import Body, published
from metabridge.apply.body_file import make_card
from metabridge.files import write_bytes, write_json, write_text
from metabridge.runs.folder import read_config, read_result
from metabridge.units import format_accuracy

MOST_DIFFERENCE = 0.05
"""Points of accuracy between the run and the file."""
_NAME = re.compile(r"[a-z0-9_]+-[a-z0-9_]+")


@dataclasses.dataclass(frozen=True)
class Options:
    """Publish the body of a finished run under bodies/ of the repository."""

    run: tyro.conf.Positional[Path]
    """Folder of the run."""
    name: str
    """Name of the body, DATASET-BODY; what was published by that name is replaced."""
    licence: str | None = None
    """Licence of the body, for the card."""
    data_dir: Path | None = None
    """Folder of the data, if it has moved."""


def main(options: Options) -> None:
    """Exports, scores and checks; then writes file, card and index."""
    name = options.name
    if not _NAME.fullmatch(name):
        raise ValueError(f"`name` is {name!r}, but must be as cifar_fs-resnet12 is")
    if name in pretrained_bodies():
        raise ValueError(f"`name` is {name!r}, a body of the package: choose another")
    if not (published.CHECKOUT / "setup.cfg").is_file():
        raise ValueError("metabridge runs from no checkout: install it with --editable")
    result = read_result(options.run)
    folder = published.CHECKOUT / "bodies"
    with tempfile.TemporaryDirectory() as place:
        file = Path(place) / f"{name}.safetensors"
        trained = _in_float32(load_body(options.run, data_dir=options.data_dir))
        export_body(trained, file, licence=options.licence, dtype="float16")
        body = load_body(file)
        # A file does not say where its data is.
        of_run = read_config(options.run)
        config = dataclasses.replace(body.config, data=of_run.data)
        scored = dataclasses.replace(body, config=config)
        # A body alone is scored without mirror images.
        flips = {"flips": of_run.evaluation.flips}
        found = evaluate_body(scored, flips, data_dir=options.data_dir)
        for of, score in (("run", result), ("file", found)):
            print(f"{of:5} {format_accuracy(score['accuracy'], score['ci95'])} %")
        difference = 100 * abs(found["accuracy"] - result["accuracy"])
        if difference > MOST_DIFFERENCE:
            raise ValueError(
                f"the accuracies differ by {difference:.2f} points, but may by "
                f"{MOST_DIFFERENCE}: nothing is published"
            )
        entry = published.digest(file)
        rows = {"size": f"{entry.bytes:,} bytes", "SHA-256": entry.sha256}
        card = make_card(body, file_name=file.name, **rows)
        folder.mkdir(exist_ok=True)
        write_bytes(folder / file.name, file.read_bytes())
    write_text(folder / f"{name}.md", card)
    entries = published.published_bodies() | {name: entry}
    index = {name: entries[name]._asdict() for name in sorted(entries)}
    write_json(published.INDEX, index)
    print(f"bodies/{name}.safetensors: {entry}")


def _in_float32(body: Body) -> Body:
    """The body, computing in float32."""
    model = dataclasses.replace(body.config.model, precision="float32")
    return dataclasses.replace(
        body, config=dataclasses.replace(body.config, model=model)
    )


if __name__ == "__main__":
    try:
        main(tyro.cli(Options))
    except (ValueError, OSError) as error:
        sys.exit(f"publish: {error}")
