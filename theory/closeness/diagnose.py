"""Will MTL match meta-learning on these tasks? Both at infinite width, on tasks given.

`diagnose` trains both predictors on a user's own tasks and compares them on unseen
ones; `verdict` says in words what comes out.
"""

import contextlib
import dataclasses
import math
import warnings
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from metabridge.theory.closeness.compare import agreement, closeness_of, on_positions
from metabridge.theory.closeness.verdict import Diagnosis, Spectrum
from metabridge.theory.kernels.evaluate import evaluate, precomputed
from metabridge.theory.kernels.relu import relu_network
from metabridge.theory.matrices.memory import check_matrices
from metabridge.theory.predictors import streaming
from metabridge.theory.predictors.coupled import on_pairs
from metabridge.theory.predictors.gbml import gbml_kernel, gbml_predictor
from metabridge.theory.predictors.head_correlation import Heads, HeadsLike
from metabridge.theory.predictors.inner_loop import Inner, check_inner, gradient_flow
from metabridge.theory.predictors.mtl import TrainOn, mtl_kernel, mtl_predictor
from metabridge.theory.predictors.predictor import Predicted
from metabridge.theory.solvers import rank
from metabridge.theory.solvers.dense import (
    IllConditionedWarning,
    SingularKernelError,
)
from metabridge.theory.types import (
    Array,
    KernelFn,
    Kernels,
    OneTask,
    Tasks,
    check_tasks,
)

_MATRICES = 6
"""Held at once: both kernels, those of both trainings, and their eigenvalues' work."""
_REPEATS = 3
"""Repeated images that an error names."""


def diagnose(
    tasks: Tasks,
    unseen: Tasks,
    *,
    kernel: KernelFn | None = None,
    depth: int | None = None,
    inner: Inner | None = None,
    adaptation: Inner | None = None,
    gbml_adaptation: Inner | None = None,
    heads: HeadsLike | Heads | Array = "shared",
    train_on: TrainOn = "query",
    jitter: float = 0.0,
    neighbours: bool = True,
) -> Diagnosis:
    """Predicts whether MTL will match GBML on these tasks.

    Options that are not listed are those of `compare`.

    Args:
      tasks: training tasks.
      unseen: unseen tasks; with query labels that are classes, see `one_hot`, the
        accuracy is given too.
      kernel: of the network; `relu_network` of `depth` with ``last_W_std = sqrt(2)``
        and without biases by default. Inputs of one dimension need biases: pass
        ``relu_network(depth, b_std=...)``.
      depth: hidden layers; 3 where no kernel is given either. With a kernel it is only
        what 1/L is taken from, and where it has a depth of its own that is the default.
      inner: GBML's inner loop in training; the head's gradient flow for time 0.1 by
        default.
      adaptation: of both on an unseen task; the head's flow for time 1 by default.
      neighbours: measure the closeness with half the inner loop too, and, where the
        kernel is a factory's of this package, with twice the depth, at about three
        times the cost: `Diagnosis.reading` then says what brings the two closer.

    Raises:
      theory.SingularKernelError: images that occur more than once, which are named, or
        inputs of too few dimensions for the kernel.

    Example:
      >>> print(theory.diagnose(tasks, unseen, depth=64))
    """
    if kernel is None:
        depth = 3 if depth is None else depth
        kernel = relu_network(depth, last_W_std=2.0**0.5)
    if depth is not None and depth < 0:
        raise ValueError(f"`depth` must be at least 0, but is {depth}")
    if depth is None:
        depth = getattr(kernel, "depth", None)
    inner = inner or gradient_flow("head", time=0.1)
    adapt = adaptation or gradient_flow("head", time=1.0)
    check_inner("inner", inner)
    check_inner("adaptation", adapt)
    if gbml_adaptation is not None:
        check_inner("gbml_adaptation", gbml_adaptation)
    each, images = check_tasks(unseen), tasks
    made = on_pairs(kernel, tasks, unseen, heads=heads)
    kernel, (tasks, unseen) = made.kernel, made.tasks
    points, train = on_positions(tasks)
    check_matrices(
        "the kernels of the training points",
        _MATRICES,
        (len(points), len(points)),
        "float64",
        advice="diagnose fewer tasks or smaller ones",
    )
    kernels = evaluate(kernel, points)
    own = precomputed(kernels)

    def predict(
        network: KernelFn, given: KernelFn, inners: Sequence[Inner]
    ) -> list[Predicted]:
        """Of MTL, then of GBML with each inner loop; `given` has the kernels."""
        with rank.explained(network, points):
            mtl = mtl_predictor(
                given, train, heads=heads, train_on=train_on, jitter=jitter
            )
            trained = [streaming.on_positions(mtl, len(points), adapt)]
            for loop in inners:
                gbml = gbml_predictor(given, train, inner=loop, jitter=jitter)
                theirs = gbml_adaptation or adapt
                trained.append(streaming.on_positions(gbml, len(points), theirs))
            (predicted,) = streaming.predict(
                streaming.one_network(network), points, [trained], check_tasks(unseen)
            )
        return list(map(made.fold, predicted))

    shorter = _halved(inner) if neighbours else None
    try:
        ours, other, *others = predict(
            kernel, own, [inner, shorter] if shorter else [inner]
        )
    except SingularKernelError as error:
        raise SingularKernelError(_explain(error, images)) from error
    half_time = closeness_of(ours, others[0]) if others else None
    twice_depth = None
    deeper = _twice_as_deep(kernel) if neighbours else None
    if deeper is not None:
        # A neighbour that has no inverse is left out: nobody asked for it.
        with contextlib.suppress(ValueError), warnings.catch_warnings():
            warnings.simplefilter("ignore", IllConditionedWarning)
            given = precomputed(evaluate(deeper, points))
            twice_depth = closeness_of(*predict(deeper, given, [inner]))
    named = {
        "mtl": ours.predictions,
        "gbml": other.predictions,
        "untrained": other.adapted,
    }
    right = {name: _accuracies(each, found) for name, found in named.items()}
    closeness = closeness_of(ours, other)
    whole = np.asarray([np.linalg.norm(f) for f in other.predictions])
    return Diagnosis(
        closeness=closeness,
        transfer_share=float((closeness.transfers / np.where(whole, whole, 1)).mean()),
        mtl_accuracy=float(right["mtl"].mean()),
        gbml_accuracy=float(right["gbml"].mean()),
        untrained_accuracy=float(right["untrained"].mean()),
        interval=max(map(_interval, right.values())),
        mtl_spectrum=_spectrum(
            mtl_kernel(own, train, heads=heads, train_on=train_on), jitter
        ),
        gbml_spectrum=_spectrum(gbml_kernel(own, train, inner=inner), jitter),
        inner_time=_inner_time(inner, kernels),
        depth=depth,
        half_time=half_time,
        twice_depth=twice_depth,
        tasks=len(tasks.each()),
        unseen=len(each),
        outputs=each[0].support_y.shape[1],
    )


def _halved(inner: Inner) -> Inner | None:
    """The inner loop of half the effect to first order; None where there is none."""
    if inner.idle or inner.interpolates or inner.loop == "spectral":
        return None
    changes = {
        "flow": {"time": inner.time / 2.0},
        "steps": {"lr": inner.lr / 2.0},
        "ridge": {"penalty": 2.0 * inner.penalty},
    }
    return dataclasses.replace(inner, **changes[inner.loop])


def _twice_as_deep(kernel: KernelFn) -> KernelFn | None:
    """The same network of twice the depth; None where it cannot be made."""
    depth, make = (getattr(kernel, name, None) for name in ("depth", "with_depth"))
    return make(2 * depth) if depth and make else None


def _explain(error: SingularKernelError, tasks: Tasks) -> str:
    """The solver's words, and the images that occur more than once."""
    names: dict[bytes, str] = {}
    pairs = []
    for index, task in enumerate(tasks.each()):
        for kind, inputs in (("query", task.query_x), ("support", task.support_x)):
            for place, x in enumerate(inputs):
                name = f"{kind} {place} of task {index}"
                first = names.setdefault(x.tobytes(), name)
                if first != name:
                    pairs.append(f"{first} and {name}")
    if not pairs:
        return f"these tasks cannot be diagnosed: {error}"
    listed = "; ".join(pairs[:_REPEATS])
    more = f" and {len(pairs) - _REPEATS} more pairs" if len(pairs) > _REPEATS else ""
    return (
        f"these tasks cannot be diagnosed: {error}. Of the training inputs, "
        f"{len(pairs)} repeat another: {listed}{more}. An input with two "
        "labels has no function that fits both: let every input be in one task once"
    )


def _accuracies(
    tasks: Sequence[OneTask], predictions: Sequence[np.ndarray]
) -> Float[np.ndarray, "T"]:
    """The accuracy on each task; NaN where there are no class labels."""
    labels = [task.query_y for task in tasks if task.query_y is not None]
    if len(labels) < len(tasks) or not _are_classes(np.concatenate(labels)):
        return np.full(len(tasks), math.nan)
    return np.asarray(list(map(agreement, labels, predictions)))


def _are_classes(labels: Float[np.ndarray, "N K"]) -> bool:
    """Whether every row has one value at its class and one lower value elsewhere."""
    if labels.shape[1] < 2:
        return False
    high, low = labels.max(), labels.min()
    classes = np.where(np.eye(labels.shape[1])[labels.argmax(1)] > 0, high, low)
    return bool(high > low and np.allclose(labels, classes))


def _interval(values: np.ndarray) -> float:
    if len(values) < 2:
        return math.nan
    return float(1.96 * values.std(ddof=1) / len(values) ** 0.5)


def _spectrum(matrix: np.ndarray, jitter: float) -> Spectrum:
    return Spectrum(np.linalg.eigvalsh(matrix)[::-1] + jitter)


def _inner_time(inner: Inner, kernels: Kernels) -> float:
    """What moves the head as much, to first order, as this loop moves its layers."""
    time = inner.initial_time
    sizes = [np.trace(np.asarray(kernels.of(each))) for each in (inner.layers, "head")]
    return float(time * sizes[0] / sizes[1]) if time else 0.0
