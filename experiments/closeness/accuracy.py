"""Accuracy of every method with every kernel, and of trained finite networks."""

import functools
import math
from typing import Any, NamedTuple

import numpy as np

from experiments.closeness.cells import Cells, blocks
from experiments.closeness.config import Benchmark
from experiments.closeness.data import Source, trained_pair
from experiments.closeness.figures import END
from experiments.closeness.tables import correct
from metabridge import theory
from metabridge.evaluation import score
from metabridge.theory.closeness.compare import agreement, closeness_of, on_positions
from metabridge.theory.kernels import registry
from metabridge.theory.kernels.evaluate import evaluate
from metabridge.theory.predictors import streaming
from metabridge.theory.predictors.predictor import Predicted

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
    images = {"flat": False, "side": config.side}
    few = config.conv_tasks, config.conv_test_tasks, images
    conv = config.conv_depth, config.conv_depth, *few
    depth, blocks = config.depth, config.blocks
    choices = (
        KernelChoice(
            "fully connected", "fully_connected", depth, depth,
            config.tasks, config.test_tasks, {},
        ),
        KernelChoice("convolutional, flattened", "convolutional", *conv),
        KernelChoice("convolutional, pooled", "convolutional_pooled", *conv),
        KernelChoice("residual", "residual", blocks, 2 * blocks + 1, *few),
    )  # fmt: skip
    return {choice.architecture.replace("_", "-"): choice for choice in choices}


def study(source: Source[Benchmark], cells: Cells) -> dict[str, Any]:
    """The table: ``[kernel][method]``, with the settings of each kernel."""
    found = {}
    for name, choice in kernels(source.config).items():
        parts = []
        for block, count in blocks(choice.test_tasks):
            settings = source.settings("time", "penalty", "pool_stride") | {
                "kernel": choice._asdict() | {"test_tasks": count, "title": ""},
                "block": block,
            }
            make = functools.partial(_measure, source, choice, block, count)
            parts.append(cells(f"accuracy-{name}-{block}", settings, make))
        found[name] = {
            "title": choice.title,
            "tasks": choice.tasks,
            "unseen": choice.test_tasks,
            "methods": {
                method: summary([part[method] for part in parts]) for method in METHODS
            },
        }
    settings = source.settings(
        "tasks", "test_tasks", "depth", "time", "accuracy_width", "finite_steps"
    )
    make = functools.partial(_measure_finite, source)
    return found | {"finite": cells("accuracy-finite", settings, make)}


def summary(parts: list[dict[str, list[float]]]) -> dict[str, float]:
    """Means over the unseen tasks of all blocks, and half the 95 % interval."""
    values = {
        name: np.concatenate([np.asarray(part[name], np.float64) for part in parts])
        for name in parts[0]
    }
    means = {name: float(each.mean()) for name, each in values.items()}
    whole = score(values["accuracy"])
    return means | {"ci95": whole.ci95, "unseen": whole.tasks}


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
    own = theory.precomputed(evaluate(kernel, points))
    methods = _methods(config, own, train, choice.layers)
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
        close = closeness_of(other, one)
        found[name] = _row(unseen, one.predictions, close, close.transfers)
        if name.startswith(MTL):
            zeros = [np.zeros_like(part) for part in one.transferred]
            close = closeness_of(one, Predicted(zeros, one.adapted))
            alone, nothing = one.adapted, np.zeros(count)
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


def _measure_finite(source: Source[Benchmark]) -> dict[str, Any]:
    """Trained networks of the fully connected architecture on the same tasks."""
    config = source.config
    train = source.train(config.tasks)
    pair, head = trained_pair(config, train, config.accuracy_width, config.depth)
    parts: dict[str, list[dict[str, list[float]]]] = {}
    for block, count in blocks(config.test_tasks):
        unseen = source.unseen(count, block=block)
        close = pair.compare(unseen, adaptation=head)
        wide = pair.limit(train, unseen, adaptation=head)
        for name, predictions, limit in (
            ("MTL", close.mtl, wide.mtl),
            ("ANIL", close.gbml, wide.gbml),
        ):
            pairs = zip(predictions, limit, strict=True)
            same = np.asarray([agreement(*pair) for pair in pairs])
            for kind, own, agreements, with_limit in (
                ("trained", predictions, close.agreements, same),
                ("its limit", limit, wide.agreements, np.ones(count)),
            ):
                row = {
                    "accuracy": correct(unseen, own).tolist(),
                    "agreement": agreements.tolist(),
                    "with_limit": with_limit.tolist(),
                }
                parts.setdefault(f"{name}, {kind}", []).append(row)
    return {
        "methods": {name: summary(own) for name, own in parts.items()},
        "left": pair.left,
        "training_time": pair.training_time,
    }
