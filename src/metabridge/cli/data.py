"""`metabridge datasets`, `prepare` and `diversity`: about datasets, without a run."""

import sys
from pathlib import Path
from typing import Annotated, Literal

import tyro

from metabridge.config.sections import ImageSize


def datasets() -> None:
    """List the datasets, and what each needs."""
    from metabridge.data.registry import describe
    from metabridge.registry import DATASETS

    for description in describe():
        name, needs = description.name, ""
        if description.needs_data_dir:
            entry = DATASETS.find(name)
            gets = (
                f"; metabridge prepare {name} gets it" if entry.traits.archives else ""
            )
            needs = f" (needs --data-dir{gets})"
        print(f"{name:12} {description.summary}{needs}")
    print(f"{'NAME+NAME':12} a union: the classes of several datasets together")


def prepare(
    dataset: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="DATASET")],
    data_dir: Path | None = None,
    archive: Annotated[tuple[Path, ...], tyro.conf.arg(metavar="FILE...")] = (),
) -> None:
    """Get a dataset, once: download what its authors publish, check and decode it.

    What is there already is used: nothing is downloaded twice, and a download that
    stopped goes on. Nothing is unpacked to the disk, and no TensorFlow is needed.

    Args:
      dataset: cifar_fs, fc100 or omniglot.
      data_dir: The folder where the data is, or is put; the --data-dir of the other
        commands. Default: $TFDS_DATA_DIR or ~/tensorflow_datasets, as theirs.
      archive: Archives of the dataset that you have downloaded by hand.
    """
    from metabridge.data.prepare import prepare as prepare_dataset
    from metabridge.data.prepare import summary

    def tell(line: str) -> None:
        print(line, flush=True)

    try:
        found = prepare_dataset(dataset, data_dir=data_dir, archives=archive, tell=tell)
    except KeyboardInterrupt:
        print("metabridge: stopped; the same command goes on", file=sys.stderr)
        sys.exit(130)
    print("\n".join(summary(found, data_dir)))


def diversity(
    dataset: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="DATASET")],
    body: Annotated[str | None, tyro.conf.arg(metavar="NAME|FILE|RUN")] = None,
    random_body: int | None = None,
    tasks: int = 100,
    ways: int = 5,
    shots: int = 10,
    split: Literal["train", "validation", "test"] = "train",
    seed: int = 0,
    data_dir: Path | None = None,
    image_size: ImageSize = None,
    output: Path | None = None,
) -> None:
    """Measure the diversity of the few-shot tasks of a dataset.

    It is the mean distance between the Task2Vec embeddings of two random tasks: the
    diagonal Fisher information of a fixed body, the probe. Compare only numbers of the
    same probe, ways and shots.

    Args:
      dataset: Its name: `metabridge datasets` lists them; folder:PATH for your own
        images.
      body: The probe: a body's name, a file of export, or a run. Default: the included
        body for images of this shape, or if there is none a random one.
      random_body: Seed of a Conv4 of random weights, to be the probe instead.
      tasks: Tasks to draw, at least 10.
      ways: Classes of a task.
      shots: Images a class.
      split: Whose classes the tasks are made of.
      seed: Seed of the tasks.
      data_dir: Folder of the data: of `metabridge prepare`, of TFDS, or of ImageNet's
        images.
      image_size: Side, or height and width, to which the images of a folder are
        resized.
      output: JSON file for the result, with the embedding of every task.
    """
    from metabridge.diversity import task_diversity

    found = task_diversity(
        dataset, body=body, random_body=random_body, tasks=tasks, ways=ways,
        shots=shots, split=split, seed=seed, data_dir=data_dir, image_size=image_size,
        output=output,
    )  # fmt: skip
    low, high = found.ci95
    print(
        f"{dataset}: diversity {found.diversity:.4f}, 95 % interval {low:.4f} to "
        f"{high:.4f}\n  mean Task2Vec distance of {tasks} tasks of split {split}, "
        f"{ways}-way {shots}-shot\n  probe {found.about['probe']}, "
        f"{found.embeddings.shape[1]} filters"
    )
