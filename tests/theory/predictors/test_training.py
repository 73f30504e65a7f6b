"""Predictions of training tasks by dense algebra, and predictors through pickle."""

import functools
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from metabridge import theory
from tests.theory import reference
from tests.theory.cases import LOOPS, as_tasks, textbook, unequal_tasks

KERNEL, NAIVE = textbook(2), reference.relu(2)
TRAIN, TEST = unequal_tasks(0), unequal_tasks(1, 2)
ANIL, MAML = LOOPS["ANIL"][0], LOOPS["MAML"][0]
EXACT = theory.Iterative(tolerance=1e-12, dtype="float64")
CASES: dict[str, tuple[Callable[..., theory.Predictor], dict[str, Any]]] = {
    "MTL, joint, early": (
        theory.mtl_predictor,
        {"train_on": "joint", "time": 0.8, "jitter": 0.1},
    ),
    "MTL by products": (theory.mtl_predictor, {"jitter": 0.1, "solver": EXACT}),
    "R2-D2": (theory.gbml_predictor, {"inner": LOOPS["R2-D2"][0]}),
}


def _kernel(x1: np.ndarray, x2: np.ndarray | None = None) -> theory.Kernels:
    """`KERNEL` by a name that pickle finds."""
    return KERNEL(x1, x2)


@pytest.mark.parametrize("name", CASES)
def test_predictions_of_training_tasks(name: str) -> None:
    make, options = CASES[name]
    predictor = make(KERNEL, as_tasks(TRAIN), **options)
    jitter, time = (options.get(k, d) for k, d in (("jitter", 0), ("time", 1e9)))
    if name == "R2-D2":
        own = LOOPS["R2-D2"][1]
        _, function = reference.gbml(NAIVE, TRAIN, own)
        expected = [reference.predict(NAIVE, function, own, task) for task in TRAIN]
    else:
        joint, expected = "joint" in name, []
        K, _ = reference.mtl(
            NAIVE, TRAIN, np.kron(np.ones((3, 3)), np.eye(2)), np.zeros((2, 6)),
            joint=joint, time=1.0,
        )  # fmt: skip
        labels, places = [], []
        for task in TRAIN:
            ys = [task.query_y, task.support_y] if joint else [task.query_y]
            for k in range(2):
                y = np.concatenate(ys)[:, k]
                places.append(len(labels) + np.arange(len(task.query_x)))
                labels += y.tolist()
        shifted = K + jitter * np.eye(len(K))
        values = K @ reference.trained(shifted, time) @ np.asarray(labels)
        columns = [values[place] for place in places]
        expected = [np.stack(columns[i : i + 2], 1) for i in (0, 2, 4)]
    found = predictor.training_predictions()
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-7, atol=1e-8)


def test_class_heads_fit_their_training_tasks() -> None:
    """Though the new head is not reached by them; and from a given function."""
    classes = theory.class_heads(np.array([[0, 1], [2, 0], [1, 3]]))
    predictor = theory.mtl_predictor(KERNEL, as_tasks(TRAIN), heads=classes)
    assert not predictor.coefficients.any()
    begun = theory.mtl_predictor(
        KERNEL, as_tasks(TRAIN), initial=lambda x: np.sin(x[:, :2])
    )
    for made in (predictor, begun):
        for found, task in zip(made.training_predictions(), TRAIN, strict=True):
            np.testing.assert_allclose(found, task.query_y, atol=1e-8)


@pytest.mark.parametrize(
    "make",
    [
        theory.mtl_predictor,
        functools.partial(theory.mtl_predictor, solver=EXACT),
        functools.partial(
            theory.mtl_predictor,
            heads=theory.class_heads(np.asarray([[0, 1], [2, 0], [1, 3]])),
        ),
        functools.partial(theory.gbml_predictor, inner=MAML),
        functools.partial(theory.gbml_predictor, inner=MAML, solver=EXACT),
        functools.partial(
            theory.gbml_predictor,
            inner=theory.ridge("head", penalty=0.2, zero_head=True),
        ),
    ],
)
def test_predictors_are_pickled(make: Callable[..., theory.Predictor]) -> None:
    predictor = make(_kernel, as_tasks(TRAIN), jitter=0.1)
    copy = pickle.loads(pickle.dumps(predictor))
    for ours, other in (
        (copy.training_predictions(), predictor.training_predictions()),
        *(
            (p(*TEST[0][:3], adaptation=ANIL), q(*TEST[0][:3], adaptation=ANIL))
            for p, q in [(copy, predictor), (copy.ensemble(2), predictor.ensemble(2))]
        ),
    ):
        for one, two in zip(ours, other, strict=True):
            np.testing.assert_array_equal(one, two)
