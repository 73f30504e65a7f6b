"""What a page takes for granted: a run, images with labels, a dataset."""

import dataclasses
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import metabridge
from metabridge.config import Config, resolve
from metabridge.data.datasets.imagenet.form import SPECS
from metabridge.registry import BODIES
from metabridge.runs import folder as run_folder
from metabridge.training.train import train
from tests import toy
from tests.data.datasets.imagenet import toys
from tests.report import fake
from tests.weights import made, torch_format

RUNS = (
    "runs/first", "runs/second", "runs/compare/mtl", "runs/sweep/one",
    "runs/orders/first",
)  # fmt: skip


def prepare(folder: Path, run: Path, patch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Fills a folder, and goes there.

    Args:
      folder: empty.
      run: a finished run.
      patch: what is undone after the page.

    Returns:
      the names that a page takes for granted.
    """
    patch.chdir(folder)
    for name in RUNS:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        os.symlink(run, folder / name)
    os.symlink(run, folder / "RUN")
    os.symlink(run.parent / "images", folder / "IMAGES")
    (folder / "results" / "ntk-compare").mkdir(parents=True)
    fake.write_explorer(folder / "results" / "ntk-compare" / "results.json")
    _put_imagenet(folder / "IMAGENET", patch)
    os.symlink(_weights(run.parent), folder / "resnet18.pth")
    patch.setattr(metabridge, "train", _short)
    data = toy.dataset()
    return {
        "images": data.test.images,
        "labels": np.array(data.test.class_names)[data.test.labels],
        "new_images": data.validation.images,
    }


def _short(config: Config, *arguments: Any, **options: Any) -> dict[str, Any]:
    """Trains the page's learner as the run was, which takes a second."""
    if "dataset" in options:  # arrays of the page's own
        test = dataclasses.replace(config.evaluation, tasks=20)
        few = dataclasses.replace(config.train, validation_tasks=10)
        config = dataclasses.replace(config, evaluation=test, train=few)
        return train(config, *arguments, **options)
    short = run_folder.read_config(Path("RUN"))
    short = dataclasses.replace(short, learner=config.learner)
    model = resolve(config).model
    if not BODIES[model.model].builtin:
        short = dataclasses.replace(short, model=model)
    return train(short, *arguments, **options)


def _weights(folder: Path) -> Path:
    """A ResNet-18 of PyTorch's at random, written once for all pages."""
    path = folder / "resnet18.pth"
    if not path.exists():
        arrays = made.resnet(widths=(64, 128, 256, 512))
        whole = path.with_name(f"{path.name}.{os.getpid()}")
        torch_format.write_zip(whole, {"state_dict": arrays})
        whole.replace(path)  # another process may write it, too
    return path


def _put_imagenet(folder: Path, patch: pytest.MonkeyPatch) -> None:
    """A few classes that are taken for mini-ImageNet's."""
    spec = toys.spec("mini_imagenet")
    patch.setitem(SPECS, "mini_imagenet", spec)
    made = toys.make(spec)
    for split in toys.SPLITS:
        toys.write_classes(made, folder, split)
