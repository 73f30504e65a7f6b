"""A regressor for a few examples, as scikit-learn has them, from a run."""

import os
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.utils.validation import check_is_fitted

from metabridge.config.fields import hints_of, typed
from metabridge.learners import variables_of
from metabridge.regression.fitting import restore
from metabridge.regression.learners import make_learner, with_penalty
from metabridge.regression.options import (
    LEARNERS,
    ModelOptions,
    RegressionConfig,
    TaskOptions,
    TrainOptions,
)
from metabridge.regression.run import load_source
from metabridge.runs.folder import RunError, read_result
from metabridge.types import Examples
from metabridge.untrusted import expanded, read_json, shown


class FewShotRegressor(RegressorMixin, BaseEstimator):
    """What a run has learned, adapted to the examples of a new task.

    Args:
      run_dir: folder of a finished run of `metabridge regress`.

    Example:
      >>> model = FewShotRegressor("runs/regress-maml-sinusoids").fit(X, y)
      >>> model.predict(X_new)
    """

    def __init__(self, run_dir: str | os.PathLike[str]) -> None:
        self.run_dir = run_dir

    def fit(self, X: Any, y: Any) -> "FewShotRegressor":
        """Adapt to inputs ``[S, d]`` and targets ``[S]`` or ``[S, K]``, in their units.

        Raises:
          ValueError: other shapes than those of the run, or values that are not finite.
        """
        config = read_config(self.run_dir)
        source, folder = load_source(config), expanded(self.run_dir)
        inputs = _matrix("X", X, source.num_inputs)
        targets = np.asarray(y, np.float32)
        self.flat_ = targets.ndim == 1
        targets = _matrix(
            "y", targets[:, None] if self.flat_ else targets, source.num_outputs
        )
        if len(inputs) != len(targets):
            raise ValueError(
                f"`X` has {len(inputs)} examples, but `y` {len(targets)}: pass a "
                "target for each"
            )
        learner = make_learner(config, source)
        penalty = read_result(folder).get("penalty")
        variables = variables_of(restore(folder, config, source).state)
        if penalty is not None:
            variables = with_penalty(variables, penalty)
        support = Examples(
            jnp.asarray(source.scale.inputs(inputs)),
            jnp.asarray(source.scale.targets(targets)),
        )
        self.adapted_ = learner.adapt(variables, support, ways=source.num_outputs)
        self.learner_, self.source_ = learner, source
        return self

    def predict(self, X: Any) -> Float[np.ndarray, "..."]:
        """Predict targets of inputs ``[N, d]``, shaped as those of `fit`."""
        check_is_fitted(self, "adapted_")
        inputs = _matrix("X", X, self.source_.num_inputs)
        scale = self.source_.scale
        outputs = self.learner_.logits(self.adapted_, jnp.asarray(scale.inputs(inputs)))
        found = np.asarray(jax.device_get(scale.outputs(outputs)))
        return found[:, 0] if self.flat_ else found


def read_config(run_dir: str | os.PathLike[str]) -> RegressionConfig:
    """The options of a run of regression.

    Raises:
      RunError: there is none, or one of another kind.
    """
    path = expanded(run_dir) / "config.json"
    if not path.is_file():
        raise RunError(f"{shown(path.parent)} holds no run: there is no config.json")
    try:
        values = read_json(path)
        if values.get("kind") != "regression":
            raise ValueError("it is of a run of classification: `metabridge train`")
        return RegressionConfig(
            _section(LEARNERS[values["learner_name"]], values["learner"]),
            _section(TaskOptions, values["tasks"]),
            _section(ModelOptions, values["model"]),
            _section(TrainOptions, values["train"]),
        )
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise RunError(f"{shown(path)} cannot be used: {error}") from error


def _section(kind: type, values: dict[str, Any]) -> Any:
    hints = hints_of(kind)
    return kind(**{name: typed(hints[name], v, name) for name, v in values.items()})


def _matrix(name: str, values: Any, width: int) -> Float[np.ndarray, "N d"]:
    found = np.asarray(values, np.float32)
    if found.ndim != 2 or found.shape[1] != width or not len(found):
        raise ValueError(
            f"`{name}` has the shape {list(found.shape)}, but the run takes "
            f"[N, {width}]"
        )
    if not np.isfinite(found).all():
        raise ValueError(f"`{name}` has values that are not finite")
    return found
