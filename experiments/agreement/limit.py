"""Infinitely wide MTL, ANIL and MAML on tasks of the same dataset, as a reference.

The network is that of the mlp: ReLU in NTK parametrisation, ``last_W_std`` 1. Each
pair has the same adaptation on an unseen task, as in the theorem: the head for ANIL,
all layers for MAML. What differs from the trained networks: squared loss and training
to the end, gradient flow as the inner loop, pixels of each image to a mean square of 1.
"""

from typing import Any

import numpy as np

from experiments.agreement.options import Options
from metabridge import theory
from metabridge.config import DataConfig
from metabridge.data import load_dataset
from metabridge.runs import inputs
from metabridge.similarity import measures
from metabridge.theory.closeness import image_tasks
from metabridge.theory.closeness.compare import closeness_of, on_positions
from metabridge.theory.kernels.evaluate import evaluate
from metabridge.theory.predictors import streaming
from metabridge.theory.predictors.predictor import Predicted
from metabridge.types import TaskShape

TIME = 1.0
"""Learning rate times steps of the inner loops; MAML's over depth."""
NO_LIMIT = (
    "The theory has no kernel of Conv4: batch normalisation by the images of a batch "
    "and max pooling have none here. So there is no infinite-width line."
)


def predict_limit(options: Options, depth: int) -> dict[str, dict[str, float]]:
    """Distances of infinitely wide MTL from ANIL and from MAML, by the other's name.

    They are `experiments.agreement.statistics.DISTANCES` without the divergence, with
    predictions as logits; and ``relative_gap``, of the part that training transferred.

    Raises:
      ValueError: the dataset has too few images for so many training tasks.
    """
    data = DataConfig(options.dataset, data_dir=options.data_dir)
    dataset = load_dataset(data.dataset, **inputs.options_of_data(data))
    shape = TaskShape(5, options.shots, 15)
    tasks, _ = image_tasks.draw(
        dataset, dataset.train, shape, options.limit_tasks, [0, 0], apart=True
    )
    unseen, labels = image_tasks.draw(
        dataset, dataset.test, shape, options.limit_unseen, [0, 1], apart=False
    )
    kernel = theory.relu_network(depth)
    points, train = on_positions(tasks)
    own = theory.precomputed(evaluate(kernel, points))
    inner = {
        "anil": theory.gradient_flow("head", time=TIME),
        "maml": theory.gradient_flow("all", time=TIME / depth),
    }
    mtl = theory.mtl_predictor(own, train)
    predictors = [
        each
        for loop in inner.values()
        for each in (
            (mtl, loop),
            (theory.gbml_predictor(own, train, inner=loop), loop),
        )
    ]
    trained = [
        streaming.on_positions(predictor, len(points), loop)
        for predictor, loop in predictors
    ]
    (predicted,) = streaming.predict(
        streaming.one_network(kernel), points, [trained], unseen.each()
    )
    pairs = zip(predicted[::2], predicted[1::2], strict=True)
    return {
        name: _distances(first, second, labels)
        for name, (first, second) in zip(inner, pairs, strict=True)
    }


def _distances(mtl: Predicted, gbml: Predicted, labels: np.ndarray) -> dict[str, Any]:
    logits = [np.stack(each.predictions) for each in (mtl, gbml)]
    classes = [each.argmax(-1) for each in logits]
    first, second = ((each == labels).mean() for each in classes)
    same = measures.same_class(*classes).mean()
    kappa = measures.kappa(same, first, second, logits[0].shape[-1])
    close = closeness_of(mtl, gbml)
    return {
        "disagreement": float(1.0 - same),
        "chance_corrected": float(1.0 - kappa),
        "logit_distance": float(measures.logit_distance(*logits).mean()),
        "relative_gap": close.relative_gap,
        "accuracy_mtl": float(first),
        "accuracy": float(second),
    }
