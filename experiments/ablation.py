"""Gain of each option beyond the paper for MTL, at the same body, data and images.

    python -m experiments.ablation --dataset cifar_fs --data-dir DATA

Each row trains with one option more than the first, and is scored on the validation
tasks, by which an option is chosen, and on the test tasks. The last row has all options
of the recipe ``mtl_plus``, and distils from the row with a learned temperature. What is
finished in the folder is taken as it is. Written there: ``ablation.md`` and
``ablation.json``.
"""

import dataclasses
import json
import sys
from pathlib import Path
from typing import Any, Literal

import numpy as np
import tyro

from experiments.planned import train_planned
from experiments.recipes import changed, mtl_plus
from experiments.report import markdown
from metabridge.comparison.processes import in_a_process
from metabridge.config import (
    Config,
    DataConfig,
    EvaluationConfig,
    ModelConfig,
    MTLConfig,
    ResolvedConfig,
    TrainConfig,
    resolve,
    with_images,
)
from metabridge.config.fields import Positive
from metabridge.files import write_json
from metabridge.training.scoring import evaluate_run

_FIRST = "first"
# Rows that distil from another one.
_TEACHERS = {"self-distillation": _FIRST, "mtl_plus": "learned temperature"}


@dataclasses.dataclass(frozen=True)
class Options:
    """Train MTL with each of the options beyond the paper."""

    dataset: Literal["mini_imagenet", "tiered_imagenet", "cifar_fs", "fc100", "glyphs"]
    """Dataset of the runs."""
    data_dir: Path | None = None
    """Folder of the dataset; see docs/data.md."""
    model: Literal["conv4", "resnet12"] = "conv4"
    """The body."""
    learning_rate: Positive | None = None
    """Of all rows. Default: that of `metabridge train`."""
    images: int = 80_000
    """Training images of each row."""
    shots: int = 5
    """Support images a class of a test task."""
    tasks: int = 2000
    """Tasks of the last validation, and of the test."""
    seeds: tuple[int, ...] = (0,)
    """Runs of each row."""
    folder: Path | None = None
    """Folder of the runs and the table. Default: runs/ablation-DATASET."""


_SMALL_TASKS = {"train_ways": 5, "tasks_per_step": 4}
ROWS: dict[str, dict[str, Any]] = {
    "first": {},
    "cosine head": {"learner": {"row_norm": True}},
    "learned temperature": {"learner": {"learn_scale": True}},
    "4 tasks of 5 ways": {"train": _SMALL_TASKS},
    "4 tasks of 5 ways, statistics of the batch": {
        "train": _SMALL_TASKS,
        "learner": {"statistics": "batch"},
    },
    "balanced classes": {"train": {"balanced": True}},
    # The turn of an image cannot be told where turns are classes.
    "rotation loss": {
        "data": {"rotations": False},
        "learner": {"rotation_weight": 0.5},
    },
    "self-distillation": {},
    "averaged parameters": {"train": {"average": 0.25}},
    "mtl_plus": mtl_plus.BEYOND,
}
"""Fields that a row changes, by section."""


def config_of(row: str, seed: int, options: Options) -> ResolvedConfig:
    """The configuration of a row; ValueError for options that do not go together."""
    base = Config(
        MTLConfig(),
        DataConfig(options.dataset, data_dir=options.data_dir),
        ModelConfig(options.model),
        TrainConfig(seed=seed, learning_rate=options.learning_rate),
        EvaluationConfig(shots=options.shots, tasks=options.tasks),
    )
    filled = resolve(changed(base, **ROWS[row]))
    open_pauses = dataclasses.replace(filled.train, validate_every=0)
    train = with_images(open_pauses, options.images)
    config = dataclasses.replace(filled, train=train)
    if row in _TEACHERS:
        teacher = _folder(options) / _name(_TEACHERS[row], seed)
        config = changed(config, learner={"teacher": teacher})
    return resolve(config)


def run(options: Options) -> dict[str, Any]:
    """Trains what is missing; wrong options or folders raise before any training.

    Returns:
      ``{"rows": {name: [result of each seed]}}``; a result has its
      ``"validation"`` accuracy beside that of the test.
    """
    folder = _folder(options)
    named = {_name(row, s): row for s in options.seeds for row in ROWS}
    planned = {
        _name(row, s): config_of(row, s, options) for s in options.seeds for row in ROWS
    }
    rows: dict[str, list[dict[str, Any]]] = {}
    for name, error in train_planned(planned, folder):
        row = named[name]
        if error is not None:
            raise RuntimeError(f"{row} failed: {error}")
        rows.setdefault(row, []).append(_scored(folder / name, {}, options))
        if row == _FIRST:
            tuned = _scored(folder / name, {"tune_head": True}, options)
            rows.setdefault("tuned C", []).append(tuned)
    return {"rows": rows}


def _scored(run_dir: Path, evaluation: dict[str, Any], options: Options) -> dict:
    """Scores of a run, or of another head on it, on validation and test tasks."""
    path = run_dir / f"scores{'-'.join(['', *evaluation])}.json"
    if not path.is_file():
        # Not here: this process would keep device memory from the next training.
        scores = in_a_process(_score, run_dir, evaluation | {"tasks": options.tasks})
        write_json(path, scores)
    return json.loads(path.read_text(encoding="utf-8"))


def _score(run_dir: Path, evaluation: dict[str, Any]) -> dict[str, Any]:
    result = json.loads((run_dir / "result.json").read_text(encoding="utf-8"))
    return {
        "validation": evaluate_run(run_dir, evaluation, split="validation"),
        "test": evaluate_run(run_dir, evaluation),
        "train_seconds": result["train_seconds"],
    }


def table(found: dict[str, Any]) -> str:
    """The rows in Markdown, with the gain over the first on the same tasks."""
    columns = ["option", "validation, %", "gain", "test, %", "gain", "training, s"]
    lines = []
    first = found["rows"][_FIRST]
    for row, results in found["rows"].items():
        cells = [row]
        for split in ("validation", "test"):
            means = [
                100 * np.mean([result[split]["accuracy"] for result in every])
                for every in (results, first)
            ]
            interval = 100 * np.mean([result[split]["ci95"] for result in results])
            gain = "" if row == _FIRST else f"{means[0] - means[1]:+.2f}"
            cells += [f"{means[0]:.2f} ± {interval:.2f}", gain]
        seconds = np.mean([result["train_seconds"] for result in results])
        lines.append([*cells, f"{seconds:.0f}"])
    return markdown(columns, lines)


def _folder(options: Options) -> Path:
    return options.folder or Path("runs") / f"ablation-{options.dataset}"


def _name(row: str, seed: int) -> str:
    return f"{row.replace(',', '').replace(' ', '-')}-{seed}"


def main(options: Options) -> None:
    """Trains, prints the table, and writes it."""
    found = run(options)
    text = table(found)
    write_json(_folder(options) / "ablation.json", found)
    (_folder(options) / "ablation.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    try:
        main(tyro.cli(Options))
    except (ValueError, OSError, ImportError, RuntimeError) as error:
        sys.exit(f"ablation: {error}")
