"""Accuracy of every method with every kernel, and of trained finite networks."""

import math
from typing import Any, NamedTuple

import numpy as np

import theory
from experiments.ntk_benchmark.cells import Cells, blocks
from experiments.ntk_benchmark.config import Config
from experiments.ntk_benchmark.data import Source
from metabridge.evaluation import score
from theory import named, streaming
from theory.closeness import closeness_of, on_positions
from theory.kernels import evaluate
from theory.trained import train_pair

UNTRAINED = "adaptation alone"
MTL = "MTL, queries"
JOINT = "MTL, joint"
END = ", to the end"
"""Of methods whose head is adapted to an unseen task for an infinite time."""
METHODS = (
    UNTRAINED, MTL, JOINT, "ANIL", "MAML", "R2-D2", UNTRAINED + END, MTL + END,
    "ANIL" + END,
)  # fmt: skip


class KernelChoice(NamedTuple):
    """A kernel of the table, and how many tasks it can afford."""

    title: str
    architecture: named.Name
    depth: int
    layers: int
    """Layers below the output, by which the tangent kernel grows."""
    tasks: int
    test_tasks: int
    images: dict[str, Any]
    """How its images are drawn."""


def kernels(config: Config) -> dict[str, KernelChoice]:
    """The kernels of the table by the name of their cells."""
    images = {"flat": False, "side": config.side}
    few = (config.conv_tasks, config.conv_test_tasks)
    return {
        "fully-connected": KernelChoice(
            "fully connected", "fully_connected", config.depth, config.depth,
            config.tasks, config.test_tasks, {},
        ),
        "convolutional": KernelChoice(
            "convolutional, flattened", "convolutional", config.conv_depth,
            config.conv_depth, *few, images,
        ),
        "convolutional-pooled": KernelChoice(
            "convolutional, pooled", "convolutional_pooled", config.conv_depth,
            config.conv_depth, *few, images,
        ),
        "residual": KernelChoice(
            "residual", "residual", config.blocks, 2 * config.blocks + 1, *few, images,
        ),
    }  # fmt: skip


def study(source: Source, cells: Cells) -> dict[str, Any]:
    """The table: ``[kernel][method]``, with the settings of each kernel."""
    found = {}
    for name, choice in kernels(source.config).items():
        parts = [
            cells(
                f"accuracy-{name}-{block}",
                _settings(source, choice, block, count),
                lambda: _measure(source, choice, block, count),  # noqa: B023
            )
            for block, count in blocks(choice.test_tasks)
        ]
        found[name] = {
            "title": choice.title,
            "tasks": choice.tasks,
            "unseen": choice.test_tasks,
            "methods": {
                method: summary([part[method] for part in parts]) for method in METHODS
            },
        }
    found["finite"] = _finite(source, cells)
    return found


def summary(parts: list[dict[str, list[float]]]) -> dict[str, float]:
    """Means over the unseen tasks of all blocks, and half the 95 % interval."""
    values = {
        name: np.concatenate([np.asarray(part[name], np.float64) for part in parts])
        for name in parts[0]
    }
    means = {name: float(each.mean()) for name, each in values.items()}
    whole = score(values["accuracy"])
    return means | {"ci95": whole.ci95, "unseen": whole.tasks}


def accuracy_of(tasks: theory.Tasks, predictions: list[np.ndarray]) -> np.ndarray:
    """Share of the queries of each task that predictions classify correctly."""
    return np.asarray(
        [
            (np.asarray(task.query_y).argmax(1) == scores.argmax(1)).mean()
            for task, scores in zip(tasks.each(), predictions, strict=True)
        ]
    )


def _settings(
    source: Source, choice: KernelChoice, block: int, count: int
) -> dict[str, Any]:
    config = source.config
    return source.settings() | {
        "kernel": choice._asdict() | {"test_tasks": count, "title": ""},
        "block": block,
        "time": config.time,
        "penalty": config.penalty,
        "pool_stride": config.pool_stride,
    }


def _measure(
    source: Source, choice: KernelChoice, block: int, count: int
) -> dict[str, dict[str, list[float]]]:
    """Every method on one block of unseen tasks."""
    config = source.config
    train = source.train(choice.tasks, **choice.images)
    unseen = source.unseen(count, block=block, **choice.images)
    kernel = named.kernel(
        choice.architecture, choice.depth, pool_stride=config.pool_stride
    )
    points, at = on_positions(train)
    own = theory.precomputed(evaluate(kernel, points))
    flow, layers = theory.gradient_flow, choice.layers
    head = flow("head", time=config.adaptation_time)
    every = flow("all", time=config.adaptation_time / layers)
    ridge = theory.ridge("head", penalty=config.penalty)
    end = flow("head", time=math.inf)
    mtl = theory.mtl_predictor(own, at)
    anil = theory.gbml_predictor(own, at, inner=flow("head", time=config.time))
    # Each method beside MTL with the same adaptation to an unseen task.
    methods = {
        MTL: (mtl, head),
        JOINT: (theory.mtl_predictor(own, at, train_on="joint"), head),
        "ANIL": (anil, head),
        "MAML": (_gbml(own, at, flow("all", time=config.time / layers)), every),
        "R2-D2": (_gbml(own, at, ridge), ridge),
        MTL + END: (mtl, end),
        "ANIL" + END: (anil, end),
    }
    trained = [
        streaming.on_positions(predictor, len(points), adaptation)
        for predictor, adaptation in methods.values()
    ]
    beside = [trained[0].adapting(one.adaptation) for one in trained]
    (predicted,) = streaming.predict(
        streaming.one_network(kernel), points, [[*trained, *beside]], unseen.each()
    )
    found = {}
    for index, name in enumerate(methods):
        ours, theirs = predicted[len(methods) + index], predicted[index]
        close = closeness_of(ours.predictions, *theirs)
        found[name] = {
            "accuracy": accuracy_of(unseen, theirs.predictions).tolist(),
            "agreement": close.agreements.tolist(),
            "gap": close.gaps.tolist(),
            "transfer": close.transfers.tolist(),
        }
    for name, title in ((MTL, UNTRAINED), (MTL + END, UNTRAINED + END)):
        mine = predicted[list(methods).index(name)]
        alone = [f - g for f, g in zip(*mine, strict=True)]
        close = closeness_of(mine.predictions, alone, mine.transferred)
        found[title] = {
            "accuracy": accuracy_of(unseen, alone).tolist(),
            "agreement": close.agreements.tolist(),
            "gap": close.gaps.tolist(),
            "transfer": [0.0] * count,
        }
    return found


def _gbml(
    kernel: theory.KernelFn, tasks: theory.Tasks, inner: theory.Inner
) -> theory.Predictor:
    return theory.gbml_predictor(kernel, tasks, inner=inner)


def _finite(source: Source, cells: Cells) -> dict[str, Any]:
    """Trained networks of the fully connected architecture on the same tasks."""
    config = source.config
    settings = source.settings() | {
        name: getattr(config, name)
        for name in (
            "tasks", "test_tasks", "depth", "time", "accuracy_width", "finite_steps",
        )
    }  # fmt: skip
    return cells("accuracy-finite", settings, lambda: _measure_finite(source))


def _measure_finite(source: Source) -> dict[str, Any]:
    config = source.config
    train = source.train(config.tasks)
    # Finite networks have last_W_std = 1: all times are twice those of sqrt(2).
    time = 2.0 * config.time
    head = theory.gradient_flow("head", time=2.0 * config.adaptation_time)
    pair = train_pair(
        train, width=config.accuracy_width, depth=config.depth, time=time,
        steps=config.finite_steps, seed=config.seed,
    )  # fmt: skip
    parts: dict[str, list[dict[str, list[float]]]] = {}
    for block, count in blocks(config.test_tasks):
        unseen = source.unseen(count, block=block)
        close = pair.compare(unseen, adaptation=head)
        wide = pair.limit(train, unseen, adaptation=head)
        for name, predictions, limit in (
            ("MTL", close.mtl, wide.mtl),
            ("ANIL", close.gbml, wide.gbml),
        ):
            same = closeness_of(predictions, limit, limit).agreements
            for kind, own, agreements, with_limit in (
                ("trained", predictions, close.agreements, same),
                ("its limit", limit, wide.agreements, np.ones(count)),
            ):
                parts.setdefault(f"{name}, {kind}", []).append(
                    {
                        "accuracy": accuracy_of(unseen, own).tolist(),
                        "agreement": agreements.tolist(),
                        "with_limit": with_limit.tolist(),
                    }
                )
    return {
        "methods": {name: summary(own) for name, own in parts.items()},
        "left": pair.left,
        "training_time": pair.training_time,
    }
