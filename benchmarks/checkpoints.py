"""What a checkpoint costs beside training, for `benchmarks.reliability`."""

import statistics
import time
from pathlib import Path

import numpy as np

from benchmarks.speed import Steps
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
    conv4 = ModelConfig(model="conv4", width=8 if quick else None)
    resnet12 = conv4 if quick else ModelConfig(model="resnet12")
    train = TrainConfig(train_ways=5, train_shots=1) if quick else TrainConfig()
    drawings = resolve(Config(data=DataConfig(dataset="glyphs"), model=conv4))
    cifar_fs = DataConfig(dataset="cifar_fs")
    photographs = resolve(Config(data=cifar_fs, model=resnet12, train=train))
    return {
        "conv4 on glyphs": (drawings, load_data(drawings)),
        "resnet12 on 32x32": (photographs, _noise()),
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
    """Seconds of the call, and by how much the steps behind it are slower."""
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
    every = config.train.validate_every or 1
    between = min(every * step_seconds, 60 * config.train.checkpoint_minutes)
    written = sorted(path for path in folder.iterdir() if path.name.isdigit())
    size = sum(f.stat().st_size for f in written[-1].rglob("*") if f.is_file())
    call = statistics.median(calls)
    return {
        "megabytes": size / 1e6,
        "seconds in the call": call,
        "seconds that steps behind it take longer": stall,
        "seconds of a step": step_seconds,
        "seconds between checkpoints by default": between,
        "share of the training time, %": 100 * (call + stall) / between,
    }
