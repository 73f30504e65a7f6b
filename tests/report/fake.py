"""Runs and an explorer that were never computed."""

import json
from pathlib import Path
from typing import Any

from metabridge.config import Config, DataConfig, resolve, with_steps
from metabridge.config.sections import TrainConfig
from metabridge.files import write_json
from metabridge.runs import folder as run_folder
from metabridge.runs.metrics import MetricsWriter


def finished(folder: Path, accuracy: float = 0.6, **changes: Any) -> Path:
    """A run folder of the built-in data, without checkpoints."""
    config = Config(
        data=DataConfig(dataset="glyphs"), train=with_steps(TrainConfig(), 50)
    )
    run_folder.open_run(folder, resolve(config), resume=False)
    writer = MetricsWriter(folder)
    for number in range(1, 4):
        seconds = 10.0 * number
        writer.write(
            10 * number, "train",
            {"loss": 1.0 / number, "accuracy": 0.1 * number, "seconds": seconds},
        )  # fmt: skip
        writer.write(
            10 * number, "validation",
            {"accuracy": accuracy - 0.03 + number / 100, "ci95": 0.01,
             "seconds": seconds},
        )  # fmt: skip
        writer.write(
            10 * number, "features",
            {"train_cdnv": 0.5 / number, "validation_cdnv": 2.0 / number,
             "validation_cosine_same_class": 0.5 + 0.1 * number,
             "validation_cosine_other_class": 0.3, "head_norm_mean": float(number),
             "head_norm_std": 0.25, "seconds": seconds},
        )  # fmt: skip
    writer.close()
    result = {
        "algorithm": "mtl", "accuracy": accuracy, "ci95": 0.0123, "tasks": 200,
        "pixel_centroid_accuracy": 0.4567, "pixel_centroid_ci95": 0.01,
        "train_seconds": 30.0, "train_steps": 50, "images_per_second": 1234.5,
        "parameters": 52176, "peak_memory_mb": 1047.0, "step_memory_mb": 55.0,
        "provenance": {"command": "metabridge train mtl", "devices": ["cpu", "cpu"]},
    } | changes  # fmt: skip
    write_json(folder / "result.json", result)
    return folder


def explorer() -> dict[str, Any]:
    """Curves of two depths, two times, two shots and two tasks, no two alike."""
    cells = []
    for place in range(16):
        depth, time, shots, task = place // 8, place // 4 % 2, place // 2 % 2, place % 2
        base = place / 16
        cells.append(
            {
                "depth": depth, "time": time, "shots": shots, "task": task,
                "gap": 0.5 / (1 + place), "relative_gap": 0.123 / (1 + place),
                "mtl": [base, base + 1, base], "gbml": [base, base + 0.5, base],
            }
        )  # fmt: skip
    task = {"target": [0.0, 1.0, 0.0], "support": [[0.5, 0.1], [1.0, 0.2]],
            "query": [[-1.0, 0.3]]}  # fmt: skip
    return {
        "depths": [1, 16], "times": [0.0, 0.1], "shots": [1, 2],
        "training_tasks": 8, "angles": [-3.14, 0.0, 3.14], "tasks": [task, task],
        "cells": cells,
    }  # fmt: skip


def write_explorer(path: Path, **changes: Any) -> Path:
    """A result of `make ntk-compare`."""
    path.write_text(json.dumps({"explorer": explorer() | changes}), encoding="utf-8")
    return path
