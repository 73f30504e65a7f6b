"""Commands that compare trained networks on the same tasks: agree, grid."""

from pathlib import Path
from typing import Annotated

import tyro

from metabridge.cli.runs import DataDir

Runs = Annotated[tuple[Path, ...], tyro.conf.Positional]


def agree(
    runs: Runs = (),
    heads: str = "learner,logistic",
    images: int = 400,
    adapted_tasks: int = 5,
    data_dir: DataDir = None,
    output: Path | None = None,
) -> None:
    """Tell whether trained networks predict the same on the same unseen tasks.

    Share of queries given the same class, kappa, divergence and distance of the logits,
    and paired accuracy, for all pairs of runs; methods against seeds of one method; and
    the similarity (linear CKA) of their layers.

    Args:
      runs: Run folders, or folders that hold some. Runs that differ in their seed alone
        are one method. Default: every finished run under runs/.
      heads: Adaptations to compare under, separated by commas: learner (each run's
        own), or a head on the frozen features of all, such as logistic.
      images: Test images on which layers are compared; 0 for none, which reads neither
        data nor checkpoints where evaluations are kept.
      adapted_tasks: Test tasks on which bodies that adapt are compared with themselves.
      output: JSON file for the result.
    """
    from metabridge.similarity import agreement
    from metabridge.similarity.text import agreement_text

    found = agreement(
        runs,
        heads=[head.strip() for head in heads.split(",")],
        images=images,
        adapted_tasks=adapted_tasks,
        data_dir=data_dir,
        output=output,
        tell=print,
    )
    print(f"\n{agreement_text(found)}")


def grid(
    runs: Runs = (),
    heads: str = "logistic,ridge,svm,centroid",
    data_dir: DataDir = None,
    output: Path | None = None,
) -> None:
    """Score runs with several test-time heads on the same tasks.

    A table of accuracies, and the rank correlation of its columns: does the order of
    the learners depend on the head?

    Args:
      runs: Run folders, or folders that hold some. Default: every finished run under
        runs/.
      heads: Heads on frozen features, finetune, or learner (each run's own adaptation),
        separated by commas.
      output: JSON file for the result.
    """
    from metabridge.similarity.grid import grid_text, head_grid

    names = [head.strip() for head in heads.split(",")]
    found = head_grid(runs, heads=names, data_dir=data_dir, output=output, tell=print)
    print(f"\n{grid_text(found)}")
