"""A search for a recipe's options, by validation accuracy alone.

    python -m experiments.search experiments/searches/mtl_fast.toml --body conv4

The file has named variations of a recipe, a table of changed fields a section. The
recipe itself and each variation are trained on as many images and scored on the same
tasks of validation classes; a gain over the recipe has a paired interval. The test
classes are left for the recipe that comes out. What is finished in the folder is taken
as it is, what was begun goes on, and variations may be added to the file; other
settings are refused. Written there after each run: ``search.md``, and ``search.json``
with every configuration, without folders of the machine, and its curve.
"""

import dataclasses
import json
import sys
import tomllib
from pathlib import Path
from typing import Any, Literal

import numpy as np
import tyro

from experiments import recipes
from experiments.planned import train_planned
from experiments.report import markdown
from metabridge.apply.body import without_paths
from metabridge.comparison.processes import in_a_process
from metabridge.config import ResolvedConfig, images_per_step, resolve, to_json
from metabridge.evaluation import score
from metabridge.files import write_json, write_text
from metabridge.runs.folder import read_config, read_result
from metabridge.runs.metrics import read_metrics
from metabridge.training.scoring import evaluate_run

BASE = "base"
_FIXED = {
    "train": {"steps", "minutes", "seed"},
    "evaluation": {"ways", "shots", "queries", "tasks", "evaluation_seed"},
}
"""Fields that no variation changes: budgets and tasks are the same for all."""


@dataclasses.dataclass(frozen=True)
class Options:
    """Train variations of a recipe on a small budget, and score them in validation."""

    variations: tyro.conf.Positional[Path]
    """TOML file: [NAME.SECTION] with changed fields."""
    recipe: recipes.Name = "mtl_fast"
    """Recipe that is varied."""
    dataset: recipes.Dataset = "cifar_fs"
    """Dataset of the runs."""
    shots: Literal[1, 5] = 5
    """Support images a class of a validation task."""
    images: int = 400_000
    """Training images of each run."""
    body: Literal["conv4"] | None = None
    """Conv4 with 64 channels instead of the recipe's body."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Arithmetic of the body."""
    tasks: int = 2000
    """Validation tasks of the score of a finished run."""
    seeds: tuple[int, ...] = (0,)
    """Runs of each variation."""
    data_dir: Path | None = None
    """Folder of the dataset; see docs/data.md."""
    folder: Path | None = None
    """Folder of the runs and the results. Default: runs/search-RECIPE-DATASET."""
    quick: bool = False
    """A minute of each on the built-in data, to see that it runs."""


Variations = dict[str, dict[str, dict[str, Any]]]
"""Changed fields by name and section."""


def read_variations(path: Path) -> Variations:
    """The variations of a file, after the recipe as it is.

    Raises:
      ValueError: it is no TOML, or no table of tables; or a field that must be the same
        for all is changed.
    """
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is no TOML file: {error}") from error
    for name, sections in found.items():
        if name == BASE or not isinstance(sections, dict):
            raise ValueError(
                f"{path}: {name!r} must be a table [NAME.SECTION] of fields, and its "
                f"name not {BASE!r}"
            )
        for section, fields in sections.items():
            if not isinstance(fields, dict):
                raise ValueError(f"{path}: {name}.{section} must be a table of fields")
            if fixed := fields.keys() & _FIXED.get(section, set()):
                raise ValueError(
                    f"{path}: {name!r} changes `{min(fixed)}`, but budget and tasks "
                    "are the same for all; pass it to the command"
                )
    folders = [run_name(name, 0) for name in (BASE, *found)]
    if twice := {name for name in folders if folders.count(name) > 1}:
        raise ValueError(f"{path}: two variations have the folder {min(twice)}")
    for number, (name, sections) in enumerate(found.items()):
        teacher = sections.get("learner", {}).get("teacher", BASE)
        if teacher not in (BASE, *list(found)[:number]):
            raise ValueError(
                f"{path}: {name!r} has the teacher {teacher!r}, but must have {BASE!r} "
                "or a variation above it"
            )
    return {BASE: {}} | _with_tuples(found)


def _with_tuples(value: Any) -> Any:
    """The same with TOML's arrays as tuples, which fields are."""
    if isinstance(value, dict):
        return {name: _with_tuples(each) for name, each in value.items()}
    return tuple(map(_with_tuples, value)) if isinstance(value, list) else value


def config_of(
    changes: dict[str, dict[str, Any]], seed: int, options: Options
) -> ResolvedConfig:
    """The configuration of a variation; ValueError for unknown or wrong fields."""
    config = recipes.recipe(options.recipe, options.dataset, options.shots)
    if options.body is not None:
        config = recipes.with_body(config, options.body, 64)
    if options.quick:
        config = recipes.quick(config)
    sections: dict[str, dict[str, Any]] = {
        "data": {"data_dir": options.data_dir},
        "model": {"precision": options.precision},
        "train": {"seed": seed},
        # As few as can be: no choice is to rest on test classes.
        "evaluation": {"tasks": 2},
    }
    for section, fields in changes.items():
        sections[section] = sections.get(section, {}) | fields
    teacher = changes.get("learner", {}).get("teacher")
    if teacher is not None:
        path = folder_of(options) / run_name(teacher, seed)
        sections["learner"] = sections["learner"] | {"teacher": path}
    config = recipes.changed(config, **sections)
    images = options.images
    if options.quick:
        images = min(images, images_per_step(config.train) * (config.train.steps or 1))
    return resolve(recipes.with_budget(config, images))


def search(options: Options) -> dict[str, Any]:
    """Train what is missing; wrong options or folders raise before any training.

    Returns:
      ``{"settings": ..., "rows": [...]}``, see `_row`; written after each run.
    """
    folder, variations = folder_of(options), read_variations(options.variations)
    planned, names = {}, {}
    for name, changes in variations.items():
        for seed in options.seeds:
            try:
                planned[run_name(name, seed)] = config_of(changes, seed, options)
            except (ValueError, TypeError) as error:
                raise ValueError(f"variation {name!r}: {error}") from error
            names[run_name(name, seed)] = name
    settings = _settings(options)
    _check_settings(folder / "search.json", settings)
    found: dict[str, Any] = {"settings": settings, "rows": []}
    runs: dict[str, list[dict[str, Any]]] = {}
    for run, error in train_planned(planned, folder):
        if error is not None:
            raise RuntimeError(f"{run} failed: {error}")
        scored = _scored(folder / run, options.tasks)
        runs.setdefault(names[run], []).append(scored)
        found["rows"] = [
            _row(name, variations[name], each, runs[BASE])
            for name, each in runs.items()
        ]
        write_json(folder / "search.json", found)
        write_text(folder / "search.md", table(found))
    return found


def _settings(options: Options) -> dict[str, Any]:
    free = ("variations", "seeds", "data_dir", "folder")
    values = dataclasses.asdict(options)
    return {name: value for name, value in values.items() if name not in free}


def _check_settings(path: Path, settings: dict[str, Any]) -> None:
    if not path.is_file():
        return
    before = json.loads(path.read_text(encoding="utf-8"))["settings"]
    changed = [
        f"`{name}` was {before.get(name)!r}, is {value!r}"
        for name, value in settings.items()
        if before.get(name) != value
    ]
    if changed:
        raise ValueError(
            f"{path.parent} holds a search with other settings: {'; '.join(changed)}; "
            "pass another --folder"
        )


def _scored(run_dir: Path, tasks: int) -> dict[str, Any]:
    """Score of a run on validation tasks, with its configuration and its curve."""
    path = run_dir / "validation.json"
    if not path.is_file():
        # Not here: this process would keep device memory from the next training.
        write_json(path, in_a_process(_validate, run_dir, tasks))
    # Nothing of where it was run: the results are for others, too.
    config = without_paths(read_config(run_dir))
    return json.loads(path.read_text(encoding="utf-8")) | {
        "cpu_seconds": read_result(run_dir).get("cpu_seconds"),
        "configuration": json.loads(to_json(config)),
        "curve": list(read_metrics(run_dir, "validation")),
    }


def _validate(run_dir: Path, tasks: int) -> dict[str, Any]:
    return evaluate_run(run_dir, {"tasks": tasks}, split="validation", each_task=True)


def _row(
    name: str,
    changes: dict[str, dict[str, Any]],
    runs: list[dict[str, Any]],
    base: list[dict[str, Any]],
) -> dict[str, Any]:
    """A variation, mean over seeds: its score, and its gain on the same tasks.

    Core-hours are None if a run did not count its processor time.
    """
    own, other = (
        np.asarray([run["task_accuracies"] for run in each], np.float64)
        for each in (runs, base[: len(runs)])
    )
    seconds = [run["cpu_seconds"] for run in runs]
    hours = None if None in seconds else float(np.mean(seconds)) / 3600
    reached, gain = score(own.mean(0)), score((own - other).mean(0))
    return {
        "name": name,
        "changes": changes,
        "accuracy": reached.accuracy,
        "ci95": reached.ci95,
        "gain": gain.accuracy,
        "gain_ci95": gain.ci95,
        "seeds": len(runs),
        "core_hours": hours,
        "configurations": [run["configuration"] for run in runs],
        "curves": [run["curve"] for run in runs],
    }


def table(found: dict[str, Any]) -> str:
    """The rows in Markdown."""
    settings = found["settings"]
    columns = ["variation", "changes", "validation, %", "gain", "core-hours"]
    lines = []
    for row in found["rows"]:
        gain = f"{100 * row['gain']:+.2f} ± {100 * row['gain_ci95']:.2f}"
        fields = (
            f"{field}={value}"
            for section in row["changes"].values()
            for field, value in section.items()
        )
        hours = row["core_hours"]
        lines.append(
            [
                row["name"],
                ", ".join(fields),
                f"{100 * row['accuracy']:.2f} ± {100 * row['ci95']:.2f}",
                "" if row["name"] == BASE else gain,
                "not counted" if hours is None else f"{hours:.3g}",
            ]
        )
    shown = ", ".join(f"{name} {value}" for name, value in settings.items())
    note = (
        "Accuracy on tasks of validation classes, the same for all; 95 % intervals, "
        "that of a gain over the differences of each task."
    )
    return f"{shown}\n\n{markdown(columns, lines)}\n{note}\n"


def folder_of(options: Options) -> Path:
    """Folder of the runs and the results."""
    name = f"search-{options.recipe}-{options.dataset}"
    return options.folder or Path("runs") / name


def run_name(variation: str, seed: int) -> str:
    """Name of the folder of a run."""
    return f"{variation.replace(' ', '-').replace('/', '-')}-{seed}"


def main(options: Options) -> None:
    """Trains, and prints the table."""
    print(table(search(options)))


if __name__ == "__main__":
    try:
        main(tyro.cli(Options))
    except (ValueError, OSError, ImportError, RuntimeError) as error:
        sys.exit(f"search: {error}")
