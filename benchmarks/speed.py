"""Speeds of evaluation, loading and training that the documentation states.

    python -m benchmarks.speed [--output FILE.json] [--only NAME ...]

(`make bench`.) Other work on the machine slows it down, so let it run alone.
"""

import dataclasses
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.harness import Contender, race, report, write
from experiments.arguments import AtLeast, check, parse
from metabridge import build, heads
from metabridge.config import (
    Config,
    DataConfig,
    ModelConfig,
    ResolvedConfig,
    images_per_step,
    resolve,
)
from metabridge.data import Dataset, load_dataset
from metabridge.data.dataset import Split, run_labels
from metabridge.data.episodes import labels, make_bank
from metabridge.data.sampler import example_of
from metabridge.evaluation import bank_evaluator, draw_tasks
from metabridge.parallel.mesh import mesh_of
from metabridge.runs.inputs import load_data, make_keys
from metabridge.training.step import jit_step, make_sampler
from metabridge.types import TaskShape

Name = Literal["evaluation", "warm-load", "step"]
SHAPE, CLASSES, PER_CLASS = TaskShape(5, 5, 15), 20, 600
TASKS, THEIR_TASKS = 2000, 200


@dataclasses.dataclass(frozen=True)
class Options:
    """Measure the speeds that the documentation states."""

    only: tuple[Name, ...] = ("evaluation", "warm-load", "step")
    """Which measurements."""
    data_dir: Path | None = None
    """TFDS folder with cifar100; without it CIFAR-FS is left out, and said so."""
    rounds: Annotated[int, AtLeast(1)] = 5
    """Timed rounds of evaluation and loading; of training steps six times as many."""
    output: Path | None = None
    """JSON file for the results."""


def evaluation(options: Options) -> dict[str, Any]:
    """5-way 5-shot 15-query logistic regression on unit-norm features, 640 of them.

    Ours fits all tasks at once, scikit-learn's task by task.
    """
    contenders = {
        "ours": Contender("speed:evaluate"),
        "scikit-learn": Contender("speed:evaluate_by_scikit_learn"),
    }
    results = race(contenders, rounds=options.rounds)
    found = report("evaluation", results)
    for name, tasks in (("ours", TASKS), ("scikit-learn", THEIR_TASKS)):
        if name in found:
            speed = 1e3 * tasks / found[name]["median_ms"]
            found[name]["tasks_per_second"] = speed
            accuracy = f"accuracy {found[name]['answer']:.3f}"
            print(f"  {name}: {speed:.4g} tasks a second, {accuracy}")
    return found


def features() -> np.ndarray:
    """Features of which about 80 % are right, as with those of a trained body."""
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(CLASSES, 1, 640))
    drawn = centres + 6.0 * rng.normal(size=(CLASSES, PER_CLASS, 640)) + 1.0
    drawn = drawn.reshape(-1, 640).astype(np.float32)
    return drawn / np.linalg.norm(drawn, axis=1, keepdims=True)


def evaluate() -> Callable[[], float]:
    """Accuracy on all tasks by ours."""
    of_class, names = run_labels([PER_CLASS] * CLASSES), tuple(map(str, range(CLASSES)))
    split = Split(np.zeros((len(of_class), 1, 1, 1), np.uint8), of_class, names)
    head = heads.logistic(C=3.0)
    scored = bank_evaluator(lambda _: head, SHAPE)
    bank, keys = jnp.asarray(features()), jax.random.split(jax.random.key(0), TASKS)

    def run() -> float:
        return float(scored({}, bank, draw_tasks(keys, split, SHAPE)).accuracy.mean())

    return run


def evaluate_by_scikit_learn() -> Callable[[], float]:
    """Accuracy on fewer tasks by scikit-learn."""
    from sklearn.linear_model import LogisticRegression

    bank = features()
    each = SHAPE.shots + SHAPE.queries
    support_labels, query_labels = (
        np.asarray(labels(SHAPE.ways, count)) for count in (SHAPE.shots, SHAPE.queries)
    )

    def run() -> float:
        rng, scores = np.random.default_rng(0), []
        for _ in range(THEIR_TASKS):
            chosen = rng.choice(CLASSES, SHAPE.ways, replace=False)
            rows = np.stack(
                [c * PER_CLASS + rng.choice(PER_CLASS, each, False) for c in chosen]
            )
            support = bank[rows[:, : SHAPE.shots].reshape(-1)]
            query = bank[rows[:, SHAPE.shots :].reshape(-1)]
            model = LogisticRegression(C=3.0, max_iter=1000)
            fitted = model.fit(support, support_labels)
            scores.append(fitted.score(query, query_labels))
        return float(np.mean(scores))

    return run


def warm_load(options: Options) -> dict[str, Any]:
    """Time from `load_dataset` to the training split on the device, warm cache.

    The cache is filled before the first step is done.
    """
    with tempfile.TemporaryDirectory() as cache:
        contenders = {
            name: Contender("speed:load", {**where, "cache_dir": cache})
            for name, where in _datasets(options).items()
        }
        return report("warm load", race(contenders, rounds=options.rounds))


def load(name: str, data_dir: str | None, cache_dir: str) -> Callable[[], None]:
    """Put a training split on the device."""

    def run() -> None:
        dataset = load_dataset(name, data_dir=data_dir, cache_dir=cache_dir)
        jax.block_until_ready(make_bank(dataset.train))

    return run


def step(options: Options) -> dict[str, Any]:
    """A training step of each dataset's recipe, Conv4-64.

    And the drawing and augmenting of its batch alone.
    """
    found = {}
    for name, where in _datasets(options).items():
        contenders = {
            "step": Contender("speed:train", where),
            "drawing and augmenting": Contender("speed:train", {**where, "draw": True}),
        }
        results = race(contenders, rounds=6 * options.rounds)
        found[name] = report(f"training step, {name}", results)
        images = images_per_step(_config(**where).train)
        speed = 1e3 * images / found[name]["step"]["median_ms"]
        found[name]["images_per_second"] = speed
        print(f"  {speed:.4g} images a second")
    return found


def train(name: str, data_dir: str | None, draw: bool = False) -> Callable[[], Any]:
    """A training step of a dataset's recipe, or the drawing of its batch."""
    config = _config(name, data_dir)
    steps = Steps(config, load_data(config))
    return steps.draw if draw else steps


class Steps:
    """Compiled steps of a run on one device, one a call."""

    def __init__(self, config: ResolvedConfig, dataset: Dataset) -> None:
        self._keys = make_keys(config)
        learner = build.learner(config, dataset)
        sample = make_sampler(config, dataset, self._keys)
        self._step = jit_step(learner, sample, config, mesh_of(1))
        self._draw = jax.jit(sample)
        self._bank = make_bank(dataset.train)
        self.state = learner.init(self._keys.init, example_of(dataset))
        self.number = 0

    def __call__(self) -> float:
        """Take a step; its loss."""
        number = np.int32(self.number)
        self.state, info = self._step(self.state, self._bank, self._keys.train, number)
        self.number += 1
        return float(np.mean(jax.tree.leaves(info)[0]))

    def draw(self) -> None:
        """Draw and augment a batch alone."""
        jax.block_until_ready(self._draw(self._keys.train, self._bank))


def _config(name: str, data_dir: str | None) -> ResolvedConfig:
    folder = None if data_dir is None else Path(data_dir)
    data = DataConfig(dataset=name, data_dir=folder)
    return resolve(Config(data=data, model=ModelConfig(width=64)))


def _datasets(options: Options) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {"glyphs": {"name": "glyphs", "data_dir": None}}
    if options.data_dir is None:
        print("CIFAR-FS is left out: no --data-dir")
    else:
        data_dir = str(options.data_dir.absolute())
        found["cifar_fs"] = {"name": "cifar_fs", "data_dir": data_dir}
    return found


def main(options: Options) -> None:
    """Measure, print, and write the file if one is wanted."""
    check(options)
    measure = {"evaluation": evaluation, "warm-load": warm_load, "step": step}
    write(options.output, {name: measure[name](options) for name in options.only})


if __name__ == "__main__":
    main(parse(Options, "benchmarks.speed"))
