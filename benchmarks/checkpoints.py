"""What a checkpoint costs beside training, for `benchmarks.reliability`."""

import dataclasses
import statistics
import time
from pathlib import Path

import numpy as np

from benchmarks.training import Steps
from metabridge.config import (
    Config,
    DataConfig,
    ModelConfig,
    ResolvedConfig,
    TrainConfig,
    resolve,
)
from metabridge.data.dataset import Dataset, Split
from metabridge.runs.inputs import load_data
from metabridge.training.checkpoint import Checkpoints, Progress, TrainState
from metabridge.training.loop import plateau_rule

_BEHIND = 2.0
"""Seconds of steps before and after a checkpoint that are compared."""


def bodies(*, quick: bool) -> dict[str, tuple[ResolvedConfig, Dataset]]:
    """Recipes whose checkpoints are timed; only the sizes of the images matter."""
    drawings = Config(
        data=DataConfig(dataset="glyphs"), model=ModelConfig(model="conv4")
    )
    photographs = Config(
        data=DataConfig(dataset="cifar_fs"), model=ModelConfig(model="resnet12")
    )
    if quick:
        small = ModelConfig(model="conv4", width=8)
        few = TrainConfig(train_ways=5, train_shots=1)
        photographs = dataclasses.replace(photographs, model=small, train=few)
        drawings = dataclasses.replace(drawings, model=small)
    return {
        "conv4 on glyphs": (resolve(drawings), load_data(resolve(drawings))),
        "resnet12 on 32x32": (resolve(photographs), _noise()),
    }


def _noise() -> Dataset:
    """As CIFAR-FS in all but the pixels and the number of images."""
    rng = np.random.default_rng(0)

    def split(name: str, classes: int) -> Split:
        images = rng.integers(0, 256, (classes * 20, 32, 32, 3), np.uint8)
        labels = np.repeat(np.arange(classes, dtype=np.int32), 20)
        return Split(images, labels, tuple(f"{name}{c}" for c in range(classes)))

    third = (0.5, 0.5, 0.5)
    parts = split("train", 64), split("validation", 16), split("test", 20)
    return Dataset("noise", *parts, third, third)


def overhead(
    config: ResolvedConfig, dataset: Dataset, folder: Path, saves: int
) -> dict[str, float]:
    """Seconds of the call, and by how much the steps behind it are slower.

    Args:
      config: resolved.
      dataset: with its images.
      folder: of the checkpoints.
      saves: number of checkpoints.
    """
    step = Steps(config, dataset)
    plateau = plateau_rule(config.train)[1]

    def steps(seconds: float) -> list[float]:
        times: list[float] = []
        while len(times) < 3 or sum(times) < seconds:
            since = time.perf_counter()
            step()
            times.append(time.perf_counter() - since)
        return times

    steps(0.0)
    checkpoints = Checkpoints(folder)
    calls, stalls, plain = [], [], []
    for _ in range(saves):
        before = statistics.mean(steps(_BEHIND))
        plain.append(before)
        since = time.perf_counter()
        progress = Progress(step.number, 0.0, 0.5, 0.5, 0)
        checkpoints.save(TrainState(progress, step.state, plateau))
        calls.append(time.perf_counter() - since)
        behind = steps(_BEHIND)
        stalls.append(sum(behind) - len(behind) * before)
    checkpoints.close()
    stall = max(statistics.median(stalls), 0.0)  # other work can make it negative
    step_seconds = statistics.median(plain)
    # At every validation, and by time between them.
    between = min(
        (config.train.validate_every or 1) * step_seconds,
        60 * config.train.checkpoint_minutes,
    )
    written = sorted(path for path in folder.iterdir() if path.name.isdigit())
    size = sum(f.stat().st_size for f in written[-1].rglob("*") if f.is_file())
    one = statistics.median(calls) + stall
    return {
        "megabytes": size / 1e6,
        "seconds in the call": statistics.median(calls),
        "seconds that steps behind it take longer": stall,
        "seconds of a step": step_seconds,
        "seconds between checkpoints by default": between,
        "share of the training time, %": 100 * one / between,
    }
