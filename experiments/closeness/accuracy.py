"""Accuracy of every method with every kernel, and of trained finite networks."""

import math
from typing import Any, NamedTuple

import numpy as np

from experiments.closeness.cells import Cells, blocks
from experiments.closeness.config import Benchmark
from experiments.closeness.data import Source
from experiments.closeness.figures import END
from experiments.closeness.tables import correct
from metabridge import theory
from metabridge.evaluation import score
from metabridge.theory.closeness.compare import closeness_of, on_positions
from metabridge.theory.finite.train_pair import train_pair
from metabridge.theory.kernels import registry
from metabridge.theory.kernels.evaluate import evaluate
from metabridge.theory.predictors import streaming

UNTRAINED = "adaptation alone"
MTL = "MTL, queries"
METHODS = (
    UNTRAINED, MTL, "MTL, joint", "ANIL", "MAML", "R2-D2", UNTRAINED + END, MTL + END,
    "ANIL" + END,
)  # fmt: skip


class KernelChoice(NamedTuple):
    """A kernel of the table, and how many tasks it can afford."""

    title: str
    architecture: registry.Name
    depth: int
    layers: int
    """Layers below the output, by which the tangent kernel grows."""
    tasks: int
    test_tasks: int
    images: dict[str, Any]
    """Options of the drawing of its images."""


def kernels(config: Benchmark) -> dict[str, KernelChoice]:
    """The kernels of the table by the name of their cells."""
    few = (
        config.conv_tasks,
        config.conv_test_tasks,
        {"flat": False, "side": config.side},
    )
    conv = config.conv_depth, config.conv_depth, *few
    return {
        "fully-connected": KernelChoice(
            "fully connected", "fully_connected", config.depth, config.depth,
            config.tasks, config.test_tasks, {},
        ),
        "convolutional": KernelChoice(
            "convolutional, flattened", "convolutional", *conv
        ),
        "convolutional-pooled": KernelChoice(
            "convolutional, pooled", "convolutional_pooled", *conv
        ),
        "residual": KernelChoice(
            "residual", "residual", config.blocks, 2 * config.blocks + 1, *few
        ),
    }  # fmt: skip


def study(source: Source[Benchmark], cells: Cells) -> dict[str, Any]:
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


def _settings(
    source: Source[Benchmark], choice: KernelChoice, block: int, count: int
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
    source: Source[Benchmark], choice: KernelChoice, block: int, count: int
) -> dict[str, dict[str, list[float]]]:
    """Every method on one block of unseen tasks."""
    config = source.config
    unseen = source.unseen(count, block=block, **choice.images)
    kernel = registry.kernel(
        choice.architecture, choice.depth, pool_stride=config.pool_stride
    )
    points, train = on_positions(source.train(choice.tasks, **choice.images))
    methods = _methods(
        config, theory.precomputed(evaluate(kernel, points)), train, choice.layers
    )
    trained = [
        streaming.on_positions(predictor, len(points), adaptation)
        for predictor, adaptation in methods.values()
    ]
    beside = [trained[0].adapting(one.adaptation) for one in trained]
    (predicted,) = streaming.predict(
        streaming.one_network(kernel), points, [[*trained, *beside]], unseen.each()
    )
    found = {}
    for name, one, other in zip(
        methods, predicted[: len(methods)], predicted[len(methods) :], strict=True
    ):
        close = closeness_of(other.predictions, *one)
        found[name] = _row(unseen, one.predictions, close, close.transfers)
        if name.startswith(MTL):
            alone = [f - g for f, g in zip(*one, strict=True)]
            close = closeness_of(one.predictions, alone, one.transferred)
            nothing = np.zeros(count)
            found[name.replace(MTL, UNTRAINED)] = _row(unseen, alone, close, nothing)
    return found


def _methods(
    config: Benchmark, kernel: theory.KernelFn, train: theory.Tasks, layers: int
) -> dict[str, tuple[theory.Predictor, theory.Inner]]:
    """Each method with its adaptation to an unseen task."""
    flow = theory.gradient_flow
    head = flow("head", time=config.adaptation_time)
    every = flow("all", time=config.adaptation_time / layers)
    ridge = theory.ridge("head", penalty=config.penalty)
    end = flow("head", time=math.inf)

    def gbml(inner: theory.Inner) -> theory.Predictor:
        return theory.gbml_predictor(kernel, train, inner=inner)

    mtl = theory.mtl_predictor(kernel, train)
    anil = gbml(flow("head", time=config.time))
    return {
        MTL: (mtl, head),
        "MTL, joint": (theory.mtl_predictor(kernel, train, train_on="joint"), head),
        "ANIL": (anil, head),
        "MAML": (gbml(flow("all", time=config.time / layers)), every),
        "R2-D2": (gbml(ridge), ridge),
        MTL + END: (mtl, end),
        "ANIL" + END: (anil, end),
    }


def _row(
    unseen: theory.Tasks, predictions: list[np.ndarray], close: theory.Closeness,
    transfers: np.ndarray,
) -> dict[str, list[float]]:  # fmt: skip
    """Numbers of a method on each unseen task, beside MTL of the same adaptation."""
    return {
        "accuracy": correct(unseen, predictions).tolist(),
        "agreement": close.agreements.tolist(),
        "gap": close.gaps.tolist(),
        "transfer": transfers.tolist(),
    }


def _finite(source: Source[Benchmark], cells: Cells) -> dict[str, Any]:
    """Trained networks of the fully connected architecture on the same tasks."""
    config = source.config
    settings = source.settings() | {
        name: getattr(config, name)
        for name in (
            "tasks", "test_tasks", "depth", "time", "accuracy_width", "finite_steps",
        )
    }  # fmt: skip
    return cells("accuracy-finite", settings, lambda: _measure_finite(source))


def _measure_finite(source: Source[Benchmark]) -> dict[str, Any]:
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
                        "accuracy": correct(unseen, own).tolist(),
                        "agreement": agreements.tolist(),
                        "with_limit": with_limit.tolist(),
                    }
                )
    return {
        "methods": {name: summary(own) for name, own in parts.items()},
        "left": pair.left,
        "training_time": pair.training_time,
    }
