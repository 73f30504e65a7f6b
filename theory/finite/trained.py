"""Trained networks of several methods and initialisations, and their distances."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float

from metabridge.theory.finite import predictions
from metabridge.theory.finite.comparison import Comparison, between
from metabridge.theory.finite.methods import Network
from metabridge.theory.predictors.inner_loop import Inner
from metabridge.theory.predictors.predictor import Predicted
from metabridge.theory.types import KernelFn, OneTask, Tasks, check_tasks

Adaptation = Inner | Mapping[str, Inner]
"""How all methods adapt to an unseen task, or each by its name."""


@dataclasses.dataclass(frozen=True, eq=False)
class TrainedNetworks:
    """Networks after training; made by `train_pair`.

    Attributes:
      network: body, loss, and whether linearised.
      inner: the inner loop of each method in training; None for MTL.
      initial: parameters of each initialisation, which all methods began with.
      trained: parameters of each method by initialisation: "body" for `body.apply`,
        "head" of a new task, and of MTL "heads" of the training tasks.
      left: share of the training residual (of the cross-entropy) left, likewise.
      training_time: of each method, learning rate times steps over ``1 - momentum``:
        the time of gradient flow to compare with.
      inputs: shape of an input.
      dtype: "float32" or "float64".
    """

    network: Network
    inner: dict[str, Inner | None]
    initial: list[Any]
    trained: dict[str, list[Any]]
    left: dict[str, Float[np.ndarray, "seeds"]]
    training_time: dict[str, float]
    inputs: tuple[int, ...]
    dtype: str = "float32"

    def __repr__(self) -> str:
        left = ", ".join(f"{name} {own.mean():.2g}" for name, own in self.left.items())
        return f"TrainedNetworks({len(self.initial)} seeds; residual left: {left})"

    def predict(
        self, unseen: Tasks, *, adaptation: Adaptation
    ) -> dict[str, list[Predicted]]:
        """Predictions of every method by initialisation, on the queries of each task.

        Raises:
          ValueError: tasks of other inputs or outputs than those of training, or an
            adaptation that finite networks do not have.
        """
        each, adaptations = self._check(unseen), self._each(adaptation)
        with predictions.precision(self.dtype):
            return {
                name: [
                    predictions.predict(
                        self.network, params, initial, each, adaptations[name]
                    )
                    for params, initial in zip(own, self.initial, strict=True)
                ]
                for name, own in self.trained.items()
            }

    def compare(self, unseen: Tasks, *, adaptation: Adaptation) -> Comparison:
        """Distances on unseen tasks: of each two methods, and of seeds of each method.

        Args:
          unseen: tasks, whose query labels are not needed.
          adaptation: of all methods, or of each: of the head by any loop (with the
            squared loss), or `gradient_steps` of any layers on the training loss.
        """
        return between(self.predict(unseen, adaptation=adaptation))

    def limit(
        self,
        tasks: Tasks,
        unseen: Tasks,
        *,
        adaptation: Adaptation,
        kernel: KernelFn | None = None,
    ) -> Comparison:
        """The same at infinite width, after the same time of training on `tasks`.

        Args:
          tasks: training tasks.
          unseen: as for `compare`.
          adaptation: likewise.
          kernel: of the body; known of `metabridge.models.MLP` with ReLU.

        Raises:
          ValueError: a body whose kernel is not known, another loss than "squared", or
            training with first_order=True.
        """
        if self.network.loss != "squared":
            raise ValueError(
                "networks have a limit in closed form with loss='squared', not "
                f"{self.network.loss!r}"
            )
        if self.network.first_order:
            raise ValueError(
                "networks trained with first_order=True have no limit in closed form: "
                "their outer gradient is no gradient of a loss; train with "
                "first_order=False"
            )
        found = predictions.predict_limit(
            kernel or predictions.kernel_of(self.network), tasks, unseen,
            self.inner, self.training_time, self._each(adaptation),
        )  # fmt: skip
        return between({name: [own] for name, own in found.items()})

    def _each(self, adaptation: Adaptation) -> dict[str, Inner]:
        if isinstance(adaptation, Inner):
            return dict.fromkeys(self.trained, adaptation)
        if missing := [name for name in self.trained if name not in adaptation]:
            raise ValueError(
                f"`adaptation` names {', '.join(adaptation)}, but lacks "
                f"{', '.join(missing)}: pass one for each method, or one for all"
            )
        return dict(adaptation)

    def _check(self, unseen: Tasks) -> list[OneTask]:
        each = check_tasks(unseen)
        outputs = self.initial[0]["head"].shape[1]
        given = each[0].query_x.shape[1:], each[0].support_y.shape[1]
        if given != (self.inputs, outputs):
            raise ValueError(
                f"the unseen tasks have inputs {list(given[0])} and {given[1]} "
                f"outputs, but the training tasks {list(self.inputs)} and {outputs}"
            )
        return each
