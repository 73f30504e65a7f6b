"""MTL and ANIL trained on the same tasks in networks of finite width, side by side.

What `compare` does at infinite width, for Flax MLPs of the NTK parametrisation in
float32: full-batch gradient descent from one initialisation, whose outputs are
subtracted throughout, so that both begin at 0 as their limits do. In the same units:
``last_W_std`` is 1 here, `relu_network`'s default.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from metabridge.models.mlp import MLP
from metabridge.theory.closeness.compare import closeness_of, on_positions
from metabridge.theory.finite import networks
from metabridge.theory.kernels.evaluate import evaluate, precomputed
from metabridge.theory.kernels.relu import relu_network
from metabridge.theory.predictors import streaming
from metabridge.theory.predictors.gbml import gbml_kernel, gbml_predictor
from metabridge.theory.predictors.inner_loop import (
    Inner,
    carried,
    gradient_flow,
    operator,
)
from metabridge.theory.predictors.mtl import mtl_kernel, mtl_predictor
from metabridge.theory.predictors.predictor import Predicted
from metabridge.theory.types import Closeness, Kernels, Tasks, check_whole

_HALVINGS = 4
"""How often a learning rate that diverges is halved."""


@dataclasses.dataclass(frozen=True, eq=False)
class TrainedPair:
    """The two networks after training.

    Attributes:
      body: of both.
      time: of ANIL's inner loop.
      initial: parameters that both began with.
      trained: parameters of "MTL" and "ANIL".
      left: share of the training residual that each has left.
      training_time: learning rate times steps of each: the time to compare with at
        infinite width.
    """

    body: MLP
    time: float
    initial: Any
    trained: dict[str, Any]
    left: dict[str, float]
    training_time: dict[str, float]

    def compare(self, unseen: Tasks, *, adaptation: Inner) -> Closeness:
        """Predictions on unseen tasks, whose query labels are not needed.

        Raises:
          ValueError: an adaptation of other layers than the head.
        """
        if adaptation.layers != "head":
            raise ValueError(
                "finite networks adapt their head to an unseen task, not "
                f"{adaptation.layers!r}"
            )
        mtl, anil = (
            _predict(self.body, self.trained[name], self.initial, unseen, adaptation)
            for name in ("MTL", "ANIL")
        )
        return closeness_of(mtl, anil)

    def limit(self, tasks: Tasks, unseen: Tasks, *, adaptation: Inner) -> Closeness:
        """The same at infinite width, after the same time of training on `tasks`."""
        kernel = relu_network(self.body.depth)
        points, train = on_positions(tasks)
        own = precomputed(evaluate(kernel, points))
        inner = gradient_flow("head", time=self.time)
        limits = (
            mtl_predictor(own, train, time=self.training_time["MTL"]),
            gbml_predictor(own, train, inner=inner, time=self.training_time["ANIL"]),
        )
        trained = [
            streaming.on_positions(one, len(points), adaptation) for one in limits
        ]
        ((mtl, anil),) = streaming.predict(
            streaming.one_network(kernel), points, [trained], unseen.each()
        )
        return closeness_of(mtl, anil)


def train_pair(
    tasks: Tasks, *, width: int, depth: int, time: float, steps: int, seed: int = 0
) -> TrainedPair:
    """Trains MTL with shared heads and ANIL on the same tasks from one initialisation.

    Gradient descent on ``1/2 ||F - Y||^2``, summed over the queries of all tasks, with
    half the largest stable step of the infinite-width kernel. The kernel of a narrow
    network has a larger eigenvalue; where that step diverges, steps of half the size
    are taken, twice as many.

    Args:
      tasks: training tasks of one size.
      width: units of the hidden layers.
      depth: hidden layers, at least 1.
      time: of ANIL's inner loop in training.
      steps: of gradient descent, see above.
      seed: of the initialisation.

    Raises:
      ValueError: a number out of range.
      RuntimeError: training has diverged.
    """
    for name, value in (("width", width), ("depth", depth), ("steps", steps)):
        check_whole(name, value, 1)
    batch, body = networks.batch_of(tasks), MLP(width, depth)
    params = networks.initialise(jax.random.key(seed), batch, body, shared=True)
    centred = networks.centre(body, params, batch)
    trained, left, times = {}, {}, {}
    for name, largest in _largest(tasks, depth, time).items():
        algorithm: networks.Algorithm = "MTL" if name == "MTL" else "ANIL"
        times[name] = steps / largest
        for finer in (2**halving for halving in range(_HALVINGS + 1)):
            trained[name], share = networks.descend(
                algorithm, body, params, centred,
                time=time, lr=1.0 / largest / finer, tolerance=0.0,
                max_steps=steps * finer,
            )  # fmt: skip
            left[name] = float(share)
            if left[name] < 1:
                break
        else:
            raise RuntimeError(
                f"{name} of width {width} diverges: {left[name]:.1e} of its residual "
                f"is left after steps of size {1.0 / largest / 2**_HALVINGS:.1e}; take "
                "a wider network"
            )
    return TrainedPair(body, time, params, trained, left, times)


def _largest(tasks: Tasks, depth: int, time: float) -> dict[str, float]:
    """The largest eigenvalue of each kernel at infinite width."""
    points, train = on_positions(tasks)
    kernel = precomputed(evaluate(relu_network(depth), points))
    inner = gradient_flow("head", time=time)
    return {
        "MTL": float(np.linalg.eigvalsh(mtl_kernel(kernel, train))[-1]),
        "ANIL": float(np.linalg.eigvalsh(gbml_kernel(kernel, train, inner=inner))[-1]),
    }


def _predict(
    body: MLP, params: Any, initial: Any, tasks: Tasks, adaptation: Inner
) -> Predicted:
    """Predictions on the queries of each task."""
    found = Predicted([], [])
    for index, task in enumerate(tasks.each()):
        inputs = task.points()
        features = _features(body, params, inputs)
        head = np.asarray(params["head"], np.float64)
        start = np.asarray(initial["head"], np.float64)
        values = features @ head - _features(body, initial, inputs) @ start
        queries = len(task.query_x)
        query, support = features[:queries], features[queries:]
        cross, square = query @ support.T, support @ support.T
        A = operator(
            adaptation, Kernels(cross, cross), Kernels(square, square),
            what=f"the support of unseen task {index}",
        )  # fmt: skip
        found.transferred.append(carried(adaptation, A, values))
        found.adapted.append(A @ task.support_y)
    return found


def _features(body: MLP, params: Any, x: np.ndarray) -> Float[np.ndarray, "N D"]:
    values = networks.features(body, params, jnp.asarray(x, jnp.float32))
    return np.asarray(values, np.float64)
