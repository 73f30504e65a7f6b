"""The speeds that the documentation states, measured on this machine.

    python -m experiments.benchmark [--output FILE.json] [--only NAME ...]

(`make bench`). Each measurement repeats and takes the median; other work on the machine
slows it down, so let it run alone.
"""

import dataclasses
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import tyro

from metabridge import build, heads
from metabridge.config import (
    Config,
    DataConfig,
    ModelConfig,
    TrainConfig,
    images_per_step,
    resolve,
)
from metabridge.data import load_dataset
from metabridge.data.dataset import Dataset
from metabridge.data.episodes import ClassIndex, image_bank, labels
from metabridge.data.sampler import example_of
from metabridge.evaluation import bank_evaluator
from metabridge.parallel.mesh import mesh_of
from metabridge.runs import inputs
from metabridge.training.step import jit_step, make_sampler
from metabridge.types import TaskShape

Name = Literal["evaluation", "warm-load", "step"]


@dataclasses.dataclass(frozen=True)
class Options:
    """Measure the speeds that the documentation states."""

    only: tuple[Name, ...] = ("evaluation", "warm-load", "step")
    """Which measurements."""
    data_dir: Path | None = None
    """TFDS folder with cifar100; without it CIFAR-FS is left out, and said so."""
    output: Path | None = None
    """JSON file for the results."""


def evaluation(options: Options) -> dict[str, float]:
    """5-way 5-shot 15-query logistic regression on unit-norm features of 640
    dimensions: ours on all tasks at once, scikit-learn's task by task.
    """
    del options
    shape, classes, per_class, num_tasks = TaskShape(5, 5, 15), 20, 600, 2000
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(classes, 1, 640))
    # About 80 % are right, as with the features of a trained body.
    features = centres + 6.0 * rng.normal(size=(classes, per_class, 640)) + 1.0
    features = features.reshape(-1, 640).astype(np.float32)
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    index = ClassIndex(
        jnp.arange(classes, dtype=jnp.int32) * per_class,
        jnp.full(classes, per_class, jnp.int32),
    )
    head = heads.logistic(C=3.0)
    evaluate = bank_evaluator(index, lambda _: head, shape, max_size=per_class)
    bank = jnp.asarray(features)
    seconds = _median(lambda: evaluate({}, bank, jax.random.key(0), num_tasks))
    ours = evaluate({}, bank, jax.random.key(0), num_tasks)
    theirs, their_seconds = _scikit_learn(features, shape, per_class, num_tasks=200)
    return {
        "tasks_per_second": num_tasks / seconds,
        "scikit_learn_tasks_per_second": 200 / their_seconds,
        "accuracy": ours.accuracy,
        "scikit_learn_accuracy": theirs,
    }


def _scikit_learn(
    features: np.ndarray, shape: TaskShape, per_class: int, *, num_tasks: int
) -> tuple[float, float]:
    from sklearn.linear_model import LogisticRegression

    rng = np.random.default_rng(0)
    classes = len(features) // per_class
    support_labels = np.asarray(labels(shape.ways, shape.shots))
    query_labels = np.asarray(labels(shape.ways, shape.queries))
    scores, since = [], time.perf_counter()
    for _ in range(num_tasks):
        drawn = rng.choice(classes, shape.ways, replace=False)
        rows = np.stack(
            [
                c * per_class
                + rng.choice(per_class, shape.shots + shape.queries, replace=False)
                for c in drawn
            ]
        )
        support = features[rows[:, : shape.shots].reshape(-1)]
        query = features[rows[:, shape.shots :].reshape(-1)]
        model = LogisticRegression(C=3.0, max_iter=1000).fit(support, support_labels)
        scores.append(model.score(query, query_labels))
    return float(np.mean(scores)), time.perf_counter() - since


def warm_load(options: Options) -> dict[str, float]:
    """Seconds from `load_dataset` to the training split on the device, warm cache."""
    found = {}
    with tempfile.TemporaryDirectory() as cache:
        for name, data_dir in _datasets(options):

            def ready(name: str = name, data_dir: Path | None = data_dir) -> Any:
                dataset = load_dataset(name, data_dir=data_dir, cache_dir=Path(cache))
                return jax.block_until_ready(image_bank(dataset.train))

            found[f"{name}_cold_seconds"] = _once(ready)
            found[f"{name}_warm_seconds"] = _median(ready)
    return found


def step(options: Options) -> dict[str, float]:
    """Milliseconds of a training step of each dataset's recipe, Conv4-64, and of
    drawing and augmenting its batch alone.
    """
    found = {}
    for name, data_dir in _datasets(options):
        config = resolve(
            Config(
                data=DataConfig(dataset=name, data_dir=data_dir),
                model=ModelConfig(width=64),
                train=TrainConfig(),
            )
        )
        found |= {f"{name}_{k}": v for k, v in _step_of(config).items()}
    return found


def _step_of(config: Config) -> dict[str, float]:
    dataset: Dataset = inputs.load_data(config)
    keys = inputs.make_keys(config)
    learner = build.learner(config, dataset)
    sample = make_sampler(config, dataset, keys)
    bank = image_bank(dataset.train)
    run_step = jit_step(learner, sample, config, mesh_of(1))
    state = learner.init(keys.init, example_of(dataset))
    seconds = []
    for number in range(31):
        since = time.perf_counter()
        state, info = run_step(state, bank, keys.train, np.int32(number))
        jax.block_until_ready(info)
        seconds.append(time.perf_counter() - since)
    draw = jax.jit(sample)
    images = images_per_step(config.train)
    typical = statistics.median(seconds[1:])
    return {
        "compile_seconds": seconds[0],
        "step_ms": 1e3 * typical,
        "sampling_ms": 1e3 * _median(lambda: draw(keys.train, bank)),
        "images_per_step": float(images),
        "images_per_second": images / typical,
    }


def _datasets(options: Options) -> list[tuple[str, Path | None]]:
    found: list[tuple[str, Path | None]] = [("glyphs", None)]
    if options.data_dir is None:
        print("CIFAR-FS is left out: no --data-dir")
        return found
    return [*found, ("cifar_fs", options.data_dir)]


def _once(function: Callable[[], Any]) -> float:
    since = time.perf_counter()
    jax.block_until_ready(function())
    return time.perf_counter() - since


def _median(function: Callable[[], Any], repeats: int = 5) -> float:
    jax.block_until_ready(function())
    return statistics.median(_once(function) for _ in range(repeats))


_MEASUREMENTS: dict[Name, Callable[[Options], dict[str, float]]] = {
    "evaluation": evaluation,
    "warm-load": warm_load,
    "step": step,
}


def main(options: Options) -> None:
    """Measures, prints, and writes the file if one is wanted."""
    results: dict[str, Any] = {
        "machine": f"{os.cpu_count()} cores, {jax.devices()[0].device_kind}",
        "jax": jax.__version__,
    }
    print(f"{results['machine']}, JAX {results['jax']}")
    for name in options.only:
        found = _MEASUREMENTS[name](options)
        results[name] = found
        print(f"{name}")
        for key, value in found.items():
            print(f"  {key:32} {value:10.4g}")
    if options.output is not None:
        options.output.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main(tyro.cli(Options))
