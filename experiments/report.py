"""A Markdown table of finished runs, from the files in their folders.

    python -m experiments.report runs/a runs/b [--figures docs/figures]

The tables in docs/results.md are made with it.
"""

import dataclasses
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

import tyro

from metabridge.task_shape import describe
from metabridge.units import format_accuracy, markdown_table
from metabridge.untrusted import read_json

_COLUMNS = (
    "algorithm",
    "dataset",
    "task",
    "test accuracy, %",
    "open interval, %",
    "raw pixels, %",
    "training",
    "images/s",
    "peak memory",
)


@dataclasses.dataclass(frozen=True)
class Options:
    """Print a Markdown table of finished runs."""

    runs: tyro.conf.Positional[tuple[Path, ...]]
    """Run folders, or JSON files that `metabridge evaluate --output` wrote."""
    figures: Path | None = None
    """Folder to copy each run's figures to."""


def row(source: Path) -> list[str]:
    """The cells of one run folder or JSON file; ValueError if it holds no result.

    The accuracy is over closed tasks, which may share images; the open interval is over
    tasks that share none, so it says more of other images (`evaluation.intervals`).
    """
    path = source / "result.json" if source.is_dir() else source
    if not path.is_file():
        raise ValueError(f"{source} holds no result: there is no {path}")
    result = read_json(path)
    if not isinstance(result, dict) or "algorithm" not in result:
        raise ValueError(f"{path} holds no result of a run or an exported body")
    trained = "train_seconds" in result
    closed, disjoint = result.get("closed", result), result.get("open")
    return [
        result["algorithm"],
        result["dataset"],
        describe(result),
        format_accuracy(closed["accuracy"], closed["ci95"]),
        format_accuracy(disjoint["accuracy"], disjoint["ci95"]) if disjoint else "",
        format_accuracy(
            result["pixel_centroid_accuracy"], result["pixel_centroid_ci95"]
        ),
        f"{result['train_steps']} steps, {result['train_seconds'] / 60:.1f} min"
        if trained
        else "as above",
        f"{result['images_per_second']:.0f}" if trained else "",
        f"{result['peak_memory_mb'] / 1e3:.1f} GB" if trained else "",
    ]


def markdown(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    return markdown_table(columns, rows) + "\n"


def main(options: Options) -> None:
    """Prints the table, and copies the figures if a folder is named."""
    print(markdown(_COLUMNS, [row(run) for run in options.runs]), end="")
    if options.figures is None:
        return
    options.figures.mkdir(parents=True, exist_ok=True)
    for run in filter(Path.is_dir, options.runs):
        for figure in ("learning_curves.png", "test_task.png"):
            if (run / figure).is_file():  # of inputs that are no images there is one
                shutil.copyfile(run / figure, options.figures / f"{run.name}-{figure}")


if __name__ == "__main__":
    try:
        main(tyro.cli(Options))
    except (ValueError, OSError) as error:
        sys.exit(f"report: {error}")
