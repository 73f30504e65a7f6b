"""Trains and scores one published recipe; see `experiments.recipes`."""

import dataclasses
import json
import sys
from pathlib import Path
from typing import Literal

import tyro

import metabridge
from experiments import recipes
from metabridge.huge_pages import restart_with_huge_pages


@dataclasses.dataclass(frozen=True)
class Options:
    """Train and score a published recipe."""

    name: tyro.conf.Positional[recipes.Name]
    """Recipe."""
    dataset: recipes.Dataset = "cifar_fs"
    """Dataset of the run."""
    shots: Literal[1, 5] = 5
    """Support images a class of a test task."""
    data_dir: Path | None = None
    """Folder of the dataset; see docs/data.md."""
    run_dir: Path | None = None
    """Folder of the run; the same one again resumes it. Default: a new one in runs/."""
    teacher: Path | None = None
    """MTL and RFS: folder of a run of the same recipe to distil from."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Arithmetic of the body."""
    images: int | None = None
    """Training images instead of the recipe's steps; its schedule is scaled to them."""
    seed: int = 0
    """Seed of initialisation, tasks, augmentation and dropout."""
    quick: bool = False
    """A minute on a CPU, on the built-in data, to see that it runs."""


def main(options: Options) -> None:
    config = recipes.changed(
        recipes.recipe(options.name, options.dataset, options.shots),
        data={"data_dir": options.data_dir},
        model={"precision": options.precision},
        train={"seed": options.seed},
    )
    if options.teacher is not None:
        if not config.learner.distils:
            raise ValueError(f"{options.name} learns from no `teacher`")
        config = recipes.changed(config, learner={"teacher": options.teacher})
    if options.quick:
        config = recipes.quick(config)
    if options.images is not None:
        config = recipes.with_budget(config, options.images)
    resume = options.run_dir is not None and options.run_dir.exists()
    print(
        json.dumps(metabridge.train(config, options.run_dir, resume=resume), indent=2)
    )


if __name__ == "__main__":
    restart_with_huge_pages()
    try:
        main(tyro.cli(Options))
    except (ValueError, OSError, ImportError, FloatingPointError) as error:
        sys.exit(f"recipes: {error}")
